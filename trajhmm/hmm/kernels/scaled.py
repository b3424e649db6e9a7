"""Forward and backward in ordinary numbers, scaled row by row: what EM runs.

`trajhmm.hmm.kernels.densities` takes the largest density out of each row, the forward recursion divides by the sum, so
no row can underflow as a whole. What can vanish is one state's share, below 1e-308 of the others'. That loss is
bounded: its share of the posterior is the vanished share times the backward variable, so while no backward variable
exceeds `LARGEST_BACKWARD` the loss is below 1e-50. Where one does, or where a row has no probability left, the kernel
says so and the rows are computed again with logarithms (`trajhmm.hmm.kernels.exact`).

A step waits for the one before it. So several runs are taken side by side: the processor works on one while another
waits.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.hmm.kernels.vectors import row_times

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SMALLEST_SUM = 1e-250
LARGEST_BACKWARD = 1e250

# Up to this many states loops over states are compiled for that very number, and unrolled.
_UNROLLED = 32
# Runs taken side by side.
_LANES = 4


def recursions(n_states: int) -> tuple[Callable[..., bool], Callable[..., bool]]:
    """The forward and the backward recursion, compiled for ``n_states``."""
    return _recursions(n_states if n_states <= _UNROLLED else None)


@cache
def _recursions(known: int | None) -> tuple[Any, Any]:
    @takes(
        densities="N1+ K1+",
        offsets="R runs of N",
        startprob="K",
        transmat="K K",
        before="K filled",
        alpha="N K filled",
        sums="N filled",
    )
    @compiled
    def forward(
        densities: Floats,
        offsets: Ints,
        continued: bool,  # noqa: FBT001 (numba takes arguments by position)
        startprob: Floats,
        transmat: Floats,
        before: Floats,
        alpha: Floats,
        sums: Floats,
    ) -> bool:
        """Filter runs.

        Parameters
        ----------
        densities : (n, K), over the largest of each row.
        offsets : (R + 1,) run r holds the rows ``offsets[r]:offsets[r + 1]``.
        continued : True if the rows are part of one run that began earlier.
        startprob, transmat : (K,), (K, K).
        before : (K,) filtered probabilities of the row before, if ``continued``; left as those of the last row.
        alpha : (n, K), filled with the filtered probabilities.
        sums : (n,), filled with the probability of each row given those before, over the largest density.

        Returns
        -------
        False if a row has no probability left.
        """
        n_states = known if known is not None else len(startprob)
        n_runs = len(offsets) - 1
        joint = np.empty((_LANES, n_states))
        last = np.empty((_LANES, n_states))
        last[0] = before
        for first in range(0, n_runs, _LANES):
            lanes = min(_LANES, n_runs - first)
            longest = 0
            for lane in range(lanes):
                longest = max(longest, offsets[first + lane + 1] - offsets[first + lane])
            for step in range(longest):
                for lane in range(lanes):
                    t = offsets[first + lane] + step
                    if t >= offsets[first + lane + 1]:
                        continue
                    here, past = joint[lane], last[lane]
                    if step == 0 and not continued:
                        for j in range(n_states):
                            here[j] = startprob[j]
                    elif known is not None:
                        row_times(past, transmat, here, known)
                    else:
                        for j in range(n_states):
                            here[j] = 0.0
                        for i in range(n_states):
                            share = past[i]
                            for j in range(n_states):
                                here[j] += share * transmat[i, j]
                    total = 0.0
                    for j in range(n_states):
                        here[j] *= densities[t, j]
                        total += here[j]
                    if not total > SMALLEST_SUM:
                        return False
                    sums[t] = total
                    inverse = 1.0 / total
                    for j in range(n_states):
                        past[j] = here[j] * inverse
                        alpha[t, j] = past[j]
        before[:] = alpha[len(alpha) - 1]
        return True

    @takes(
        densities="N1+ K1+ filled",
        offsets="R runs of N",
        weights="R",
        transposed="K K",
        alpha="N K",
        sums="N",
        beta="K filled",
        ahead="N K filled",
    )
    @compiled
    def backward(
        densities: Floats,
        offsets: Ints,
        continued: bool,  # noqa: FBT001
        weights: Floats,
        transposed: Floats,
        alpha: Floats,
        sums: Floats,
        beta: Floats,
        ahead: Floats,
    ) -> bool:
        """Smooth runs after `forward`.

        Parameters
        ----------
        densities, offsets, continued, alpha, sums : as for `forward`, filled; ``densities`` is overwritten with the
            smoothed probabilities times the run's weight.
        weights : (R,) of the runs.
        transposed : (K, K) ``transmat`` transposed.
        beta : (K,) backward variable of the last row: ones, unless the run goes on; left as that of the row before
            the first, if ``continued``.
        ahead : (n, K), filled with what row t says of the step into each state, times the weight: the expected number
            of transitions i → j into the rows is Σ_t alpha[t - 1, i] transmat[i, j] ahead[t, j]; 0 where a run begins.

        Returns
        -------
        False if what vanished in `forward` may matter.
        """
        n_states = known if known is not None else len(beta)
        n_runs = len(offsets) - 1
        betas = np.empty((_LANES, n_states))
        bounded = True
        for first in range(0, n_runs, _LANES):
            lanes = min(_LANES, n_runs - first)
            longest = 0
            for lane in range(lanes):
                longest = max(longest, offsets[first + lane + 1] - offsets[first + lane])
                betas[lane] = beta
            for step in range(longest):
                for lane in range(lanes):
                    t = offsets[first + lane + 1] - 1 - step
                    if t < offsets[first + lane]:
                        continue
                    weight = weights[first + lane]
                    inverse = 1.0 / sums[t]
                    later, row = betas[lane], ahead[t]
                    for k in range(n_states):
                        bounded &= later[k] <= LARGEST_BACKWARD  # so that NaN is not
                        row[k] = densities[t, k] * later[k] * inverse
                        densities[t, k] = alpha[t, k] * later[k] * weight
                    if t == offsets[first + lane] and not continued:
                        for k in range(n_states):
                            row[k] = 0.0
                        continue
                    if known is not None:
                        row_times(row, transposed, later, known)
                    else:
                        for i in range(n_states):
                            later[i] = 0.0
                        for j in range(n_states):
                            for i in range(n_states):
                                later[i] += row[j] * transposed[j, i]
                    for j in range(n_states):
                        row[j] *= weight
        beta[:] = betas[0]
        return bounded

    return forward, backward
