"""The canonical order of states, and matching states of two fits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


def entry_order(path: NDArray[np.int64], offsets: NDArray[np.int64], n_states: int) -> NDArray[np.int64]:
    """(K,) states by when runs first enter them: mean row of first entry over the runs that do; never visited last."""
    total, visits = np.zeros(n_states), np.zeros(n_states)
    for start, stop in pairwise(offsets):
        states, first = np.unique(path[start:stop], return_index=True)
        total[states] += first
        visits[states] += 1
    mean = np.divide(total, visits, out=np.full(n_states, np.inf), where=visits > 0)
    return np.argsort(mean, kind="stable").astype(np.int64)


def match_states(means: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.int64]:
    """(K,) for each state of ``reference``, the state of ``means`` matched to it by assignment (least squares).

    Parameters
    ----------
    means, reference : (K, D) state means in the same scale.
    """
    distance = ((reference[:, np.newaxis, :] - means[np.newaxis, :, :]) ** 2).sum(axis=2)
    matched: NDArray[np.int64] = linear_sum_assignment(distance)[1].astype(np.int64)
    return matched
