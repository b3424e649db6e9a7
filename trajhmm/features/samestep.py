"""Where healthy runs are at each step, and how far they spread there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features.causal import CausalRun, known_moments

# Departures beyond this many spreads are all the same; with them, everything downstream stays finite.
FARTHEST = 1e3
# More steps than this are thinned, evenly by rank: a model file has to hold them.
_MOST_STEPS = 4096
# As many tell how far runs agree.
_STEPS_TO_AGREE = 256
# Spread of a metric in which all runs agree at all steps, in its standard deviation over all rows; and at all.
_AGREED = 1e-3
_STILL = 1e-9
_ZERO = 1e-100


@dataclass(frozen=True, kw_only=True, eq=False)
class SameStep:
    """Each metric less its median over healthy runs at the same step, in their spread there.

    The spread is the root mean square distance of the runs from their median. With few runs it is small by chance at
    some steps, and 0 where all of them agree; so it is raised to ``floor`` times the metric's usual spread, the median
    over the steps at which it has any, or drawn to it as if by ``prior`` more runs (a moderated variance: Smyth 2004).

    A step that the reference does not log is compared with the last before it that it does, and one ahead of all with
    the first. Steps that fewer than half of the runs reach are left out: a run that goes on longer is compared with the
    last that most of them reached. A metric that is not yet logged stands at its median.

    Attributes
    ----------
    metrics : D names.
    steps : (S,) int64, rising.
    median, spread : (S, D)
    """

    metrics: tuple[str, ...]
    steps: NDArray[np.int64]
    median: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __post_init__(self) -> None:
        for array in (self.steps, self.median, self.spread):
            array.setflags(write=False)

    @classmethod
    def of(cls, runs: Sequence[CausalRun], *, floor: float = 0.25, prior: float = 0.0) -> Self:
        """Learn from healthy runs, which must all have the metrics of the first.

        Parameters
        ----------
        floor : least spread, as a share of the metric's usual one.
        prior : runs of the usual spread that are added at each step.

        Raises
        ------
        FitError
            No finite value in any of them.
        LogError
            A run lacks a metric.
        """
        metrics = runs[0].metrics
        rows = [run.columns(metrics) for run in runs]
        _, usual_size = known_moments(np.concatenate(rows))
        if not np.isfinite(usual_size).any():
            raise FitError(f"no finite value of {', '.join(metrics[:6])} in {len(runs)} healthy runs")
        steps, seeds = _aligned(runs, rows)
        known = ~np.isnan(seeds)
        median = _median(seeds, known)
        squares, there = (np.where(known, seeds - median, 0.0) ** 2).sum(axis=0), known.sum(axis=0)
        spread = np.sqrt(squares / np.maximum(there, 1))
        usual = np.array([np.median(column[column > 0]) if (column > 0).any() else 0.0 for column in spread.T])
        spread = np.sqrt((squares + prior * usual**2) / np.maximum(there + prior, 1))
        least = np.maximum(floor * usual, _AGREED * np.where(np.isfinite(usual_size), usual_size, np.inf))
        largest = np.abs(np.where(known, seeds, 0.0)).max(axis=(0, 1), initial=0.0)
        least = np.maximum(least, np.where(largest > _ZERO, _STILL * largest, 1.0))
        return cls(metrics=metrics, steps=steps, median=median, spread=np.maximum(spread, least))

    def transform(self, run: CausalRun) -> NDArray[np.float64]:
        """(T, D) departures in spreads, at most 1,000 in size; row t from the rows up to it.

        Raises
        ------
        LogError
            The run lacks a metric.
        """
        return self.departures(run.steps, run.columns(self.metrics))

    def departures(self, steps: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, D) departures of (T, D) values at (T,) steps; NaN where a metric is not yet logged."""
        place = np.maximum(np.searchsorted(self.steps, steps, side="right") - 1, 0)
        away = (values - self.median[place]) / self.spread[place]
        return np.ascontiguousarray(np.clip(np.where(np.isnan(away), 0.0, away), -FARTHEST, FARTHEST))


def agreement_of(
    runs: Sequence[CausalRun], scales: Callable[[NDArray[np.float64]], NDArray[np.float64]] = lambda values: values
) -> float:
    """How far runs agree at the same step: the median over metrics of the share of variance that steps explain.

    The variance between runs at the same step, less that of a run's noise from row to row, is set against what steps
    and runs add up to: the variance of the steps' medians, and that between runs. It is the one at the median step, as
    a few rows of one run, far from all others, say nothing of what the runs have in common. 1 if runs of a metric
    differ by no more than noise, 0 if the step says nothing of where they are.

    Parameters
    ----------
    runs : R runs.
    scales : from (T, D) values to those that are compared, row by row; NaN before a metric is logged.
    """
    _, aligned = _aligned(runs, [run.values for run in runs], _STEPS_TO_AGREE)
    n_metrics = aligned.shape[2]
    seeds = scales(aligned.reshape(-1, n_metrics)).reshape(aligned.shape)
    known = ~np.isnan(seeds)
    there = known.sum(axis=0)
    median = _median(seeds, known)
    about_step = (np.where(known, seeds - median, 0.0) ** 2).sum(axis=0) / np.maximum(there, 1)
    squares, n_jumps = np.zeros(n_metrics), np.zeros(n_metrics)
    for run in runs:
        jumps = np.diff(scales(run.values), axis=0)
        squares += np.nansum(jumps**2, axis=0)
        n_jumps += (~np.isnan(jumps)).sum(axis=0)
    noise = squares / np.maximum(n_jumps, 1) / 2
    shares = []
    for column in range(n_metrics):
        some = there[:, column] > 0
        if not some.any():
            continue
        between = float(np.median(about_step[some, column]))
        overall = float(median[some, column].var()) + between
        if overall > 0:
            shares.append(1.0 - max(between - float(noise[column]), 0.0) / overall)
    return float(np.median(shares)) if shares else 1.0


def _median(seeds: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(S, D) median over runs of what is known; 0 where nothing is."""
    median = np.zeros(seeds.shape[1:])
    some = known.any(axis=0)
    median[some] = np.nanmedian(seeds[:, some], axis=0)
    return median


def _aligned(
    runs: Sequence[CausalRun], rows: Sequence[NDArray[np.float64]], most: int = _MOST_STEPS
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Put runs on the steps that at least half of them reach.

    Parameters
    ----------
    runs, rows : R runs and the (T, D) rows of each.
    most : of more steps some are left out, evenly.

    Returns
    -------
    steps : (S,) rising.
    aligned : (R, S, D) the last row of each run up to each step; NaN ahead of its first step and after its last.
    """
    steps = np.unique(np.concatenate([run.steps for run in runs]))
    reaching = sum(((steps >= run.steps[0]) & (steps <= run.steps[-1])).astype(np.int64) for run in runs if run.n_rows)
    steps = steps[2 * np.asarray(reaching) >= len(runs)]
    if len(steps) > most:
        steps = steps[np.linspace(0, len(steps) - 1, most).round().astype(np.int64)]
    aligned = np.full((len(runs), len(steps), rows[0].shape[1]), np.nan)
    for run, values, place in zip(runs, rows, aligned, strict=True):
        if run.n_rows:
            reached = (steps >= run.steps[0]) & (steps <= run.steps[-1])
            place[reached] = values[np.searchsorted(run.steps, steps[reached], side="right") - 1]
    return steps, aligned
