"""Moments of rows about a point: sums of weights times powers of the values, over blocks of rows.

First moments and masses are kept for each *group* of consecutive rows: for each run where runs have shifts of their
own, else for all rows together.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.errors import ArrayError
from trajhmm.hmm.kernels.densities import BLOCK

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

# What rows are divided by is multiplied until it gets this small: the logarithm of each would take as long as all else.
_SMALL = 1e-40


@takes(
    values="N D",
    weights="N K",
    centre="D",
    groups="G runs of N",
    mass="G K filled",
    absent="G K D filled",
    sums="G K 2D filled",
)
@compiled
def diagonal_moments(
    values: Floats,
    complete: bool,  # noqa: FBT001 (numba takes arguments by position)
    weights: Floats,
    centre: Floats,
    groups: Ints,
    mass: Floats,
    absent: Floats,
    sums: Floats,
) -> None:
    """Add masses and first and second moments about ``centre``.

    Parameters
    ----------
    values : (n, D); NaN where missing.
    complete : True if no value is missing.
    weights : (n, K).
    centre : (D,)
    groups : (G + 1,) group g holds the rows ``groups[g]:groups[g + 1]``.
    mass : (G, K), added to: Σ_t w_tk.
    absent : (G, K, D), added to: Σ_t w_tk over the rows that miss the metric.
    sums : (G, K, 2 D), added to: Σ_t w_tk (z_t - c), then Σ_t w_tk (z_t - c)², over the values that are there.
    """
    alike, nowhere = np.ones(len(centre)), np.zeros(len(centre))
    for group in range(len(groups) - 1):
        begin, end = groups[group], groups[group + 1]
        _diagonal_moments(
            values[begin:end],
            complete,
            weights[begin:end],
            alike,
            nowhere,
            centre,
            mass[group],
            absent[group],
            sums[group],
        )


@takes(
    log_likelihood="R filled",
    values="N1+ D",
    offsets="R runs of N",
    runs="int G among R",
    shift="R? D",
    log_scale="R? D",
    alpha="M1+ K",
    own="G runs of M",
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
def expected_moments(
    values: Floats,
    complete: bool,  # noqa: FBT001
    offsets: Ints,
    own: Ints,
    runs: Ints,
    shift: Floats,
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
    values, complete, offsets, own, runs, shift, log_scale, largest : as for
        `trajhmm.hmm.kernels.densities.shifted_densities`.
    alpha, sums, ahead : as the recursions of `trajhmm.hmm.kernels.scaled` fill them.
    probs : (M, K) smoothed probabilities times the run's weight.
    transmat : (K, K).
    centre : (D,) moments of the rows, scaled and less their shifts, are taken about.
    log_likelihood : (R,), filled for the wanted runs, in nats; not times the weight.
    start, transitions : (K,), (K, K), added to: runs that start in each state, and transitions.
    mass, absent, moments : (S, K), (S, K, D), (S, K, 2 D), added to as by `diagonal_moments`: for each run if S is R,
        for all together if S is 1.
    """
    n_rows, n_metrics = len(alpha), values.shape[1]
    if n_rows > 1:
        transitions += np.dot(alpha[: n_rows - 1].T, ahead[1:]) * transmat
    alone = len(mass) == len(log_likelihood)
    if not alone and len(mass) > 1:
        raise ArrayError("expected_moments: mass of neither one place nor one for each run")
    factor, less = np.ones(n_metrics), np.zeros(n_metrics)
    for g in range(len(runs)):
        r, begin, end = runs[g], own[g], own[g + 1]
        if offsets[r + 1] - offsets[r] != end - begin:
            raise ArrayError("expected_moments: own: a run has another number of rows")
        rows = values[offsets[r] : offsets[r + 1]]
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
                    for t in range(end - begin):
                        there -= np.isnan(rows[t, d])
                total += there * log_scale[r, d]
                factor[d] = math.exp(log_scale[r, d])
        if len(shift):
            less[:] = shift[r]
        log_likelihood[r] = total
        if end > begin:
            start += probs[begin]
        place = r if alone else 0
        _diagonal_moments(
            rows, complete, probs[begin:end], factor, less, centre, mass[place], absent[place], moments[place]
        )


@compiled
def _diagonal_moments(
    values: Floats,
    complete: bool,  # noqa: FBT001 (numba takes arguments by position)
    weights: Floats,
    factor: Floats,
    less: Floats,
    centre: Floats,
    mass: Floats,
    absent: Floats,
    sums: Floats,
) -> None:
    """`diagonal_moments` of one group, of which the rows are times ``factor`` and ``less`` something, both (D,)."""
    n_metrics, n_states = values.shape[1], weights.shape[1]
    column, absence, shares = np.empty(BLOCK), np.empty(BLOCK), np.empty((n_states, BLOCK))
    for begin in range(0, len(values), BLOCK):
        size = min(BLOCK, len(values) - begin)
        for k in range(n_states):
            share = shares[k]
            for t in range(size):
                share[t] = weights[begin + t, k]
            mass[k] += _total(share, size)
        for d in range(n_metrics):
            times, away, point = factor[d], less[d], centre[d]
            for t in range(size):
                column[t] = values[begin + t, d] * times - away - point
            if not complete:
                for t in range(size):
                    missing = np.isnan(column[t])
                    absence[t] = 1.0 if missing else 0.0
                    column[t] = 0.0 if missing else column[t]
                for k in range(n_states):
                    absent[k, d] += _products(shares[k], absence, size)[0]
            for k in range(n_states):
                once, twice = _products(shares[k], column, size)
                sums[k, d] += once
                sums[k, n_metrics + d] += twice


@compiled(reorder=True)
def _total(weights: Floats, size: int) -> float:
    total = 0.0
    for t in range(size):
        total += weights[t]
    return total


@compiled(reorder=True)
def _products(weights: Floats, column: Floats, size: int) -> tuple[float, float]:
    """Σ_t w_t x_t and Σ_t w_t x_t²."""
    once, twice = 0.0, 0.0
    for t in range(size):
        share = weights[t] * column[t]
        once += share
        twice += share * column[t]
    return once, twice


@takes(
    values="N D",
    weights="N K",
    skip="bool N",
    centre="D",
    groups="G runs of N",
    mass="G K filled",
    first="G K D filled",
    second="K D D filled",
)
@compiled
def full_moments(
    values: Floats,
    weights: Floats,
    skip: Bools,
    centre: Floats,
    groups: Ints,
    mass: Floats,
    first: Floats,
    second: Floats,
) -> None:
    """Add masses, first moments and matrices of second moments about ``centre``.

    Parameters
    ----------
    values : (n, D)
    weights : (n, K).
    skip : (n,) rows to leave out of the moments; they count in the masses.
    centre : (D,)
    groups : (G + 1,) group g holds the rows ``groups[g]:groups[g + 1]``.
    mass : (G, K), added to: Σ_t w_tk.
    first : (G, K, D), added to: Σ_t w_tk (z_t - c).
    second : (K, D, D), added to: Σ_t w_tk (z_t - c)(z_t - c)ᵀ, over all groups.
    """
    n_rows, n_metrics = values.shape
    n_states = weights.shape[1]
    away = np.empty((BLOCK, n_metrics))
    weighted = np.empty((BLOCK, n_states * n_metrics))
    group = 0
    for begin in range(0, n_rows, BLOCK):
        size = min(BLOCK, n_rows - begin)
        for t in range(size):
            while begin + t >= groups[group + 1]:
                group += 1
            for d in range(n_metrics):
                away[t, d] = 0.0 if skip[begin + t] else values[begin + t, d] - centre[d]
            for k in range(n_states):
                weight = weights[begin + t, k]
                mass[group, k] += weight
                for d in range(n_metrics):
                    share = weight * away[t, d]
                    weighted[t, k * n_metrics + d] = share
                    first[group, k, d] += share
        second += np.dot(weighted[:size].T, away[:size]).reshape(n_states, n_metrics, n_metrics)
