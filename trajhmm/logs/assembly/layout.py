"""`Layout`: which column is what, decided over all rows; and the `RunSet` of any of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.assembly.blanks import lost, missed_cells
from trajhmm.logs.assembly.columns import Kinds
from trajhmm.logs.assembly.evidence import Evidence, codes_of_runs, value_of_runs
from trajhmm.logs.assembly.rows import Rows
from trajhmm.logs.assembly.steps import STEP
from trajhmm.logs.formats.table import RUN_NAME
from trajhmm.logs.runset import Note, RunSet

_TOTAL = re.compile(r"(runtime|_per_second|total_flos|total_time|wall_?time|total_duration)$")


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What each column is.

    Attributes
    ----------
    kinds : which columns are numbers and which are text.
    metrics : names of the D metrics; ``incomplete`` are those of them with a blank or non-finite cell somewhere.
    numbers, texts : names of the attributes; ``whole`` are those of ``numbers`` that are integers in every run.
    notes : what was decided.
    """

    kinds: Kinds
    metrics: tuple[str, ...]
    incomplete: tuple[str, ...]
    numbers: tuple[str, ...]
    whole: frozenset[str]
    texts: tuple[str, ...]
    notes: tuple[Note, ...] = ()


def layout_of(evidence: Evidence, run_by: Sequence[str]) -> Layout:
    """Tell attributes, constant within each run, from metrics.

    Raises
    ------
    LogError
        There is no metric.
    """
    kinds = evidence.seen.kinds()
    notes: list[Note] = []
    metrics: list[str] = []
    numbers: list[str] = []
    texts: list[str] = []
    totals = _totals(kinds, evidence)
    taken = {STEP, *totals} | ({RUN_NAME} - set(run_by))
    if totals:
        notes.append(Note(kind="left-out", text=f"closing totals, left out: {', '.join(totals)}"))
    for name in kinds.numbers:
        if name in taken:
            continue
        if name in run_by or (evidence.several and evidence.of_numbers(name).constant):
            numbers.append(name)
        elif evidence.of_numbers(name).stands:
            metrics.append(name)
        else:
            notes.append(Note(kind="left-out", text=f"column {name} is blank everywhere, left out"))
    for name in kinds.texts:
        if name in taken:
            continue
        if evidence.of_text(name).constant:
            texts.append(name)
        else:
            notes.append(Note(kind="left-out", text=f"text column {name} changes within a run, left out"))
    if not metrics:
        held = f" (constant within each run: {', '.join(numbers[:6])})" if numbers else ""
        raise LogError(f"no numeric metric besides {STEP!r}{held}; expected at least one column that changes")
    if numbers:
        text = f"constant within each run, taken as attributes: {', '.join(numbers)}"
        notes.append(Note(kind="constant", text=text))
    return Layout(
        kinds=kinds,
        metrics=tuple(metrics),
        incomplete=tuple(name for name in metrics if not evidence.of_numbers(name).complete),
        numbers=tuple(numbers),
        whole=frozenset(name for name in numbers if evidence.of_numbers(name).whole),
        texts=tuple(texts),
        notes=tuple(notes),
    )


def _totals(kinds: Kinds, evidence: Evidence) -> tuple[str, ...]:
    """Columns that trainers add to the last row when they sum up, known by a runtime or a throughput among them."""
    closing = tuple(name for name in kinds.numbers if evidence.of_numbers(name).closing)
    return closing if any(_TOTAL.search(name.lower()) for name in closing) else ()


def run_set(rows: Rows, layout: Layout) -> RunSet:
    """Lay out ``rows`` as a `RunSet` without notes."""
    import pandas as pd

    stack, offsets = rows.stack, rows.offsets
    logged = stack.logged(slice(None), layout.metrics)
    columns = missed_cells(stack, offsets)
    missed = None
    if any(metric in columns for metric in layout.metrics):
        logged, missed = logged.copy(), np.zeros(logged.shape, dtype=np.int8)
        for d, metric in enumerate(layout.metrics):
            if metric in columns:
                missed[:, d] = columns[metric]
                logged[:, d] |= lost(columns[metric], stack.present[metric], offsets)
    attributes: dict[str, NDArray[Any] | list[str | None]] = {}
    for name in layout.numbers:
        # Whole numbers as integers, so that seed 3 does not read 3.0.
        attributes[name] = value_of_runs(stack.numbers[name], offsets).astype(
            np.int64 if name in layout.whole else np.float64
        )
    for name in layout.texts:
        words = (*stack.texts[name].words, None)
        attributes[name] = [words[code] for code in codes_of_runs(stack.texts[name], offsets)]
    return RunSet(
        runs=rows.runs,
        lengths=rows.lengths,
        steps=rows.steps,
        values=stack.values(slice(None), layout.metrics),
        logged=logged,
        missed=missed,
        metrics=layout.metrics,
        attributes=pd.DataFrame(attributes, index=pd.Index(rows.runs, name="run")),
    )
