"""Means of states and shifts of runs together, where metrics are independent: a small linear system for each metric."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled

Floats = NDArray[np.float64]


@takes(
    mass="R K1+",
    absent="R K D",
    first="R K D",
    inverse="K D",
    tau="D",
    shift="R D",
    weights="R",
    least=(0.0, np.inf),
    ridge=(0.0, 1.0),
    matrix="D K K filled",
    right="D K filled",
    moved="R D filled",
    precision="R D filled",
)
@compiled(error_model="numpy")
def equations(
    mass: Floats,
    absent: Floats,
    first: Floats,
    inverse: Floats,
    tau: Floats,
    shift: Floats,
    weights: Floats,
    least: float,
    ridge: float,
    matrix: Floats,
    right: Floats,
    moved: Floats,
    precision: Floats,
) -> None:
    """Write down the equations for moves of the means, with the shifts put in.

    Parameters
    ----------
    mass, absent : (R, K), (R, K, D) expected rows of each run in each state, and of these those that miss the metric.
    first : (R, K, D) their sums about the state's mean and the run's shift.
    inverse : (K, D) 1/σ².
    tau : (D,) variance of the shifts.
    shift : (R, D) means of the shifts.
    weights : (R,) of the runs.
    least : expected rows that say nothing of a mean, which then stays where it is.
    ridge : what keeps equations apart that say the same, relative to their size.
    matrix, right : (D, K, K), (D, K), filled: the moves m of the means of metric d solve ``matrix[d] @ m = right[d]``.
    moved : (R, D), filled: how far the shifts would move if the means did not.
    precision : (R, D), filled: precision of the shifts.
    """
    n_runs, n_states, n_metrics = first.shape
    matrix[:] = 0.0
    right[:] = 0.0
    total = np.zeros((n_metrics, n_states))
    there, pull = np.empty(n_states), np.empty(n_states)
    for r in range(n_runs):
        weight = weights[r]
        for d in range(n_metrics):
            own, free = 1.0 / tau[d], -shift[r, d] / tau[d]
            for k in range(n_states):
                there[k] = mass[r, k] - absent[r, k, d]
                pull[k] = there[k] * inverse[k, d]
                own += pull[k]
                free += first[r, k, d] * inverse[k, d]
            free /= own
            precision[r, d], moved[r, d] = own, free
            for k in range(n_states):
                weighted = weight * there[k]
                total[d, k] += weighted
                right[d, k] += weight * first[r, k, d] - weighted * free
                share = weighted / own
                for j in range(n_states):
                    matrix[d, k, j] -= share * pull[j]
    # Equations are made of one size.
    for d in range(n_metrics):
        for k in range(n_states):
            size = 1.0 / total[d, k] if total[d, k] > least else 0.0
            right[d, k] *= size
            for j in range(n_states):
                matrix[d, k, j] *= size
            matrix[d, k, k] += 1.0 + ridge


@takes(
    mass="R K1+",
    absent="R K D",
    first="R K D",
    inverse="K D",
    variance="R D",
    weights="R",
    means="D K",
    precision="R D",
    moved="R D filled",
    second="K D filled",
)
@compiled(error_model="numpy")
def moved_about(
    mass: Floats,
    absent: Floats,
    first: Floats,
    inverse: Floats,
    variance: Floats,
    weights: Floats,
    means: Floats,
    precision: Floats,
    moved: Floats,
    second: Floats,
) -> None:
    """Move shifts with the means, and second moments with both.

    Parameters
    ----------
    mass, absent, first, inverse, weights, precision : as for `equations`.
    variance : (R, D) what is not known of the shifts.
    means : (D, K) how far the means move.
    moved : (R, D), in place: as `equations` fills it, then how far the shifts move.
    second : (K, D), in place: sums of squares about means and shifts, of all runs, each times its weight; then about
        where these are moved to, with what is not known of shifts.
    """
    n_runs, n_states, n_metrics = first.shape
    for r in range(n_runs):
        weight = weights[r]
        for d in range(n_metrics):
            back = 0.0
            for k in range(n_states):
                back += (mass[r, k] - absent[r, k, d]) * inverse[k, d] * means[d, k]
            moved[r, d] -= back / precision[r, d]
            for k in range(n_states):
                rows, away = mass[r, k] - absent[r, k, d], moved[r, d] + means[d, k]
                second[k, d] += weight * (rows * (away * away + variance[r, d]) - 2.0 * first[r, k, d] * away)
