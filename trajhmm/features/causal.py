"""Runs as they were known at each row: nothing of the future."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import flags_of, floats_of, whole_of
from trajhmm.errors import LogError
from trajhmm.features.events import Broken, is_loss
from trajhmm.features.sequences import carried_forward
from trajhmm.logs import RunSet
from trajhmm.naming import instead_of

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
    events : (T,) bool, whether any of the metrics broke down at this row, see `trajhmm.features.events.Broken`.

    Raises
    ------
    ArrayError
        An array is of another shape or type.
    """

    run: str
    metrics: tuple[str, ...]
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    logged: NDArray[np.bool_]
    events: NDArray[np.bool_]

    def __post_init__(self) -> None:
        values = floats_of("values", self.values, (None, len(self.metrics)))
        checked = {
            "values": values,
            "steps": whole_of("steps", self.steps, (len(values),)),
            "logged": flags_of("logged", self.logged, values.shape),
            "events": flags_of("events", self.events, (len(values),)),
        }
        for name, array in checked.items():
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @property
    def n_rows(self) -> int:
        """Number of rows, T."""
        return len(self.steps)

    def first_rows(self, n: int) -> CausalRun:
        """The run as it stood after ``n`` rows."""
        return replace(
            self, steps=self.steps[:n], values=self.values[:n], logged=self.logged[:n], events=self.events[:n]
        )

    def columns(self, metrics: tuple[str, ...]) -> NDArray[np.float64]:
        """(T, D) values of the metrics named, NaN before the first that is logged.

        Raises
        ------
        LogError
            The run lacks one.
        """
        return self.values if metrics == self.metrics else self.values[:, [self.index_of(name) for name in metrics]]

    def index_of(self, metric: str) -> int:
        """The column of a metric.

        Raises
        ------
        LogError
            The run has no such metric.
        """
        if metric not in self.metrics:
            raise LogError(f"run {self.run}: no metric {metric!r}{instead_of(metric, self.metrics)}")
        return self.metrics.index(metric)


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
        raise LogError(f"no metric {unknown[0]!r} in these logs{instead_of(unknown[0], runs.metrics)}")
    columns = [runs.metrics.index(metric) for metric in metrics]
    return tuple(_causal_run(runs, run, rows, columns) for run, rows in runs.slices())


def _causal_run(runs: RunSet, run: str, rows: slice, columns: list[int]) -> CausalRun:
    picked: slice | list[int] = slice(None) if columns == list(range(len(runs.metrics))) else columns  # else a copy
    values, written = runs.values[rows][:, picked], runs.logged[rows][:, picked]
    finite = np.isfinite(values)
    logged = written & finite
    missed = None if runs.missed is None else runs.missed[rows][:, columns]
    losses = np.array([is_loss(runs.metrics[column]) for column in columns])
    broken, _ = Broken.at_start(len(columns)).after(values, written, missed, losses)
    return CausalRun(
        run=run,
        metrics=tuple(runs.metrics[column] for column in columns),
        steps=runs.steps[rows],
        values=_within_bounds(values if logged.all() else carried_forward(values, logged)),
        logged=logged,
        events=np.logical_or.reduce(broken, axis=1),
    )


def _within_bounds(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The values themselves if they are."""
    if np.nanmax(np.abs(values), initial=0.0) <= LARGEST:
        return values
    return np.clip(values, -LARGEST, LARGEST)


def known_moments(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(D,) mean and standard deviation of (N, D) rows over what is not NaN; 0 and infinity where nothing is."""
    known = ~np.isnan(rows)
    n = np.maximum(known.sum(axis=0), 1)
    # Divided first, so that sums of large values stay finite.
    mean = (np.where(known, rows, 0.0) / n).sum(axis=0)
    deviation = np.sqrt((np.where(known, rows - mean, 0.0) ** 2 / n).sum(axis=0))
    return mean, np.where(known.any(axis=0), deviation, np.inf)
