"""The envelope of healthy seeds: where they were at the same step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.detectors.interface import Detector, Reference
from trajhmm.warning.detectors.standardise import StandardisedMetrics
from trajhmm.warning.runs import CausalRun

# Spread of a metric in which all seeds agree at all steps, in its standard deviation over all rows.
_AGREED = 1e-3


@dataclass(frozen=True, kw_only=True, eq=False)
class Envelope(Detector):
    """Largest departure of any metric from the median over healthy seeds at the same step, in their spread.

    The spread over seeds is their root mean square distance from the median at that step. With few seeds it is small by
    chance at some steps, and 0 where all of them agree; so it is raised to ``floor`` times the metric's median spread
    over the steps at which it has any.

    A step that the reference does not log is compared with the last before it that it does, and one ahead of all with
    the first. Steps that fewer than half of the healthy runs reach are left out: a run that goes on longer is compared
    with the last that most of them reached.

    Parameters
    ----------
    floor : share of the usual spread.
    """

    name: ClassVar[str] = "envelope"
    floor: float = 0.25
    scaling_: StandardisedMetrics | None = None
    steps_: NDArray[np.int64] | None = None
    median_: NDArray[np.float64] | None = None
    spread_: NDArray[np.float64] | None = None

    def _fit(self, reference: Reference) -> Self:
        scaling = StandardisedMetrics.of(reference.healthy)
        steps, seeds = _aligned(reference.healthy, [scaling.transform(run) for run in reference.healthy])
        median = np.nanmedian(seeds, axis=0)
        spread = np.sqrt(np.nanmean((seeds - median) ** 2, axis=0))
        usual = np.array([np.median(column[column > 0]) if (column > 0).any() else 0.0 for column in spread.T])
        return replace(
            self,
            scaling_=scaling,
            steps_=steps,
            median_=median,
            spread_=np.maximum(spread, np.maximum(self.floor * usual, _AGREED)),
        )

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        rows = self._learnt(self.scaling_).transform(run)
        place = np.maximum(np.searchsorted(self._learnt(self.steps_), run.steps, side="right") - 1, 0)
        departures = np.abs(rows - self._learnt(self.median_)[place]) / self._learnt(self.spread_)[place]
        largest: NDArray[np.float64] = departures.max(axis=1)
        return largest


def _aligned(
    runs: Sequence[CausalRun], rows: Sequence[NDArray[np.float64]]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Put runs on the steps that at least half of them reach.

    Parameters
    ----------
    runs, rows : R runs and the (T, D) rows of each.

    Returns
    -------
    steps : (S,) rising.
    aligned : (R, S, D) the last row of each run up to each step; NaN ahead of its first step and after its last.
    """
    steps = np.unique(np.concatenate([run.steps for run in runs]))
    aligned = np.full((len(runs), len(steps), rows[0].shape[1]), np.nan)
    for run, values, place in zip(runs, rows, aligned, strict=True):
        reached = (steps >= run.steps[0]) & (steps <= run.steps[-1])
        place[reached] = values[np.searchsorted(run.steps, steps[reached], side="right") - 1]
    most = 2 * (~np.isnan(aligned[:, :, 0])).sum(axis=0) >= len(runs)
    return steps[most], aligned[:, most]
