"""Rules that training frameworks ship: a value is compared with the values just before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.warning.detectors.interface import SeriesDetector
from trajhmm.warning.detectors.windows import (
    Floats,
    previous_largest,
    previous_median,
    previous_moments,
    standardised,
    trailing_minimum,
)

LOSS_AND_GRADIENT = ("train_loss", "grad_norm")


def _at_least(threshold: float) -> float:
    """The threshold above which a score is at least ``threshold``."""
    return float(np.nextafter(threshold, -np.inf))


@dataclass(frozen=True, kw_only=True, eq=False)
class OlmoCoreMonitor(SeriesDetector):
    """OLMo-core's stability monitor: above the mean of the previous 128 values by more than 6 standard deviations.

    The score is the number of (population) standard deviations; 0 until the window is full, and where the standard
    deviation is under 1e-10. Source: ``StabilityMonitorCallback`` in ``src/olmo_core/train/callbacks/
    stability_monitor.py`` of github.com/allenai/OLMo-core (``window_size = 128``, ``threshold_std = 6.0``).
    """

    name: ClassVar[str] = "olmo_core"
    published_threshold: ClassVar[float | None] = 6.0
    metrics: tuple[str, ...] = LOSS_AND_GRADIENT
    window: int = 128
    least_spread: float = 1e-10

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) standard deviations above the mean."""
        mean, spread = previous_moments(values, self.window, self.window)
        return np.divide(values - mean, spread, out=np.zeros(len(values)), where=spread >= self.least_spread)


@dataclass(frozen=True, kw_only=True, eq=False)
class Olmo2SpikeRule(SeriesDetector):
    """OLMo 2's spikes: "at least seven standard deviations away from a rolling average of the last 1,000 values".

    The score is the distance in standard deviations, either way. What holds before there are 1,000 values the report
    does not say; here those that there are stand in, from 100 on. Source: OLMo et al. (2024), "2 OLMo 2 Furious",
    arXiv 2501.00656, section 3.2, "used primarily on training loss and L2 norm of the gradient".
    """

    name: ClassVar[str] = "olmo2"
    published_threshold: ClassVar[float | None] = _at_least(7.0)
    metrics: tuple[str, ...] = LOSS_AND_GRADIENT
    window: int = 1000
    least: int = 100

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) standard deviations from the mean."""
        mean, spread = previous_moments(values, self.window, self.least)
        return np.abs(standardised(values, mean, spread, previous_largest(values, self.window)))


@dataclass(frozen=True, kw_only=True, eq=False)
class WandbZScore(SeriesDetector):
    """The z-score filter of Weights & Biases automations: window 30, threshold 3, change in any direction.

    The score is the distance from the mean of the previous 30 values in their standard deviations. That the value
    itself is no part of its window, and that the standard deviation is the population's, is our reading: the rule runs
    on a server whose code is not public. Source: ``MetricZScoreFilter`` in ``wandb/automations`` (``window = 30``,
    ``threshold = 3.0``, ``change_dir = ANY``), docs.wandb.ai.
    """

    name: ClassVar[str] = "wandb"
    published_threshold: ClassVar[float | None] = 3.0
    window: int = 30

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) standard deviations from the mean."""
        mean, spread = previous_moments(values, self.window, self.window)
        return np.abs(standardised(values, mean, spread, previous_largest(values, self.window)))


@dataclass(frozen=True, kw_only=True, eq=False)
class MedianZScore(SeriesDetector):
    """The modified z-score over a short window: median and median absolute deviation of the previous 21, threshold 6.

    The score is |x − median| / (1.4826 MAD), where 1.4826 makes the deviation that of a normal distribution: Iglewicz
    and Hoaglin (1993), "How to detect and handle outliers"; over a moving window it is Hampel's identifier.
    """

    name: ClassVar[str] = "median_mad"
    published_threshold: ClassVar[float | None] = 6.0
    window: int = 21

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) robust standard deviations from the median."""
        median, deviation = previous_median(values, self.window, self.window)
        return np.abs(standardised(values, median, 1.4826 * deviation, previous_largest(values, self.window)))


@dataclass(frozen=True, kw_only=True, eq=False)
class LossSpikeKiller(SeriesDetector):
    """MosaicML's loss-spike killer: five losses in a row at least twice the mean of the 100 losses before each.

    The score is the least, over the last five rows, of 2 + (loss − 2 mean) / abs(mean), which is loss over mean where
    that is positive, and at least 2 exactly where the rule is met, also for losses below 0, which the rule was not made
    for. Its second rule, half of the window above a loss of 10, is for language models and left out. Source:
    ``KillLossSpike`` in ``llmfoundry/callbacks/kill_loss_spike_callback.py`` of github.com/mosaicml/llm-foundry
    (``window_size = 100``, ``outlier_multiplier = 2``, ``patience = 4``: the fifth outlier in a row ends the run).
    """

    name: ClassVar[str] = "loss_spike_killer"
    published_threshold: ClassVar[float | None] = _at_least(2.0)
    window: int = 100
    in_a_row: int = 5

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) least multiple of the window's mean over the last rows."""
        mean, _ = previous_moments(values, self.window, self.window)
        excess = standardised(values, 2 * mean, np.abs(mean), previous_largest(values, self.window))
        return trailing_minimum(np.where(np.isnan(mean), 0.0, 2.0 + excess), self.in_a_row)


@dataclass(frozen=True, kw_only=True, eq=False)
class ZClip(SeriesDetector):
    """ZClip: the gradient norm against its exponential moving average, z > 2.5.

    Mean and variance start from the first 25 norms and then follow with weight 0.03 each value as clipped: to
    mean + 2.5² standard deviations / z where z > 2.5. The score is z before the update. Source: Kumar et al. (2025),
    "ZClip: adaptive spike mitigation for LLM pre-training", arXiv 2504.02507, and ``zclip/zclip.py`` of
    github.com/bluorion-com/ZClip (``alpha = 0.97``, ``z_thresh = 2.5``, ``warmup_steps = 25``, ``eps = 1e-6``, mode
    ``zscore`` with ``adaptive_scaling``).
    """

    name: ClassVar[str] = "zclip"
    published_threshold: ClassVar[float | None] = 2.5
    metrics: tuple[str, ...] = ("grad_norm",)
    smoothing: float = 0.97
    clipped_above: float = 2.5
    warmup: int = 25

    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) z-scores, 0 during the warm-up."""
        return _zclip(values, self.smoothing, self.clipped_above, self.warmup)


@takes(values="N", warmup=1)
@compiled
def _zclip(values: Floats, smoothing: float, clipped_above: float, warmup: int) -> Floats:
    scores = np.zeros(len(values))
    if len(values) <= warmup:
        return scores
    mean = values[:warmup].mean()
    variance = ((values[:warmup] - mean) ** 2).mean()
    for t in range(warmup, len(values)):
        spread = np.sqrt(variance)
        z = (values[t] - mean) / (spread + 1e-6)
        scores[t] = z
        kept = values[t]
        if z > clipped_above:
            kept = mean + clipped_above * spread / (z / clipped_above)
        mean = smoothing * mean + (1 - smoothing) * kept
        variance = smoothing * variance + (1 - smoothing) * (kept - mean) ** 2
    return scores
