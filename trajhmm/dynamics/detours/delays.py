"""Whether and by how much runs that visit a state converge later than the others of their stratum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.bounds import student_bounds
from trajhmm.dynamics.detours.branches import Stratum
from trajhmm.dynamics.survival import gehan_scores, restricted_mean

Arm = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]
"""Times, whether converged, and weights of the runs on one side."""


def stratified_rank_test(
    strata: Sequence[Stratum], *, permutations: int, rng: np.random.Generator
) -> tuple[float, float]:
    """Whether visiting runs converge later than the others of their stratum: Gehan's test, by permutation.

    Within each stratum every choice of visiting runs is equally likely under the null hypothesis.

    Returns
    -------
    statistic : positive if visiting runs converge later.
    p_value : two-sided.
    """
    observed, permuted = 0.0, np.zeros(permutations)
    for stratum in strata:
        scores = gehan_scores(stratum.times, stratum.converged) / len(stratum.times)
        n_visiting = int(stratum.visiting.sum())
        observed += float(scores[stratum.visiting].sum())
        if n_visiting == 1:
            permuted += scores[rng.integers(len(scores), size=permutations)]
        else:
            draws = rng.permuted(np.tile(scores, (permutations, 1)), axis=1)
            permuted += draws[:, :n_visiting].sum(axis=1)
    extreme = np.abs(permuted) >= abs(observed) - 1e-9
    return observed, float((1 + extreme.sum()) / (1 + permutations))


@dataclass(frozen=True, kw_only=True)
class Delay:
    """How much later visiting runs converge than others, after the branch, with a 95% bootstrap interval over runs.

    Attributes
    ----------
    effect : difference of restricted mean times, visiting less others, in steps.
    ci_low, ci_high : of it.
    horizon : steps after the branch up to which times count: the last at which a run converges, or less where one side
        was not watched for as long.
    is_restricted : whether some run that is compared never converged: the effect takes it to converge at the horizon.
    is_lower_bound : whether these are visiting runs alone, all watched up to the horizon: the whole delay can then only
        be longer. Where others never converge as well it may be shorter.
    """

    effect: float
    ci_low: float
    ci_high: float
    horizon: float
    is_restricted: bool
    is_lower_bound: bool


def delay_of(
    strata: Sequence[Stratum],
    *,
    bootstraps: int,
    rng: np.random.Generator,
    within: NDArray[np.int64] | None = None,
) -> Delay:
    """Mean delay after the branch: restricted mean time to convergence of visiting runs less that of the others.

    Kaplan–Meier, up to the last time at which one of them converges, so that the delay does not grow with the length of
    a log in which nothing happens any more; and no further than runs of both sides were watched. The others of a
    stratum weigh as much, together, as its visiting runs.

    The interval is a percentile bootstrap over the runs that are compared, made as wide as Student's for the mean of
    the smaller arm in two ways, of which the wider counts: by more extreme percentiles (Hesterberg 2015, section 5.2),
    which follow skewed times, and by Student's quantile times the bootstrap's standard error, which reaches beyond the
    few values that a small arm has.

    Parameters
    ----------
    strata : runs that stood at the same place.
    bootstraps : number of resamples.
    rng : of the resamples.
    within : (R,) a level for each run; resamples keep the number of runs of each level.
    """
    weights = np.vstack([np.ones(_n_runs(strata)), _resamples(strata, bootstraps=bootstraps, within=within, rng=rng)])
    visiting_arm, other_arm = pooled_arms(strata, weights)
    horizon = max(float(arm[0][arm[1]].max(initial=0.0)) for arm in (visiting_arm, other_arm))
    horizon = min(horizon, _known_up_to(visiting_arm), _known_up_to(other_arm))
    difference = restricted_mean(*visiting_arm, horizon) - restricted_mean(*other_arm, horizon)
    usable = (visiting_arm[2].sum(axis=1) > 0) & (other_arm[2].sum(axis=1) > 0)
    smaller = min(
        len({int(r) for stratum in strata for r in stratum.runs[stratum.visiting == side]}) for side in (True, False)
    )
    effect, drawn = float(difference[0]), difference[1:][usable[1:]]
    low, high = student_bounds(effect, drawn, smaller)
    return Delay(
        effect=effect,
        ci_low=low,
        ci_high=high,
        horizon=horizon,
        is_restricted=not all(bool(arm[1].all()) for arm in (visiting_arm, other_arm)),
        is_lower_bound=_is_lower_bound(visiting_arm, other_arm, horizon),
    )


def _known_up_to(arm: Arm) -> float:
    """The time up to which a side's curve is known: all of it, if the run that was watched longest converged."""
    counts = arm[2][0] > 0
    times, converged = arm[0][counts], arm[1][counts]
    last = float(times.max(initial=0.0))
    return np.inf if (converged & (times == last)).any() else last


def _is_lower_bound(visiting: Arm, other: Arm, horizon: float) -> bool:
    times, converged, _ = visiting
    others_done = other[1].all() and other[0].max(initial=0.0) <= horizon
    return bool(not converged.all() and others_done and times[~converged].min() >= horizon)


def _n_runs(strata: Sequence[Stratum]) -> int:
    return 1 + max(int(stratum.runs.max()) for stratum in strata)


def _resamples(
    strata: Sequence[Stratum], *, bootstraps: int, within: NDArray[np.int64] | None, rng: np.random.Generator
) -> NDArray[np.float64]:
    """(B, R) how often each run is drawn; the number of runs that are compared stays the same in every level."""
    compared = np.unique(np.concatenate([stratum.runs for stratum in strata]))
    levels = np.zeros(len(compared), dtype=np.int64) if within is None else within[compared]
    weights = np.zeros((bootstraps, _n_runs(strata)))
    for level in np.unique(levels):
        runs = compared[levels == level]
        weights[:, runs] = rng.multinomial(len(runs), np.full(len(runs), 1 / len(runs)), size=bootstraps)
    return weights


def pooled_arms(strata: Sequence[Stratum], weights: NDArray[np.float64]) -> tuple[Arm, Arm]:
    """Visiting runs and others of all strata; the others of a stratum weigh as much, together, as its visiting runs.

    Parameters
    ----------
    strata : runs that stood at the same branch.
    weights : (B, R) weight of each run in each of B samples.

    Returns
    -------
    For each side, (M,) times, (M,) whether converged, (B, M) weights.
    """
    arms: dict[bool, list[Arm]] = {True: [], False: []}
    for stratum in strata:
        drawn = weights[:, stratum.runs]
        visiting, others = drawn[:, stratum.visiting], drawn[:, ~stratum.visiting]
        n_visiting, n_others = visiting.sum(axis=1, keepdims=True), others.sum(axis=1, keepdims=True)
        both = (n_visiting > 0) & (n_others > 0)
        share = np.divide(n_visiting, n_others, out=np.zeros_like(n_visiting), where=both)
        for side, weight in ((True, visiting * both), (False, others * share)):
            mask = stratum.visiting == side
            arms[side].append((stratum.times[mask], stratum.converged[mask], weight))
    return _pooled(arms[True]), _pooled(arms[False])


def _pooled(parts: list[Arm]) -> Arm:
    times, converged, weights = zip(*parts, strict=True)
    return np.concatenate(times), np.concatenate(converged), np.concatenate(weights, axis=1)
