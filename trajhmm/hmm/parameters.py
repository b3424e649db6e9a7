"""`Parameters` of a Gaussian HMM, and what makes them valid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import floats_of
from trajhmm.errors import ArrayError

CovarianceType = Literal["diag", "full", "tied", "spherical"]
COVARIANCE_TYPES: tuple[CovarianceType, ...] = get_args(CovarianceType)
Topology = Literal["free", "left-right"]
TOPOLOGIES: tuple[Topology, ...] = get_args(Topology)
# More nobody can look at, and each row would cost the square of them.
MOST_STATES = 50
# What rows may remember of the rows before them: with 1 a state would have no level.
LARGEST_AUTOREGRESSION = 0.99
# Probabilities add up to 1 to this; files of before floats were written to the last digit may be off by some.
_OFF = 1e-6


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

    Raises
    ------
    ArrayError
        More than 50 states or none, another covariance type, or an array of another shape or of no numbers. What the
        numbers are is another question, see `check`.
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
        for name, shape in self._shapes().items():
            given = getattr(self, name)
            array = floats_of(name, given, shape)
            array.setflags(write=False)
            if array is not given:
                object.__setattr__(self, name, array)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shape that each array is to have."""
        if self.covariance_type not in COVARIANCE_TYPES:
            raise ArrayError(f"covariance_type {self.covariance_type!r}: expected one of {', '.join(COVARIANCE_TYPES)}")
        k = len(floats_of("startprob", self.startprob, (None,)))
        d = floats_of("means", self.means, (k, None)).shape[1]
        if not 1 <= k <= MOST_STATES:
            raise ArrayError(f"startprob: {k} states; expected 1 to {MOST_STATES}")
        if not d:
            raise ArrayError("means: no metric; expected at least one")
        covars = {"diag": (k, d), "full": (k, d, d), "tied": (d, d), "spherical": (k,)}[self.covariance_type]
        expected = {"startprob": (k,), "transmat": (k, k), "means": (k, d), "covars": covars}
        for name in ("shift_variance", "scale_variance", "autoregression"):
            if getattr(self, name) is not None:
                expected[name] = (d,)
        return expected

    def check(self) -> None:
        """Refuse what is no Gaussian HMM.

        Raises
        ------
        ArrayError
            A number is not finite, probabilities do not add up to 1, a variance is not positive or a covariance matrix
            not positive definite, or a coefficient of a row on the one before is none from 0 to 1.
        """
        for name in self._shapes():
            if not np.isfinite(getattr(self, name)).all():
                raise ArrayError(f"{name}: expected finite numbers")
        for name in ("startprob", "transmat"):
            probs = getattr(self, name)
            if (probs < 0).any() or (np.abs(probs.sum(axis=-1) - 1.0) > _OFF).any():
                raise ArrayError(f"{name}: expected probabilities that add up to 1")
        own = {"shift_variance": self.shift_variance, "scale_variance": self.scale_variance}
        for name, variances in {"covars": self.covars if self.is_diagonal else None, **own}.items():
            if variances is not None and (variances <= 0).any():
                raise ArrayError(f"{name}: expected positive variances")
        if not self.is_diagonal and not _positive_definite(self.covars):
            raise ArrayError("covars: expected symmetric, positive definite matrices")
        if self.scale_variance is not None and (self.shift_variance is None or not self.is_diagonal):
            raise ArrayError("scale_variance: runs have scales only beside shifts, and with diagonal covariances")
        if self.autoregression is not None and ((self.autoregression < 0) | (self.autoregression >= 1)).any():
            raise ArrayError("autoregression: expected coefficients from 0 to less than 1")

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


def _positive_definite(matrices: NDArray[np.float64]) -> bool:
    largest = np.abs(matrices).max(initial=0.0)
    if (np.abs(matrices - np.swapaxes(matrices, -1, -2)) > _OFF * largest).any():
        return False
    try:
        np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        return False
    return True


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
