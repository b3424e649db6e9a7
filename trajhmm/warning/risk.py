"""The risk that a run which has left what healthy runs do ends in collapse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.calibration import WAIT, RiskCurve

if TYPE_CHECKING:
    from trajhmm.warning.runs import Trial
    from trajhmm.warning.views.portfolio import Portfolio

Floats = NDArray[np.float64]

# Learnt from the audits of data/ and their sweeps, each of the six weighing as much (tests/benchmarks/test_risk.py).
DEFAULT_RISK = RiskCurve(constant=-1.19, off=3.40, lasting=-0.84)
# How far, by a standard deviation, the three may lie from those that come with trajhmm.
_PRIOR = np.array([1.0, 1.0, 0.5])
# Rows after the alarm from which it is learnt: WAIT, and twice as many each time.
_DOUBLED = 6


def rows_since(over: NDArray[np.bool_], counted: NDArray[np.bool_], before: int = -1) -> NDArray[np.int64]:
    """(n,) how many rows counted since the alarm, at each of n rows; -1 before it.

    Parameters
    ----------
    over : (n,) whether the score is above the threshold; the first such row is the alarm.
    counted : (n,) whether a row counts.
    before : the same at the row before these.
    """
    so_far = np.cumsum(counted)
    if before >= 0:
        return before + so_far
    if not over.any():
        return np.full(len(over), -1)
    alarm = int(np.argmax(over))
    since: NDArray[np.int64] = np.where(np.arange(len(over)) < alarm, -1, so_far - so_far[alarm])
    return since


def learn_risk(portfolio: Portfolio, labelled: Sequence[Trial], threshold: float) -> RiskCurve:
    """Learn the risk from runs whose end is known.

    The logistic regression of collapse on the level and on how long the run has lived since the alarm, with normal
    priors about the curve that comes with trajhmm, so that few runs change it little. Each run that alarms weighs as
    much, whatever its length, at 10, 20, 40, … rows after its alarm and before its collapse.

    Parameters
    ----------
    portfolio : the views of a run.
    labelled : runs that collapsed, or were perturbed and lived.
    threshold : of the score.
    """
    lessons = [lessons_of(portfolio, trial, threshold) for trial in labelled]
    ends = [trial.truth.collapse_step is not None for trial in labelled]
    weights = [np.full(len(terms), 1 / max(len(terms), 1)) for terms in lessons]
    outcome = np.repeat(np.array(ends, dtype=np.float64), [len(terms) for terms in lessons])
    constant, off, lasting = fitted_curve(
        np.concatenate([np.empty((0, 2)), *lessons]), outcome, np.concatenate([np.empty(0), *weights])
    )
    told = [end for end, terms in zip(ends, lessons, strict=True) if len(terms)]
    return RiskCurve(constant=constant, off=off, lasting=lasting, collapsed=sum(told), survived=len(told) - sum(told))


def lessons_of(portfolio: Portfolio, trial: Trial, threshold: float) -> Floats:
    """(m, 2) terms of the risk of a run at 10, 20, 40, … rows after its alarm and before its collapse."""
    seen = portfolio.scores(trial.run)
    since = rows_since(seen.score > threshold, seen.counted)
    if trial.truth.collapse_step is not None:
        since = since[trial.run.steps < trial.truth.collapse_step]
    wanted = WAIT * 2 ** np.arange(_DOUBLED)
    rows = np.searchsorted(since, wanted[wanted <= since.max(initial=-1)])
    return RiskCurve.terms(seen.level[rows], since[rows])


def fitted_curve(
    terms: Floats, outcome: Floats, weights: Floats, *, about: RiskCurve | None = DEFAULT_RISK
) -> tuple[float, float, float]:
    """The likeliest constant, off and lasting for (n, 2) terms; off is positive.

    Parameters
    ----------
    terms, outcome, weights : (n, 2), (n,) 1 where the run collapses, (n,)
    about : centre of the priors; None for none.
    """
    from scipy.optimize import minimize

    design = np.column_stack([np.ones(len(terms)), terms])
    centre = np.zeros(3) if about is None else np.array([about.constant, about.off, about.lasting])
    precision = 0.0 if about is None else 1 / _PRIOR**2

    def loss(at: Floats) -> tuple[float, Floats]:
        log_odds = design @ at
        value = (
            weights @ (np.logaddexp(0.0, log_odds) - outcome * log_odds) + 0.5 * (precision * (at - centre) ** 2).sum()
        )
        slope = design.T @ (weights * (1 / (1 + np.exp(-log_odds)) - outcome)) + precision * (at - centre)
        return float(value), slope

    least_slope = 0.01  # so that a run that is farther off is never at less risk
    bounds = [(None, None), (least_slope, None), (None, None)]
    found = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(found[0]), float(found[1]), float(found[2])
