"""What the E-step does with whole runs before and after `trajhmm.hmm.kernels.scaled`, under diagonal covariances.

A search for a map spends its time here. So little is left to the interpreter that searches can go on side by side.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.hmm.kernels.densities import fill_diagonal_densities
from trajhmm.hmm.kernels.moments import add_diagonal_moments

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# What rows are divided by is multiplied until it gets this small: the logarithm of each would take as long as all else.
_SMALL = 1e-40


@takes(
    values="N D",
    offsets="R runs of N",
    runs="int G below R",
    shift="R? D",
    doubt="R? D",
    log_scale="R? D",
    means="K1+ D",
    precisions="K D",
    log_norms="K D",
    rows="M D filled",
    own="G runs of M",
    densities="M K filled",
    largest="M filled",
)
@compiled
def prepare(
    values: Floats,
    complete: bool,  # noqa: FBT001 (numba takes arguments by position)
    offsets: Ints,
    runs: Ints,
    shift: Floats,
    doubt: Floats,
    log_scale: Floats,
    means: Floats,
    precisions: Floats,
    log_norms: Floats,
    rows: Floats,
    own: Ints,
    densities: Floats,
    largest: Floats,
) -> None:
    """Pick some runs, take their shifts from their rows, and say how likely these are in each state.

    Parameters
    ----------
    values : (N, D) of all runs; NaN where missing.
    complete : True if no value is missing.
    offsets : (R + 1,) run r holds the rows ``offsets[r]:offsets[r + 1]``.
    runs : (G,) which are wanted.
    shift, doubt : (R, D) shift of each run and its variance; (0, D) if runs are not shifted.
    log_scale : (R, D) logarithm of the scale of each run; (0, D) if runs have none.
    means, precisions, log_norms : as for `diagonal_densities`.
    rows : (M, D), filled with those of the wanted runs, scaled and less their shifts.
    own : (G + 1,) where in these each stands.
    densities, largest : (M, K), (M,), filled as by `diagonal_densities`, scaled.
    """
    n_metrics = values.shape[1]
    unsure = np.empty((len(runs) if len(doubt) else 0, n_metrics))
    scale = np.ones(n_metrics)
    for g in range(len(runs)):
        r = runs[g]
        begin, to = offsets[r], own[g]
        if len(log_scale):
            for d in range(n_metrics):
                scale[d] = math.exp(log_scale[r, d])
        for t in range(min(offsets[r + 1] - begin, own[g + 1] - to)):
            for d in range(n_metrics):
                value = values[begin + t, d]
                if len(log_scale):
                    value *= scale[d]
                if len(shift):
                    value -= shift[r, d]
                rows[to + t, d] = value
        if len(doubt):
            unsure[g] = doubt[r]
    fill_diagonal_densities(
        rows,
        complete,
        means,
        precisions,
        log_norms,
        own,
        unsure,
        True,  # noqa: FBT003
        densities,
        largest,
    )


@takes(
    log_likelihood="R filled",
    rows="M1+ D",
    own="G runs of M",
    runs="int G below R",
    log_scale="R? D",
    alpha="M K",
    sums="M",
    largest="M",
    probs="M K",
    ahead="M K",
    transmat="K K",
    centre="D",
    start="K filled",
    transitions="K K filled",
    mass="S1+ K filled",
    absent="S K D filled",
    moments="S K 2D filled",
)
@compiled
def add_up(
    rows: Floats,
    complete: bool,  # noqa: FBT001
    own: Ints,
    runs: Ints,
    log_scale: Floats,
    alpha: Floats,
    sums: Floats,
    largest: Floats,
    probs: Floats,
    ahead: Floats,
    transmat: Floats,
    centre: Floats,
    log_likelihood: Floats,
    start: Floats,
    transitions: Floats,
    mass: Floats,
    absent: Floats,
    moments: Floats,
) -> None:
    """Add what is expected of runs that forward and backward went over.

    Parameters
    ----------
    rows, own, runs, log_scale, largest : as for `prepare`.
    complete : True if no value is missing.
    alpha, sums, ahead : as the recursions of `trajhmm.hmm.kernels.scaled` fill them.
    probs : (M, K) smoothed probabilities times the run's weight.
    transmat : (K, K).
    centre : (D,) moments are taken about.
    log_likelihood : (R,), filled for the wanted runs, in nats; not times the weight.
    start, transitions : (K,), (K, K), added to: runs that start in each state, and transitions.
    mass, absent, moments : (S, K), (S, K, D), (S, K, 2 D), added to as by `diagonal_moments`: for each run if S is R,
        for all together if S is 1.
    """
    n_rows, n_metrics = rows.shape
    if n_rows > 1:
        transitions += np.dot(alpha[: n_rows - 1].T, ahead[1:]) * transmat
    bounds = np.zeros(2, dtype=np.int64)
    for g in range(len(runs)):
        r, begin, end = runs[g], own[g], own[g + 1]
        place = min(r, len(mass) - 1)
        total, product = 0.0, 1.0
        for t in range(begin, end):
            total += largest[t]
            product *= sums[t]
            if product < _SMALL:
                total += math.log(product)
                product = 1.0
        total += math.log(product)
        if len(log_scale):
            for d in range(n_metrics):
                there = end - begin
                if not complete:
                    for t in range(begin, end):
                        there -= np.isnan(rows[t, d])
                total += there * log_scale[r, d]
        log_likelihood[r] = total
        if end > begin:
            start += probs[begin]
        bounds[1] = end - begin
        add_diagonal_moments(
            rows[begin:end],
            complete,
            probs[begin:end],
            centre,
            bounds,
            mass[place : place + 1],
            absent[place : place + 1],
            moments[place : place + 1],
        )
