"""Means and variances of rows in parts that add up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# A metric that stays within this share of its mean does not vary.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True, eq=False)
class Spread:
    """Mean and variance of each metric over rows, each row times the weight of its run; missing values left out.

    Attributes
    ----------
    mass, mean, squares : (D,) Σ w, the mean, and Σ w (z - mean)²; infinite or NaN where floats do not reach so far.
    """

    mass: NDArray[np.float64]
    mean: NDArray[np.float64]
    squares: NDArray[np.float64]

    def __add__(self, other: Spread) -> Spread:
        # Chan, Golub and LeVeque 1983: no digits are lost to large offsets.
        mass = self.mass + other.mass
        share = np.divide(other.mass, mass, out=np.zeros_like(mass), where=mass > 0)
        with np.errstate(over="ignore", invalid="ignore"):
            away = other.mean - self.mean
            return Spread(
                mass=mass,
                mean=self.mean + share * away,
                squares=self.squares + other.squares + self.mass * share * away**2,
            )

    @property
    def varies(self) -> NDArray[np.bool_]:
        """(D,) whether a metric varies; what rounding leaves of a constant is no variance."""
        with np.errstate(over="ignore", invalid="ignore"):
            still: NDArray[np.bool_] = self.squares <= self.mass * (_ROUNDING * np.abs(self.mean)) ** 2
        return ~still | ~np.isfinite(self.squares)

    @property
    def variance(self) -> NDArray[np.float64]:
        """(D,) population variance; 1 where a metric does not vary, so that it can be divided by; NaN beyond floats."""
        variance = np.divide(self.squares, self.mass, out=np.ones_like(self.mass), where=self.varies)
        return np.where(np.isfinite(variance), variance, np.nan)


def spread_about_runs(
    values: NDArray[np.float64], lengths: NDArray[np.int64], weights: NDArray[np.float64] | None = None
) -> Spread:
    """Variance about each run's own mean; missing values left out.

    Parameters
    ----------
    values : (N, D), NaN where missing.
    lengths : (R,) rows of the runs.
    weights : (R,) of the runs; 1 if None.

    Returns
    -------
    With mean 0, so that parts add up to what the runs vary about their own means.
    """
    d = values.shape[1]
    mass, squares = np.zeros(d), np.zeros(d)
    weights = np.ones(len(lengths)) if weights is None else weights
    ends = np.cumsum(lengths)
    for begin, end, weight in zip(ends - lengths, ends, weights, strict=True):
        part = spread_of_rows(values[begin:end])
        mass += weight * part.mass
        with np.errstate(over="ignore", invalid="ignore"):
            squares += weight * np.where(part.varies, part.squares, 0.0)
    return Spread(mass=mass, mean=np.zeros(d), squares=squares)


def spread_of_rows(values: NDArray[np.float64]) -> Spread:
    """Mean and variance of (N, D) rows, NaN where missing."""
    there = ~np.isnan(values)
    count = there.sum(axis=0).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.where(there, values, 0.0).sum(axis=0) / np.maximum(count, 1)
        return Spread(mass=count, mean=mean, squares=(np.where(there, values - mean, 0.0) ** 2).sum(axis=0))
