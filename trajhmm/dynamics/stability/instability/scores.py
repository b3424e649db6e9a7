"""How far a value lies above those before it: by their median in a compiled running window, or as OLMo has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.warning.detectors.windows import previous_moments

Floats = NDArray[np.float64]
Score = Callable[[Floats], Floats]
"""(n,) values → (n,) scores."""
ScoreName = Literal["robust", "olmo"]

WINDOW, THRESHOLD = 100, 7.0
"""Rows before a value that the robust score judges it by, and how many spreads above their median is a spike."""
OLMO_WINDOW, OLMO_THRESHOLD = 1000, 7.0
"""Of the score of OLMo: standard deviations from the mean of the previous 1,000 values."""
FEWEST_BEFORE = 20
"""Rows before a value without which it is not judged."""
TO_SIGMA = 1.4826
"""Standard deviations of normal noise in its median absolute deviation."""
_LEAST = 0.01
# Of normal noise 5% lie so many standard deviations above the median.
_UPPER, _TO_UPPER = 0.95, 1.645


def robust_scores(values: Floats, window: int = WINDOW) -> Floats:
    """(n,) how many spreads each value lies above the median of the values before it; of logarithms if all are above 0.

    The spread is the largest of the median absolute deviation, scaled to that of normal noise; how far the upper 5%
    reach, likewise, so that noise with heavy tails is judged by these; and 0.01, a hundredth of the loss itself. NaN
    for the first 20 values.

    Parameters
    ----------
    values : (n,) in their order.
    window : values before each that it is judged by.
    """
    return robust_score(*on_its_scale(np.asarray(values, dtype=np.float64)), window)


def olmo_scores(values: Floats, window: int = OLMO_WINDOW) -> Floats:
    """(n,) standard deviations of each value above the mean of the values before it; NaN for the first 20."""
    line = np.asarray(values, dtype=np.float64)
    centre, spread = previous_moments(line, window, FEWEST_BEFORE)
    with np.errstate(invalid="ignore", over="ignore"):
        away = line - centre
        beyond = np.where(away == 0.0, 0.0, np.copysign(np.inf, away))  # of values that do not vary
        scores: Floats = np.divide(away, spread, out=beyond, where=~(spread <= 0.0))
    return scores


def robust_score(scaled: Floats, least: float, window: int = WINDOW) -> Floats:
    """(n,) scores of values that are on their scale already, and whose spread is no less than ``least`` there."""
    level, deviation, upper = previous_ranks(scaled, window, FEWEST_BEFORE)
    with np.errstate(invalid="ignore", over="ignore"):
        spread = np.maximum(TO_SIGMA * deviation, least)
        scores: Floats = (scaled - level) / np.maximum(spread, (upper - level) / _TO_UPPER)
    return scores


def on_its_scale(values: Floats) -> tuple[Floats, float]:
    """(n,) logarithms where all finite values are above 0, infinite where one is not; and the least spread there."""
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0.0:
        return np.log(values, where=np.isfinite(values), out=np.full(len(values), np.inf)), _LEAST
    with np.errstate(over="ignore"):
        typical = float(np.median(np.abs(finite))) if len(finite) else 0.0
    least = max(_LEAST * typical, float(np.finfo(np.float64).tiny)) if typical else _LEAST
    return np.where(np.isfinite(values), values, np.inf), least


@takes(values="N", window=1, least=1)
@compiled
def previous_ranks(values: Floats, window: int, least: int) -> tuple[Floats, Floats, Floats]:
    """Median, median absolute deviation from it, and the value that 95% do not exceed, of the values before each.

    The window stands in order all the time, so that a row costs what it takes to move one value in it.

    Parameters
    ----------
    values : (n,) none NaN, none −∞.
    window, least : values that are looked back on, and how many there must be.

    Returns
    -------
    median, deviation, upper : (n,); NaN where there are fewer than ``least``.
    """
    n = len(values)
    median, deviation, upper = np.full(n, np.nan), np.full(n, np.nan), np.full(n, np.nan)
    ordered = np.empty(window)
    for t in range(n):
        held = min(t, window)
        if t >= least:
            median[t] = _median(ordered, held)
            deviation[t] = _deviation(ordered, held, median[t])
            upper[t] = ordered[int(np.ceil(_UPPER * held)) - 1]
        if t >= window:
            held -= 1
            place = np.searchsorted(ordered[: held + 1], values[t - window])
            for i in range(place, held):
                ordered[i] = ordered[i + 1]
        place = np.searchsorted(ordered[:held], values[t])
        for i in range(held, place, -1):
            ordered[i] = ordered[i - 1]
        ordered[place] = values[t]
    return median, deviation, upper


@compiled
def _median(ordered: Floats, held: int) -> float:
    """Of the first ``held`` values, which rise."""
    half = held // 2
    return float(ordered[half]) if held % 2 else float(ordered[half - 1] + ordered[half]) / 2.0


@compiled
def _deviation(ordered: Floats, held: int, centre: float) -> float:
    """Median distance of the first ``held`` values, which rise, from a value in their middle; NaN if it is infinite."""
    if not np.isfinite(centre):
        return np.nan
    below, above = held // 2 - 1, held // 2
    last = now = 0.0
    for _ in range(held // 2 + 1):  # the nearest first
        last = now
        if below < 0 or (above < held and ordered[above] - centre < centre - ordered[below]):
            now = ordered[above] - centre
            above += 1
        else:
            now = centre - ordered[below]
            below -= 1
    return now if held % 2 else (last + now) / 2.0
