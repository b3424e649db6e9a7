"""What a blank cell means: a metric that is logged less often, or a value that could not be written down."""

from __future__ import annotations

import bisect
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.clocks import called_clock
from trajhmm.logs.assembly.stack import Stack
from trajhmm.logs.assembly.steps import STEP

# A value that was due and is blank so many rows in succession was lost.
LOST = 3
# One metric goes with another where it stands in nearly all rows that hold the other, this many at least, and these are
# half of its own; they belong to rows of different kinds where of neither as many as one in ten hold both.
FEWEST, TOGETHER, OFTEN, APART = 5, 0.9, 0.5, 0.1
MOST = np.iinfo(np.int8).max
# Kinds of columns by the rows in which they have stood so far: logs have a handful, and with hundreds nothing is due.
MOST_KINDS = 128


def missed_in_succession(present: NDArray[np.bool_], tells: NDArray[np.bool_]) -> NDArray[np.int8]:
    """How many rows in succession, up to each, a value was due and is blank.

    Many writers store NaN as a blank cell. A value is due in a row where another stands with which it has gone together
    so far, and none of rows of another kind; and in a row that holds nothing, if so far it stood in nearly all. So a
    loss that turns blank beside a learning rate that goes on is due; an evaluation every tenth row is not, nor is the
    loss in a row that holds an evaluation alone. Once columns have stood in the rows so far in more than `MOST_KINDS`
    ways, nothing is due any more. Row t is a function of the rows up to t.

    Parameters
    ----------
    present : (n, D), which cells of the rows of one run are not blank, save those of clocks.
    tells : (n, D), where a column has changed by then: what is constant tells nothing of the row that it stands in.

    Returns
    -------
    (n, D) int8, 0 where nothing was due or a value is there; rows that do not concern a metric do not count.
    """
    missed = np.zeros(present.shape, dtype=np.int8)
    if (few := rows_of_few_kinds(present)) < len(present):
        missed[:few] = missed_in_succession(present[:few], tells[:few])
        return missed
    kinds, kind_of = _kinds(present)
    # Columns that stand in the same rows are due in the same rows; they tell of each other's rows as one.
    told = np.stack([tells[:, kind_of == kind].any(axis=1) for kind in range(kinds.shape[1])], axis=1)
    rows_with = np.vstack([np.zeros(kinds.shape[1], dtype=np.int64), kinds.cumsum(axis=0)])  # before each row
    for kind in np.flatnonzero(~kinds.all(axis=0) & (rows_with[-1] >= FEWEST)).tolist():
        stands = np.flatnonzero(kinds[:, kind])
        blank = stands[0] + 1 + np.flatnonzero(~kinds[stands[0] + 1 :, kind])
        due = blank[_is_due(kinds, told, rows_with, kind, stands, blank)]
        rows = np.union1d(stands, due)
        lacks = ~kinds[rows, kind]
        places = np.arange(len(rows))
        since = places - np.maximum.accumulate(np.where(lacks, -1, places))
        missed[np.ix_(due, kind_of == kind)] = np.minimum(since[lacks], MOST)[:, np.newaxis]
    return missed


def rows_of_few_kinds(present: NDArray[np.bool_]) -> int:
    """Of (n, D), how many of the first rows can be judged: columns stand in them in at most `MOST_KINDS` ways."""
    # More rows tell more columns apart, never fewer; a column that has not stood yet is of no kind.
    return bisect.bisect_right(
        range(1, len(present) + 1), MOST_KINDS, key=lambda n: int(_kinds(present[:n])[0].any(axis=0).sum())
    )


def _kinds(present: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """(n, K) the different columns of (n, D), and (D,) which of them each is."""
    packed = np.ascontiguousarray(np.packbits(present, axis=0).T)
    _, first, kind_of = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    return present[:, first], kind_of.reshape(-1)


def _is_due(
    present: NDArray[np.bool_],
    tells: NDArray[np.bool_],
    rows_with: NDArray[np.int64],
    d: int,
    stands: NDArray[np.int64],
    blank: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """(B,) whether metric d is due at (B,) rows where it is blank, once it is known.

    Parameters
    ----------
    rows_with : (n + 1, D) rows with each metric before each row.
    stands : rows at which metric d stands.
    """
    times = np.searchsorted(stands, blank)  # how often d has stood by then
    begin, end = stands[0], stands[times - 1] + 1  # from its first row to its last so far
    goes_with, apart = np.zeros(len(blank), dtype=bool), np.zeros(len(blank), dtype=bool)
    nothing = (end - begin >= FEWEST) & (times >= TOGETHER * (end - begin))
    for e in range(present.shape[1]):
        there = present[blank, e]
        if e == d or not there.any():
            continue
        both = np.concatenate(([0], np.cumsum(present[stands, e])))[times]
        within = rows_with[end, e] - rows_with[begin, e]
        go_together = there & (within >= FEWEST) & (both >= TOGETHER * within) & (both >= OFTEN * times)
        goes_with |= go_together & tells[blank, e]
        nothing &= ~there | (go_together & ~tells[blank, e])
        apart |= there & (both < APART * np.minimum(np.maximum(rows_with[blank, e], 1), times))
    due: NDArray[np.bool_] = (goes_with | nothing) & ~apart
    return due


def missed_cells(stack: Stack, offsets: NDArray[np.int64]) -> dict[str, NDArray[np.int8]]:
    """How often in succession values were due and are blank, see `missed_in_succession`: (N,) of columns of numbers.

    Parameters
    ----------
    stack : N rows; those of a writer that tells a blank from what is not finite miss nothing.
    offsets : (R + 1,) row offsets of the runs.

    Returns
    -------
    Columns in which something was missed.
    """
    names = [name for name in stack.numbers if name != STEP and not called_clock(name)]
    if not any(name in stack.present for name in names):
        return {}
    told = np.array([table.blanks_are_blank for table in stack.tables])[stack.source]
    present = stack.logged(slice(None), names)
    missed = np.zeros(present.shape, dtype=np.int8)
    for start, stop in pairwise(offsets.tolist()):
        cells = present[start:stop]
        if not (told[start:stop].all() or cells.all()):
            values = stack.values(slice(start, stop), names)
            missed[start:stop] = missed_in_succession(cells, _changed(values))
            missed[start:stop][told[start:stop]] = 0
    return {name: column for name, column in zip(names, missed.T, strict=True) if column.any()}


def _changed(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n, D) whether each metric of one run has taken two finite values by then."""
    finite = np.isfinite(values)
    first = values[np.argmax(finite, axis=0), np.arange(values.shape[1])]
    changed: NDArray[np.bool_] = np.logical_or.accumulate(finite & (values != first), axis=0)
    return changed


def lost(missed: NDArray[np.int8], present: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) where a value was lost: the rows of a succession that is long enough and never ends.

    What comes back was logged less often for a while, and is no event in a finished log.

    Parameters
    ----------
    missed, present : (N,) of one column, see `missed_cells`; where it is not blank.
    offsets : (R + 1,) row offsets of the runs.
    """
    found = np.zeros(len(missed), dtype=bool)
    for start, stop in pairwise(offsets.tolist()):
        rows = start + np.flatnonzero(missed[start:stop])
        stands = np.flatnonzero(present[start:stop])
        behind = rows[rows > start + stands[-1]] if len(stands) else rows
        if len(behind) >= LOST:
            found[behind] = True
    return found
