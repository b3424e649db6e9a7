"""Means of states and shifts of runs together, where metrics are independent: a small linear system for each metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled

Floats = NDArray[np.float64]


@takes(
    there="R K D",
    first="R K D",
    inverse="K D",
    tau="D",
    shift="R D",
    weights="R",
    least=(0.0, np.inf),
    ridge=(0.0, 1.0),
    matrix="K K D filled",
    right="K D filled",
    free="R D filled",
    precision="R D filled",
)
@compiled(error_model="numpy")
def equations(
    there: Floats,
    first: Floats,
    inverse: Floats,
    tau: Floats,
    shift: Floats,
    weights: Floats,
    least: float,
    ridge: float,
    matrix: Floats,
    right: Floats,
    free: Floats,
    precision: Floats,
) -> None:
    """Write down the equations for moves of the means, with the shifts put in.

    Parameters
    ----------
    there : (R, K, D) expected rows of each run in each state in which the metric is there.
    first : (R, K, D) their sums about the state's mean and the run's shift.
    inverse : (K, D) 1/σ².
    tau : (D,) variance of the shifts.
    shift : (R, D) means of the shifts.
    weights : (R,) of the runs.
    least : expected rows that say nothing of a mean, which then stays where it is.
    ridge : what keeps equations apart that say the same, relative to their size.
    matrix, right : (K, K, D), (K, D), filled: the moves m of the means of metric d solve
        ``matrix[:, :, d] @ m = right[:, d]``.
    free : (R, D), filled: how far the shifts would move if the means did not.
    precision : (R, D), filled: precision of the shifts.
    """
    n_runs, n_states, n_metrics = there.shape
    matrix[:] = 0.0
    right[:] = 0.0
    total = np.zeros((n_states, n_metrics))
    share = np.empty(n_metrics)
    for r in range(n_runs):
        weight = weights[r]
        for d in range(n_metrics):
            precision[r, d] = 1.0 / tau[d]
            free[r, d] = -shift[r, d] / tau[d]
        for k in range(n_states):
            for d in range(n_metrics):
                precision[r, d] += there[r, k, d] * inverse[k, d]
                free[r, d] += first[r, k, d] * inverse[k, d]
        for d in range(n_metrics):
            free[r, d] /= precision[r, d]
        for k in range(n_states):
            for d in range(n_metrics):
                weighted = weight * there[r, k, d]
                total[k, d] += weighted
                right[k, d] += weight * first[r, k, d] - weighted * free[r, d]
                share[d] = weighted / precision[r, d]
            for j in range(n_states):
                for d in range(n_metrics):
                    matrix[k, j, d] -= share[d] * (there[r, j, d] * inverse[j, d])
    # Equations are made of one size.
    for k in range(n_states):
        for d in range(n_metrics):
            size = 1.0 / total[k, d] if total[k, d] > least else 0.0
            right[k, d] *= size
            for j in range(n_states):
                matrix[k, j, d] *= size
            matrix[k, k, d] += 1.0 + ridge
