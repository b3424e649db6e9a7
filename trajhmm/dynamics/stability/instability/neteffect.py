"""What a spike leaves behind: the loss after it less the trend before it extrapolated, with an interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

RESAMPLES = 400
FEWEST = 10
"""Rows that a trend, and a median after it, need."""
_MOST_LIKE_A_WALK = 0.98
_GAP = 200
_WARM_UP = 30
# Trends may be straight in these, and the rows do not tell apart those that leave so many times as little as the best.
_BENT: tuple[Callable[[Floats], Floats], ...] = (np.asarray, np.log, lambda x: -1.0 / x)
_ALIKE = 1.1


@dataclass(frozen=True, kw_only=True)
class NetEffect:
    """Of one spike, in the unit of the metric; NaN where too few rows stand before or after it.

    Attributes
    ----------
    value : median after recovery less the trend before, extrapolated.
    ci_low, ci_high : 95% interval.
    """

    value: float
    ci_low: float
    ci_high: float


UNKNOWN = NetEffect(value=np.nan, ci_low=np.nan, ci_high=np.nan)


def net_effect(
    before: tuple[Floats, Floats], after: tuple[Floats, Floats], rng: np.random.Generator, *, logs: bool
) -> NetEffect:
    """Median of the rows after a spike less the trend of the rows before it, with a 95% interval.

    The trend is a line through medians (Theil's abbreviated method, 1950: slopes from each row to the one half the rows
    on), of the metric or its logarithm, in the step or in its logarithm, whichever leaves less about it: losses fall
    like exponentials or like powers. The interval is that of a bootstrap of autocorrelated residuals (a sieve of order
    1): the same is estimated from noise with their innovations, drawn anew, and with their autocorrelation, corrected
    for its bias (Kendall 1954) and drawn about its estimate, which so few rows do not tell well.

    Parameters
    ----------
    before, after : steps (n,) and values (n,) of a run's rows, from its first step 1 on; values are finite.
    rng : for the draws.
    logs : whether the trend is one of the logarithm; then values are positive.
    """
    if min(len(before[0]), len(after[0])) < FEWEST:
        return UNKNOWN
    # A power of 2, so that not a bit is lost, and nothing overflows.
    unit = 1.0 if logs else float(2.0 ** min(np.frexp(max(np.abs(v).max() for _, v in (before, after)))[1], 1023))
    y, later = (np.log(values) if logs else values / unit for _, values in (before, after))
    x, x_later = before[0], after[0]
    trends = [_line(bent(x), y, bent(x_later)) for bent in _BENT]
    sizes = [float(np.median(np.abs(residual))) for residual, _ in trends]
    likely = [trend for trend, size in zip(trends, sizes, strict=True) if size <= _ALIKE * min(sizes)]
    residual, ahead = trends[int(np.argmin(sizes))]
    left = later - ahead
    value = float(np.median(left))
    noise = _noise_alone(x, x_later, residual, left - value, rng)
    middles = [float(np.median(later - other)) for _, other in likely]
    high, low = np.quantile(noise, [0.025, 0.975])
    found = np.array([min(middles) - float(low), value, max(middles) - float(high)])
    with np.errstate(over="ignore", invalid="ignore"):  # an extrapolation that the noise lets go anywhere
        low, value, high = np.median(np.exp(ahead)) * np.expm1(found) if logs else found * unit
    return NetEffect(value=float(value), ci_low=float(low), ci_high=float(high))


def _line(x: Floats, y: Floats, later: Floats) -> tuple[Floats, Floats]:
    """Residuals of (…, n) values about a line through medians at (n,) places, and the (…, m) line at ``later``."""
    half = len(x) // 2
    slope = np.median((y[..., half:] - y[..., : len(x) - half]) / (x[half:] - x[: len(x) - half]), axis=-1)
    tilted = y - slope[..., np.newaxis] * x
    level = np.median(tilted, axis=-1)[..., np.newaxis]
    return tilted - level, level + slope[..., np.newaxis] * later


def _noise_alone(
    x: Floats, x_later: Floats, residual: Floats, residual_later: Floats, rng: np.random.Generator
) -> Floats:
    """(B,) net effects of noise that looks like the residuals, whose true net effect is 0."""
    n, m = len(residual), len(residual_later)
    products = float(residual[1:] @ residual[:-1]) + float(residual_later[1:] @ residual_later[:-1])
    squares = float(residual[:-1] @ residual[:-1]) + float(residual_later[:-1] @ residual_later[:-1])
    if squares == 0.0:
        return np.zeros(RESAMPLES)
    raw = products / squares
    likely = min(raw + (1.0 + 4.0 * max(raw, 0.0)) / n, _MOST_LIKE_A_WALK)
    drawn = rng.normal(likely, np.sqrt((1.0 - min(raw, _MOST_LIKE_A_WALK) ** 2) / (n + m)), RESAMPLES)
    phi = np.clip(drawn, -_MOST_LIKE_A_WALK, _MOST_LIKE_A_WALK)
    innovations = np.concatenate([each[1:] - raw * each[:-1] for each in (residual, residual_later)])
    innovations = (innovations - innovations.mean()) * np.sqrt(len(innovations) / (len(innovations) - 3))
    spacing = float(np.median(np.diff(x)))
    gap = int(np.clip((x_later[0] - x[-1]) / spacing - 1.0, 0.0, _GAP))
    drawn = rng.choice(innovations, (_WARM_UP + n + gap + m, RESAMPLES))
    drawn[0] /= np.sqrt(1.0 - phi**2)
    for row in range(1, len(drawn)):
        drawn[row] += phi * drawn[row - 1]
    y, later = drawn[_WARM_UP : _WARM_UP + n].T, drawn[_WARM_UP + n + gap :].T
    found: Floats = np.median(later - _line(x, y, x_later)[1], axis=-1)
    return found
