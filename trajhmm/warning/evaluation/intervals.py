"""Numbers with their 95% intervals: Clopper–Pearson for shares, bootstrap over runs for the rest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.shares import exact_interval

RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95% interval; NaN where it is not defined."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "–"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"

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
