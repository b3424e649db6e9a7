"""When runs change: from one decoded state to another, or from one sign of a column to the other."""

from __future__ import annotations

import itertools
from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet
from trajhmm.logs.runset import offsets_of
from trajhmm.naming import instead_of


class Decoded(Protocol):
    """Runs with a state a row, as `trajhmm.hmm.Smoothed` is."""

    @property
    def runs(self) -> tuple[str, ...]:
        """R names."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(R,) rows of each run."""

    @property
    def steps(self) -> NDArray[np.int64]:
        """(N,) training steps."""

    @property
    def path(self) -> NDArray[np.int64]:
        """(N,) states."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Changes:
    """The changes of R runs, M in all.

    Attributes
    ----------
    runs : R names.
    first, last : (R,) steps between which each run is watched.
    steps : (M,) step of each change: that of the first row after it; by run, then by step. Two changes between rows
        cancel out, so that logs of every n-th step hold fewer.
    counts : (R,) changes of each run.
    diverged : (R,) bool, whether what is watched ends in a value that is not finite.
    """

    runs: tuple[str, ...]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    steps: NDArray[np.int64]
    counts: NDArray[np.int64]
    diverged: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for array in (self.first, self.last, self.steps, self.counts, self.diverged):
            array.setflags(write=False)

    @cached_property
    def by_run(self) -> tuple[NDArray[np.int64], ...]:
        """R arrays, the steps of the changes of each run."""
        offsets = offsets_of(self.counts).tolist()
        return tuple(self.steps[start:stop] for start, stop in itertools.pairwise(offsets))

    def take(self, members: NDArray[np.int64]) -> Changes:
        """Those of some runs, by number."""
        kept = [self.by_run[run] for run in members.tolist()]
        return Changes(
            runs=tuple(self.runs[run] for run in members.tolist()),
            first=self.first[members],
            last=self.last[members],
            steps=np.concatenate([*kept, np.empty(0, dtype=np.int64)]),
            counts=self.counts[members],
            diverged=self.diverged[members],
        )


def changes_of_states(decoded: Decoded, diverged: Container[str] = ()) -> Changes:
    """Changes of the decoded state, as those of a map; runs without a row are left out.

    Parameters
    ----------
    decoded : the states.
    diverged : runs that are decoded up to where they diverged.
    """
    some = decoded.lengths > 0
    names = tuple(name for name, kept in zip(decoded.runs, some.tolist(), strict=True) if kept)
    cut = np.array([name in diverged for name in names], dtype=np.bool_)
    return _changes(names, decoded.lengths[some], decoded.steps, decoded.path, cut)


def changes_of_sign(runs: RunSet, column: str) -> Changes:
    """Changes of the sign of a column; 0 counts as above it.

    Rows that do not log the column are passed over; a run is watched up to its first value that is not finite. Runs
    without a finite value are left out.

    Raises
    ------
    AnalysisError
        There is no such metric, or it is finite nowhere.
    """
    if column not in runs.metrics:
        raise AnalysisError(f"no metric {column!r}{instead_of(column, runs.metrics)}")
    place = runs.metrics.index(column)
    values, logged = runs.values[:, place], runs.logged[:, place]
    kept, names, lengths, diverged = [], [], [], []
    for name, rows in runs.slices():
        mine = np.flatnonzero(logged[rows]) + rows.start
        lost = ~np.isfinite(values[mine])
        until = int(lost.argmax()) if lost.any() else len(mine)
        if until:
            kept.append(mine[:until])
            names.append(name)
            lengths.append(until)
            diverged.append(until < len(mine))
    if not names:
        raise AnalysisError(f"{column!r} is finite in no run at its first row; name a column whose sign can change")
    chosen = np.concatenate(kept)
    return _changes(
        tuple(names),
        np.array(lengths, dtype=np.int64),
        runs.steps[chosen],
        (values[chosen] >= 0.0).astype(np.int64),
        np.array(diverged, dtype=np.bool_),
    )


def _changes(
    runs: tuple[str, ...],
    lengths: NDArray[np.int64],
    steps: NDArray[np.int64],
    labels: NDArray[np.int64],
    diverged: NDArray[np.bool_],
) -> Changes:
    starts = offsets_of(lengths)
    changed = np.concatenate(([False], labels[1:] != labels[:-1])) if len(labels) else np.empty(0, dtype=np.bool_)
    changed[starts[:-1]] = False
    counted = np.concatenate(([0], np.cumsum(changed)))
    return Changes(
        runs=runs,
        first=steps[starts[:-1]],
        last=steps[starts[1:] - 1],
        steps=steps[changed],
        counts=np.diff(counted[starts]).astype(np.int64),
        diverged=diverged,
    )
