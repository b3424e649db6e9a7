"""Two decodings of the same rows: how far they agree, and which state of one stands for which of the other."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def contingency(one: Ints, other: Ints, k: int, n: int) -> Floats:
    """(K, n) rows in state i of one path, which has K states, and j of the other, which has n."""
    return np.bincount(one * n + other, minlength=k * n).reshape(k, n).astype(np.float64)


def adjusted_rand(table: Floats) -> float:
    """Adjusted Rand index (Hubert and Arabie 1985) of two partitions with contingency ``table`` (K, n)."""

    def pairs(counts: Floats) -> float:
        return float((counts * (counts - 1) / 2).sum())

    together, one, other = pairs(table), pairs(table.sum(axis=1)), pairs(table.sum(axis=0))
    chance = one * other / max(pairs(table.sum()), 1.0)
    most = (one + other) / 2
    return 1.0 if most == chance else (together - chance) / (most - chance)


def jaccard(table: Floats) -> Floats:
    """(K,) for each state of the first partition, the Jaccard index of its rows with those of its counterpart.

    Counterparts are found by assignment, so that the indices add up to as much as they can (Hennig 2007).

    Parameters
    ----------
    table : (K, n) rows in state i of the first partition and j of the second; 0 for a state without counterpart.
    """
    index = _indices(table)
    own, other = linear_sum_assignment(-index)
    matched = np.zeros(len(table))
    matched[own] = index[own, other]
    return matched


def counterparts(table: Floats) -> Ints:
    """(n,) for each state of the second partition, the state of the first that it stands for, by the same assignment.

    A state that is left over, where the second has more, gets a number of its own after those of the first.

    Parameters
    ----------
    table : (K, n) rows in state i of the first partition and j of the second.
    """
    own, other = linear_sum_assignment(-_indices(table))
    stands_for = np.full(table.shape[1], -1, dtype=np.int64)
    stands_for[other] = own
    left = np.flatnonzero(stands_for < 0)
    stands_for[left] = len(table) + np.arange(len(left))
    return stands_for


def _indices(table: Floats) -> Floats:
    """(K, n) Jaccard index of the rows of each pair of states."""
    union = table.sum(axis=1, keepdims=True) + table.sum(axis=0, keepdims=True) - table
    index: Floats = np.divide(table, union, out=np.zeros_like(table), where=union > 0)
    return index
