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
    second="K D",
    inverse="K D",
    tau="D",
    shift="R D",
    variance="R D",
    weights="R",
    least=(0.0, np.inf),
    ridge=(0.0, 1.0),
    means="K D filled",
    moved="R D filled",
    about="K D filled",
)
@compiled(error_model="numpy")
def moved_together(
    mass: Floats,
    absent: Floats,
    first: Floats,
    second: Floats,
    inverse: Floats,
    tau: Floats,
    shift: Floats,
    variance: Floats,
    weights: Floats,
    least: float,
    ridge: float,
    means: Floats,
    moved: Floats,
    about: Floats,
) -> None:
    """Move means and shifts to where the bound is highest, and moments with them.

    The shifts are put into the equations for the means, so that there are K for each metric.

    Parameters
    ----------
    mass, absent : (R, K), (R, K, D) expected rows of each run in each state, and of these those that miss the metric.
    first : (R, K, D) their sums about the state's mean and the run's shift.
    second : (K, D) sums of squares about these, of all runs, each times its weight.
    inverse : (K, D) 1/σ².
    tau : (D,) variance of the shifts.
    shift, variance : (R, D) means of the shifts, and what is not known of them.
    weights : (R,) of the runs.
    least : expected rows that say nothing of a mean, which then stays where it is.
    ridge : what keeps equations apart that say the same, relative to their size.
    means, moved : (K, D), (R, D), filled: how far means and shifts move.
    about : (K, D), filled: sums of squares about moved means and shifts, with what is not known of shifts.

    Raises
    ------
    numpy.linalg.LinAlgError
        The equations have no solution, as where something is not finite.
    """
    n_runs, n_states, n_metrics = first.shape
    matrix = np.zeros((n_metrics, n_states, n_states))
    right = np.zeros((n_metrics, n_states, 1))
    total = np.zeros((n_metrics, n_states))
    precision, there, pull = np.empty((n_runs, n_metrics)), np.empty(n_states), np.empty(n_states)
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
                right[d, k, 0] += weight * first[r, k, d] - weighted * free
                share = weighted / own
                for j in range(n_states):
                    matrix[d, k, j] -= share * pull[j]
    for d in range(n_metrics):
        # Equations are made of one size.
        for k in range(n_states):
            size = 1.0 / total[d, k] if total[d, k] > least else 0.0
            right[d, k, 0] *= size
            for j in range(n_states):
                matrix[d, k, j] *= size
            matrix[d, k, k] += 1.0 + ridge
        moves = np.linalg.solve(matrix[d], right[d])
        for k in range(n_states):
            means[k, d] = moves[k, 0]
    about[:] = second
    for r in range(n_runs):
        weight = weights[r]
        for d in range(n_metrics):
            back = 0.0
            for k in range(n_states):
                back += (mass[r, k] - absent[r, k, d]) * inverse[k, d] * means[k, d]
            moved[r, d] -= back / precision[r, d]
            for k in range(n_states):
                rows, away = mass[r, k] - absent[r, k, d], moved[r, d] + means[k, d]
                about[k, d] += weight * (rows * (away * away + variance[r, d]) - 2.0 * first[r, k, d] * away)
