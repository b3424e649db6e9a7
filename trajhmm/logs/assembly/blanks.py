"""What a blank cell means: a metric that is logged less often, or a value that could not be written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_ALWAYS_TOGETHER = 0.9
_FEWEST_TOGETHER = 3
_SAME_CADENCE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Cadence:
    """How often D metrics stand, and how often together: counts of rows, which add up over sets of whole runs.

    Attributes
    ----------
    metrics : D names.
    together : (D, D), rows at which metrics b and d both stand; on the diagonal, those at which b stands.
    within : (D, D), rows at which d stands, from the first to the last row of each run at which b stands.
    window : (D,), rows from the first to the last row of each run at which the metric stands.
    """

    metrics: tuple[str, ...]
    together: NDArray[np.float64]
    within: NDArray[np.float64]
    window: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        metrics: Sequence[str],
        present: NDArray[np.bool_],
        offsets: NDArray[np.int64],
        *,
        max_cells: int = 2**24,
    ) -> Cadence:
        """Count in (N, D) ``present`` cells of runs with (R + 1,) row ``offsets``; see `logged_cells`."""
        counts = np.array([np.count_nonzero(column) for column in present.T], dtype=np.float64)
        together, within = np.tile(counts, (len(counts), 1)), np.tile(counts, (len(counts), 1))
        windows = np.full(len(counts), float(len(present)))
        blank = np.flatnonzero(counts < len(present))
        if len(blank):
            window = _window(present[:, blank], offsets)
            windows[blank] = window.sum(axis=0)
            together[blank] = within[blank] = 0
            block = max(1, max_cells // max(1, present.shape[1]))
            for start in range(0, len(present), block):
                rows = slice(start, start + block)
                cells = present[rows].astype(np.float32)
                within[blank] += window[rows].astype(np.float32).T @ cells
                together[blank] += cells[:, blank].T @ cells
        return cls(metrics=tuple(metrics), together=together, within=within, window=windows)

    @classmethod
    def joined(cls, several: Sequence[Cadence], metrics: Sequence[str]) -> Cadence:
        """Add up over sets of runs, for ``metrics``; a set that lacks one of them has it blank throughout."""
        size = len(metrics)
        together, within, window = np.zeros((size, size)), np.zeros((size, size)), np.zeros(size)
        for one in several:
            here = np.array([d for d, name in enumerate(metrics) if name in one.metrics], dtype=np.int64)
            there = np.array([one.metrics.index(metrics[d]) for d in here], dtype=np.int64)
            together[np.ix_(here, here)] += one.together[np.ix_(there, there)]
            within[np.ix_(here, here)] += one.within[np.ix_(there, there)]
            window[here] += one.window[there]
        return cls(metrics=tuple(metrics), together=together, within=within, window=window)


@dataclass(frozen=True, kw_only=True, eq=False)
class Due:
    """At which rows a value of each of D metrics is due.

    ``companion`` (D, D) bool: whether metric d is logged about as often as metric b, and (nearly) only with b while b
    is logged; ``dense`` (D,) bool: whether the metric is logged at nearly every row.
    """

    companion: NDArray[np.bool_]
    dense: NDArray[np.bool_]

    @classmethod
    def by(cls, cadence: Cadence) -> Due:
        """Decide by how often metrics stand together."""
        together, within = cadence.together, cadence.within
        own = np.diagonal(together)
        companion = (
            (together >= _FEWEST_TOGETHER)
            & (together >= _SAME_CADENCE * own[:, np.newaxis])
            & (together >= _ALWAYS_TOGETHER * within)
        )
        np.fill_diagonal(companion, val=False)
        return cls(companion=companion, dense=own / np.maximum(cadence.window, 1) >= _ALWAYS_TOGETHER)

    def at(self, present: NDArray[np.bool_], metric: int) -> NDArray[np.bool_]:
        """(n,) bool: the rows at which a metric is due once it has started, by the (n, D) cells that are not blank."""
        due: NDArray[np.bool_] = np.logical_or.reduce(present[:, self.companion[metric]], axis=1)
        return due | ~np.logical_or.reduce(present, axis=1) if self.dense[metric] else due


def logged_cells(
    present: NDArray[np.bool_], offsets: NDArray[np.int64], *, due: Due | None = None, max_cells: int = 2**24
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
    due : when a value is due, where that was decided over more rows than these.
    max_cells : bound on the size of temporaries.

    Returns
    -------
    (N, D) bool
        ``present``, and the blanks that are events.
    """
    if due is None:
        names = [str(d) for d in range(present.shape[1])]
        due = Due.by(Cadence.of(names, present, offsets, max_cells=max_cells))
    logged = present.copy()
    blank = np.flatnonzero(~present.all(axis=0))
    for metric, started in zip(blank.tolist(), started_cells(present[:, blank], offsets).T, strict=True):
        logged[:, metric] |= due.at(present, metric) & started
    return logged


def started_cells(present: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, D) bool: True from the first row of the run at which the metric stands."""
    started = np.zeros_like(present)
    for start, stop in pairwise(offsets):
        np.logical_or.accumulate(present[start:stop], axis=0, out=started[start:stop])
    return started


def _window(present: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N, B): True from the first to the last row of the run at which the metric stands."""
    window = started_cells(present, offsets)
    for start, stop in pairwise(offsets):
        window[start:stop] &= np.logical_or.accumulate(present[start:stop][::-1], axis=0)[::-1]
    return window
