"""Which rows of one run stand, when steps repeat or go back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.runset import Note

_UNSORTED_SHARE = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class Standing:
    """The rows of one run that stand.

    ``keep`` are positions in reading order, sorted by step; ``merge`` are (kept position, earlier positions) whose
    cells complete each other.
    """

    keep: NDArray[np.int64]
    merge: list[tuple[int, list[int]]]
    notes: list[Note]


def standing_rows(
    run: str, steps: NDArray[np.int64], values: NDArray[np.float64], logged: NDArray[np.bool_]
) -> Standing:
    """Decide for the rows of one run, in reading order.

    Rows of one step whose cells do not contradict each other are one row, logged in pieces. A file out of order, whose
    steps are all different, is sorted. Otherwise a step that is not above the last is a resumed run: the later rows win
    from there on.

    Parameters
    ----------
    run : name, for the notes.
    steps : (n,) in reading order.
    values, logged : (n, D), in the same order.
    """
    notes: list[Note] = []
    backwards = np.flatnonzero(np.diff(steps) < 0)
    if len(np.unique(steps)) == len(steps) and len(backwards) > max(3, _UNSORTED_SHARE * len(steps)):
        notes.append(Note(kind="unsorted", run=run, text=f"{len(steps)} rows were out of order, sorted by step"))
        return Standing(keep=np.argsort(steps, kind="stable"), merge=[], notes=notes)

    kept: list[int] = []
    merge: dict[int, list[int]] = {}
    merged = superseded = 0
    resumed_at: list[int] = []
    for row, step in enumerate(steps.tolist()):
        if kept and step == steps[kept[-1]]:
            last = kept.pop()
            earlier = [*merge.pop(last, []), last]
            if _complete_each_other(earlier, row, values, logged):
                merge[row] = earlier
                merged += 1
            else:
                superseded += len(earlier)
                resumed_at.append(step)
        while kept and steps[kept[-1]] >= step:
            merge.pop(kept.pop(), None)
            superseded += 1
            if not resumed_at or resumed_at[-1] != step:
                resumed_at.append(step)
        kept.append(row)
    if merged:
        notes.append(Note(kind="merged", run=run, text=f"{merged} steps were logged in pieces, merged"))
    if resumed_at:
        places = ", ".join(str(step) for step in resumed_at[:3]) + (", …" if len(resumed_at) > 3 else "")
        notes.append(
            Note(
                kind="resume",
                run=run,
                text=f"steps repeat or go back at step {places}: resumed, {superseded} earlier rows replaced",
            )
        )
    return Standing(keep=np.array(kept, dtype=np.int64), merge=list(merge.items()), notes=notes)


def _complete_each_other(earlier: list[int], row: int, values: NDArray[np.float64], logged: NDArray[np.bool_]) -> bool:
    """Whether no cell is logged twice with different values."""
    before, now = values[earlier], values[row]
    both = logged[earlier] & logged[row]
    same = (before == now) | (np.isnan(before) & np.isnan(now))
    return bool(np.all(same | ~both))
