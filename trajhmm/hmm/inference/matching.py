"""Matching the states of two fits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


def match_states(means: NDArray[np.float64], reference: NDArray[np.float64]) -> NDArray[np.int64]:
    """(K,) for each state of ``reference``, the state of ``means`` matched to it by assignment (least squares).

    Parameters
    ----------
    means, reference : (K, D) state means in the same scale.
    """
    distance = ((reference[:, np.newaxis, :] - means[np.newaxis, :, :]) ** 2).sum(axis=2)
    matched: NDArray[np.int64] = linear_sum_assignment(distance)[1].astype(np.int64)
    return matched
