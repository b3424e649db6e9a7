"""Forward and backward in logarithms: exact to rounding whatever the densities.

A sum over states ``log Σ_i exp(x_i) A_ij`` is taken in ordinary numbers after the largest x_i is taken out; only where
that sum vanishes (every likely i has A_ij = 0) is it taken term by term in logarithms. The filter uses these, and EM
where `trajhmm.hmm.kernels.scaled` cannot vouch for its result.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# A sum of at most 1e4 terms of which some fell under 1e-308 is exact to 1e-24 if it is larger than this.
VANISHING = 1e-280
# Log-densities beyond this lose digits that a probability needs when they are taken from one another after a sum.
UNLIKELY = 1e8


@compiled
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


@takes(
    log_density="N K1+",
    fresh="bool N",
    startprob="K",
    transmat="K K",
    before="K filled",
    log_alpha="N K filled",
    predictive="N filled",
)
@compiled
def forward(
    log_density: Floats,
    fresh: Bools,
    startprob: Floats,
    transmat: Floats,
    before: Floats,
    log_alpha: Floats,
    predictive: Floats,
) -> None:
    """Filter a stretch of rows.

    Parameters
    ----------
    log_density : (n, K), log p(z_t | s_t = k).
    fresh : (n,) True where a run begins.
    startprob, transmat : (K,), (K, K).
    before : (K,) log p(s = k | …) of the row before the stretch; left as that of its last row.
    log_alpha : (n, K), filled with log p(s_t = k | z_1…t).
    predictive : (n,), filled with log p(z_t | z_1…t-1); their sum is the log-likelihood.
    """
    n_states = log_density.shape[1]
    log_start = np.log(startprob)
    log_transmat = np.log(transmat)
    scaled = np.exp(before)
    joint = np.empty(n_states)
    for t in range(len(log_density)):
        largest = -np.inf
        for j in range(n_states):
            if fresh[t]:
                log_predicted = log_start[j]
            else:
                predicted = 0.0
                for i in range(n_states):
                    predicted += scaled[i] * transmat[i, j]
                log_predicted = np.log(predicted) if predicted > VANISHING else log_sum(before, log_transmat[:, j])
            joint[j] = log_predicted + log_density[t, j]
            largest = max(largest, joint[j])
        total = 0.0
        for j in range(n_states):
            total += np.exp(joint[j] - largest)
        predictive[t] = largest + np.log(total)
        unlikely = abs(largest) > UNLIKELY
        for j in range(n_states):
            before[j] = joint[j] - largest - np.log(total) if unlikely else joint[j] - predictive[t]
            # From what is carried on, so that a stretch cut here goes on with the same bits.
            scaled[j] = np.exp(before[j])
            log_alpha[t, j] = before[j]


@takes(
    log_density="N K1+",
    fresh="bool N",
    weights="N",
    transmat="K K",
    before="K",
    log_alpha="N K",
    log_beta="K filled",
    smoothed="N K filled",
    started="K filled",
    transitions="K K filled",
)
@compiled
def backward(
    log_density: Floats,
    fresh: Bools,
    weights: Floats,
    transmat: Floats,
    before: Floats,
    log_alpha: Floats,
    log_beta: Floats,
    smoothed: Floats,
    started: Floats,
    transitions: Floats,
) -> None:
    """Smooth a stretch of rows after `forward`, and count.

    Parameters
    ----------
    log_density, fresh, transmat, log_alpha : as for `forward`, filled.
    weights : (n,) of the rows.
    before : (K,) log p(s = k | …) of the row before the stretch.
    log_beta : (K,) backward variable of the stretch's last row, up to a constant; left as that of the row before it.
    smoothed : (n, K), filled with p(s_t = k | all of the run) times the row's weight.
    started : (K,), added to: weight of runs that start in k.
    transitions : (K, K), added to: expected number of transitions j → k.
    """
    n_states = log_density.shape[1]
    log_transmat = np.log(transmat)
    ahead = np.empty(n_states)
    ahead_scaled = np.empty(n_states)
    here_scaled = np.empty(n_states)
    for t in range(len(log_density) - 1, -1, -1):
        largest = -np.inf
        for k in range(n_states):
            largest = max(largest, log_alpha[t, k] + log_beta[k])
        total = 0.0
        for k in range(n_states):
            smoothed[t, k] = np.exp(log_alpha[t, k] + log_beta[k] - largest)
            total += smoothed[t, k]
        for k in range(n_states):
            smoothed[t, k] *= weights[t] / total
        if fresh[t]:
            for k in range(n_states):
                started[k] += smoothed[t, k]
                log_beta[k] = 0.0
            continue
        _look_back(log_density[t], log_beta, transmat, log_transmat, ahead, ahead_scaled)
        here = log_alpha[t - 1] if t > 0 else before
        _count(here, weights[t], ahead, ahead_scaled, transmat, log_transmat, here_scaled, transitions)


@compiled
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


@compiled
def _count(
    log_here: Floats,
    weight: float,
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
                transitions[i, j] += weight * here_scaled[i] * transmat[i, j] * ahead_scaled[j] / total
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
            share = np.exp(log_here[i] + log_transmat[i, j] + ahead[j] - largest) / total
            transitions[i, j] += weight * share
