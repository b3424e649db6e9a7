"""How far runs are from healthy ones at the same step, on scales on which healthy runs have no heavy tails."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.features.causal import CausalRun
from trajhmm.features.samestep import SameStep

# Healthy runs of the usual spread that are added to those at each step, so that few of them do not agree by chance.
_PRIOR = 10.0
# A metric that is positive in healthy runs and then is not counts as this share of the least they had.
_VANISHED = 1e-6


@dataclass(frozen=True, kw_only=True, eq=False)
class Departures:
    """Departures from the healthy runs at the same step, compressed.

    Metrics that are positive in all healthy rows (losses, norms, variances) differ between seeds by factors rather than
    by amounts, so their logarithms are compared. What is left of heavy tails the inverse hyperbolic sine takes away: a
    departure of a few spreads counts in full, a larger one as its logarithm, so that one wild metric of one healthy run
    does not set the threshold for all.

    Attributes
    ----------
    same_step : what is compared with what, after logarithms.
    least : (D,) smallest healthy value of a metric that is compared by its logarithm; 0 for the others.
    """

    same_step: SameStep
    least: NDArray[np.float64]

    def __post_init__(self) -> None:
        self.least.setflags(write=False)

    @property
    def metrics(self) -> tuple[str, ...]:
        """D names."""
        return self.same_step.metrics

    @classmethod
    def of(cls, runs: Sequence[CausalRun]) -> Self:
        """Learn from healthy runs, which must all have the metrics of the first.

        Raises
        ------
        FitError
            No finite value in any of them.
        LogError
            A run lacks a metric.
        """
        metrics = runs[0].metrics
        rows = np.concatenate([run.columns(metrics) for run in runs])
        least = least_values(rows)
        scaled = [replace(run, metrics=metrics, values=logarithmic(run.columns(metrics), least)) for run in runs]
        return cls(same_step=SameStep.of(scaled, floor=0.0, prior=_PRIOR), least=least)

    def transform(self, run: CausalRun) -> NDArray[np.float64]:
        """(T, D) departures, compressed; row t from the rows up to it.

        Raises
        ------
        LogError
            The run lacks a metric.
        """
        return compressed(self.spreads(run.steps, run.columns(self.metrics)))

    def spreads(self, steps: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D) departures of (T, D) values at (T,) steps in healthy spreads, at most 1,000; 0 if not yet logged."""
        return self.same_step.departures(steps, self.scales(values))

    def scales(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D) values as they are compared: some as logarithms."""
        return logarithmic(values, self.least)


def compressed(spreads: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, D) spreads, at most a million, by the inverse hyperbolic sine: far off the logarithm of twice their size."""
    n_metrics = spreads.shape[1]
    return squeezed(spreads, np.zeros(n_metrics), np.ones(n_metrics))


def squeezed(
    values: NDArray[np.float64], centre: NDArray[np.float64], spread: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N, D) values less their (D,) centres, over their (D,) spreads, `compressed`; NaN stays."""
    from trajhmm.features.squeezing import squeeze

    found = np.empty(values.shape)
    squeeze(values, centre, spread, found)
    return found


def least_values(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) smallest of (N, D) values of a metric that is positive in all rows; 0 for others."""
    smallest = np.where(np.isnan(rows), np.inf, rows).min(axis=0, initial=np.inf)
    return np.where(np.isfinite(smallest) & (smallest > 0), smallest, 0.0)


def logarithmic(values: NDArray[np.float64], least: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T, D) with the metrics that have a ``least`` value as logarithms."""
    positive = least > 0
    if not positive.any():
        return values
    taken = values.copy()
    taken[:, positive] = np.log(np.maximum(values[:, positive], _VANISHED * least[positive]))
    return taken
