"""Metrics in units of what healthy runs do: what detectors over several metrics see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun
from trajhmm.features.causal import known_moments

# Departures beyond this many standard deviations are all the same; with them, everything downstream stays finite.
FARTHEST = 1e6
# Spread of a metric below which it stands still up to rounding, as a share of its largest value, and at all.
_STILL = 1e-6
_ZERO = 1e-100


class Features(Protocol):
    """What turns a run into the rows that a detector over several metrics sees, causally."""

    def transform(self, run: CausalRun) -> NDArray[np.float64]:
        """(T, F) finite features of a run; row t from the rows up to it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class StandardisedMetrics:
    """Each metric less its mean over all healthy rows, in its standard deviation over them.

    A metric that is not yet logged stands at its mean. One that the reference never logs says nothing.

    Attributes
    ----------
    metrics : D names.
    centre, spread : (D,)
    """

    metrics: tuple[str, ...]
    centre: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, runs: Sequence[CausalRun]) -> StandardisedMetrics:
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
        if not np.isfinite(rows).any():
            raise FitError(f"no finite value of {', '.join(metrics[:6])} in {len(runs)} healthy runs")
        centre, spread = known_moments(rows)
        known = np.where(np.isnan(rows), 0.0, rows)
        return cls(metrics=metrics, centre=centre, spread=floored_spread(spread, known))

    def transform(self, run: CausalRun) -> NDArray[np.float64]:
        """(T, D) departures in standard deviations, at most 1e6 in size.

        Raises
        ------
        LogError
            The run lacks a metric.
        """
        columns = run.columns(self.metrics)
        departures = np.where(np.isnan(columns), 0.0, (columns - self.centre) / self.spread)
        return np.ascontiguousarray(np.clip(departures, -FARTHEST, FARTHEST))


def floored_spread(spread: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) spreads, raised to a millionth of the largest of (N, D) values; 1 for a metric that is as good as 0."""
    largest = np.abs(rows).max(axis=0)
    return np.maximum(spread, np.where(largest > _ZERO, _STILL * largest, 1.0))


@njit(cache=True, nogil=True)
def row_products(rows: NDArray[np.float64], matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, F) product of (N, D) and (D, F), each row by itself.

    A library's matrix product may round a row differently with more rows below it; scores must not.
    """
    product = np.zeros((rows.shape[0], matrix.shape[1]))
    for n in range(rows.shape[0]):
        for d in range(rows.shape[1]):
            for f in range(matrix.shape[1]):
                product[n, f] += rows[n, d] * matrix[d, f]
    return product
