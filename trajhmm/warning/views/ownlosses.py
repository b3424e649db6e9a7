"""What a run's losses say against their own past where there is no reference: as they are logged, not their logarithms.

A loss that comes near zero goes up and down by multiples when all is well; what it is off by, it adds to itself.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.features.innovations import FARTHEST, NORMAL
from trajhmm.warning.views.interface import Floats, Rows
from trajhmm.warning.views.losses import LossRise, OfLosses

# Values before a sum begins.
_LEAST = 30
# The short sum: rows of its mean, slack, and least spread in units of a loss, of which its first value has 33.
_SHORT_SPAN, _SHORT_SLACK, _SHORT_FLOOR = 30.0, 0.25, 1.0 / 300.0
# The most spreads that a value counts for the sum; and, once some are known, for its mean and for the spread.
_MOST, _SETTLED, _CLIPPED, _CLIPPED_SPREAD = 5.0, 10, 1.5, 2.5
# Rows over which it is learnt how rows go together with those before them, and the most that counts.
_PAIRS, _MOST_TOGETHER = 200.0, 0.95
# The long sum: values that it looks back on; slack; the most that a row counts, so that none rings by itself; least
# spread as a share of the largest of them.
_WINDOW, _LONG_SLACK, _LONG_MOST, _LONG_FLOOR = 200, 1.0, 10.0, 1e-3
# Nine of ten values of a normal are below its mean and so many standard deviations.
_UPPER, _UPPER_NORMAL = 0.9, 1.2816
# From a median absolute deviation to the standard deviation of a normal.
_MEDIAN_NORMAL = 1.4826
# Larger than what is ever compared: its hyperbolic sine is still finite.
_LARGEST = 700.0


class OfTraining(OfLosses):
    """A view of losses of which some are of evaluations: these count while there is no other.

    The loss of an evaluation rises in runs that train well and forget nothing.

    Parameters
    ----------
    evaluated : (L,) bool.
    """

    def __init__(self, columns: NDArray[np.int64], floors: Floats, evaluated: NDArray[np.bool_]) -> None:
        super().__init__(columns, floors)
        self.evaluated = evaluated

    def _each(self, rows: Rows, memory: Floats) -> Floats:
        each = super()._each(rows, memory)
        known = ~np.isnan(rows.scaled[:, self.columns[~self.evaluated]])
        each[np.ix_(np.logical_or.reduce(known, axis=1), self.evaluated)] = 0.0
        return each


class OwnLossRise(OfTraining, LossRise):
    """How far each loss is above the best it has been; see `LossRise`. One stray row is no best, and no rise."""

    farthest: ClassVar[float] = 10.0


class _Sum(OfTraining):
    """CUSUM (Page 1954), upwards, of the losses as they are logged."""

    def begin_again(self, memory: Floats) -> None:
        """What it was before is not known, and its sum nothing."""
        memory[:] = 0.0

    def usual(self, memory: Floats) -> Floats:
        """(L, 2) between which values a loss, as it is compared, adds nothing to its sum; NaN until that begins."""
        known = memory.reshape(len(self.columns), self.kept)
        centre, reach = self._slack(known)
        ends: Floats = np.arcsinh(centre[:, np.newaxis] + reach[:, np.newaxis] * np.array([-1.0, 1.0]))
        ends[known[:, 0] < _LEAST] = np.nan
        return ends

    def _slack(self, known: Floats) -> tuple[Floats, Floats]:
        """(L,) what each loss is compared with, and how far above that it adds nothing; ``known`` of each (L, kept)."""
        raise NotImplementedError


class ShortSum(_Sum):
    """CUSUM of each loss against the robust mean of its last 30 rows, with a slack of a quarter of its spread.

    What drifts up slowly. Mean and spread are exponential averages in which a row counts as one and a half spreads at
    most (Huber 1964); in the sum it counts as five at most. Where a row goes as the one before it, by so much r of it,
    spreads are √((1 + r) / (1 − r)) times as wide.
    """

    name: ClassVar[str] = "short loss sum"
    kept: ClassVar[int] = 6

    def _fill(self, values: Floats, fresh: NDArray[np.bool_], known: Floats, each: Floats) -> None:
        _short_sum(values, fresh, known, each)

    def _slack(self, known: Floats) -> tuple[Floats, Floats]:
        _, mean, away, _, _, together = known.T
        return mean, _SHORT_SLACK * (NORMAL * away + _SHORT_FLOOR) * np.sqrt((1.0 + together) / (1.0 - together))


class LongSum(_Sum):
    """CUSUM of each loss against the median of its last 200 rows, in their median absolute deviation; slack one of it.

    What leaves a level, be it by a little. A row counts as ten spreads at most, so that a bad batch rings nothing. The
    spread is no less than that of the tenth that is highest, as of a loss that is often 0 or has a long tail upwards.
    """

    name: ClassVar[str] = "long loss sum"
    kept: ClassVar[int] = 4 + _WINDOW

    def _fill(self, values: Floats, fresh: NDArray[np.bool_], known: Floats, each: Floats) -> None:
        _long_sum(values, fresh, known, each)

    def _slack(self, known: Floats) -> tuple[Floats, Floats]:
        return known[:, 2], _LONG_SLACK * known[:, 3]


@takes(values="N L", fresh="bool N L", known="L 6 filled", each="N L filled")
@compiled
def _short_sum(values: Floats, fresh: NDArray[np.bool_], known: Floats, each: Floats) -> None:
    for d in range(values.shape[1]):
        rows, mean, away, total, last, together = known[d]
        for t in range(len(values)):
            if fresh[t, d]:
                value = np.sinh(min(max(values[t, d], -_LARGEST), _LARGEST))
                if rows == 0.0:
                    mean = value
                off = value - mean
                size = NORMAL * away + _SHORT_FLOOR
                if rows >= _LEAST:
                    # Where rows go as those before them go, sums of them wander further.
                    wider = np.sqrt((1.0 + together) / (1.0 - together))
                    total = min(max(0.0, total + min(off / (size * wider), _MOST) - _SHORT_SLACK), FARTHEST)
                weight = max(2.0 / (_SHORT_SPAN + 1.0), 1.0 / (rows + 1.0))
                spread = abs(off)
                if rows >= _SETTLED:
                    off = min(max(off, -_CLIPPED * size), _CLIPPED * size)
                    spread = min(spread, _CLIPPED_SPREAD * size)
                    pair = last * off / (size * size)
                    together += max(2.0 / (_PAIRS + 1.0), 1.0 / rows) * (pair - together)
                    together = min(max(together, 0.0), _MOST_TOGETHER)
                last = off
                away += weight * (spread - away)
                mean += weight * off
                rows += 1.0
            each[t, d] = total
        known[d, 0], known[d, 1], known[d, 2], known[d, 3] = rows, mean, away, total
        known[d, 4], known[d, 5] = last, together


@compiled
def _centre_and_spread(held: Floats, size: int) -> tuple[float, float]:
    """The median of the first ``size`` of values that are sorted, and the spread of a normal that varies as they do."""
    above = size // 2
    centre = held[above] if size % 2 else 0.5 * (held[above - 1] + held[above])
    low, high = above - 1, above
    nearer = nearest = 0.0
    for _ in range(above + 1):  # deviations from the centre in order of their size
        nearer = nearest
        if high == size or (low >= 0 and centre - held[low] <= held[high] - centre):
            nearest = centre - held[low]
            low -= 1
        else:
            nearest = held[high] - centre
            high += 1
    away = nearest if size % 2 else 0.5 * (nearer + nearest)
    upper = (held[int(_UPPER * size)] - centre) / _UPPER_NORMAL
    return centre, max(_MEDIAN_NORMAL * away, upper) + _LONG_FLOOR * max(abs(held[0]), abs(held[size - 1]))


@takes(values="N L", fresh="bool N L", known="L 204 filled", each="N L filled")
@compiled
def _long_sum(values: Floats, fresh: NDArray[np.bool_], known: Floats, each: Floats) -> None:
    held = np.empty(_WINDOW)
    for d in range(values.shape[1]):
        rows, total, centre, spread, window = known[d, 0], known[d, 1], known[d, 2], known[d, 3], known[d, 4:]
        size = int(min(rows, _WINDOW))
        held[:size] = np.sort(window[:size])
        for t in range(len(values)):
            if fresh[t, d]:
                value = np.sinh(min(max(values[t, d], -_LARGEST), _LARGEST))
                if rows >= _LEAST:
                    # A loss that is zero and stays so has no spread.
                    off = (value - centre) / spread if spread > 0.0 else 0.0
                    total = min(max(0.0, total + min(off, _LONG_MOST) - _LONG_SLACK), FARTHEST)
                place = int(rows % _WINDOW)
                if rows >= _WINDOW:
                    size -= 1
                    for gap in range(np.searchsorted(held[: size + 1], window[place]), size):
                        held[gap] = held[gap + 1]
                gap = size
                while gap > 0 and held[gap - 1] > value:
                    held[gap] = held[gap - 1]
                    gap -= 1
                held[gap] = value
                size += 1
                window[place] = value
                rows += 1.0
                centre, spread = _centre_and_spread(held, size)
            each[t, d] = total
        known[d, 0], known[d, 1], known[d, 2], known[d, 3] = rows, total, centre, spread
