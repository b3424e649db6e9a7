"""What each run has of its own in every metric: a shift, known up to a variance, and a scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.chunk import Chunk

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shifts:
    """Shifts and scales of R runs in D metrics, as EM knows them.

    Row t of run r in state k is z with exp(b_r) z = a_r + μ_k + ε, a_r ~ N(0, τ²), ε ~ N(0, Σ_k). Of a_r it keeps
    normal distributions q(a_r), independent over metrics; of b_r, the logarithm of the scale, the likeliest value under
    b_r ~ N(0, υ²).

    Attributes
    ----------
    mean : (R, D) of a_r.
    variance : (R, D) of a_r; what is not known of it.
    log_scale : (R, D) b_r; 0 where runs have no scale of their own.
    """

    mean: Floats
    variance: Floats
    log_scale: Floats

    def __post_init__(self) -> None:
        for array in (self.mean, self.variance, self.log_scale):
            array.setflags(write=False)

    @classmethod
    def none(cls, n_runs: int, n_metrics: int) -> Shifts:
        """No run is shifted or scaled, and that is certain."""
        return cls(
            mean=np.zeros((n_runs, n_metrics)),
            variance=np.zeros((n_runs, n_metrics)),
            log_scale=np.zeros((n_runs, n_metrics)),
        )

    def of(self, chunk: Chunk) -> Shifts:
        """Of those of all runs of the data, those of a chunk's runs."""
        return self.runs(chunk.first_run, chunk.first_run + chunk.n_runs)

    def runs(self, first: int, last: int) -> Shifts:
        """Those of the runs ``first:last``."""
        return Shifts(
            mean=self.mean[first:last], variance=self.variance[first:last], log_scale=self.log_scale[first:last]
        )

    def picked(self, wanted: NDArray[np.bool_]) -> Shifts:
        """Those of the runs that (R,) ``wanted`` marks."""
        return Shifts(mean=self.mean[wanted], variance=self.variance[wanted], log_scale=self.log_scale[wanted])

    def spread(self, wanted: NDArray[np.bool_]) -> Shifts:
        """These as those of the runs that (R,) ``wanted`` marks; what stands for the others means nothing."""
        place = np.maximum(np.cumsum(wanted) - 1, 0)
        return Shifts(mean=self.mean[place], variance=self.variance[place], log_scale=self.log_scale[place])

    def instead(self, other: Shifts, where: NDArray[np.bool_]) -> Shifts:
        """Those of ``other`` for the runs that (R,) ``where`` marks."""
        column = where[:, np.newaxis]
        return Shifts(
            mean=np.where(column, other.mean, self.mean),
            variance=np.where(column, other.variance, self.variance),
            log_scale=np.where(column, other.log_scale, self.log_scale),
        )

    def taken_from(self, values: Floats, lengths: NDArray[np.int64]) -> Floats:
        """(N, D) rows of these runs, scaled and less their shifts; ``lengths`` (R,) rows of each run."""
        own = values * np.repeat(np.exp(self.log_scale), lengths, axis=0) if self.log_scale.any() else values
        less: Floats = own - np.repeat(self.mean, lengths, axis=0)
        return less

    def log_density(self, shift_variance: Floats, scale_variance: Floats | None) -> Floats:
        """(R,) log p(b_r), less the Kullback–Leibler divergence of q(a_r) from N(0, τ²), in nats.

        Parameters
        ----------
        shift_variance, scale_variance : (D,) τ² and υ²; None without scales.
        """
        share = self.variance / shift_variance
        density: Floats = 0.5 * (np.log(share) + 1.0 - share - self.mean**2 / shift_variance).sum(axis=1)
        if scale_variance is not None:
            density -= 0.5 * (self.log_scale**2 / scale_variance + np.log(2 * np.pi * scale_variance)).sum(axis=1)
        return density

    def evidence(self, values: Floats, lengths: NDArray[np.int64], parameters: Parameters) -> Floats:
        """(R,) what the log-likelihood of runs has beside that of their rows less their shifts, in nats.

        Laplace's approximation of the integral over the shift, exact with one state and a diagonal covariance:
        log N(m; 0, τ²) + ½ log 2πv at its mean m, for its variance v. These variances are of each metric given the
        others, so that it is too low where metrics go together under a full covariance. With scales, log p(b_r) and the
        logarithm of what the rows were stretched by.

        Parameters
        ----------
        values : (N, D) rows as they were logged, NaN where missing.
        lengths : (R,) rows of each run.
        parameters : with a variance of shifts.
        """
        tau, upsilon = parameters.shift_variance, parameters.scale_variance
        if tau is None:
            raise ValueError("these parameters hold no variance of shifts")
        beside: Floats = 0.5 * (np.log(self.variance / tau) - self.mean**2 / tau).sum(axis=1)
        if upsilon is not None:
            beside -= 0.5 * (self.log_scale**2 / upsilon + np.log(2 * np.pi * upsilon)).sum(axis=1)
            there = np.add.reduceat(~np.isnan(values), np.cumsum(lengths) - lengths, axis=0)
            beside += (there * self.log_scale).sum(axis=1)
        return beside


def joined_shifts(parts: Sequence[Shifts]) -> Shifts:
    """Those of the runs of all parts, one after the other."""
    return Shifts(
        mean=np.concatenate([part.mean for part in parts]),
        variance=np.concatenate([part.variance for part in parts]),
        log_scale=np.concatenate([part.log_scale for part in parts]),
    )
