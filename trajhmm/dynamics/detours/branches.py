"""The comparison behind a detour: runs that go into a state, against runs that stood at the same place and did not.

Comparing runs that ever visit k with runs that do not is biased: the longer a run takes, the more it can visit
("immortal time"), so that any state visited at random looks like a detour. Here runs are compared by what they do at
one moment, and are followed from there whatever they do later; nobody is chosen by its future (a sequence of trials,
Hernán & Robins 2016). Runs in their n-th stay in a state j, who have not been in k so far, form a *stratum*:

* *branch*: where runs pass through k and go on, the moment is that of leaving j. Those that leave it for k are
  compared with those that leave it for another unconverged state, even if they come to k later. The clock starts at
  the exit from j on both sides. A run that converges in j, or goes from j straight to where runs are when they
  converge, is on neither side: it would count as a control that takes no time at all, and whatever lies between j and
  convergence would be a detour.
* *excursion*: where runs often come back from k to the state they left (a spike, say), leaving j is no progress. The
  moment is a time since entering j. Runs that go into k at that time are compared with the runs that have been in j for
  as long, from then on.

Who strays for a row has not left j, and who strays on the way from j to k has gone to k: rows in outlier states (see
`trajhmm.hmm.inference.outliers`) count as rows of the state before, unless k is one of them.

A run that begins in k has left nothing for it and is not compared: under scaling within runs, even the first row knows
how its run ends, so that starting states tell outcomes apart without causing them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.maps.training_map import TrainingMap
from trajhmm.logs.runset import offsets_of

# If at least this share of the visiting runs comes back to the state it left, the state is an excursion.
_RETURN_SHARE = 0.25


@dataclass(frozen=True, kw_only=True, eq=False)
class Stratum:
    """Runs that stood at the same place; ``visiting[m]`` of them went into k.

    Attributes
    ----------
    runs : (M,) run numbers.
    visiting : (M,) bool.
    times : (M,) steps from there to convergence, or to where the run is censored.
    converged : (M,) bool.
    """

    runs: NDArray[np.int64]
    visiting: NDArray[np.bool_]
    times: NDArray[np.float64]
    converged: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison:
    """All that compares with a visit to one state before convergence.

    Attributes
    ----------
    state : k.
    visited : (R,) bool, runs that visit k before they converge.
    strata : with at least one visiting run and one that is not.
    is_excursion : whether runs tend to come back to the state they left.
    """

    state: int
    visited: NDArray[np.bool_]
    strata: tuple[Stratum, ...]
    is_excursion: bool

    def members(self, *, visiting: bool) -> NDArray[np.int64]:
        """Runs that take part on one side, in order; a run may stand on both, at different places."""
        found = [stratum.runs[stratum.visiting == visiting] for stratum in self.strata]
        return np.unique(np.concatenate(found)) if found else np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class _Stay:
    """Rows ``first`` to ``last`` of a run are in ``state``, for the ``nth`` time."""

    state: int
    nth: int
    first: int
    last: int


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """One run up to convergence: its ``stays``, the ``steps`` of its rows, and the step at which it ends."""

    stays: tuple[_Stay, ...]
    steps: NDArray[np.int64]
    end: int
    converged: bool

    def visit(self, state: int) -> int:
        """Number of the first stay in ``state``; the number of stays if there is none."""
        return next((i for i, stay in enumerate(self.stays) if stay.state == state), len(self.stays))

    def follows(self, stay: int, state: int) -> bool:
        """Whether a run goes from a stay into ``state``."""
        return stay + 1 < len(self.stays) and self.stays[stay + 1].state == state

    def entry(self, stay: int) -> int:
        """Step at which a stay begins."""
        return int(self.steps[self.stays[stay].first])


def compare_visits(
    training_map: TrainingMap, convergence: Convergence, state: int, *, within: NDArray[np.int64] | None = None
) -> Comparison:
    """Collect the strata for one state.

    Parameters
    ----------
    training_map : decoded paths of R runs.
    convergence : of the same runs.
    state : k.
    within : (R,) a level for each run, such as the code of an attribute; only runs of one level are compared.
    """
    where = replace(training_map, path=training_map.settled(place=state))
    runs = [_until_convergence(run) for run in _decoded(where, convergence)]
    visits = [run.visit(state) for run in runs]
    is_excursion = _is_excursion(runs, visits)
    if is_excursion:
        members = _at_the_same_time(runs, visits, state)
    else:
        members = _at_the_same_exit(runs, visits, done_states(where, convergence))
    levels = np.zeros(len(runs), dtype=np.int64) if within is None else within
    places: dict[_Place, list[_Member]] = {}
    for place, member in members:
        places.setdefault((*place, int(levels[member[0]])), []).append(member)
    strata = (_stratum(places[place]) for place in sorted(places))
    return Comparison(
        state=state,
        visited=np.array([visit < len(run.stays) for run, visit in zip(runs, visits, strict=True)], dtype=bool),
        strata=tuple(s for s in strata if s.visiting.any() and not s.visiting.all()),
        is_excursion=is_excursion,
    )


def done_states(training_map: TrainingMap, convergence: Convergence) -> frozenset[int]:
    """States in which runs are once they have converged: most that converge and visit one enter it no earlier.

    Parameters
    ----------
    training_map : decoded paths.
    convergence : of the same runs.
    """
    before, after = np.zeros(training_map.n_states, dtype=int), np.zeros(training_map.n_states, dtype=int)
    for path, steps, end, converged in _decoded(training_map, convergence):
        if converged:
            earlier = np.unique(path[steps < end])
            before[earlier] += 1
            after[np.setdiff1d(path, earlier)] += 1
    return frozenset(np.flatnonzero(after > before).tolist())


_Place = tuple[int, ...]
"""State, number of the stay in it, and, for excursions, steps since then."""
_Member = tuple[int, bool, int, bool]
"""Number of the run, whether it goes into k, steps to its end, whether it converges there."""


_Decoded = tuple[NDArray[np.int64], NDArray[np.int64], int, bool]
"""States and steps of a run's rows, the step at which it ends, whether it converges there."""


def _decoded(training_map: TrainingMap, convergence: Convergence) -> Iterator[_Decoded]:
    for r, (start, stop) in enumerate(pairwise(offsets_of(training_map.lengths))):
        rows = slice(start, stop)
        yield (
            training_map.path[rows],
            training_map.steps[rows],
            int(convergence.steps[r]),
            bool(convergence.converged[r]),
        )


def _until_convergence(run: _Decoded) -> _Run:
    path, steps, end, converged = run
    n = int(np.searchsorted(steps, end)) if converged else len(steps)
    starts = np.flatnonzero(np.diff(path[:n], prepend=-1))
    stays: list[_Stay] = []
    times: dict[int, int] = {}
    for first, beyond in pairwise([*starts.tolist(), n]):
        state = int(path[first])
        times[state] = times.get(state, 0) + 1
        stays.append(_Stay(state=state, nth=times[state], first=first, last=beyond - 1))
    return _Run(stays=tuple(stays), steps=steps[:n], end=end, converged=converged)


def _is_excursion(runs: list[_Run], visits: list[int]) -> bool:
    came_back = [
        any(stay.state == run.stays[visit - 1].state for stay in run.stays[visit:])
        for run, visit in zip(runs, visits, strict=True)
        if 0 < visit < len(run.stays)
    ]
    return bool(came_back) and float(np.mean(came_back)) >= _RETURN_SHARE


def _at_the_same_exit(runs: list[_Run], visits: list[int], done: frozenset[int]) -> Iterator[tuple[_Place, _Member]]:
    """Every exit before a visit to k, under the stay that it ends."""
    for r, (run, visit) in enumerate(zip(runs, visits, strict=True)):
        for i, stay in enumerate(run.stays[: min(visit, len(run.stays) - 1)]):
            if i + 1 == visit or run.stays[i + 1].state not in done:
                yield (stay.state, stay.nth), (r, i + 1 == visit, run.end - run.entry(i + 1), run.converged)


def _at_the_same_time(runs: list[_Run], visits: list[int], state: int) -> Iterator[tuple[_Place, _Member]]:
    """For every time in a stay at which some run goes into ``state``, the runs that have been in that stay as long.

    A run that has been there counts only where it first left for it. Elsewhere it would not be going off but coming
    back, which tells how far it is: from a spike to an early state, say.
    """
    stays = [
        [i for i, stay in enumerate(run.stays) if i < visit or (visit and stay.state == run.stays[visit - 1].state)]
        for run, visit in zip(runs, visits, strict=True)
    ]
    moments: dict[tuple[int, int], set[int]] = {}
    for run, numbers in zip(runs, stays, strict=True):
        for i in numbers:
            if run.follows(i, state):
                place = run.stays[i].state, run.stays[i].nth
                moments.setdefault(place, set()).add(run.entry(i + 1) - run.entry(i))
    for r, (run, numbers) in enumerate(zip(runs, stays, strict=True)):
        for i in numbers:
            stay = run.stays[i]
            for since in sorted(moments.get((stay.state, stay.nth), ())):
                now = run.entry(i) + since
                in_stay = int(np.searchsorted(run.steps, now)) - 1 <= stay.last
                if in_stay and run.end > now:
                    goes = run.follows(i, state) and run.entry(i + 1) == now
                    yield (stay.state, stay.nth, since), (r, goes, run.end - now, run.converged)


def _stratum(members: list[_Member]) -> Stratum:
    runs, visiting, times, converged = (list(column) for column in zip(*members, strict=True))
    return Stratum(
        runs=np.array(runs, dtype=np.int64),
        visiting=np.array(visiting, dtype=bool),
        times=np.array(times, dtype=np.float64),
        converged=np.array(converged, dtype=bool),
    )
