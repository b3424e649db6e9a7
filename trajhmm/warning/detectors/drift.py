"""Tests for a change of the mean in a stream of values, CUSUM, Page–Hinkley, ADWIN, and for a trend."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.errors import FitError
from trajhmm.warning.detectors.interface import Reference, SeriesDetector
from trajhmm.warning.detectors.standardise import FARTHEST, floored_spread
from trajhmm.warning.detectors.windows import STILL, ZERO, Floats, previous_largest, previous_median, standardised

# 1.4826 times the median absolute deviation of a normal distribution is its standard deviation.
_NORMAL = 1.4826


@dataclass(frozen=True, kw_only=True, eq=False)
class Cusum(SeriesDetector):
    """Page's CUSUM of a metric on its own past: departures from the median of the last 200 values in their MAD, upward.

    S = max(0, S + z − slack), with z = (x − median) / (1.4826 MAD) of the values before x; the score is S. So small
    departures add up as long as they last, and S goes back to 0 where they do not. After an alarm one would begin
    afresh, which the first alarm does not see. Source: Page (1954), "Continuous inspection schemes", Biometrika 41;
    an alarm above 5 standard deviations is the textbook's (Montgomery, "Introduction to statistical quality control",
    chapter 9, for slack ½). With slack 1 that is one false alarm in 110,000 rows (Siegmund 1985), if they are
    independent and normal: losses are not.

    Parameters
    ----------
    window, least : values that are looked back on, and how many there must be; 0 until then.
    slack : in standard deviations; half of the shift that is to be found.
    both_sides : whether a fall counts as a rise does.
    """

    name: ClassVar[str] = "cusum"
    published_threshold: ClassVar[float | None] = 5.0
    window: int = 200
    least: int = 30
    slack: float = 1.0
    both_sides: bool = False

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) sums, the larger of the two where both sides count."""
        median, deviation = previous_median(values, self.window, self.least)
        departures = standardised(values, median, _NORMAL * deviation, previous_largest(values, self.window))
        upward = cumulative_sum(departures, self.slack)
        return np.maximum(upward, cumulative_sum(-departures, self.slack)) if self.both_sides else upward


@takes(departures="N")
@compiled
def cumulative_sum(departures: Floats, slack: float) -> Floats:
    """(n,) sums of (n,) departures beyond ``slack``, never below 0."""
    sums = np.zeros(len(departures))
    total = 0.0
    for t in range(len(departures)):
        total = max(0.0, total + departures[t] - slack)
        sums[t] = total
    return sums


@dataclass(frozen=True, kw_only=True, eq=False)
class PageHinkley(SeriesDetector):
    """The test of Page (1954) and Hinkley, both ways, with river's defaults.

    The score is the larger of the two cumulated departures from the running mean beyond ``delta``, from the 30th value
    on; river raises its alarm where it passes 50, and then starts afresh, which the first alarm does not see. Source:
    ``river.drift.PageHinkley`` (``min_instances = 30``, ``delta = 0.005``, ``threshold = 50``, ``alpha = 0.9999``).
    """

    name: ClassVar[str] = "page_hinkley"
    published_threshold: ClassVar[float | None] = 50.0
    least: int = 30
    delta: float = 0.005
    forgetting: float = 0.9999

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) test statistics."""
        return _page_hinkley(values, self.least, self.delta, self.forgetting)


@takes(values="N", least=1)
@compiled
def _page_hinkley(values: Floats, least: int, delta: float, forgetting: float) -> Floats:
    scores = np.zeros(len(values))
    mean = up = down = 0.0
    lowest, highest = np.inf, -np.inf
    for t in range(len(values)):
        mean += (values[t] - mean) / (t + 1)
        departure = values[t] - mean
        up = forgetting * up + departure - delta
        down = forgetting * down + departure + delta
        lowest = min(lowest, up)
        highest = max(highest, down)
        if t + 1 >= least:
            scores[t] = max(up - lowest, highest - down)
    return scores


@dataclass(frozen=True, kw_only=True, eq=False)
class Adwin(SeriesDetector):
    """ADWIN of Bifet and Gavaldà (2007), run by river: windows of which the older and the newer half differ.

    ADWIN has a significance level δ and no statistic; it is run at several, and the score is −log₁₀ of the smallest δ
    that detects a change at this row, 0 where none does. Its bound is made for values in [0, 1]: the range of the
    metric in healthy runs is scaled to that. Source: ``river.drift.ADWIN`` (``delta = 0.002``, ``clock = 32``).
    """

    name: ClassVar[str] = "adwin"
    published_threshold: ClassVar[float | None] = float(np.nextafter(-np.log10(0.002), -np.inf))
    deltas: tuple[float, ...] = (0.3, 0.05, 0.002, 1e-4, 1e-6, 1e-9, 1e-13, 1e-18, 1e-25, 1e-35, 1e-50, 1e-70, 1e-100)
    ranges_: dict[str, tuple[float, float]] | None = None

    def _fit(self, reference: Reference) -> Self:
        _require_river()
        ranges = {}
        for metric in self.watched(reference.healthy[0].metrics):
            logged = [
                run.values[run.logged[:, run.index_of(metric)], run.index_of(metric)] for run in reference.healthy
            ]
            values = np.concatenate(logged)
            if not len(values):
                raise FitError(f"{self.name}: no finite value of {metric} in {len(reference.healthy)} healthy runs")
            ranges[metric] = (float(values.min()), float(values.max()))
        return replace(self, ranges_=ranges)

    def scaled(self, values: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
        """(n,) values in units of the range of healthy runs."""
        low, high = self._learnt(self.ranges_)[metric]
        unit = floored_spread(np.array(high - low), np.array([low, high]))
        return np.asarray(np.clip((values - low) / unit, -FARTHEST, FARTHEST))

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) −log₁₀ of the smallest δ that detects a change."""
        from river.drift import ADWIN

        scores = np.zeros(len(values))
        for delta in sorted(self.deltas, reverse=True):
            detector = ADWIN(delta=delta)
            for t, value in enumerate(values.tolist()):
                detector.update(value)
                if detector.drift_detected:
                    scores[t] = -np.log10(delta)
        return scores


@dataclass(frozen=True, kw_only=True, eq=False)
class LossGrowth(SeriesDetector):
    """How much the loss has grown over the last quarter of the rows so far, where its slope is significant.

    The score is the rise of the least-squares line over that quarter in units of the median size of the losses in it:
    1 is a rise by as much as the loss usually was. It is 0 where the line falls, or where its slope is not significant:
    t = slope / standard error against Student's distribution, two-sided. Neighbouring losses are alike, and t taken as
    if they were not would find trends everywhere; so the n rows count as n (1 − r) / (1 + r), with r the first
    autocorrelation of what the line leaves, if positive (Santer et al. 2000, J. Geophys. Res. 105, 7337). Made after
    the sustained growth of trainspotter, which trusts t as it is and compares with the least loss so far.

    Parameters
    ----------
    share : of the rows so far that is looked at.
    least : rows in that share; 0 until it has so many.
    level : of significance.
    """

    name: ClassVar[str] = "loss_growth"
    share: float = 0.25
    least: int = 10
    level: float = 0.05

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) rise of the line over the median size of the losses."""
        from scipy.special import stdtr

        slope, error, freedom, rise = trailing_lines(values, self.share, self.least)
        known = freedom > 0
        t = np.divide(slope, error, out=np.zeros(len(values)), where=known & (error > 0))
        t[known & (error == 0) & (slope > 0)] = np.inf
        significant = known & (stdtr(np.where(known, freedom, 1.0), t) > 1 - self.level / 2)
        return np.where(significant, rise, 0.0)


@takes(values="N", share=(0.0, 1.0), least=1)
@compiled
def trailing_lines(values: Floats, share: float, least: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Least-squares lines through the last ``share`` of the values up to each.

    Parameters
    ----------
    values : (n,)
    share, least : of the values so far, and how many these must be.

    Returns
    -------
    slope : (n,) a row.
    error : (n,) its standard error, given the autocorrelation of what the line leaves.
    freedom : (n,) degrees of freedom that are left; at most 0 where nothing can be said.
    rise : (n,) slope times the rows, over the median size of the values.
    """
    slope, error, freedom, rise = np.zeros((4, len(values)))
    for t in range(len(values)):
        n = int(share * (t + 1))
        if n < least:
            continue
        inside = values[t + 1 - n : t + 1]
        sizes = np.abs(inside)
        still = STILL * sizes.max() + ZERO
        if inside.max() - inside.min() <= still:
            continue
        x = np.arange(n) - (n - 1) / 2
        squares = (x**2).sum()
        slope[t] = (x * inside).sum() / squares
        left = inside - inside.mean() - slope[t] * x
        remaining = (left**2).sum()
        alike = 0.0
        if remaining > n * still**2:
            alike = max(0.0, (left[1:] * left[:-1]).sum() / remaining)
        effective = n * (1 - alike) / (1 + alike)
        freedom[t] = effective - 2
        if freedom[t] > 0:
            error[t] = np.sqrt(remaining / freedom[t] / squares)
        rise[t] = slope[t] * (n - 1) / max(np.median(sizes), still)
    return slope, error, freedom, rise


def _require_river() -> None:
    if importlib.util.find_spec("river") is None:
        raise FitError("adwin is run by river, which is not installed: pip install 'trajhmm[baselines]'")
