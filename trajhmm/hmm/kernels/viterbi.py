"""The likeliest path of states."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@takes(log_density="N K1+", offsets="R runs of N", startprob="K", transmat="K K", path="int N filled")
@compiled
def viterbi(log_density: Floats, offsets: Ints, startprob: Floats, transmat: Floats, path: Ints) -> float:
    """Decode every run: fill ``path`` (N,) with the likeliest sequence of states; ties go to the lower state.

    Parameters
    ----------
    log_density : (N, K)
    offsets : (R + 1,) rows of run r are ``offsets[r]:offsets[r + 1]``.
    startprob, transmat : (K,), (K, K).
    path : (N,)

    Returns
    -------
    Sum over runs of the log-probability of path and values together.
    """
    n_states = log_density.shape[1]
    log_start = np.log(startprob)
    log_transmat = np.log(transmat)
    longest = 0
    for r in range(len(offsets) - 1):
        longest = max(longest, offsets[r + 1] - offsets[r])
    came_from = np.empty((longest, n_states), dtype=np.int16)
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
                came_from[t - first, j] = best
                score[j] = best_score + log_density[t, j]
        path[last] = np.argmax(score)
        total += score[path[last]]
        for t in range(last - 1, first - 1, -1):
            path[t] = came_from[t + 1 - first, path[t + 1]]
    return total
