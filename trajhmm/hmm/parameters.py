"""`Parameters` of a Gaussian HMM, and what makes them valid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

CovarianceType = Literal["diag", "full"]
COVARIANCE_TYPES: tuple[CovarianceType, ...] = ("diag", "full")


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameters:
    """A Gaussian HMM with K states over D metrics.

    Attributes
    ----------
    startprob : (K,) probabilities of the first state.
    transmat : (K, K) transition probabilities, rows sum to 1.
    means : (K, D).
    covars : (K, D) variances if ``covariance_type`` is ``diag``, (K, D, D) if ``full``.
    """

    startprob: NDArray[np.float64]
    transmat: NDArray[np.float64]
    means: NDArray[np.float64]
    covars: NDArray[np.float64]
    covariance_type: CovarianceType

    def __post_init__(self) -> None:
        for array in (self.startprob, self.transmat, self.means, self.covars):
            array.setflags(write=False)

    @property
    def n_states(self) -> int:
        """Number of states, K."""
        return len(self.startprob)

    @property
    def n_metrics(self) -> int:
        """Number of metrics, D."""
        return int(self.means.shape[1])

    def permuted(self, order: NDArray[np.int64]) -> Parameters:
        """The same model with state ``order[k]`` called k."""
        return replace(
            self,
            startprob=self.startprob[order],
            transmat=self.transmat[np.ix_(order, order)],
            means=self.means[order],
            covars=self.covars[order],
        )

    def precisions(self) -> NDArray[np.float64]:
        """(K, D, D) inverse covariance matrices."""
        if self.covariance_type == "diag":
            return np.stack([np.diag(1.0 / variances) for variances in self.covars])
        return np.asarray(np.linalg.inv(self.covars), dtype=np.float64)


def count_parameters(n_states: int, n_metrics: int, covariance_type: CovarianceType) -> int:
    """Number of free parameters: start, transitions, means and covariances."""
    covariance = n_metrics if covariance_type == "diag" else n_metrics * (n_metrics + 1) // 2
    return (n_states - 1) + n_states * (n_states - 1) + n_states * (n_metrics + covariance)
