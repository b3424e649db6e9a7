"""What each run has of its own: a shift in every metric, known up to a variance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.rows.chunk import Chunk

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Shifts:
    """Shifts of R runs in D metrics: independent normal distributions q(a_r), as EM knows them.

    Row t of run r in state k is z = a_r + μ_k + ε, with a_r ~ N(0, τ²) and ε ~ N(0, Σ_k).

    Attributes
    ----------
    mean : (R, D).
    variance : (R, D); what is not known of them.
    """

    mean: Floats
    variance: Floats

    def __post_init__(self) -> None:
        self.mean.setflags(write=False)
        self.variance.setflags(write=False)

    @classmethod
    def none(cls, n_runs: int, n_metrics: int) -> Shifts:
        """No run is shifted, and that is certain."""
        return cls(mean=np.zeros((n_runs, n_metrics)), variance=np.zeros((n_runs, n_metrics)))

    def of(self, chunk: Chunk) -> Shifts:
        """Of the shifts of all runs of the data, those of a chunk's runs."""
        return Shifts(mean=chunk.own(self.mean), variance=chunk.own(self.variance))

    def runs(self, first: int, last: int) -> Shifts:
        """Those of the runs ``first:last``."""
        return Shifts(mean=self.mean[first:last], variance=self.variance[first:last])

    def less_divergence(self, shift_variance: Floats) -> Floats:
        """(R,) minus the Kullback–Leibler divergence of q(a_r) from N(0, τ²), in nats; ``shift_variance`` (D,) τ²."""
        share = self.variance / shift_variance
        gain: Floats = 0.5 * (np.log(share) + 1.0 - share - self.mean**2 / shift_variance).sum(axis=1)
        return gain
