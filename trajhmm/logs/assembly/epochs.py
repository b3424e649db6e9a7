"""Counters that begin again with each epoch: numbered on in the order of the file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.assembly.stack import Stack
from trajhmm.logs.runset import Note

EPOCHS = ("epoch", "epochs", "current_epoch", "train_epoch")
# So many times that steps begin again with the epoch are no chance.
_FEWEST_RISES = 2
# So many stretches of one length that begin at one step are no chance, and no run that was resumed.
_FEWEST_STRETCHES = 3
RISES_ASKED = 64


def is_epoch(name: str) -> bool:
    """Whether a column is called like one that counts epochs."""
    return name.lower().rsplit("/", 1)[-1] in EPOCHS


def numbered_on(
    run: str, steps: NDArray[np.int64], rows: NDArray[np.int64], stack: Stack, notes: list[Note]
) -> NDArray[np.int64]:
    """(n,) steps that count on where they began again with each epoch; as they are in any other run.

    Where steps begin again just where the epoch goes up, they go on from the last one, as far as they are usually
    apart (see `usual_spacing`). In a resumed run the epoch goes back with the steps.

    Parameters
    ----------
    run : name of the run.
    steps, rows : (n,) steps in reading order, and where they stand in ``stack``.
    notes : what was done is added.

    Raises
    ------
    LogError
        They begin again as a counter within epochs does, and no column says which epoch it is.
    """
    told = next((stack.numbers[name][rows] for name in stack.numbers if is_epoch(name)), None)
    asked, first = _first_rises(steps, told)
    spacing = usual_spacing(asked)
    # An evaluation may stand beside the last row of its epoch, at the same step.
    falls_or_stays = (np.diff(steps) <= 0) & (np.diff(stack.source[rows]) == 0)
    begins = steps[1:] <= steps.min() + spacing
    falls = np.flatnonzero(falls_or_stays & (begins | (np.diff(steps) < 0))) + 1
    starts = np.concatenate(([0], falls))
    if not len(falls) or (steps[starts] > steps.min() + spacing).any():
        return steps
    for name in stack.numbers:
        if not is_epoch(name):
            continue
        epochs = stack.numbers[name][rows]
        # Of rows that stay at the first step only those with a new epoch begin anew.
        falls = falls[(np.diff(steps)[falls - 1] < 0) | (np.diff(np.fmax.accumulate(epochs))[falls - 1] > 0)]
        starts = np.concatenate(([0], falls))
        if len(falls) and _rises_at(epochs, falls):
            text = f"steps begin again with each {name}, {len(falls)} times: numbered on in the order of the rows"
            notes.append(Note(kind="epochs", run=run, text=text))
            return _numbered(steps, starts, np.where(starts > first, spacing, 1))
        rises = np.diff(np.fmax.accumulate(epochs))[falls - 1] > 0
        if rises.sum() >= _FEWEST_RISES:
            row = falls[~rises][0] if not rises.all() else falls[0]
            raise LogError(
                f"{stack.path_at(rows[0])}: run {run!r}: steps begin again with each {name}, but at row {row + 1} "
                "without a new one, as where a run was resumed or rows of several kinds count by themselves; name a "
                "column that counts on with --step COLUMN, or leave out the rows that were repeated"
            )
    lengths = np.diff(np.concatenate((starts, [len(steps)])))
    alike = len(set(lengths[:-1].tolist())) == 1 and len(set(steps[starts].tolist())) == 1 and lengths[0] > 1
    if len(starts) >= _FEWEST_STRETCHES and alike and lengths[-1] <= lengths[0]:
        raise LogError(
            f"{stack.path_at(rows[0])}: run {run!r}: steps begin again at {steps[0]} after every {lengths[0]} rows, "
            f"{len(falls)} times, as a counter within epochs does; add the epoch as a column 'epoch', or name a column "
            "that counts on with --step COLUMN"
        )
    return steps


def usual_spacing(rises: Sequence[int] | NDArray[np.int64]) -> int:
    """How far steps are usually apart: the median of the first rises of a run before they begin again.

    Later ones are not asked, so that whoever follows a log numbers its rows as they are numbered when it is done.

    Parameters
    ----------
    rises : from row to row where steps go up, at most `RISES_ASKED`.
    """
    return int(np.median(rises)) if len(rises) else 1


def _first_rises(steps: NDArray[np.int64], epochs: NDArray[np.float64] | None) -> tuple[NDArray[np.int64], int]:
    """What `usual_spacing` is told by, and the row before which there is no rise yet."""
    rises = np.diff(steps)
    ups = np.flatnonzero(rises > 0)
    first = int(ups[0]) + 1 if len(ups) else len(steps)
    begins = rises < 0
    if epochs is not None:
        begins |= (rises == 0) & (np.diff(np.fmax.accumulate(epochs)) > 0)
    ends = np.flatnonzero(begins)
    ends = ends[ends >= first]
    rises = rises[: ends[0]] if len(ends) else rises
    return rises[rises > 0][:RISES_ASKED], first


def _rises_at(epochs: NDArray[np.float64], falls: NDArray[np.int64]) -> bool:
    """Whether (n,) epochs never go back, and go up at each of some rows."""
    known = np.fmax.accumulate(epochs)
    rises = np.diff(known)
    return bool(
        np.isfinite(known).all() and (np.nan_to_num(epochs, nan=np.inf) >= known).all() and (rises[falls - 1] > 0).all()
    )


def _numbered(steps: NDArray[np.int64], starts: NDArray[np.int64], apart: NDArray[np.int64]) -> NDArray[np.int64]:
    numbered = steps.copy()
    ends = [*starts[1:].tolist(), len(steps)]
    for start, end, spacing in zip(starts[1:].tolist(), ends[1:], apart[1:].tolist(), strict=True):
        numbered[start:end] += numbered[start - 1] + spacing - steps[start]
    return numbered
