"""What the HMM infers from sequences under fixed parameters: densities, filter, smoother, path.

Pure functions over arrays. Filtered and smoothed results are different types: nothing online can be handed what saw
the future.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from trajhmm.hmm import kernels
from trajhmm.hmm.parameters import Parameters

# Rows taken at a time where a temporary is needed, so that it stays in cache.
BLOCK = 2048


@dataclass(frozen=True, kw_only=True, eq=False)
class Filtered:
    """What is known at each row from the rows up to it.

    Attributes
    ----------
    runs, lengths, steps : R names, (R,) and (N,): which rows these are.
    probs : (N, K), p(s_t = k | z_1…t).
    predictive_logpdf : (N,), log p(z_t | z_1…t-1) in nats.
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    probs: NDArray[np.float64]
    predictive_logpdf: NDArray[np.float64]

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of all runs, in nats."""
        return float(self.predictive_logpdf.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Smoothed:
    """What is known at each row from the whole run.

    Attributes
    ----------
    runs, lengths, steps : R names, (R,) and (N,): which rows these are.
    probs : (N, K), p(s_t = k | all rows of the run).
    path : (N,) int64, the likeliest sequence of states (Viterbi).
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    probs: NDArray[np.float64]
    path: NDArray[np.int64]


def log_density(values: NDArray[np.float64], parameters: Parameters) -> NDArray[np.float64]:
    """(N, K) log-density of each of (N, D) rows in each state, in nats."""
    result = np.empty((len(values), parameters.n_states))
    if parameters.covariance_type == "diag":
        kernels.diagonal_log_density(values, parameters.means, parameters.covars, result)
        return result
    roots = np.linalg.cholesky(parameters.covars)
    whitening = np.stack([solve_triangular(root, np.eye(len(root)), lower=True) for root in roots])
    constants = parameters.n_metrics * np.log(2 * np.pi) + 2 * np.log(np.diagonal(roots, axis1=1, axis2=2)).sum(axis=1)
    for start in range(0, len(values), BLOCK):
        rows = slice(start, start + BLOCK)
        for k in range(parameters.n_states):
            white = (values[rows] - parameters.means[k]) @ whitening[k].T
            result[rows, k] = -0.5 * (constants[k] + np.einsum("nd,nd->n", white, white))
    return result


def filter_rows(
    values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Filter runs.

    Parameters
    ----------
    values : (N, D)
    offsets : (R + 1,) row offsets of the runs.

    Returns
    -------
    log_probs : (N, K), log p(s_t = k | z_1…t).
    predictive_logpdf : (N,), log p(z_t | z_1…t-1).
    """
    density = log_density(values, parameters)
    log_alpha = np.empty_like(density)
    predictive = np.empty(len(values))
    kernels.forward(density, offsets, parameters.startprob, parameters.transmat, log_alpha, predictive)
    return log_alpha, predictive


def smooth_rows(values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters) -> NDArray[np.float64]:
    """(N, K): p(s_t = k | all rows of the run)."""
    density = log_density(values, parameters)
    log_alpha = np.empty_like(density)
    kernels.forward(density, offsets, parameters.startprob, parameters.transmat, log_alpha, np.empty(len(values)))
    smoothed = np.empty_like(density)
    k = parameters.n_states
    kernels.backward(density, offsets, parameters.transmat, log_alpha, smoothed, np.zeros(k), np.zeros((k, k)))
    return smoothed


def decode_rows(
    values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters
) -> tuple[NDArray[np.int64], float]:
    """(N,) likeliest paths (Viterbi) and the sum over runs of their log-probabilities with the values."""
    path = np.empty(len(values), dtype=np.int64)
    density = log_density(values, parameters)
    return path, float(kernels.viterbi(density, offsets, parameters.startprob, parameters.transmat, path))
