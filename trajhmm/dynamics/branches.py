"""The comparison behind a detour: runs that leave a state into k, against runs that leave the same state elsewhere.

Comparing runs that ever visit k with runs that do not is biased: the longer a run takes, the more it can visit
("immortal time"), so that any state visited at random looks like a detour. Here both arms start their clock at the same
place:

* *branch*: where runs pass through k and go on, a run that enters k from state j is compared with the runs that leave
  j for good to another state and never visit k, not even after convergence, each from its own exit. A run that
  converges while still in j has not left it and does not count: a state on everybody's way, at whose door some happen
  to converge, is no detour.
* *excursion*: where runs often come back from k to the state they left (a spike, say), a run that enters k from j is
  compared with the runs that are in j at that step and have not been in k, from that step on; these are censored if
  they enter k later.

A run that begins in k has left nothing for it and is not compared: under scaling within runs, even the first row knows
how its run ends, so that starting states tell outcomes apart without causing them.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.convergence import Convergence
from trajhmm.dynamics.training_map import TrainingMap
from trajhmm.logs.runset import offsets_of

# If at least this share of the visits comes back to the state it left, the state is an excursion.
_RETURN_SHARE = 0.25
_NONE = -2


@dataclass(frozen=True, kw_only=True, eq=False)
class Stratum:
    """Runs that stood at the same branch; ``visiting[m]`` of them went into k.

    Attributes
    ----------
    runs : (M,) run numbers.
    visiting : (M,) bool.
    times : (M,) steps from the branch to convergence, or to where the run is censored.
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Run:
    """One run up to convergence: ``path`` (n,), ``steps`` (n,), and the step at which it ends.

    ``end_state`` is the state at the row of convergence, `_NONE` if it was not decoded or the run did not converge;
    ``ever`` are the states visited in the whole run.
    """

    path: NDArray[np.int64]
    steps: NDArray[np.int64]
    end: int
    converged: bool
    end_state: int
    ever: frozenset[int]

    def first(self, state: int) -> int:
        rows = np.flatnonzero(self.path == state)
        return int(rows[0]) if len(rows) else -1


def compare_visits(training_map: TrainingMap, convergence: Convergence, state: int) -> Comparison:
    """Collect the strata for one state.

    Parameters
    ----------
    training_map : decoded paths.
    convergence : of the same runs.
    state : k.
    """
    runs = _until_convergence(training_map, convergence)
    entries = {r: run.first(state) for r, run in enumerate(runs) if run.first(state) >= 0}
    visited = np.isin(np.arange(len(runs)), list(entries))
    entries = {r: row for r, row in entries.items() if row > 0}
    came_from = {r: int(runs[r].path[row - 1]) for r, row in entries.items()}
    came_back = [bool((runs[r].path[row:] == came_from[r]).any()) for r, row in entries.items()]
    is_excursion = bool(came_back) and float(np.mean(came_back)) >= _RETURN_SHARE
    if is_excursion:
        found = [_same_time(runs, entries, r, came_from[r]) for r in entries]
    else:
        branches = sorted(set(came_from.values()))
        found = [_same_branch(runs, entries, state, [r for r in entries if came_from[r] == j], j) for j in branches]
    strata = tuple(s for s in found if s.visiting.any() and not s.visiting.all())
    return Comparison(state=state, visited=visited, strata=strata, is_excursion=is_excursion)


def _until_convergence(training_map: TrainingMap, convergence: Convergence) -> list[_Run]:
    offsets = offsets_of(training_map.lengths)
    runs = []
    for r, (start, stop) in enumerate(pairwise(offsets)):
        end, converged = int(convergence.steps[r]), bool(convergence.converged[r])
        steps = training_map.steps[start:stop]
        before = steps < end if converged else np.ones(len(steps), dtype=bool)
        path = training_map.path[start:stop]
        runs.append(
            _Run(
                path=path[before],
                steps=steps[before],
                end=end,
                converged=converged,
                end_state=int(path[before.sum()]) if converged and before.sum() < len(path) else _NONE,
                ever=frozenset(path.tolist()),
            )
        )
    return runs


def _same_branch(runs: list[_Run], entries: dict[int, int], state: int, visiting: list[int], branch: int) -> Stratum:
    """Runs that leave ``branch`` for ``state``, and runs that leave it for good to elsewhere."""
    members = [(r, True, runs[r].end - int(runs[r].steps[entries[r]]), runs[r].converged) for r in visiting]
    for r, run in enumerate(runs):
        if state in run.ever or not len(run.path):
            continue
        rows = np.flatnonzero(run.path == branch)
        if not len(rows):
            continue
        if rows[-1] + 1 < len(run.path):
            left = int(run.steps[rows[-1] + 1])
        elif run.end_state not in (branch, _NONE):
            left = run.end
        else:
            continue
        members.append((r, False, run.end - left, run.converged))
    return _stratum(members)


def _same_time(runs: list[_Run], entries: dict[int, int], visiting: int, branch: int) -> Stratum:
    """A run that enters k from ``branch``, and runs that are in ``branch`` at that step."""
    entry_step = int(runs[visiting].steps[entries[visiting]])
    members = [(visiting, True, runs[visiting].end - entry_step, runs[visiting].converged)]
    for r, run in enumerate(runs):
        row = int(np.searchsorted(run.steps, entry_step)) - 1
        if r == visiting or row < 0 or run.path[row] != branch or run.end <= entry_step:
            continue
        enters = int(run.steps[entries[r]]) if r in entries else None
        if enters is not None and enters <= entry_step:
            continue
        if enters is None:
            members.append((r, False, run.end - entry_step, run.converged))
        else:
            members.append((r, False, enters - entry_step, False))
    return _stratum(members)


def _stratum(members: list[tuple[int, bool, int, bool]]) -> Stratum:
    runs, visiting, times, converged = (list(column) for column in zip(*members, strict=True))
    return Stratum(
        runs=np.array(runs, dtype=np.int64),
        visiting=np.array(visiting, dtype=bool),
        times=np.array(times, dtype=np.float64),
        converged=np.array(converged, dtype=bool),
    )
