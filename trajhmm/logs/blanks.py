"""What a blank cell means: a metric that is logged less often, or a value that could not be written down."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_ALWAYS_TOGETHER = 0.9
_FEWEST_TOGETHER = 3
_SAME_CADENCE = 0.5


def logged_cells(
    present: NDArray[np.bool_], offsets: NDArray[np.int64], *, max_cells: int = 2**24
) -> NDArray[np.bool_]:
    """Mark the cells that hold a logged value, counting a blank where the value was due.

    Many writers store NaN as a blank cell. A metric is due at a row where a companion stands: another metric of about
    the same cadence that, while both were logged, was (nearly) always logged together with it. It is due as well where
    a row holds nothing at all. So a loss that turns blank beside a learning rate that goes on is a non-finite loss; an
    evaluation every tenth row is not.

    Parameters
    ----------
    present : (N, D) bool, cells that are not blank.
    offsets : (R + 1,) row offsets of the runs.
    max_cells : bound on the size of temporaries.

    Returns
    -------
    (N, D) bool
        ``present``, and the blanks that are events.
    """
    logged = present.copy()
    blank = np.flatnonzero(~present.all(axis=0))
    if not len(blank):
        return logged
    empty_row = ~present.any(axis=1)
    companion = _companions(present, offsets, blank, max_cells)
    started = _started(present[:, blank], offsets)
    density = _density(present[:, blank], offsets)
    for column, metric in enumerate(blank.tolist()):
        due = empty_row & bool(density[column] >= _ALWAYS_TOGETHER)
        if companion[column].any():
            due = due | present[:, companion[column]].any(axis=1)
        logged[:, metric] |= due & started[:, column]
    return logged


def _companions(
    present: NDArray[np.bool_], offsets: NDArray[np.int64], blank: NDArray[np.int64], max_cells: int
) -> NDArray[np.bool_]:
    """(B, D): whether metric d is logged about as often as metric b, and (nearly) only with b while b is logged."""
    here = np.zeros((len(blank), present.shape[1]))
    together = np.zeros_like(here)
    block = max(1, max_cells // max(1, present.shape[1]))
    window = _window(present[:, blank], offsets)
    for start in range(0, len(present), block):
        rows = slice(start, start + block)
        cells = present[rows].astype(np.float32)
        here += window[rows].astype(np.float32).T @ cells
        together += present[rows][:, blank].astype(np.float32).T @ cells
    own = present[:, blank].sum(axis=0)[:, np.newaxis]
    companion: NDArray[np.bool_] = (
        (together >= _FEWEST_TOGETHER) & (together >= _SAME_CADENCE * own) & (together >= _ALWAYS_TOGETHER * here)
    )
    companion[np.arange(len(blank)), blank] = False
    return companion


def _started(present: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, B): True from the first row of the run at which the metric stands."""
    started = np.zeros_like(present)
    for start, stop in pairwise(offsets):
        np.logical_or.accumulate(present[start:stop], axis=0, out=started[start:stop])
    return started


def _window(present: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, B): True from the first to the last row of the run at which the metric stands."""
    window = _started(present, offsets)
    for start, stop in pairwise(offsets):
        window[start:stop] &= np.logical_or.accumulate(present[start:stop][::-1], axis=0)[::-1]
    return window


def _density(present: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(B,): share of rows with the metric, from its first to its last row in each run."""
    rows = _window(present, offsets).sum(axis=0)
    share: NDArray[np.float64] = present.sum(axis=0) / np.maximum(rows, 1)
    return share
