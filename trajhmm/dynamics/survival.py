"""Right-censored times: rank test within strata, restricted means, log-rank test and Cox regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trajhmm.dynamics.branches import Stratum

Arm = tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]
"""Times, whether converged, and weights of the runs on one side."""


def gehan_scores(times: NDArray[np.float64], converged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(M,) for each run, how many are known to converge before it less how many are known to converge after it.

    Gehan (1965), Mantel (1967): the generalised Wilcoxon test for censored times; the scores add up to 0.
    """
    earlier = (times[np.newaxis, :] < times[:, np.newaxis]) & converged[np.newaxis, :]
    tied = (times[np.newaxis, :] == times[:, np.newaxis]) & converged[np.newaxis, :] & ~converged[:, np.newaxis]
    before = earlier | tied
    scores: NDArray[np.float64] = before.sum(axis=1).astype(np.float64) - before.sum(axis=0)
    return scores


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
    horizon : steps after the branch up to which times count: the last at which a run converges.
    is_lower_bound : whether some run that is compared never converged, so that the effect, which takes it to converge
        at the horizon, is no more than that of those steps, and the whole delay can be longer.
    """

    effect: float
    ci_low: float
    ci_high: float
    horizon: float
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
    a log in which nothing happens any more. Where the runs of one side were not watched for as long, their curve is
    held where it ended, as if those left never converged. The others of a stratum weigh as much, together, as its
    visiting runs.

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
        is_lower_bound=not all(bool(stratum.converged.all()) for stratum in strata),
    )


def student_bounds(estimate: float, drawn: NDArray[np.float64], n: int) -> tuple[float, float]:
    """95% bounds from bootstrap values of an estimate that rests on ``n`` runs; see `delay_of`."""
    if len(drawn) < 2 or n < 2:
        return np.nan, np.nan
    tail = expanded_tail(n)
    reach = float(stats.t.ppf(0.975, n - 1)) * np.sqrt(n / (n - 1)) * float(drawn.std())
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(min(low, estimate - reach)), float(max(high, estimate + reach))


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


def expanded_tail(n: int) -> float:
    """The share to cut off at each end of a bootstrap distribution for a 95% interval of a mean of ``n`` values."""
    if n < 2:
        return 0.0
    return float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)))


def restricted_mean(
    times: NDArray[np.float64], converged: NDArray[np.bool_], weights: NDArray[np.float64], horizon: float
) -> NDArray[np.float64]:
    """(B,) mean of min(time, horizon) under the weighted Kaplan–Meier estimate.

    Parameters
    ----------
    times, converged : (M,) times in steps; False where censored.
    weights : (B, M) weight of each time in each of B samples.
    horizon : in steps.
    """
    times, survival = kaplan_meier(times, converged, weights)
    steps = np.minimum(np.concatenate(([0.0], times, [horizon])), horizon)
    heights = np.column_stack([np.ones(len(weights)), survival])
    mean: NDArray[np.float64] = heights @ np.maximum(np.diff(steps), 0.0)
    return mean


def kaplan_meier(
    times: NDArray[np.float64], converged: NDArray[np.bool_], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(M,) times in order, and (B, M) share that has not converged after each: Kaplan and Meier (1958), weighted.

    Parameters
    ----------
    times, converged : (M,) times in steps; False where censored.
    weights : (B, M) weight of each time in each of B samples.
    """
    order = np.lexsort((~converged, times))
    times, converged, weights = times[order], converged[order], weights[:, order]
    at_risk = np.cumsum(weights[:, ::-1], axis=1)[:, ::-1]
    hazard = np.divide(weights * converged, at_risk, out=np.zeros_like(weights), where=at_risk > 0)
    return times, np.cumprod(1 - np.minimum(hazard, 1.0), axis=1)


def _pooled(parts: list[Arm]) -> Arm:
    times, converged, weights = zip(*parts, strict=True)
    return np.concatenate(times), np.concatenate(converged), np.concatenate(weights, axis=1)


def logrank_p(times: NDArray[np.float64], converged: NDArray[np.bool_], visited: NDArray[np.bool_]) -> float | None:
    """P-value of the log-rank test of (R,) times, visiting runs against the rest (statsmodels); None if undefined."""
    from statsmodels.duration.survfunc import survdiff

    if visited.all() or not visited.any() or not converged.any():
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            p_value = float(survdiff(times, converged.astype(int), visited.astype(int))[1])
        except np.linalg.LinAlgError:  # no variance, as where all converge at one step
            return None
    return p_value if np.isfinite(p_value) else None


@dataclass(frozen=True, kw_only=True)
class HazardRatio:
    """Cox regression: rate of convergence after visiting the state relative to before or without, with 95% interval."""

    ratio: float
    ci_low: float
    ci_high: float
    p_value: float


def cox_hazard_ratio(
    entry: NDArray[np.float64], times: NDArray[np.float64], converged: NDArray[np.bool_]
) -> HazardRatio | None:
    """Cox regression with "has visited the state" as a covariate that changes in time (statsmodels).

    Parameters
    ----------
    entry : (R,) step at which each run first enters the state; infinite if it does not before ``times``.
    times, converged : (R,) steps of convergence or censoring.

    A run counts as visiting from half the least gap between two steps after it enters: at the step itself it would be
    at risk twice, before and after.

    Returns
    -------
    None where it cannot be estimated, as when no run converges on one side.
    """
    from statsmodels.duration.hazard_regression import PHReg

    enters = entry < times
    steps = np.unique(np.concatenate([entry[enters], times]))
    half = float(np.diff(steps).min(initial=np.inf)) / 2
    start = np.concatenate([np.zeros(len(times)), entry[enters] + half])
    stop = np.concatenate([np.where(enters, entry, times), times[enters]])
    status = np.concatenate([converged & ~enters, converged[enters]])
    visited = np.concatenate([np.zeros(len(times)), np.ones(enters.sum())])
    kept = stop > start
    if not (status[kept] & (visited[kept] == 1)).any() or not (status[kept] & (visited[kept] == 0)).any():
        return None
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        model = PHReg(stop[kept], visited[kept][:, np.newaxis], status=status[kept].astype(int), entry=start[kept])
        try:
            result = model.fit()
        except np.linalg.LinAlgError:
            return None
        coefficient, error = float(result.params[0]), float(result.bse[0])
        p_value = float(result.pvalues[0])
    if not np.isfinite([coefficient, error, p_value]).all() or error > 10:
        return None
    low, high = coefficient - 1.96 * error, coefficient + 1.96 * error
    return HazardRatio(
        ratio=float(np.exp(coefficient)), ci_low=float(np.exp(low)), ci_high=float(np.exp(high)), p_value=p_value
    )


def holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Adjust p-values for several tests by Holm's step-down method (1979).

    That of statsmodels collects garbage first, which takes longer than the tests of a refit.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1.0)
    return adjusted
