"""Intervals that rest on few runs, from their bootstrap.

scipy.special, not scipy.stats, which takes longer to load than a figure to draw.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def student_bounds(estimate: float, drawn: NDArray[np.float64], n: int, level: float = 0.95) -> tuple[float, float]:
    """Bounds from bootstrap values of an estimate that rests on ``n`` runs, or groups of them.

    The wider of the percentile bootstrap, its tails expanded as few runs ask for (Hesterberg 2015), and Student's t on
    the bootstrap's standard error.
    """
    if len(drawn) < 2 or n < 2:
        return np.nan, np.nan
    from scipy.special import stdtrit

    tail = expanded_tail(n, level)
    reach = float(stdtrit(n - 1, (1 + level) / 2)) * np.sqrt(n / (n - 1)) * float(drawn.std())
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(min(low, estimate - reach)), float(max(high, estimate + reach))


def expanded_tail(n: int, level: float = 0.95) -> float:
    """The share to cut off at each end of a bootstrap distribution for an interval of a mean of ``n`` values."""
    if n < 2:
        return 0.0
    from scipy.special import ndtr, stdtrit

    return float(ndtr(-np.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2)))
