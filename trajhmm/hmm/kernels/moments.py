"""Moments of rows weighted by the probabilities of states, as matrix products over blocks of rows."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trajhmm.hmm.kernels.densities import BLOCK

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@njit(cache=True, nogil=True)
def diagonal_moments(
    values: Floats,
    complete: bool,  # noqa: FBT001 (numba takes arguments by position)
    weights: Floats,
    centre: Floats,
    sums: Floats,
    absent: Floats,
) -> None:
    """Add first and second moments about ``centre``.

    Parameters
    ----------
    values : (n, D); NaN where missing.
    complete : True if no value is missing.
    weights : (n, K).
    centre : (D,)
    sums : (2 D + 1, K), added to: Σ_t w_tk (z_t - c), Σ_t w_tk (z_t - c)² over the values that are there, Σ_t w_tk.
    absent : (D, K), added to: Σ_t w_tk over the rows that miss the metric.
    """
    n_rows, n_metrics = values.shape
    columns = np.empty((2 * n_metrics + 1, BLOCK))
    gone = np.zeros((n_metrics, BLOCK))
    columns[2 * n_metrics] = 1.0
    product, product_gone = np.empty_like(sums), np.empty_like(absent)
    for begin in range(0, n_rows, BLOCK):
        size = min(BLOCK, n_rows - begin)
        if size < BLOCK:
            columns, gone = np.empty((2 * n_metrics + 1, size)), np.zeros((n_metrics, size))
            columns[2 * n_metrics] = 1.0
        for d in range(n_metrics):
            for t in range(size):
                away = values[begin + t, d] - centre[d]
                columns[d, t] = away
                columns[n_metrics + d, t] = away * away
        block = weights[begin : begin + size]
        if not complete:
            for d in range(n_metrics):
                for t in range(size):
                    missing = np.isnan(columns[d, t])
                    gone[d, t] = 1.0 if missing else 0.0
                    if missing:
                        columns[d, t] = 0.0
                        columns[n_metrics + d, t] = 0.0
            np.dot(gone, block, out=product_gone)
            absent += product_gone
        np.dot(columns, block, out=product)
        sums += product


@njit(cache=True, nogil=True)
def full_moments(
    values: Floats, weights: Floats, skip: Bools, centre: Floats, mass: Floats, first: Floats, second: Floats
) -> None:
    """Add first moments and matrices of second moments about ``centre``.

    Parameters
    ----------
    values : (n, D)
    weights : (n, K).
    skip : (n,) rows to leave out.
    centre : (D,)
    mass : (K,), added to: Σ_t w_tk, of all rows.
    first : (K, D), added to: Σ_t w_tk (z_t - c).
    second : (K, D, D), added to: Σ_t w_tk (z_t - c)(z_t - c)ᵀ.
    """
    n_rows, n_metrics = values.shape
    n_states = weights.shape[1]
    away = np.empty((BLOCK, n_metrics))
    weighted = np.empty((BLOCK, n_states * n_metrics))
    for begin in range(0, n_rows, BLOCK):
        size = min(BLOCK, n_rows - begin)
        for t in range(size):
            for d in range(n_metrics):
                away[t, d] = 0.0 if skip[begin + t] else values[begin + t, d] - centre[d]
            for k in range(n_states):
                weight = weights[begin + t, k]
                mass[k] += weight
                for d in range(n_metrics):
                    share = weight * away[t, d]
                    weighted[t, k * n_metrics + d] = share
                    first[k, d] += share
        second += np.dot(weighted[:size].T, away[:size]).reshape(n_states, n_metrics, n_metrics)
