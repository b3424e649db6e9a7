"""Numbers with their 95% intervals: Clopper–Pearson for shares, bootstrap over groups of runs for the rest.

A bootstrap knows nothing of what was not seen: of no alarm in a hundred runs it says "none, for certain". Where a
number lies at an end of what it can be, and where there are next to no groups, intervals are not of its making.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainccinv, gammaincinv
from scipy.stats import norm

from trajhmm.shares import LEVEL, exact_interval

RESAMPLES = 2000
FEWEST_FOR_A_MEDIAN = 6


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95% interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "–"
        if np.isnan(self.low) or np.isnan(self.high):
            return f"{self.value:.3g} (too few to tell an interval)"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

    def times(self, factor: float) -> Estimate:
        """The same in other units."""
        return Estimate(value=factor * self.value, low=factor * self.low, high=factor * self.high)

    def to_dict(self) -> dict[str, float | None]:
        """For JSON: None in place of NaN."""
        named = {"value": self.value, "low": self.low, "high": self.high}
        return {name: None if np.isnan(number) else float(number) for name, number in named.items()}

    def row(self, name: str) -> dict[str, float]:
        """For a table: ``name``, ``name_low`` and ``name_high``."""
        return {name: self.value, f"{name}_low": self.low, f"{name}_high": self.high}


UNDEFINED = Estimate(value=np.nan, low=np.nan, high=np.nan)


def share(hits: int, trials: int) -> Estimate:
    """``hits`` of ``trials``, with the exact interval of Clopper and Pearson (1934)."""
    if trials == 0:
        return UNDEFINED
    low, high = exact_interval(hits, trials)
    return Estimate(value=hits / trials, low=low, high=high)


def percentile_interval(value: float, resampled: NDArray[np.float64]) -> Estimate:
    """``value`` with the percentile interval of its (B,) resampled values; those that are NaN are left out."""
    known = resampled[~np.isnan(resampled)]
    if np.isnan(value) or not len(known):
        return Estimate(value=value, low=np.nan, high=np.nan)
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value=value, low=float(low), high=float(high))


def median_interval(value: float, resampled: NDArray[np.float64], n_groups: int) -> Estimate:
    """A median with the percentile interval of its (B,) resampled values, if ``n_groups`` can tell one.

    All of n draws lie on one side of the median with probability 2 / 2^n: of five or fewer not even their range is a
    95% interval.
    """
    found = percentile_interval(value, resampled)
    return found if n_groups >= FEWEST_FOR_A_MEDIAN else Estimate(value=value, low=np.nan, high=np.nan)


def rate_interval(resampled: NDArray[np.float64], alarmed: int, watched: float) -> Estimate:
    """A rate of alarms, with the wider of two intervals: of its resampled values, and of a Poisson count.

    Parameters
    ----------
    resampled : (B + 1,) rates, the first of them that of all runs.
    alarmed : groups with an alarm.
    watched : exposure of the groups; each counts once, however many runs it has.

    References
    ----------
    Garwood (1936), Fiducial limits for the Poisson distribution: exact limits of a count.
    """
    found = percentile_interval(float(resampled[0]), resampled[1:])
    if np.isnan(found.value) or watched <= 0:
        return found
    tail = (1 - LEVEL) / 2
    least = float(gammaincinv(alarmed, tail)) if alarmed else 0.0
    most = float(gammainccinv(alarmed + 1, tail))
    return Estimate(
        value=found.value, low=min(found.low, least / watched), high=max(found.high, most / watched, found.value)
    )


def auroc_interval(value: float, resampled: NDArray[np.float64], n_pos: int, n_neg: int) -> Estimate:
    """An area under the ROC with the percentile interval of its (B,) resampled values.

    Where these are all alike, a score interval: every area from which the one found is less than 1.96 standard errors
    off, by the variance of Hanley and McNeil.

    Parameters
    ----------
    n_pos, n_neg : groups of either kind.

    References
    ----------
    Newcombe (2006), Confidence intervals for an effect size measure based on the Mann–Whitney statistic, part 2,
    method 5.
    """
    found = percentile_interval(value, resampled)
    if np.isnan(value) or found.low < found.high or not n_pos or not n_neg:
        return found
    area = np.linspace(0, 1, 100_001)
    mean = (n_pos + n_neg) / 2 - 1
    spread = area * (1 - area) * (1 + mean * (1 - area) / (2 - area) + mean * area / (1 + area)) / (n_pos * n_neg)
    held = area[np.abs(area - value) <= norm.ppf((1 + LEVEL) / 2) * np.sqrt(spread)]
    return Estimate(value=value, low=min(value, float(held.min())), high=max(value, float(held.max())))


def weighted_median(values: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Median of (n,) values that were drawn (B, n) times; of an even number the mean of the middle two.

    Returns
    -------
    (B,); NaN where nothing was drawn.
    """
    found = np.full(len(counts), np.nan)
    some = counts.any(axis=1)
    if some.any():
        order = np.argsort(values)
        upto = np.cumsum(counts[some][:, order], axis=1)
        total = upto[:, -1:]
        lower, upper = ((upto >= place).argmax(axis=1) for place in ((total + 1) // 2, total // 2 + 1))
        found[some] = (values[order][lower] + values[order][upper]) / 2
    return found


def group_counts(groups: Sequence[object], resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw groups with replacement, as many as there are; all that belongs to a group comes with it.

    Parameters
    ----------
    groups : n labels, one for each thing drawn.
    resamples : number of draws, B.

    Returns
    -------
    (B, n) how often each thing was drawn.
    """
    number: dict[object, int] = {}
    block = np.array([number.setdefault(group, len(number)) for group in groups], dtype=np.int64)
    if not number:
        return np.zeros((resamples, 0), dtype=np.int64)
    counts = rng.multinomial(len(number), np.full(len(number), 1 / len(number)), size=resamples)
    return counts[:, block].astype(np.int64)
