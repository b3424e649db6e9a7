"""Intervals that resample seeds, and those of shares, medians and pairs that hold where all runs agree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from trajhmm.bounds import student_bounds
from trajhmm.dynamics.survival import kaplan_meier
from trajhmm.shares import LEVEL, score_intervals
from trajhmm.warning.evaluation.intervals import group_counts

RESAMPLES = 2000
_FEWEST_PAIRS = 3
_Array = NDArray[np.float64]
Statistic = Callable[[NDArray[np.int64]], _Array]
"""(B, n) how often each run is drawn → (B,) the statistic of each draw; NaN where it is not defined."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A number and its interval; NaN where it is not defined, infinite where a bound lies beyond the logs."""

    value: float
    low: float
    high: float

    def united(self, other: Interval) -> Interval:
        """The same number with an interval that holds both; a bound that is not defined gives way."""
        return Interval(
            value=self.value, low=float(np.fmin(self.low, other.low)), high=float(np.fmax(self.high, other.high))
        )

    def less(self, other: Interval) -> Interval:
        """The number less another that was found apart from it (Zou and Donner 2008: MOVER).

        Squares of how far either interval reaches add up; a bound that is not defined reaches nowhere.
        """
        value = self.value - other.value
        below = np.hypot(_reach(self.value - self.low), _reach(other.high - other.value))
        above = np.hypot(_reach(self.high - self.value), _reach(other.value - other.low))
        return Interval(value=value, low=float(value - below), high=float(value + above))

    def within(self, least: float, most: float) -> Interval:
        """The same, cut at what the quantity can be."""
        low, value, high = np.clip([self.low, self.value, self.high], least, most)
        return Interval(value=float(value), low=float(low), high=float(high))


def _reach(distance: float) -> float:
    return 0.0 if np.isnan(distance) else distance


UNDEFINED = Interval(value=np.nan, low=np.nan, high=np.nan)


def share(hits: int, n: int, level: float = LEVEL) -> Interval:
    """``hits`` of ``n``, with Wilson's interval (1927): of few runs an exact one would cover 99% and more."""
    if n == 0:
        return UNDEFINED
    low, high = score_intervals(hits, n, level)
    return Interval(value=hits / n, low=float(low[0]), high=float(high[0]))


def over_seeds(
    statistic: Statistic, seeds: Sequence[object], rng: np.random.Generator, level: float = LEVEL
) -> Interval:
    """A statistic of n runs, with an interval that resamples seeds: runs of one seed come and go together.

    See `trajhmm.bounds.student_bounds`. Not defined for one seed.

    Parameters
    ----------
    statistic : of draws.
    seeds : n labels.
    rng : for the draws.
    level : of the interval.
    """
    value = float(statistic(np.ones((1, len(seeds)), dtype=np.int64))[0]) if len(seeds) else np.nan
    n = len(set(seeds))
    if n < 2 or np.isnan(value):
        return Interval(value=value, low=np.nan, high=np.nan)
    drawn = statistic(group_counts(seeds, RESAMPLES, rng))
    drawn = drawn[~np.isnan(drawn)]
    low, high = student_bounds(value, drawn, n, level)
    return Interval(value=value, low=low, high=high)


def mean_of(values: _Array) -> Statistic:
    """The mean of (n,) values, those that are NaN left out."""
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)

    def mean(counts: NDArray[np.int64]) -> _Array:
        total = counts @ known.astype(np.float64)
        found: _Array = np.divide(counts @ filled, total, out=np.full(len(counts), np.nan), where=total > 0)
        return found

    return mean


def mean_over_seeds(
    values: _Array, seeds: Sequence[object], rng: np.random.Generator, level: float = LEVEL
) -> Interval:
    """The mean of (n,) values of runs; those that are NaN, and seeds with nothing else, are left out."""
    known = ~np.isnan(values)
    return over_seeds(
        mean_of(values[known]), [seed for seed, keep in zip(seeds, known, strict=True) if keep], rng, level
    )


def rank_correlation(
    x: _Array, y: _Array, seeds: Sequence[object], rng: np.random.Generator, level: float = LEVEL
) -> Interval:
    """Spearman's rank correlation of (n,) and (n,), resampled over seeds on Fisher's scale; NaN if one is constant."""

    def fisher(counts: NDArray[np.int64]) -> _Array:
        return np.arctanh(np.clip(_spearman(_ranks(x, counts), _ranks(y, counts), counts), -0.9999, 0.9999))

    found = over_seeds(fisher, seeds, rng, level)
    if np.isnan(found.value):
        return found
    one = np.ones((1, len(x)), dtype=np.int64)
    value = float(_spearman(_ranks(x, one), _ranks(y, one), one)[0])
    drawn = Interval(value=value, low=float(np.tanh(found.low)), high=float(np.tanh(found.high)))
    return drawn.united(_of_correlation(value, len(x), level)).within(-1.0, 1.0)


def _of_correlation(value: float, n: int, level: float) -> Interval:
    """Interval of a rank correlation of n pairs on Fisher's scale, with the variance of Bonett and Wright (2000).

    Every draw from pairs in perfect order is in perfect order, whatever the number of pairs. Here perfect order counts
    as half an exchange of neighbours short of it. Of three pairs and fewer nothing is known.
    """
    if n <= _FEWEST_PAIRS:
        return Interval(value=value, low=-1.0, high=1.0)
    most = 1.0 - 6.0 / (n * (n**2 - 1.0))
    middle = np.arctanh(np.clip(value, -most, most))
    reach = float(stats.norm.ppf((1 + level) / 2)) * np.sqrt((1.0 + value**2 / 2.0) / (n - 3.0))
    return Interval(
        value=value,
        low=-1.0 if value <= -1.0 else float(np.tanh(middle - reach)),
        high=1.0 if value >= 1.0 else float(np.tanh(middle + reach)),
    )


def _ranks(values: _Array, counts: NDArray[np.int64]) -> _Array:
    """(B, n) the rank of each of (n,) values in each of B draws, in which it stands as often as (B, n) ``counts`` say.

    Equal values, drawn ones among them, share the middle of their ranks.
    """
    distinct, inverse = np.unique(values, return_inverse=True)
    often = counts @ (inverse[:, np.newaxis] == np.arange(len(distinct))).astype(np.float64)
    ranks: _Array = (np.cumsum(often, axis=1) - often / 2 + 0.5)[:, inverse]
    return ranks


def _spearman(ranks_x: _Array, ranks_y: _Array, counts: NDArray[np.int64]) -> _Array:
    """(B,) correlation of (B, n) ranks; NaN where one does not vary."""
    drawn = counts / counts.sum(axis=1, keepdims=True)
    x, y = (ranks - np.sum(drawn * ranks, axis=1, keepdims=True) for ranks in (ranks_x, ranks_y))
    scale = np.sqrt(np.sum(drawn * x**2, axis=1) * np.sum(drawn * y**2, axis=1))
    covariance = np.sum(drawn * x * y, axis=1)
    found: _Array = np.divide(covariance, scale, out=np.full(len(counts), np.nan), where=scale > 1e-9)
    return found


def difference_of_shares(first: int, n_first: int, second: int, n_second: int, level: float = LEVEL) -> Interval:
    """Difference of two shares of separate runs, by the score intervals of either (Newcombe 1998, method 10)."""
    if not n_first or not n_second:
        return UNDEFINED
    return share(first, n_first, level).less(share(second, n_second, level)).within(-1.0, 1.0)


def paired_shares(only_first: int, only_second: int, pairs: int, level: float = LEVEL) -> Interval:
    """Difference of two shares over matched pairs: that of Agresti and Min (2005), half a pair added to each cell.

    Parameters
    ----------
    only_first, only_second : pairs in which only the one, only the other has it.
    pairs : in all.
    """
    if pairs == 0:
        return UNDEFINED
    first, second, n = only_first + 0.5, only_second + 0.5, pairs + 2.0
    middle = (first - second) / n
    reach = float(stats.norm.ppf((1 + level) / 2)) * np.sqrt(first + second - (first - second) ** 2 / n) / n
    return Interval(value=(only_first - only_second) / pairs, low=middle - reach, high=middle + reach)


def median_time(times: _Array, observed: NDArray[np.bool_], level: float = LEVEL) -> Interval:
    """The median of (n,) censored times by Kaplan and Meier, with Brookmeyer and Crowley's interval (1982).

    The interval holds the times at which the curve, on the log-log scale with Greenwood's variance, does not differ
    from one half; before the first event and after the last it has no variance. So few times that all might lie on one
    side of the median by chance (fewer than six at 95%) bound it on neither side. What lies beyond the end of the logs
    is infinite.

    Parameters
    ----------
    times : (n,) in steps.
    observed : (n,) False where censored.
    """
    n = len(times)
    if n == 0:
        return UNDEFINED
    fewest = int(np.floor(np.log2(2 / (1 - level)))) + 1
    at = np.unique(times[observed])
    if not len(at):
        low = float(np.sort(times)[n - fewest]) if n >= fewest else 0.0
        return Interval(value=np.inf, low=low, high=np.inf)
    ordered, curve = kaplan_meier(times, observed, np.ones((1, n)))
    survival = curve[0, np.searchsorted(ordered, at, side="right") - 1]
    reached = at[survival <= 0.5]
    value = float(reached[0]) if len(reached) else np.inf
    if n < fewest:
        return Interval(value=value, low=0.0, high=np.inf)
    at_risk = np.array([np.sum(times >= step) for step in at])
    events = np.array([np.sum(observed & (times == step)) for step in at])
    with np.errstate(divide="ignore", invalid="ignore"):
        deviation = np.sqrt(np.cumsum(events / (at_risk * (at_risk - events)))) / -np.log(survival)
        differs = np.abs(np.log(-np.log(survival)) - np.log(np.log(2))) > stats.norm.ppf((1 + level) / 2) * deviation
    differs |= survival <= 0
    possible, below = at[~(differs & (survival > 0.5))], at[differs & (survival <= 0.5)]
    return Interval(
        value=value,
        low=float(possible[0]) if len(possible) else float(times.max()),
        high=float(below[0]) if len(below) else np.inf,
    )
