"""The E-step as a sum over runs: `estep` gives `Statistics`, and `Statistics` add up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm import kernels
from trajhmm.hmm.inference import BLOCK, log_density
from trajhmm.hmm.parameters import Parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """Sufficient statistics of some runs under given parameters.

    Moments are taken about the means of those parameters, so that they lose no digits to large offsets.

    Attributes
    ----------
    start : (K,) expected number of runs that start in each state.
    transitions : (K, K) expected number of transitions.
    mass : (K,) expected number of rows in each state.
    first : (K, D) Σ_t γ_t(k) (z_t − μ_k).
    second : (K, D) Σ_t γ_t(k) (z_t − μ_k)² if diagonal; (K, D, D) Σ_t γ_t(k) (z_t − μ_k)(z_t − μ_k)ᵀ if full.
    log_likelihood : in nats.
    n_rows : number of rows.
    """

    start: NDArray[np.float64]
    transitions: NDArray[np.float64]
    mass: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    log_likelihood: float
    n_rows: int

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(
            start=self.start + other.start,
            transitions=self.transitions + other.transitions,
            mass=self.mass + other.mass,
            first=self.first + other.first,
            second=self.second + other.second,
            log_likelihood=self.log_likelihood + other.log_likelihood,
            n_rows=self.n_rows + other.n_rows,
        )


def estep(values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters) -> Statistics:
    """Expected statistics of whole runs (Baum–Welch, Rabiner 1989).

    Parameters
    ----------
    values : (N, D) finite.
    offsets : (R + 1,) row offsets of the runs.
    parameters : of the current iteration.
    """
    k = parameters.n_states
    density = log_density(values, parameters)
    log_alpha = np.empty_like(density)
    predictive = np.empty(len(values))
    kernels.forward(density, offsets, parameters.startprob, parameters.transmat, log_alpha, predictive)
    smoothed = np.empty_like(density)
    start, transitions = np.zeros(k), np.zeros((k, k))
    kernels.backward(density, offsets, parameters.transmat, log_alpha, smoothed, start, transitions)
    first = np.zeros_like(parameters.means)
    second = np.zeros_like(parameters.covars)
    if parameters.covariance_type == "diag":
        kernels.diagonal_moments(values, smoothed, parameters.means, first, second)
    else:
        for begin in range(0, len(values), BLOCK):
            rows = slice(begin, begin + BLOCK)
            for state in range(k):
                away = values[rows] - parameters.means[state]
                weighted = smoothed[rows, state, np.newaxis] * away
                first[state] += weighted.sum(axis=0)
                second[state] += weighted.T @ away
    return Statistics(
        start=start,
        transitions=transitions,
        mass=smoothed.sum(axis=0),
        first=first,
        second=second,
        log_likelihood=float(predictive.sum()),
        n_rows=len(values),
    )
