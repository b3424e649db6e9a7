"""What is remarkable about the values and steps of logs that were read."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.runset import Note, RunSet

# What runs are called in tables that have a column for each of them; from so many on it is no chance.
_CALLED_LIKE_A_RUN = re.compile(
    r"(.*[^a-z])?(seed|run|trial|rep|replicate|exp|experiment)s?[^a-z0-9]*\d+", re.IGNORECASE
)
_FEWEST_SIDEWAYS = 3


def run_notes(runs: RunSet, incomplete: Container[str]) -> list[Note]:
    """Non-finite events and gaps in the steps, run by run; metrics but ``incomplete`` are known to have no event."""
    columns = np.array([d for d, metric in enumerate(runs.metrics) if metric in incomplete], dtype=np.int64)
    event = runs.logged[:, columns] & ~np.isfinite(runs.values[:, columns])
    eventful = _runs_with(np.logical_or.reduce(event, axis=1), runs)
    uneven = _runs_with(_unevenly_spaced(runs), runs)
    notes: list[Note] = []
    for r, (run, rows) in enumerate(runs.slices()):
        for column, here in zip(columns, event[rows].T if r in eventful else (), strict=False):
            if here.any():
                notes.append(_event_note(runs, run, rows, column, here))
        if r in uneven and (gap := _gap(runs.steps[rows])):
            notes.append(Note(kind="gap", run=run, text=gap))
    return notes


def _event_note(runs: RunSet, run: str, rows: slice, column: int, event: NDArray[np.bool_]) -> Note:
    first = int(np.argmax(event))
    cell = runs.values[rows, column][first]
    text = (
        f"{runs.metrics[column]} is not finite ({'NaN' if np.isnan(cell) else cell}) "
        f"from step {runs.steps[rows][first]}, {event.sum()} rows"
    )
    return Note(kind="non-finite", run=run, text=text)


def _runs_with(mark: NDArray[np.bool_], runs: RunSet) -> set[int]:
    """Positions of the runs that hold a row with the (N,) mark."""
    return set((np.searchsorted(runs.offsets, np.flatnonzero(mark), side="right") - 1).tolist())


def _unevenly_spaced(runs: RunSet) -> NDArray[np.bool_]:
    """(N,) bool: whether the next row of the run is not as many steps on as its second row was."""
    spacing = np.diff(runs.steps, append=0)
    uneven: NDArray[np.bool_] = spacing != np.repeat(spacing[runs.offsets[:-1]], runs.lengths)
    uneven[runs.offsets[1:] - 1] = False
    return uneven


def blank_notes(shares: Mapping[str, float]) -> list[Note]:
    """Metrics that are logged less often, by the share of rows at which each of them is logged."""
    return [
        Note(kind="blank", text=f"{metric} is logged at {share:.1%} of the rows")
        for metric, share in shares.items()
        if share < 1
    ]


def sideways_notes(runs: RunSet) -> list[Note]:
    """Say where all columns are called like runs, as in a table of one metric with a column for each run."""
    if (
        runs.n_runs > 1
        or len(runs.metrics) < _FEWEST_SIDEWAYS
        or not all(map(_CALLED_LIKE_A_RUN.fullmatch, runs.metrics))
    ):
        return []
    text = (
        f"columns {runs.metrics[0]}, {runs.metrics[1]}, … are called like runs, and read as metrics of one run; put "
        "the rows of each run below the others', with a column 'run' (pandas.melt)"
    )
    return [Note(kind="layout", text=text)]


def copy_notes(runs: RunSet) -> list[Note]:
    """Say which runs hold the same rows: whatever is counted by run counts such a run twice."""
    alike: dict[tuple[int, bytes], list[int]] = {}
    for r, (length, end) in enumerate(zip(runs.lengths.tolist(), runs.offsets[1:].tolist(), strict=True)):
        alike.setdefault((length, runs.values[end - 1].tobytes()), []).append(r)
    notes = []
    for group in alike.values():
        hashes: dict[bytes, int] = {}
        for r in group if len(group) > 1 else ():
            rows = slice(runs.offsets[r], runs.offsets[r + 1])
            whole = blake2b(runs.steps[rows].tobytes())
            whole.update(runs.values[rows].tobytes())
            first = hashes.setdefault(whole.digest(), r)
            if first != r:
                text = f"holds the same rows as run {runs.runs[first]}: a copy, which counts twice"
                notes.append(Note(kind="copy", run=runs.runs[r], text=text))
    return notes


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
