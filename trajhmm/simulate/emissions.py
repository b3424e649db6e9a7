"""What a run logs while it is in its states: means of the states, noise, and how runs differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Emissions:
    """How metrics scatter around the means of the states, and what each run adds of its own.

    Attributes
    ----------
    noise : standard deviation of a row around the mean of its state, in the unit of the means.
    ar : coefficient of the first-order autoregression of the noise from row to row, in [0, 1). Its standard deviation
        stays ``noise``, and it goes on where the state changes.
    tails : degrees of freedom of Student's t, more than 2, from which the innovations come, scaled to the same
        variance; None for normal ones. With ``ar`` what is logged adds up many of them, and has lighter tails.
    growth : each metric rises from the first row to the last by so many of its pooled standard deviations, in a
        straight line, in all runs and states alike.
    offset_sd : standard deviation, over runs, of the level that each run adds to each metric, in the metric's pooled
        standard deviations; None for one standard deviation of the noise.
    scale_sd : standard deviation, over runs, of the logarithm of the factor that multiplies each run's metric.

    Notes
    -----
    A pooled standard deviation is that of one metric over all rows of all runs, before what it is the unit of is added:
    of states and noise for ``growth``, and of the same logs without offsets for ``offset_sd``.
    """

    noise: float = 0.35
    ar: float = 0.0
    tails: float | None = None
    growth: float = 0.0
    offset_sd: float | None = 0.0
    scale_sd: float = 0.0

    def __post_init__(self) -> None:
        at_least_0 = {"noise": self.noise, "offset_sd": self.offset_sd or 0.0, "scale_sd": self.scale_sd}
        for name, value in at_least_0.items():
            if not 0.0 <= value < np.inf:
                raise ValueError(f"{name} = {value:g}: expected a standard deviation, 0 or more")
        if not 0.0 <= self.ar < 1.0:
            raise ValueError(f"ar = {self.ar:g}: expected a coefficient from 0 to below 1")
        if self.tails is not None and not self.tails > 2.0:
            raise ValueError(
                f"tails = {self.tails:g}: expected more than 2 degrees of freedom, or the variance is infinite"
            )


def emit(
    paths: NDArray[np.int64], means: NDArray[np.float64], emissions: Emissions, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the metrics of every row.

    Parameters
    ----------
    paths : (R, T) states.
    means : (K, D) of the states.
    emissions : how rows and runs scatter around them.
    rng : draws as many numbers whatever offsets, scales and growth are, so that the rest stays the same.

    Returns
    -------
    (R, T, D).
    """
    n_runs, n_rows = paths.shape
    n_metrics = means.shape[1]
    values = means[paths] + emissions.noise * _noise((n_runs, n_rows, n_metrics), emissions, rng)
    offset = rng.standard_normal((n_runs, 1, n_metrics))
    scale = np.exp(emissions.scale_sd * rng.standard_normal((n_runs, 1, n_metrics)))
    if emissions.growth:
        values += emissions.growth * pooled_sd(values) * np.linspace(0.0, 1.0, n_rows)[:, np.newaxis]
    values *= scale
    unit = emissions.noise if emissions.offset_sd is None else emissions.offset_sd * pooled_sd(values)
    return np.asarray(values + offset * unit)


def pooled_sd(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) standard deviation of each metric over all rows of all runs; ``values`` is (R, T, D)."""
    return np.asarray(values.std(axis=(0, 1)))


def spread_means(*, n_states: int, n_metrics: int, separation: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """(K, D) means around 0 in random directions, every two of them ``separation`` apart.

    With fewer than K − 1 metrics there is no room for that: the closest two are ``separation`` apart then.
    """
    if n_metrics < 1:
        raise ValueError(f"n_metrics = {n_metrics}: expected 1 or more")
    if n_metrics < n_states - 1:
        means = rng.standard_normal((n_states, n_metrics))
        gaps = np.linalg.norm(means[:, np.newaxis] - means, axis=2)[np.triu_indices(n_states, 1)]
        return np.asarray(separation / gaps.min() * (means - means.mean(axis=0)))
    from scipy.linalg import helmert

    # The columns of Helmert's matrix are the corners of a regular simplex of edge √2.
    turned, _ = np.linalg.qr(rng.standard_normal((n_metrics, n_metrics)))
    return np.asarray(separation / np.sqrt(2.0) * helmert(n_states).T @ turned[: n_states - 1])


def _noise(shape: tuple[int, int, int], emissions: Emissions, rng: np.random.Generator) -> NDArray[np.float64]:
    """(R, T, D) noise of variance 1."""
    if emissions.tails is None:
        noise = rng.standard_normal(shape)
    else:
        noise = rng.standard_t(emissions.tails, shape) * np.sqrt(1.0 - 2.0 / emissions.tails)
    if emissions.ar:
        noise[:, 1:] *= np.sqrt(1.0 - emissions.ar**2)
        for row in range(1, shape[1]):
            noise[:, row] += emissions.ar * noise[:, row - 1]
    return noise
