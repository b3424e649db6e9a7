"""The risk that a run which has left what healthy runs do ends in collapse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.calibration import RiskCurve

if TYPE_CHECKING:
    from trajhmm.warning.runs import Trial
    from trajhmm.warning.views.portfolio import Portfolio

Floats = NDArray[np.float64]

# Learnt from the three audits of data/, each family weighing as much, at ten moments from onset to the median collapse.
DEFAULT_RISK = RiskCurve(constant=-2.5, near=2.5, far=0.55)
# How far, by a standard deviation, constant, near and far may lie from those that come with trajhmm.
_PRIOR = np.array([1.0, 1.0, 0.5])


def learn_risk(portfolio: Portfolio, labelled: Sequence[Trial], healthy: Sequence[Floats]) -> RiskCurve:
    """Learn the risk from runs whose end is known.

    The logistic regression of collapse on the level, with normal priors about the curve that comes with trajhmm, so
    that few runs change it little. Each run weighs as much, whatever its length. Rows of perturbed runs count from the
    onset (without one, from the first row) to the collapse, and to no later than half of the collapses have happened:
    runs that are off for long and alive are the ones that live.

    Parameters
    ----------
    portfolio : the views of a run.
    labelled : runs that collapsed, or were perturbed and lived.
    healthy : (T,) levels of each healthy run, under views fitted to others.
    """
    rows, ends = [], []
    horizon = _usual_time_to_collapse(labelled)
    for trial in labelled:
        run, truth = trial.run, trial.truth
        start = run.steps[0] if truth.onset is None else truth.onset
        kept = (run.steps >= start) & (run.steps <= start + horizon)
        if truth.collapse_step is not None:
            kept &= run.steps < truth.collapse_step
        rows.append(portfolio.scores(run).level[kept])
        ends.append(truth.collapse_step is not None)
    rows += healthy
    ends += [False] * len(healthy)
    weights = [np.full(len(part), 1 / max(len(part), 1)) for part in rows]
    outcome = np.repeat(np.array(ends, dtype=np.float64), [len(part) for part in rows])
    fitted = _logistic(RiskCurve.terms(np.concatenate(rows)), outcome, np.concatenate(weights))
    collapsed = sum(trial.truth.collapse_step is not None for trial in labelled)
    return RiskCurve(
        constant=float(fitted[0]),
        near=float(fitted[1]),
        far=float(fitted[2]),
        collapsed=collapsed,
        survived=len(labelled) - collapsed,
    )


def _usual_time_to_collapse(labelled: Sequence[Trial]) -> float:
    """Median steps from onset, or first row, to collapse; infinite if none collapsed."""
    times = [
        trial.truth.collapse_step - (trial.run.steps[0] if trial.truth.onset is None else trial.truth.onset)
        for trial in labelled
        if trial.truth.collapse_step is not None
    ]
    return float(np.median(times)) if times else np.inf


def _logistic(terms: Floats, outcome: Floats, weights: Floats) -> Floats:
    """(3,) the likeliest constant, near and far for (n, 2) terms; the latter two not negative."""
    from scipy.optimize import minimize

    design = np.column_stack([np.ones(len(terms)), terms])
    centre = np.array([DEFAULT_RISK.constant, DEFAULT_RISK.near, DEFAULT_RISK.far])

    def loss(at: Floats) -> tuple[float, Floats]:
        log_odds = design @ at
        value = (
            weights @ (np.logaddexp(0.0, log_odds) - outcome * log_odds) + 0.5 * (((at - centre) / _PRIOR) ** 2).sum()
        )
        slope = design.T @ (weights * (1 / (1 + np.exp(-log_odds)) - outcome)) + (at - centre) / _PRIOR**2
        return float(value), slope

    least_slope = 0.01  # so that a run that is farther off is never at less risk
    bounds = [(None, None), (least_slope, None), (least_slope, None)]
    found: Floats = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found
