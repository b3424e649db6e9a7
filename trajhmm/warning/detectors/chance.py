"""Detectors that look at nothing: alarms at random, evenly or as often as past runs collapsed at this step."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import CausalRun
from trajhmm.warning.detectors.interface import Detector, Reference

# What is drawn from an exponential distribution may be 0, and is divided by.
_SHORTEST = 1e-100


@dataclass(frozen=True, kw_only=True, eq=False)
class NonFiniteCheck(Detector):
    """An alarm where a non-finite value is logged, and nowhere else; all other rows score 0."""

    name: ClassVar[str] = "nonfinite"
    published_threshold: ClassVar[float | None] = 0.0

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        return np.zeros(run.n_rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomAlarm(Detector):
    """A number between 0 and 1 for each row, drawn from the run's name alone: what any rate of alarms is worth."""

    name: ClassVar[str] = "random"
    seed: int = 0

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        return _drawn(run, self.seed).random(run.n_rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class StepHazard(Detector):
    """An alarm at random, in proportion to how often past runs collapsed soon after this step.

    All runs share the hazard of a step, so a score that was the hazard itself would let all runs alarm at one step or
    none. The score is hazard over a number drawn from an exponential distribution: it passes a threshold θ with
    probability 1 − exp(−hazard / θ), so that the threshold sets the rate and the hazard the time. The hazard of a step
    is the Nelson–Aalen estimate of the collapses within the next tenth of the reference's steps. Without collapses in
    the reference it is the same everywhere.
    """

    name: ClassVar[str] = "step_hazard"
    uses_labels: ClassVar[bool] = True
    seed: int = 0
    ahead: float = 0.1
    steps_: NDArray[np.float64] | None = None
    cumulative_: NDArray[np.float64] | None = None
    horizon_: float | None = None

    def _fit(self, reference: Reference) -> Self:
        watched = [(run.steps[-1], False) for run in reference.healthy]
        for trial in reference.labelled:
            collapse = trial.truth.collapse_step
            watched.append((trial.run.steps[-1] if collapse is None else collapse, collapse is not None))
        ends = np.array([end for end, _ in watched], dtype=np.float64)
        collapsed = np.array([collapsed for _, collapsed in watched], dtype=bool)
        steps, deaths = np.unique(ends[collapsed], return_counts=True)
        at_risk = (ends[np.newaxis, :] >= steps[:, np.newaxis]).sum(axis=1)
        cumulative = np.concatenate(([0.0], np.cumsum(deaths / np.maximum(at_risk, 1))))
        first = min(int(run.steps[0]) for run in reference.healthy)
        horizon = max(self.ahead * (ends.max(initial=first) - first), 1.0)
        return replace(self, steps_=steps, cumulative_=cumulative, horizon_=float(horizon))

    def hazard(self, steps: NDArray[np.int64]) -> NDArray[np.float64]:
        """(T,) expected collapses of a run within the horizon after each step; at least a hundredth of all."""
        collapses, cumulative = self._learnt(self.steps_), self._learnt(self.cumulative_)
        if not len(collapses):
            return np.ones(len(steps))
        soon = np.searchsorted(collapses, steps + self._learnt(self.horizon_), side="right")
        past = np.searchsorted(collapses, steps, side="right")
        expected: NDArray[np.float64] = np.maximum(cumulative[soon] - cumulative[past], 0.01 * cumulative[-1])
        return expected

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        waiting = _drawn(run, self.seed).standard_exponential(run.n_rows, method="inv")
        scored: NDArray[np.float64] = self.hazard(run.steps) / np.maximum(waiting, _SHORTEST)
        return scored


def _drawn(run: CausalRun, seed: int) -> np.random.Generator:
    """The same numbers for a run each time, and the first of them however long it is."""
    return np.random.default_rng([seed, zlib.crc32(run.run.encode())])
