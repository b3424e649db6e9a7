"""How fast runs converge that visit a state, beside those that do not: two Kaplan–Meier curves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.detours.branches import compare_visits
from trajhmm.dynamics.detours.convergence import Convergence
from trajhmm.dynamics.detours.delays import pooled_arms
from trajhmm.dynamics.maps.training_map import TrainingMap
from trajhmm.dynamics.survival import kaplan_meier
from trajhmm.errors import AnalysisError

Since = Literal["branch", "start"]


@dataclass(frozen=True, kw_only=True, eq=False)
class SurvivalCurve:
    """Kaplan–Meier estimate of one arm.

    Attributes
    ----------
    steps, remaining : (M,) steps in order, and the share of runs that has not converged after each.
    censored : (M,) bool, where a run ends that has not converged.
    last_steps : (n,) step up to which each run of the arm is watched.
    """

    steps: NDArray[np.float64]
    remaining: NDArray[np.float64]
    censored: NDArray[np.bool_]
    last_steps: NDArray[np.float64]

    def at_risk(self, step: float) -> int:
        """Number of runs that are watched at ``step`` and have not converged before."""
        return int((self.last_steps >= step).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Visits:
    """Convergence of the runs that visit a state and of those that do not.

    Attributes
    ----------
    state : number.
    since : from where steps are counted, see `convergence_by_visit`.
    condition : of convergence.
    visiting, others : the two arms.
    at_times : whether runs come back from the state so often that those who go there are compared with those that had
        been as long in the state before: a run may be in both arms, first in one and later in the other.
    """

    state: int
    since: Since
    condition: str
    visiting: SurvivalCurve
    others: SurvivalCurve
    at_times: bool = False


def convergence_by_visit(
    training_map: TrainingMap,
    convergence: Convergence,
    state: int,
    *,
    since: Since = "branch",
    within: NDArray[np.int64] | None = None,
) -> Visits:
    """Estimate how fast runs converge with and without a visit to ``state``.

    Since the branch, it is the comparison behind a detour (`trajhmm.dynamics.detours.branches`): both arms start where
    they part, and the others of a branch weigh as much, together, as its visiting runs; up to the last convergence, the
    area between the curves is the delay. Where runs often come back from the state, one may be in both arms.
    Since the start of training, all runs take part and visiting ones are those that visit before they converge; that
    comparison is biased, as slow runs have more time to visit anything.

    Parameters
    ----------
    training_map : decoded paths.
    convergence : of the same runs.
    state : number.
    since : ``branch`` or ``start``.
    within : (R,) a level for each run; since the branch, only runs of one level are compared.

    Raises
    ------
    AnalysisError
        No such state, or one of the arms is empty.
    """
    if not 0 <= state < training_map.n_states:
        raise AnalysisError(f"state {state}: expected 0 to {training_map.n_states - 1}")
    comparison = compare_visits(training_map, convergence, state, within=within)
    if since == "branch":
        if not comparison.strata:
            raise AnalysisError(
                f"state {state}: no runs part before it, so that nothing compares with a visit from a branch on; "
                "count steps since the start (since: start)"
            )
        weights = np.ones((1, len(convergence.runs)))
        arms = pooled_arms(comparison.strata, weights)
        members = [
            np.concatenate([s.runs[s.visiting == visiting] for s in comparison.strata]) for visiting in (True, False)
        ]
    else:
        times, visited = convergence.steps.astype(np.float64), comparison.visited
        if visited.all() or not visited.any():
            raise AnalysisError(
                f"state {state}: {'every' if visited.all() else 'no'} run visits it before convergence; "
                "expected runs on both sides"
            )
        members = [np.flatnonzero(visited), np.flatnonzero(~visited)]
        first, second = ((times[runs], convergence.converged[runs], np.ones((1, len(runs)))) for runs in members)
        arms = first, second
    visiting, others = (_curve(*arm, runs) for arm, runs in zip(arms, members, strict=True))
    return Visits(
        state=state,
        since=since,
        condition=convergence.condition,
        visiting=visiting,
        others=others,
        at_times=since == "branch" and comparison.is_excursion,
    )


def _curve(
    times: NDArray[np.float64],
    converged: NDArray[np.bool_],
    weights: NDArray[np.float64],
    runs: NDArray[np.int64],
) -> SurvivalCurve:
    steps, remaining = kaplan_meier(times, converged, weights)
    # A run that compares at several branches is one run, watched for as long as at any of them.
    distinct, index = np.unique(runs, return_inverse=True)
    last = np.zeros(len(distinct))
    np.maximum.at(last, index, times)
    return SurvivalCurve(
        steps=steps,
        remaining=remaining[0],
        censored=~converged[np.lexsort((~converged, times))],
        last_steps=last,
    )
