"""A rate a step with an interval over runs, which are what is resampled or, as here, what varies."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A mean a step over runs.

    Attributes
    ----------
    value : a step.
    ci_low, ci_high : 95% interval over runs; NaN with fewer than two runs, or where one of them is not finite.
    n_runs : that it rests on.
    confidence_of_sign : one-sided confidence, from 0.5 to 1, that the true value has the sign of this one.
    """

    value: float
    ci_low: float
    ci_high: float
    n_runs: int
    confidence_of_sign: float

    @property
    def sign_is_decided(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.ci_low > 0.0 or self.ci_high < 0.0


def rate_over_runs(totals: NDArray[np.float64], spans: NDArray[np.float64]) -> Rate:
    """Sum of totals over sum of spans, with Student's interval over runs.

    Runs count by how long they were watched. A mean of each run's own rate would be biased wherever a run ends because
    of where it got, as one that diverges does; a ratio of sums is not, by Wald's identity. Its standard error is that
    of a ratio (Cochran 1977, equation 2.39): from the residuals total − value · span; of runs of one length it is the
    common one of a mean.

    Parameters
    ----------
    totals : (R,) what a quantity changed by, or added up to, in each run.
    spans : (R,) over how many steps, above 0.
    """
    n = len(totals)
    if n == 0:
        return Rate(value=np.nan, ci_low=np.nan, ci_high=np.nan, n_runs=0, confidence_of_sign=np.nan)
    # In a unit, a power of two, in which their squares are numbers that floats hold: to the last digit the same.
    largest = float(np.abs(totals).max())
    unit = 2.0 ** (math.frexp(largest)[1] - 1) if 0.0 < largest < np.inf else 1.0
    totals = totals / unit
    value = float(totals.sum() / spans.sum())
    if n == 1 or not np.isfinite(totals).all():
        return Rate(value=value * unit, ci_low=np.nan, ci_high=np.nan, n_runs=n, confidence_of_sign=np.nan)
    residuals = totals - value * spans
    error = float(np.sqrt(n / (n - 1) * (residuals**2).sum()) / spans.sum())
    reach = float(stats.t.ppf(0.5 + LEVEL / 2, n - 1)) * error
    sure = float(stats.t.cdf(abs(value) / error, n - 1)) if error > 0.0 else 1.0
    return Rate(
        value=value * unit,
        ci_low=(value - reach) * unit,
        ci_high=(value + reach) * unit,
        n_runs=n,
        confidence_of_sign=sure,
    )
