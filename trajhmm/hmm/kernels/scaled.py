"""Forward and backward in ordinary numbers, scaled row by row: what EM runs.

`trajhmm.hmm.kernels.densities` takes the largest density out of each row, the forward recursion divides by the sum, so
no row can underflow as a whole. What can vanish is one state's share, below 1e-308 of the others'. That loss is
bounded: its share of the posterior is the vanished share times the backward variable, so while no backward variable
exceeds `LARGEST_BACKWARD` the loss is below 1e-50. Where one does, or where a row has no probability left, the stretch
says so and is computed again with logarithms (`trajhmm.hmm.kernels.exact`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trajhmm.hmm.kernels.densities import BLOCK

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

SMALLEST_SUM = 1e-250
LARGEST_BACKWARD = 1e250

# Up to this many states loops over states are compiled for that very number, and unrolled.
_UNROLLED = 12


def recursions(n_states: int) -> tuple[Callable[..., bool], Callable[..., bool]]:
    """The forward and the backward recursion, compiled for ``n_states``."""
    return _recursions(n_states if n_states <= _UNROLLED else None)


@cache
def _recursions(known: int | None) -> tuple[Any, Any]:  # noqa: C901 (two kernels, compiled for one number of states)
    @njit(cache=True, nogil=True)
    def forward(
        densities: Floats,
        fresh: Bools,
        startprob: Floats,
        transmat: Floats,
        before: Floats,
        alpha: Floats,
        sums: Floats,
    ) -> bool:
        """Filter a stretch of rows.

        Parameters
        ----------
        densities : (n, K), over the largest of each row.
        fresh : (n,) True where a run begins.
        startprob, transmat : (K,), (K, K).
        before : (K,) filtered probabilities of the row before the stretch; left as those of its last row.
        alpha : (n, K), filled with the filtered probabilities.
        sums : (n,), filled with the probability of each row given those before, over the largest density.

        Returns
        -------
        False if a row has no probability left.
        """
        n_states = known if known is not None else len(startprob)
        joint = np.empty(n_states)
        for t in range(len(densities)):
            if fresh[t]:
                for j in range(n_states):
                    joint[j] = startprob[j]
            else:
                for j in range(n_states):
                    joint[j] = 0.0
                for i in range(n_states):
                    share = before[i]
                    for j in range(n_states):
                        joint[j] += share * transmat[i, j]
            total = 0.0
            for j in range(n_states):
                joint[j] *= densities[t, j]
                total += joint[j]
            if not total > SMALLEST_SUM:
                return False
            sums[t] = total
            inverse = 1.0 / total
            for j in range(n_states):
                before[j] = joint[j] * inverse
                alpha[t, j] = before[j]
        return True

    @njit(cache=True, nogil=True)
    def backward(
        densities: Floats,
        fresh: Bools,
        weights: Floats,
        transposed: Floats,
        before: Floats,
        alpha: Floats,
        sums: Floats,
        beta: Floats,
        started: Floats,
        pairs: Floats,
    ) -> bool:
        """Smooth a stretch of rows after `forward`, and count.

        Parameters
        ----------
        densities, fresh, alpha, sums : as `forward` left them; ``densities`` is overwritten with the smoothed
            probabilities times the row's weight.
        weights : (n,) of the rows.
        transposed : (K, K) ``transmat`` transposed.
        before : (K,) filtered probabilities of the row before the stretch.
        beta : (K,) backward variable of the stretch's last row; left as that of the row before the stretch.
        started : (K,), added to: weight of runs that start in each state.
        pairs : (K, K), added to: expected number of transitions i → j over ``transmat[i, j]``.

        Returns
        -------
        False if what vanished in `forward` may matter.
        """
        n_rows = len(densities)
        n_states = known if known is not None else len(beta)
        ahead = np.empty((BLOCK, n_states))
        bounded = True
        for end in range(n_rows, 0, -BLOCK):
            begin = max(end - BLOCK, 0)
            for t in range(end - 1, begin - 1, -1):
                weight = weights[t]
                inverse = 1.0 / sums[t]
                row = ahead[t - begin]
                for k in range(n_states):
                    bounded &= beta[k] <= LARGEST_BACKWARD  # so that NaN is not
                    row[k] = densities[t, k] * beta[k] * inverse
                    densities[t, k] = alpha[t, k] * beta[k] * weight
                if fresh[t]:
                    for k in range(n_states):
                        started[k] += densities[t, k]
                        beta[k] = 1.0
                        row[k] = 0.0
                    continue
                for i in range(n_states):
                    beta[i] = 0.0
                for j in range(n_states):
                    for i in range(n_states):
                        beta[i] += transposed[j, i] * row[j]
                for j in range(n_states):
                    row[j] *= weight
            if begin > 0:
                pairs += np.dot(alpha[begin - 1 : end - 1].T, ahead[: end - begin])
            else:
                pairs += np.outer(before, ahead[0])
                pairs += np.dot(alpha[: end - 1].T, ahead[1:end])
        return bounded

    return forward, backward
