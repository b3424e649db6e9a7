"""Compiled loops over time: forward, backward, Viterbi.

All of them work on log-densities and keep probabilities as logarithms, so nothing underflows. A sum over states
``log Σ_i exp(x_i) A_ij`` is taken in ordinary numbers after the largest x_i is taken out; only where that sum vanishes
(every likely i has A_ij = 0) is it taken term by term in logarithms. Either way it is exact to rounding.

Runs are ragged: rows of run r are ``offsets[r]:offsets[r + 1]``. N rows, K states.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# A sum of at most 1e4 terms of which some fell under 1e-308 is exact to 1e-24 if it is larger than this.
VANISHING = 1e-280


@njit(cache=True, nogil=True)
def log_sum(logs: Floats, log_weights: Floats) -> float:
    """``log Σ_i exp(logs_i) weights_i``, term by term in logarithms."""
    largest = -np.inf
    for i in range(len(logs)):
        largest = max(largest, logs[i] + log_weights[i])
    if largest == -np.inf:
        return largest
    total = 0.0
    for i in range(len(logs)):
        total += np.exp(logs[i] + log_weights[i] - largest)
    return largest + math.log(total)


@njit(cache=True, nogil=True)
def forward(
    log_density: Floats, offsets: Ints, startprob: Floats, transmat: Floats, log_alpha: Floats, predictive: Floats
) -> None:
    """Filter every run.

    Parameters
    ----------
    log_density : (N, K), log p(z_t | s_t = k).
    offsets : (R + 1,)
    startprob, transmat : (K,), (K, K)
    log_alpha : (N, K), filled with log p(s_t = k | z_1…t).
    predictive : (N,), filled with log p(z_t | z_1…t-1); their sum is the log-likelihood.
    """
    n_states = log_density.shape[1]
    log_start = np.log(startprob)
    log_transmat = np.log(transmat)
    scaled = np.empty(n_states)
    joint = np.empty(n_states)
    for r in range(len(offsets) - 1):
        log_total = 0.0
        for t in range(offsets[r], offsets[r + 1]):
            largest = -np.inf
            for j in range(n_states):
                if t == offsets[r]:
                    log_predicted = log_start[j]
                else:
                    predicted = 0.0
                    for i in range(n_states):
                        predicted += scaled[i] * transmat[i, j]
                    if predicted > VANISHING:
                        log_predicted = np.log(predicted) - log_total
                    else:
                        log_predicted = log_sum(log_alpha[t - 1], log_transmat[:, j])
                joint[j] = log_predicted + log_density[t, j]
                largest = max(largest, joint[j])
            total = 0.0
            for j in range(n_states):
                scaled[j] = np.exp(joint[j] - largest)
                total += scaled[j]
            log_total = np.log(total)
            predictive[t] = largest + log_total
            for j in range(n_states):
                log_alpha[t, j] = joint[j] - predictive[t]


@njit(cache=True, nogil=True)
def backward(
    log_density: Floats,
    offsets: Ints,
    transmat: Floats,
    log_alpha: Floats,
    smoothed: Floats,
    started: Floats,
    transitions: Floats,
) -> None:
    """Smooth every run after `forward`, and count.

    Parameters
    ----------
    log_density, offsets, transmat, log_alpha : as for `forward`, filled.
    smoothed : (N, K), filled with p(s_t = k | all of the run).
    started : (K,), added to: expected number of runs that start in k.
    transitions : (K, K), added to: expected number of transitions j → k.
    """
    n_states = log_density.shape[1]
    log_transmat = np.log(transmat)
    log_beta = np.empty(n_states)
    ahead = np.empty(n_states)
    ahead_scaled = np.empty(n_states)
    here_scaled = np.empty(n_states)
    for r in range(len(offsets) - 1):
        log_beta[:] = 0.0
        for t in range(offsets[r + 1] - 1, offsets[r] - 1, -1):
            if t < offsets[r + 1] - 1:
                _look_back(log_density[t + 1], log_beta, transmat, log_transmat, ahead, ahead_scaled)
                _count(log_alpha[t], ahead, ahead_scaled, transmat, log_transmat, here_scaled, transitions)
            largest = -np.inf
            for k in range(n_states):
                largest = max(largest, log_alpha[t, k] + log_beta[k])
            total = 0.0
            for k in range(n_states):
                smoothed[t, k] = np.exp(log_alpha[t, k] + log_beta[k] - largest)
                total += smoothed[t, k]
            for k in range(n_states):
                smoothed[t, k] /= total
        if offsets[r + 1] > offsets[r]:
            for k in range(n_states):
                started[k] += smoothed[offsets[r], k]


@njit(cache=True, nogil=True)
def _look_back(
    next_density: Floats, log_beta: Floats, transmat: Floats, log_transmat: Floats, ahead: Floats, ahead_scaled: Floats
) -> None:
    """Replace ``log_beta`` of the next row by this row's, up to a constant; leave what lies ahead in ``ahead``."""
    n_states = len(log_beta)
    largest = -np.inf
    for j in range(n_states):
        ahead[j] = next_density[j] + log_beta[j]
        largest = max(largest, ahead[j])
    for j in range(n_states):
        ahead[j] -= largest
        ahead_scaled[j] = np.exp(ahead[j])
    for i in range(n_states):
        total = 0.0
        for j in range(n_states):
            total += transmat[i, j] * ahead_scaled[j]
        log_beta[i] = np.log(total) if total > VANISHING else log_sum(ahead, log_transmat[i])


@njit(cache=True, nogil=True)
def _count(
    log_here: Floats,
    ahead: Floats,
    ahead_scaled: Floats,
    transmat: Floats,
    log_transmat: Floats,
    here_scaled: Floats,
    transitions: Floats,
) -> None:
    """Add the posterior of one transition to ``transitions``."""
    n_states = len(log_here)
    total = 0.0
    for i in range(n_states):
        here_scaled[i] = np.exp(log_here[i])
        for j in range(n_states):
            total += here_scaled[i] * transmat[i, j] * ahead_scaled[j]
    if total > VANISHING:
        for i in range(n_states):
            for j in range(n_states):
                transitions[i, j] += here_scaled[i] * transmat[i, j] * ahead_scaled[j] / total
        return
    largest = -np.inf
    for i in range(n_states):
        for j in range(n_states):
            largest = max(largest, log_here[i] + log_transmat[i, j] + ahead[j])
    total = 0.0
    for i in range(n_states):
        for j in range(n_states):
            total += np.exp(log_here[i] + log_transmat[i, j] + ahead[j] - largest)
    for i in range(n_states):
        for j in range(n_states):
            transitions[i, j] += np.exp(log_here[i] + log_transmat[i, j] + ahead[j] - largest) / total


@njit(cache=True, nogil=True)
def viterbi(log_density: Floats, offsets: Ints, startprob: Floats, transmat: Floats, path: Ints) -> float:
    """Decode every run: fill ``path`` (N,) with the likeliest sequence of states; ties go to the lower state.

    Returns
    -------
    Sum over runs of the log-probability of path and values together.
    """
    n_rows, n_states = log_density.shape
    log_start = np.log(startprob)
    log_transmat = np.log(transmat)
    came_from = np.empty((n_rows, n_states), dtype=np.int64)
    score = np.empty(n_states)
    previous = np.empty(n_states)
    total = 0.0
    for r in range(len(offsets) - 1):
        first, last = offsets[r], offsets[r + 1] - 1
        if last < first:
            continue
        for k in range(n_states):
            score[k] = log_start[k] + log_density[first, k]
        for t in range(first + 1, last + 1):
            previous[:] = score
            for j in range(n_states):
                best, best_score = 0, -np.inf
                for i in range(n_states):
                    candidate = previous[i] + log_transmat[i, j]
                    if candidate > best_score:
                        best, best_score = i, candidate
                came_from[t, j] = best
                score[j] = best_score + log_density[t, j]
        path[last] = np.argmax(score)
        total += score[path[last]]
        for t in range(last - 1, first - 1, -1):
            path[t] = came_from[t + 1, path[t + 1]]
    return total


@njit(cache=True, nogil=True)
def diagonal_log_density(values: Floats, means: Floats, variances: Floats, log_density: Floats) -> None:
    """Fill (N, K) ``log_density`` from (N, D) ``values``, (K, D) ``means`` and ``variances``."""
    n_rows, n_metrics = values.shape
    n_states = len(means)
    precisions = 1.0 / variances
    constant = np.empty(n_states)
    for k in range(n_states):
        constant[k] = -0.5 * (n_metrics * np.log(2 * np.pi) + np.log(variances[k]).sum())
    for t in range(n_rows):
        for k in range(n_states):
            distance = 0.0
            for d in range(n_metrics):
                distance += (values[t, d] - means[k, d]) ** 2 * precisions[k, d]
            log_density[t, k] = constant[k] - 0.5 * distance


@njit(cache=True, nogil=True)
def diagonal_moments(values: Floats, weights: Floats, centres: Floats, first: Floats, second: Floats) -> None:
    """Add Σ_t w_tk (z_t − c_k) to ``first`` and Σ_t w_tk (z_t − c_k)² to ``second``, both (K, D)."""
    n_rows, n_metrics = values.shape
    for t in range(n_rows):
        for k in range(len(centres)):
            weight = weights[t, k]
            if weight > 0.0:
                for d in range(n_metrics):
                    away = values[t, d] - centres[k, d]
                    first[k, d] += weight * away
                    second[k, d] += weight * away * away
