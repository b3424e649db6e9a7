"""What a detector is handed: one run's metrics as they were known at each row, and what became of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.features import carried_forward
from trajhmm.logs import RunSet

# Squares of larger values, and sums of them, would overflow.
LARGEST = 1e100


@dataclass(frozen=True, kw_only=True, eq=False)
class CausalRun:
    """One run of T rows and D metrics; what stands in a row was known at that row.

    Attributes
    ----------
    run : name.
    metrics : D names.
    steps : (T,) int64, rising.
    values : (T, D) float64, the last finite value logged; NaN before the first. At most 1e100 in size.
    logged : (T, D) bool, whether a finite value was logged at this very row; elsewhere ``values`` repeats an older one.
    events : (T,) bool, whether a non-finite value of any of the metrics was logged at this row.
    """

    run: str
    metrics: tuple[str, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    logged: NDArray[np.bool_]
    events: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for array in (self.steps, self.values, self.logged, self.events):
            array.setflags(write=False)

    @property
    def n_rows(self) -> int:
        """Number of rows, T."""
        return len(self.steps)

    def first_rows(self, n: int) -> CausalRun:
        """The run as it stood after ``n`` rows."""
        return replace(
            self, steps=self.steps[:n], values=self.values[:n], logged=self.logged[:n], events=self.events[:n]
        )

    def index_of(self, metric: str) -> int:
        """The column of a metric.

        Raises
        ------
        LogError
            The run has no such metric.
        """
        if metric not in self.metrics:
            raise LogError(f"run {self.run}: no metric {metric!r} (found: {', '.join(self.metrics[:12])})")
        return self.metrics.index(metric)


class Kind(StrEnum):
    """What became of a run: never perturbed, perturbed and survived, or collapsed."""

    HEALTHY = "healthy"
    SURVIVED = "survived"
    COLLAPSED = "collapsed"


@dataclass(frozen=True, kw_only=True)
class RunTruth:
    """What became of a run.

    Attributes
    ----------
    onset : step at which it was perturbed; None if it was not.
    collapse_step : step at which it collapsed; None if it did not.
    spikes : dips that recovered, which are no collapse.
    """

    onset: int | None = None
    collapse_step: int | None = None
    spikes: int = 0

    @property
    def kind(self) -> Kind:
        """What became of it in a word."""
        if self.collapse_step is not None:
            return Kind.COLLAPSED
        return Kind.HEALTHY if self.onset is None else Kind.SURVIVED


@dataclass(frozen=True, kw_only=True, eq=False)
class Trial:
    """A run, what became of it, and what it shares with others.

    Attributes
    ----------
    run, truth : the run and what became of it.
    condition : how it was trained and perturbed; held out as a whole.
    group : runs of one group (a seed) share weights or data, so that one tells of the others.
    """

    run: CausalRun
    truth: RunTruth
    condition: str
    group: str


def causal_runs(runs: RunSet, metrics: Sequence[str] | None = None) -> tuple[CausalRun, ...]:
    """Split logs into runs, each metric carried forward.

    Parameters
    ----------
    runs : the logs.
    metrics : names of those that detectors shall see; by default all.

    Raises
    ------
    LogError
        A metric that the logs do not have.
    """
    metrics = runs.metrics if metrics is None else tuple(metrics)
    unknown = [metric for metric in metrics if metric not in runs.metrics]
    if unknown:
        raise LogError(f"no metric {unknown[0]!r} in these logs (found: {', '.join(runs.metrics[:12])})")
    columns = [runs.metrics.index(metric) for metric in metrics]
    return tuple(_causal_run(runs, run, rows, columns) for run, rows in runs.slices())


def _causal_run(runs: RunSet, run: str, rows: slice, columns: list[int]) -> CausalRun:
    values, written = runs.values[rows][:, columns], runs.logged[rows][:, columns]
    finite = np.isfinite(values)
    logged = written & finite
    return CausalRun(
        run=run,
        metrics=tuple(runs.metrics[column] for column in columns),
        steps=runs.steps[rows],
        values=np.clip(carried_forward(values, logged), -LARGEST, LARGEST),
        logged=logged,
        events=np.any(written & ~finite, axis=1),
    )


def trials_of(
    runs: RunSet,
    truths: Mapping[str, RunTruth],
    *,
    condition: str,
    group: str | None = None,
    metrics: Sequence[str] | None = None,
) -> tuple[Trial, ...]:
    """Join logs with what became of the runs.

    Parameters
    ----------
    runs : the logs.
    truths : run to what became of it; all runs of the logs.
    condition : attribute that names how a run was trained and perturbed.
    group : attribute whose values runs that belong together share, such as ``seed``; by default each is on its own.
    metrics : as for `causal_runs`.

    Raises
    ------
    LogError
        An attribute that the logs do not have, or a run of which the truth is not known.
    """
    for name in (condition, group):
        if name is not None and name not in runs.attributes.columns:
            raise LogError(f"no attribute {name!r} in these logs (found: {', '.join(runs.attributes.columns[:12])})")
    missing = [run for run in runs.runs if run not in truths]
    if missing:
        raise LogError(
            f"run {missing[0]}: the truth does not name it ({len(missing)} such runs); add it, or leave it out"
        )
    return tuple(
        Trial(
            run=run,
            truth=truths[run.run],
            condition=str(runs.attributes[condition].iloc[index]),
            group=run.run if group is None else str(runs.attributes[group].iloc[index]),
        )
        for index, run in enumerate(causal_runs(runs, metrics))
    )
