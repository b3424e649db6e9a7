"""What is remarkable about the values and steps of logs that were read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.runset import Note, RunSet


def run_notes(runs: RunSet) -> list[Note]:
    """Non-finite events and gaps in the steps, run by run."""
    notes: list[Note] = []
    event = runs.logged & ~np.isfinite(runs.values)
    for run, rows in runs.slices():
        for column in np.flatnonzero(event[rows].any(axis=0)):
            first = int(np.argmax(event[rows, column]))
            count = int(event[rows, column].sum())
            cell = runs.values[rows, column][first]
            text = (
                f"{runs.metrics[column]} is not finite ({'NaN' if np.isnan(cell) else cell}) "
                f"from step {runs.steps[rows][first]}, {count} rows"
            )
            notes.append(Note(kind="non-finite", run=run, text=text))
        gap = _gap(runs.steps[rows])
        if gap is not None:
            notes.append(Note(kind="gap", run=run, text=gap))
    return notes


def blank_notes(metrics: Sequence[str], shares: NDArray[np.float64]) -> list[Note]:
    """Metrics that are logged less often, by the share of rows at which each of them is."""
    return [
        Note(kind="blank", text=f"{metric} is logged at {share:.1%} of the rows")
        for metric, share in zip(metrics, shares, strict=True)
        if share < 1
    ]


def _gap(steps: NDArray[np.int64]) -> str | None:
    """Say where steps are missing, if most are evenly spaced."""
    if len(steps) < 4:
        return None
    spacing = np.diff(steps)
    usual, counts = np.unique(spacing, return_counts=True)
    typical = usual[np.argmax(counts)]
    wide = np.flatnonzero(spacing > typical)
    if counts.max() < 0.8 * len(spacing) or not len(wide):
        return None
    first = wide[0]
    missing = int((spacing[wide] // typical - 1).sum())
    gaps = "1 gap" if len(wide) == 1 else f"{len(wide)} gaps"
    return f"{gaps} in the steps, about {missing} rows missing, first after step {steps[first]}"
