"""Critical slowing down: variance and memory that rise, as before a tipping point, seen from behind only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.warning.detectors.interface import SeriesDetector
from trajhmm.warning.detectors.windows import STILL, Floats


@dataclass(frozen=True, kw_only=True, eq=False)
class SlowingDown(SeriesDetector):
    """Kendall's τ of rolling variance and of rolling lag-1 autocorrelation against time, averaged.

    As in ewstools (Bury 2023, JOSS 8(82) 5038; Dakos et al. 2012, PLoS ONE 7 e41010), but looking back only: the trend
    is taken out with the past half of its Gaussian kernel (quartiles at a quarter of the bandwidth to either side), and
    windows are numbers of rows where ewstools takes shares of the whole length. A constant window has no
    autocorrelation and no trend: 0. The score lies between -1 and 1; 0 until all windows are full.

    Parameters
    ----------
    bandwidth : of the kernel, in rows.
    window : rows of the rolling variance and autocorrelation.
    trend : latest values of either on which τ is taken.
    """

    name: ClassVar[str] = "slowing_down"
    bandwidth: int = 50
    window: int = 50
    trend: int = 50

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) mean of the two τ."""
        variance, memory = rolling_indicators(detrended(values, 0.25 / 0.675 * self.bandwidth), self.window)
        return 0.5 * (trailing_tau(variance, self.trend) + trailing_tau(memory, self.trend))


@takes(values="N", sigma=(0.0, np.inf))
@compiled
def detrended(values: Floats, sigma: float) -> Floats:
    """(n,) values less their mean over the past with weights exp(−lag² / 2σ²), lags up to 4σ."""
    reach = int(min(4 * sigma, float(len(values))))
    weights = np.exp(-0.5 * (np.arange(reach + 1) / sigma) ** 2)
    residuals = np.empty(len(values))
    for t in range(len(values)):
        total = weight = 0.0
        for lag in range(min(reach, t) + 1):
            total += weights[lag] * values[t - lag]
            weight += weights[lag]
        residuals[t] = values[t] - total / weight
    return residuals


@takes(values="N", window=3)
@compiled
def rolling_indicators(values: Floats, window: int) -> tuple[Floats, Floats]:
    """Variance and lag-1 autocorrelation of each value and the ``window`` − 1 before it.

    Parameters
    ----------
    values : (n,)
    window : rows, at least 3.

    Returns
    -------
    variance : (n,) sample variance; NaN until the window is full.
    memory : (n,) correlation of values with those one row before; 0 where either stands still.
    """
    variance, memory = np.full(len(values), np.nan), np.full(len(values), np.nan)
    for t in range(window - 1, len(values)):
        inside = values[t - window + 1 : t + 1]
        variance[t] = ((inside - inside.mean()) ** 2).sum() / (window - 1)
        earlier, later = inside[:-1] - inside[:-1].mean(), inside[1:] - inside[1:].mean()
        scale = np.sqrt((earlier**2).sum()) * np.sqrt((later**2).sum())
        still = STILL * np.abs(inside).max()
        memory[t] = (earlier * later).sum() / scale if scale > still**2 else 0.0
    return variance, memory


@takes(values="N", window=2)
@compiled
def trailing_tau(values: Floats, window: int) -> Floats:
    """(n,) Kendall's τ-b of each value and the ``window`` − 1 before it against time; 0 where any is NaN or all tie."""
    taus = np.zeros(len(values))
    pairs = window * (window - 1) / 2
    for t in range(window - 1, len(values)):
        first = t - window + 1
        if np.isnan(values[first]):
            continue
        ordered = untied = 0
        for i in range(first, t + 1):
            for j in range(i + 1, t + 1):
                ordered += np.sign(values[j] - values[i])
                untied += values[j] != values[i]
        if untied:
            taus[t] = ordered / np.sqrt(untied * pairs)
    return taus
