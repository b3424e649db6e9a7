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
        draws = rng.permuted(np.tile(scores, (permutations, 1)), axis=1)
        permuted += draws[:, :n_visiting].sum(axis=1)
    extreme = np.abs(permuted) >= abs(observed) - 1e-9
    return observed, float((1 + extreme.sum()) / (1 + permutations))


@dataclass(frozen=True, kw_only=True)
class Delay:
    """Difference of restricted mean times, visiting less others, in steps, with a 95% bootstrap interval over runs."""

    effect: float
    ci_low: float
    ci_high: float


def delay_of(strata: Sequence[Stratum], *, bootstraps: int, rng: np.random.Generator) -> Delay:
    """Mean delay after the branch: restricted mean time to convergence of visiting runs less that of the others.

    Kaplan–Meier, up to the longest time of a visiting run or of one of the others that converged. Where the others were
    not watched for as long, their curve is held where it ended, as if those left never converged: the delay errs on the
    small side. The others of a stratum
    weigh as much, together, as its visiting runs.

    The interval is an expanded percentile bootstrap over runs (Hesterberg 2015, section 5.2): the percentiles are those
    that would make it as wide as Student's interval for the mean of the smaller arm.
    """
    n_runs = 1 + max(int(stratum.runs.max()) for stratum in strata)
    weights = np.vstack(
        [np.ones(n_runs), rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=bootstraps).astype(np.float64)]
    )
    visiting_arm, other_arm = pooled_arms(strata, weights)
    horizon = max(float(visiting_arm[0].max()), float(other_arm[0][other_arm[1]].max(initial=0.0)))
    difference = restricted_mean(*visiting_arm, horizon) - restricted_mean(*other_arm, horizon)
    usable = (visiting_arm[2].sum(axis=1) > 0) & (other_arm[2].sum(axis=1) > 0)
    smaller = min(
        len({int(r) for stratum in strata for r in stratum.runs[stratum.visiting == side]}) for side in (True, False)
    )
    tail = expanded_tail(smaller)
    drawn = difference[1:][usable[1:]]
    low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (np.nan, np.nan)
    return Delay(effect=float(difference[0]), ci_low=float(low), ci_high=float(high))


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
        p_value = float(survdiff(times, converged.astype(int), visited.astype(int))[1])
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

    Returns
    -------
    None where it cannot be estimated, as when no run converges on one side.
    """
    from statsmodels.duration.hazard_regression import PHReg

    enters = entry < times
    start = np.concatenate([np.zeros(len(times)), entry[enters]])
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
