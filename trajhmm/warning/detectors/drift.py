"""Tests for a change of the mean in a stream of values: Page–Hinkley, ADWIN."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.warning.detectors.interface import Reference, SeriesDetector
from trajhmm.warning.detectors.standardise import FARTHEST, floored_spread
from trajhmm.warning.detectors.windows import Floats


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


@njit(cache=True, nogil=True)
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


def _require_river() -> None:
    if importlib.util.find_spec("river") is None:
        raise FitError("adwin is run by river, which is not installed: pip install 'trajhmm[baselines]'")
