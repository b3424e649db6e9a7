"""What is in a set of logs, and what is wrong with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from trajhmm.logs.runset import RunSet

# Kinds of notes that may cost a user data.
PROBLEMS = (
    "non-finite",
    "gap",
    "resume",
    "torn",
    "left-out",
    "duplicate",
    "unsorted",
    "hidden",
    "cut",
    "mixed",
    "copy",
)


def describe(runs: RunSet) -> dict[str, Any]:
    """Describe runs, metrics and notes, as ``trajhmm inspect --json`` prints it; numbers are plain Python.

    Returns
    -------
    ``n_runs, n_rows, first_step, last_step``; ``runs``: a dict each with ``run, rows, first_step, last_step, gaps,
    resumes, non_finite, attributes``; ``metrics``: a dict each with ``metric, logged`` (share of rows), ``non_finite``
    (cells), ``min, max``; ``files``: a dict each with ``path, format``; ``problems``: what may be wrong, a dict each
    with ``run`` (None for files) and ``texts``; ``notes``: a dict each with ``kind, run, text``.
    """
    event = runs.logged & ~np.isfinite(runs.values)
    return {
        "n_runs": runs.n_runs,
        "n_rows": runs.n_rows,
        "first_step": int(runs.steps.min()),
        "last_step": int(runs.steps.max()),
        "runs": [
            {
                "run": run,
                "rows": rows.stop - rows.start,
                "first_step": int(runs.steps[rows][0]),
                "last_step": int(runs.steps[rows][-1]),
                "gaps": _count(runs, run, "gap"),
                "resumes": _count(runs, run, "resume"),
                "non_finite": int(event[rows].sum()),
                "attributes": {name: _plain(runs.attributes[name].iloc[index]) for name in runs.attributes.columns},
            }
            for index, (run, rows) in enumerate(runs.slices())
        ],
        "metrics": [_metric(runs, column) for column in range(len(runs.metrics))],
        "files": [{"path": path, "format": found} for path, found in runs.files],
        "problems": _problems(runs),
        "notes": [{"kind": note.kind, "run": note.run, "text": note.text} for note in runs.notes],
    }


def _problems(runs: RunSet) -> list[dict[str, Any]]:
    """What may be wrong, first of files and then of each run, all that is known of one together."""
    found: dict[str | None, list[str]] = {}
    for note in runs.notes:
        if note.kind in PROBLEMS:
            found.setdefault(note.run, []).append(note.text)
    order = {run: place for place, run in enumerate(runs.runs)}
    return [
        {"run": run, "texts": texts}
        for run, texts in sorted(found.items(), key=lambda one: -1 if one[0] is None else order.get(one[0], -1))
    ]


def _metric(runs: RunSet, column: int) -> dict[str, Any]:
    values, logged = runs.values[:, column], runs.logged[:, column]
    finite = values[np.isfinite(values)]
    return {
        "metric": runs.metrics[column],
        "logged": float(logged.mean()),
        "non_finite": int((logged & ~np.isfinite(values)).sum()),
        "min": float(finite.min()) if len(finite) else None,
        "max": float(finite.max()) if len(finite) else None,
    }


def _count(runs: RunSet, run: str, kind: str) -> int:
    return sum(note.run == run and note.kind == kind for note in runs.notes)


def _plain(value: Any) -> Any:
    plain = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(plain, float) and not np.isfinite(plain) else plain
