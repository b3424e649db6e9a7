"""Intervals of shares that were counted: so many of so many."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95


def exact_interval(found: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Exact interval of a share, if ``found`` of ``n`` were counted (Clopper and Pearson 1934); (0, 1) of none."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = betaincinv(found, n - found + 1, tail) if found > 0 else 0.0
    high = betaincinv(found + 1, n - found, 1 - tail) if found < n else 1.0
    return float(low), float(high)


def score_intervals(
    found: ArrayLike, n: ArrayLike, level: float = LEVEL
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Wilson's intervals (1927) of shares: of few runs the exact one would cover 99% and more.

    Parameters
    ----------
    found, n : (S,) counted, and of how many.

    Returns
    -------
    (S,) lower and (S,) upper bounds; NaN of none.
    """
    from statsmodels.stats.proportion import proportion_confint

    found, n = np.atleast_1d(np.asarray(found)), np.atleast_1d(np.asarray(n))
    some = n > 0
    low, high = np.full(len(n), np.nan), np.full(len(n), np.nan)
    low[some], high[some] = proportion_confint(found[some], n[some], alpha=1 - level, method="wilson")
    low[some & (found == 0)], high[some & (found == n)] = 0.0, 1.0  # to the last digit
    return low, high
