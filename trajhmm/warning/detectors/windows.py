"""Statistics of the values just before each one: compiled loops whose rows do not depend on what comes later.

Each window is summed afresh. Running sums would be faster and would let one value of 1e12 spoil all that come after.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled

Floats = NDArray[np.float64]

# Spread below which a window stands still up to rounding, as a share of its largest value; and of a window of zeros.
STILL = 1e-9
ZERO = 1e-100


@takes(values="N", window=1, least=1)
@compiled
def previous_moments(values: Floats, window: int, least: int) -> tuple[Floats, Floats]:
    """Mean and population standard deviation of the up to ``window`` values before each.

    Parameters
    ----------
    values : (n,)
    window, least : values that are looked back on, and how many there must be.

    Returns
    -------
    mean, spread : (n,); NaN where there are fewer than ``least``.
    """
    n = len(values)
    mean, spread = np.full(n, np.nan), np.full(n, np.nan)
    for t in range(least, n):
        first = max(0, t - window)
        total = 0.0
        for i in range(first, t):
            total += values[i]
        centre = total / (t - first)
        squares = 0.0
        for i in range(first, t):
            squares += (values[i] - centre) ** 2
        mean[t] = centre
        spread[t] = np.sqrt(squares / (t - first))
    return mean, spread


@takes(values="N", window=1, least=1)
@compiled
def previous_median(values: Floats, window: int, least: int) -> tuple[Floats, Floats]:
    """Median and median absolute deviation from it of the up to ``window`` values before each.

    Parameters and shapes are those of `previous_moments`.
    """
    n = len(values)
    median, deviation = np.full(n, np.nan), np.full(n, np.nan)
    for t in range(least, n):
        before = values[max(0, t - window) : t]
        centre = np.median(before)
        median[t] = centre
        deviation[t] = np.median(np.abs(before - centre))
    return median, deviation


@takes(values="N", window=1)
@compiled
def previous_largest(values: Floats, window: int) -> Floats:
    """(n,) largest size of the up to ``window`` values before each; 0 for the first."""
    largest = np.zeros(len(values))
    for t in range(len(values)):
        for i in range(max(0, t - window), t):
            largest[t] = max(largest[t], abs(values[i]))
    return largest


@takes(values="N", window=1)
@compiled
def trailing_minimum(values: Floats, window: int) -> Floats:
    """(n,) least of each value and the ``window`` − 1 before it; fewer at the start."""
    least = values.copy()
    for t in range(len(values)):
        for i in range(max(0, t - window + 1), t):
            least[t] = min(least[t], values[i])
    return least


def standardised(values: Floats, centre: Floats, spread: Floats, largest: Floats) -> Floats:
    """(n,) departure of each value from ``centre`` in units of ``spread``; 0 where the centre is NaN.

    A window that stands still has no spread; any step away from it is then huge, but finite.

    Parameters
    ----------
    values, centre, spread, largest : (n,); ``largest`` is the size of the largest value of the window.
    """
    floor = STILL * largest + ZERO
    known = ~np.isnan(centre)
    return np.divide(values - centre, np.maximum(spread, floor), out=np.zeros(len(values)), where=known)
