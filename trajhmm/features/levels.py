"""Where a run stands and how it moves against its own past: what the phase of training is read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features.causal import CausalRun, causal_runs
from trajhmm.features.departures import least_values, logarithmic, squeezed
from trajhmm.features.sequences import Sequences
from trajhmm.logs import RunSet
from trajhmm.stored import Stored

Floats = NDArray[np.float64]

# Rows of its own past that a metric is compared with.
SPAN = 120.0
# Least spread of a metric about its own past: absolute for logarithms, else in its standard deviation over all rows.
_LEAST_SPREAD = 1e-4
# Spread of a metric that stands still up to rounding, as a share of its largest value, and at all.
_STILL, _ZERO = 1e-6, 1e-100
# No spread of a model file is smaller, and none larger than its inverse; those that are learnt are far within.
LEAST_SIZE = 1e-120


@dataclass(frozen=True, kw_only=True, eq=False)
class LevelsAndInnovations:
    """Each metric in two columns: its level among all healthy rows, and its innovation against its own last rows.

    Metrics that are positive in all healthy rows (losses, norms, variances) are taken by their logarithm. Both columns
    are squeezed by the inverse hyperbolic sine, so that a few spreads count in full and many as their logarithm. A
    metric that is not yet logged is missing (NaN).

    Attributes
    ----------
    metrics : D names.
    least : (D,) smallest healthy value of a metric that is compared by its logarithm; 0 for the others.
    centre, spread : (D,) mean and standard deviation over all healthy rows.
    """

    metrics: tuple[str, ...]
    least: Floats
    centre: Floats
    spread: Floats

    def __post_init__(self) -> None:
        for array in (self.least, self.centre, self.spread):
            array.setflags(write=False)

    @property
    def kind(self) -> str:
        """Name in the model file."""
        return "levels"

    @property
    def n_features(self) -> int:
        """Number of columns, 2 D."""
        return 2 * len(self.metrics)

    @cached_property
    def floors(self) -> Floats:
        """(D,) least spread of a metric about its own past."""
        return np.where(self.least > 0, _LEAST_SPREAD, _LEAST_SPREAD * self.spread)

    @classmethod
    def of(cls, runs: Sequence[CausalRun]) -> Self:
        """Learn from healthy runs, which must all have the metrics of the first.

        Raises
        ------
        FitError
            No finite value in any of them.
        LogError
            A run lacks a metric.
        """
        metrics = runs[0].metrics
        values = [run.columns(metrics) for run in runs]
        # Run by run, as all rows at once would take several times the memory that they have.
        known = sum(np.isfinite(part).sum(axis=0) for part in values)
        if not np.any(known):
            raise FitError(f"no finite value of {', '.join(metrics[:6])} in {len(runs)} healthy runs")
        least = least_values(np.array([np.fmin.reduce(part, axis=0) for part in values if len(part)]))
        shares = 1.0 / np.maximum(known, 1)
        centre, squares, largest = (np.zeros(len(metrics)) for _ in range(3))
        for part in values:
            rows = logarithmic(part, least)
            centre += np.nansum(rows * shares, axis=0)
            largest = np.fmax(largest, np.abs(np.where(np.isnan(rows), 0.0, rows)).max(axis=0, initial=0.0))
        for part in values:
            squares += np.nansum((logarithmic(part, least) - centre) ** 2 * shares, axis=0)
        spread = np.where(known > 0, np.sqrt(squares), 1.0)
        spread = np.maximum(spread, np.where(largest > _ZERO, _STILL * largest, 1.0))
        return cls(metrics=metrics, least=least, centre=centre, spread=spread)

    def scales(self, values: Floats) -> Floats:
        """(n, D) values as they are compared: some as logarithms."""
        return logarithmic(values, self.least)

    def rows(self, scaled: Floats, moved: Floats) -> Floats:
        """(n, 2 D) rows from (n, D) values as they are compared and (n, D) innovations."""
        rows = np.concatenate((scaled, moved), axis=1)
        missing = np.isnan(scaled)
        if missing.any():
            rows[:, len(self.metrics) :][missing] = np.nan
        return squeezed(rows, *self._columns)

    @cached_property
    def _columns(self) -> tuple[Floats, Floats]:
        """(2 D,) centre and spread of each column; innovations are in spreads already."""
        n_metrics = len(self.metrics)
        return np.append(self.centre, np.zeros(n_metrics)), np.append(self.spread, np.ones(n_metrics))

    def innovations(self, scaled: Floats, fresh: NDArray[np.bool_], memory: Floats) -> Floats:
        """(n, D) innovations of (n, D) values as they are compared; ``memory`` is moved on, see `innovations`.

        In healthy runs they are against as long a past as a run has. Those of a metric that begins late are missing
        (NaN) until it has one about half as long.
        """
        from trajhmm.features.innovations import MEMORY, advance

        moved, past = np.empty(scaled.shape), np.ascontiguousarray(memory[:, :MEMORY])
        advance(scaled, fresh, self.floors, SPAN, past, moved)
        memory[:, :MEMORY] = past
        waited, age = memory[:, MEMORY], memory[:, MEMORY + 1]
        # Nearly always all have begun, and none of them waited for long.
        if (age < np.minimum(waited, SPAN)).any() or not ((age > 0) | fresh[:1].all(axis=0)).all():
            begun = (age > 0) | np.logical_or.accumulate(fresh, axis=0)
            ages = age + np.cumsum(begun, axis=0)
            waited += (~begun).sum(axis=0)
            moved[begun & (ages <= np.minimum(waited, SPAN))] = np.nan
            age[:] = ages[-1] if len(ages) else age
        else:
            age += len(scaled)
        return moved

    def memory(self) -> Floats:
        """(D, 7) what is known of a run before its first row.

        See `innovations`; and rows before the first value of a metric, and from there on.
        """
        from trajhmm.features.innovations import MEMORY

        return np.zeros((len(self.metrics), MEMORY + 2))

    def transform(self, run: CausalRun) -> Floats:
        """(T, 2 D) rows of a run; row t from the rows up to it.

        Raises
        ------
        LogError
            The run lacks a metric.
        """
        scaled = self.scales(run.columns(self.metrics))
        fresh = run.logged[:, [run.index_of(metric) for metric in self.metrics]]
        return self.rows(scaled, self.innovations(scaled, fresh, self.memory()))

    def sequences(self, runs: RunSet) -> Sequences:
        """All rows of ``runs``, ready for the HMM; after a non-finite value the last finite one stands.

        Raises
        ------
        LogError
            The runs lack a metric.
        """
        causal = causal_runs(runs, self.metrics)
        return Sequences(
            runs=runs.runs,
            lengths=runs.lengths,
            steps=runs.steps,
            values=np.concatenate([self.transform(run) for run in causal]),
            metrics=(*self.metrics, *(f"{metric} against its own past" for metric in self.metrics)),
            scaler=self,
            rows=np.arange(runs.n_rows, dtype=np.int64),
            diverged={run.run: int(run.steps[run.events.argmax()]) for run in causal if run.events.any()},
        )

    def to_dict(self) -> dict[str, object]:
        """What the model file holds."""
        arrays = {name: getattr(self, name).tolist() for name in ("least", "centre", "spread")}
        return {"kind": self.kind, "metrics": list(self.metrics), **arrays}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises
        ------
        StoredError
            A part is missing, of another length, or not what it must be.
        """
        piece = Stored(stored, "scaler")
        piece.members(known=("kind", "metrics", "least", "centre", "spread"))
        metrics = tuple(name.text() for name in piece["metrics"].items())
        shape, largest = (len(metrics),), 1.0 / LEAST_SIZE
        return cls(
            metrics=metrics,
            least=piece["least"].array(shape, 0.0, largest),
            centre=piece["centre"].array(shape, -largest, largest),
            spread=piece["spread"].array(shape, LEAST_SIZE, largest),
        )
