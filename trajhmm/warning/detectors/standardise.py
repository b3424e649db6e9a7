"""Metrics in units of what healthy runs do, or the run itself did: what detectors over several metrics see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.errors import FitError
from trajhmm.features import CausalRun
from trajhmm.features.causal import known_moments
from trajhmm.features.departures import least_values, logarithmic
from trajhmm.warning.detectors.windows import previous_largest, previous_moments, standardised

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


@dataclass(frozen=True, kw_only=True, eq=False)
class LogLevels:
    """`StandardisedMetrics` of the logarithms of those metrics that are positive in all healthy rows.

    Attributes
    ----------
    least : (D,) smallest healthy value of a metric that is taken by its logarithm; 0 for the others.
    scaling : of the metrics after that.
    """

    least: NDArray[np.float64]
    scaling: StandardisedMetrics

    @classmethod
    def of(cls, runs: Sequence[CausalRun]) -> Self:
        """Learn from healthy runs; errors are those of `StandardisedMetrics.of`."""
        metrics = runs[0].metrics
        rows = np.concatenate([run.columns(metrics) for run in runs])
        least = least_values(rows)
        logs = [replace(run, metrics=metrics, values=logarithmic(run.columns(metrics), least)) for run in runs]
        return cls(least=least, scaling=StandardisedMetrics.of(logs))

    def transform(self, run: CausalRun) -> NDArray[np.float64]:
        """(T, D) levels in healthy standard deviations; 0 where a metric is not yet logged."""
        metrics = self.scaling.metrics
        logs = logarithmic(run.columns(metrics), self.least)
        return self.scaling.transform(replace(run, metrics=metrics, values=logs))


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelsAndDifferences:
    """`LogLevels`, and how far each has come in the last rows in healthy standard deviations of that.

    Attributes
    ----------
    levels : of the D metrics.
    spread : (D,) root mean square of healthy differences.
    lag : rows that a difference reaches back; to the first row, where there are not so many.
    """

    levels: LogLevels
    spread: NDArray[np.float64]
    lag: int = 20

    @classmethod
    def of(cls, runs: Sequence[CausalRun]) -> Self:
        """Learn from healthy runs; errors are those of `StandardisedMetrics.of`."""
        levels = LogLevels.of(runs)
        moved = np.concatenate([_differences(levels.transform(run), cls.lag) for run in runs])
        return cls(levels=levels, spread=floored_spread(np.sqrt((moved**2).mean(axis=0)), moved))

    def transform(self, run: CausalRun) -> NDArray[np.float64]:
        """(T, 2 D) levels, then differences."""
        levels = self.levels.transform(run)
        return np.hstack([levels, np.clip(_differences(levels, self.lag) / self.spread, -FARTHEST, FARTHEST)])


def _differences(rows: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    """(T, D) rows less those ``lag`` before, or the first."""
    moved: NDArray[np.float64] = rows - rows[np.maximum(np.arange(len(rows)) - lag, 0)]
    return moved


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelsAndOwnPast:
    """`LogLevels`, and how far each is from the run's own last rows in their spread; both squashed.

    What healthy runs of a sweep differ in, level and noise, is no departure from their own past. The inverse hyperbolic
    sine lets a few spreads count in full and many as their logarithm.

    Attributes
    ----------
    levels : of the D metrics.
    window, least : rows that are looked back on, and how many there must be since a metric was first logged; 0 until
        then.
    """

    levels: LogLevels
    window: int = 120
    least: int = 20

    @classmethod
    def of(cls, runs: Sequence[CausalRun]) -> Self:
        """Learn from healthy runs; errors are those of `StandardisedMetrics.of`."""
        return cls(levels=LogLevels.of(runs))

    def transform(self, run: CausalRun) -> NDArray[np.float64]:
        """(T, 2 D) levels, then departures from the run's own past."""
        levels = self.levels.transform(run)
        past = np.zeros(levels.shape)
        for column, metric in enumerate(self.levels.scaling.metrics):
            first = int(np.isnan(run.columns((metric,))).sum())
            values = np.ascontiguousarray(levels[first:, column])
            mean, spread = previous_moments(values, self.window, self.least)
            past[first:, column] = standardised(values, mean, spread, previous_largest(values, self.window))
        squashed: NDArray[np.float64] = np.arcsinh(np.hstack([levels, past]))
        return squashed


def floored_spread(spread: NDArray[np.float64], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) spreads, raised to a millionth of the largest of (N, D) values; 1 for a metric that is as good as 0."""
    largest = np.abs(rows).max(axis=0)
    return np.maximum(spread, np.where(largest > _ZERO, _STILL * largest, 1.0))


@takes(rows="N D", matrix="D F")
@compiled
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
