"""`Parameters` of a Gaussian HMM, and what makes them valid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

CovarianceType = Literal["diag", "full", "tied", "spherical"]
COVARIANCE_TYPES: tuple[CovarianceType, ...] = get_args(CovarianceType)
Topology = Literal["free", "left-right"]
TOPOLOGIES: tuple[Topology, ...] = get_args(Topology)


@dataclass(frozen=True, kw_only=True, eq=False)
class Parameters:
    """A Gaussian HMM with K states over D metrics.

    Attributes
    ----------
    startprob : (K,) probabilities of the first state.
    transmat : (K, K) transition probabilities, rows sum to 1.
    means : (K, D).
    covars : by ``covariance_type``: ``diag`` (K, D) variances; ``full`` (K, D, D) matrices; ``tied`` (D, D), one matrix
        for all states; ``spherical`` (K,), one variance for all metrics of a state.
    shift_variance : (D,) variance over runs of what each run is shifted by in each metric; None if runs have no shifts.
    scale_variance : (D,) variance over runs of the logarithm of each run's own scale; None if runs have none.
    autoregression : (D,) coefficients of rows on the rows before them, see `trajhmm.hmm.learning.autoregression`; the
        model is then one of rows that were freed of it, with means in levels. None if rows do not remember.
    """

    startprob: NDArray[np.float64]
    transmat: NDArray[np.float64]
    means: NDArray[np.float64]
    covars: NDArray[np.float64]
    covariance_type: CovarianceType
    shift_variance: NDArray[np.float64] | None = None
    scale_variance: NDArray[np.float64] | None = None
    autoregression: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        for array in self._arrays():
            array.setflags(write=False)

    def _arrays(self) -> tuple[NDArray[np.float64], ...]:
        arrays = (self.startprob, self.transmat, self.means, self.covars)
        optional = (self.shift_variance, self.scale_variance, self.autoregression)
        own = tuple(array for array in optional if array is not None)
        return (*arrays, *own)

    @property
    def n_states(self) -> int:
        """Number of states, K."""
        return len(self.startprob)

    @property
    def n_metrics(self) -> int:
        """Number of metrics, D."""
        return int(self.means.shape[1])

    @property
    def is_diagonal(self) -> bool:
        """Whether metrics are independent within a state (``diag`` and ``spherical``)."""
        return self.covariance_type in ("diag", "spherical")

    def variances(self) -> NDArray[np.float64]:
        """(K, D) variances of each metric in each state."""
        if self.covariance_type == "diag":
            return self.covars
        if self.covariance_type == "spherical":
            return np.repeat(self.covars[:, np.newaxis], self.n_metrics, axis=1)
        return np.ascontiguousarray(np.diagonal(self.matrices(), axis1=1, axis2=2))

    def matrices(self) -> NDArray[np.float64]:
        """(K, D, D) covariance matrices."""
        if self.covariance_type == "full":
            return self.covars
        if self.covariance_type == "tied":
            return np.repeat(self.covars[np.newaxis], self.n_states, axis=0)
        return np.stack([np.diag(variances) for variances in self.variances()])

    def precisions(self) -> NDArray[np.float64]:
        """(K, D, D) inverse covariance matrices."""
        if self.is_diagonal:
            return np.stack([np.diag(1.0 / variances) for variances in self.variances()])
        return np.asarray(np.linalg.inv(self.matrices()), dtype=np.float64)

    def permuted(self, order: NDArray[np.int64]) -> Parameters:
        """The same model with state ``order[k]`` called k."""
        return replace(
            self,
            startprob=self.startprob[order],
            transmat=self.transmat[np.ix_(order, order)],
            means=self.means[order],
            covars=self.covars if self.covariance_type == "tied" else self.covars[order],
        )

    @property
    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return all(bool(np.isfinite(array).all()) for array in self._arrays())


def allowed_transitions(n_states: int, topology: Topology) -> NDArray[np.bool_]:
    """(K, K) True where there may be a transition: all, or from left to right to the same or a later state."""
    everywhere = np.ones((n_states, n_states), dtype=bool)
    return everywhere if topology == "free" else np.triu(everywhere)


def count_parameters(
    n_states: int,
    n_metrics: int,
    covariance_type: CovarianceType,
    *,
    topology: Topology = "free",
    own: int = 0,
) -> int:
    """Number of free parameters: start, transitions, means, covariances; ``own`` a metric for what runs differ by."""
    matrix = n_metrics * (n_metrics + 1) // 2
    covariances = {
        "diag": n_states * n_metrics,
        "full": n_states * matrix,
        "tied": matrix,
        "spherical": n_states,
    }[covariance_type]
    transitions = int(allowed_transitions(n_states, topology).sum()) - n_states
    return (n_states - 1) + transitions + n_states * n_metrics + covariances + own * n_metrics
