"""Right-censored times: Kaplan and Meier's curve and means of it, ranks, log-rank test, Cox regression."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def gehan_scores(times: NDArray[np.float64], converged: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(M,) for each run, how many are known to converge before it less how many are known to converge after it.

    Gehan (1965), Mantel (1967): the generalised Wilcoxon test for censored times; the scores add up to 0.
    """
    earlier = (times[np.newaxis, :] < times[:, np.newaxis]) & converged[np.newaxis, :]
    tied = (times[np.newaxis, :] == times[:, np.newaxis]) & converged[np.newaxis, :] & ~converged[:, np.newaxis]
    before = earlier | tied
    scores: NDArray[np.float64] = before.sum(axis=1).astype(np.float64) - before.sum(axis=0)
    return scores


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
