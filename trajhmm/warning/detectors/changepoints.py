"""Bayesian online change points: how likely it is that a new regime has just begun."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.warning.detectors.interface import Reference, SeriesDetector
from trajhmm.warning.detectors.standardise import FARTHEST, StandardisedMetrics
from trajhmm.warning.detectors.windows import Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class BayesianChangePoints(SeriesDetector):
    """The run-length filter of Adams and MacKay (2007, arXiv 0710.3742), normal values of unknown mean and variance.

    The score is the probability that the present regime began within the last ``recent`` rows; the start of the log is
    no change. Values are in units of the metric's standard deviation in healthy runs.

    Parameters
    ----------
    hazard : probability of a change at any row; 1/250, as in the paper's first example.
    recent : rows.
    prior : κ₀, α₀, β₀ of the normal–inverse-gamma prior about the mean of healthy runs.
    longest : regimes longer than this many rows count as this long, so that the cost of a row is bounded.
    """

    name: ClassVar[str] = "bayes_changepoint"
    hazard: float = 1 / 250
    recent: int = 5
    prior: tuple[float, float, float] = (1.0, 1.0, 1.0)
    longest: int = 400
    scaling_: StandardisedMetrics | None = None

    def _fit(self, reference: Reference) -> Self:
        self.watched(reference.healthy[0].metrics)
        return replace(self, scaling_=StandardisedMetrics.of(reference.healthy))

    def scaled(self, values: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
        """(n,) values in healthy standard deviations about the healthy mean."""
        scaling = self._learnt(self.scaling_)
        column = scaling.metrics.index(metric)
        departures = (values - scaling.centre[column]) / scaling.spread[column]
        return np.asarray(np.clip(departures, -FARTHEST, FARTHEST))

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) probabilities."""
        return run_length_filter(values, self.hazard, *self.prior, self.recent, self.longest)


@takes(
    values="N",
    hazard=(0.0, 1.0),
    kappa=(0.0, np.inf),
    alpha=(0.0, np.inf),
    beta=(0.0, np.inf),
    recent=1,
    longest=2,
)
@compiled
def run_length_filter(
    values: Floats, hazard: float, kappa: float, alpha: float, beta: float, recent: int, longest: int
) -> Floats:
    """Probability after each value that the present regime began within the last ``recent`` values, but not at first.

    Adams and MacKay (2007), algorithm 1, with a regime's length counted with the present value: theirs is the same
    after the next value's change is drawn. A regime predicts its next value by Student's t with 2α degrees of freedom;
    κ, μ, α and β follow Murphy (2007), "Conjugate Bayesian analysis of the Gaussian distribution", section 3, from a
    prior mean of 0.

    Parameters
    ----------
    values : (n,)
    hazard, kappa, alpha, beta : of the model.
    recent : values looked back on.
    longest : lengths of regimes that are told apart, at least 2. Those that outgrow it are merged, and the statistics
        of the likelier stand for both.

    Returns
    -------
    (n,)
    """
    scores = np.zeros(len(values))
    longest = min(longest, len(values) + 2)
    # Of the regime of length i + 1: its log-probability, and its statistics.
    logs = np.full(longest, -np.inf)
    stats = np.empty((longest, 4))
    prior = np.array([kappa, 0.0, alpha, beta])
    log_change, log_stay = math.log(hazard), math.log1p(-hazard)
    for t in range(len(values)):
        x = values[t]
        known = min(t, longest)
        for i in range(known):
            logs[i] += log_stay + _log_predictive(x, stats[i])
            _learn(x, stats[i], stats[i])
        top = known
        if known == longest:
            if logs[-2] > logs[-1]:
                stats[-1] = stats[-2]
            logs[-1] = np.logaddexp(logs[-1], logs[-2])
            top = longest - 2
        for i in range(top, 0, -1):
            logs[i] = logs[i - 1]
            stats[i] = stats[i - 1]
        logs[0] = _log_predictive(x, prior) + log_change
        _learn(x, prior, stats[0])
        alive = min(t + 1, longest)
        largest = logs[:alive].max()
        logs[:alive] -= largest + math.log(np.exp(logs[:alive] - largest).sum())
        scores[t] = min(np.exp(logs[: min(recent, t, alive)]).sum(), 1.0)
    return scores


@compiled
def _log_predictive(x: float, stats: Floats) -> float:
    """Log-density of the next value of a regime: Student's t."""
    kappa, mean, alpha, beta = stats
    spread = 2 * beta * (kappa + 1) / kappa  # degrees of freedom times squared scale
    shape = math.lgamma(alpha + 0.5) - math.lgamma(alpha) - 0.5 * math.log(math.pi * spread)
    tail: float = (alpha + 0.5) * math.log1p((x - mean) ** 2 / spread)
    return shape - tail


@compiled
def _learn(x: float, before: Floats, after: Floats) -> None:
    """Statistics of a regime with one more value; ``after`` may be ``before``."""
    kappa, mean, alpha, beta = before
    after[0] = kappa + 1
    after[1] = (kappa * mean + x) / (kappa + 1)
    after[2] = alpha + 0.5
    after[3] = beta + kappa * (x - mean) ** 2 / (2 * (kappa + 1))
