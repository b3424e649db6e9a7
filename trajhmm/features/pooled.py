"""Scaling that all runs share: levels stay comparable between runs, and positive metrics are taken by their logarithm.

z-scores within each run depend on how long it stays where, so that two runs in the very same state get different ones
as soon as their dwell times differ. A scale that all share has no such fault. What runs still differ by from their
first row on, an offset (of a logarithm: a factor), is left to the model, or taken from their own first rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trajhmm.features.spread import Spread, spread_about_runs, spread_of_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Scaling = Literal["mixed", "own-start", "shared", "per-run"]
SCALINGS: tuple[Scaling, ...] = get_args(Scaling)
PooledKind = Literal["shared", "own-start"]

# A run's first rows: this share of it, at least one row.
_START_SHARE = 0.03


@dataclass(frozen=True, kw_only=True, eq=False)
class PooledScaler:
    """Logarithms of positive metrics, less a centre, over a spread: the same for all runs.

    Attributes
    ----------
    kind : ``shared``; ``own-start``, where each run's first rows are taken from it as well.
    logs : (D,) bool, metrics taken by their logarithm: those that are positive in every row that was learnt from.
    least : (D,) the least value of each of these; new rows below count as that.
    centre, spread : (D,) of the metrics, or of their logarithms.
    """

    kind: PooledKind
    logs: NDArray[np.bool_]
    least: Floats
    centre: Floats
    spread: Floats

    @classmethod
    def unfitted(cls, kind: PooledKind, least: Floats) -> PooledScaler:
        """With centre 0 and spread 1, given the (D,) least values of the metrics over all rows."""
        d = len(least)
        return cls(kind=kind, logs=least > 0, least=least, centre=np.zeros(d), spread=np.ones(d))

    def fitted(self, measured: Measured, *, within_runs: bool) -> PooledScaler:
        """With centre and spread from what this transforms rows to.

        Parameters
        ----------
        within_runs : whether the spread is that about the means of the runs, or that of all rows.
        """
        variance = measured.within.variance if within_runs else measured.total.variance
        return replace(self, centre=measured.total.mean, spread=np.sqrt(variance))

    def transform(self, values: Floats, lengths: Ints) -> Floats:
        """Scale (N, D) finite values of runs with (R,) lengths, all positive; returns a new (N, D) array."""
        scaled = values.copy()
        scaled[:, self.logs] = np.log(np.maximum(values[:, self.logs], self.least[self.logs]))
        if self.kind == "own-start":
            scaled -= np.repeat(_starts(scaled, lengths), lengths, axis=0)
        return (scaled - self.centre) / self.spread

    def take(self, columns: Ints) -> PooledScaler:
        """The scaler of some of the metrics."""
        return replace(
            self,
            logs=self.logs[columns],
            least=self.least[columns],
            centre=self.centre[columns],
            spread=self.spread[columns],
        )

    def to_dict(self) -> dict[str, object]:
        """What the model file holds."""
        return {
            "kind": self.kind,
            "logs": self.logs.tolist(),
            "least": self.least.tolist(),
            "centre": self.centre.tolist(),
            "spread": self.spread.tolist(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> PooledScaler:
        """Read back what `to_dict` gives."""
        numbers = {name: np.array(stored[name], dtype=np.float64) for name in ("least", "centre", "spread")}
        return cls(kind=stored["kind"], logs=np.array(stored["logs"], dtype=bool), **numbers)


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """What a scale is learnt from; parts add up. ``total`` is of all rows, ``within`` about the means of the runs."""

    total: Spread
    within: Spread

    @classmethod
    def of(cls, values: Floats, lengths: Ints) -> Measured:
        """Of (N, D) rows of runs with (R,) lengths."""
        return cls(total=spread_of_rows(values), within=spread_about_runs(values, lengths))

    def __add__(self, other: Measured) -> Measured:
        return Measured(total=self.total + other.total, within=self.within + other.within)


def pooled_kind(scaling: Scaling) -> PooledKind:
    """How rows are scaled for a way of scaling: the mixed-effects model takes them on one scale."""
    return "own-start" if scaling == "own-start" else "shared"


def learn_scaler(values: Floats, lengths: Ints, scaling: Scaling) -> PooledScaler:
    """Learn a scale for all runs from (N, D) finite rows of runs with (R,) lengths."""
    bare = PooledScaler.unfitted(pooled_kind(scaling), values.min(axis=0))
    measured = Measured.of(bare.transform(values, lengths), lengths)
    return bare.fitted(measured, within_runs=scaling == "mixed")


def _starts(values: Floats, lengths: Ints) -> Floats:
    """(R, D) mean of each run's first rows."""
    begins = np.cumsum(lengths) - lengths
    few = np.maximum(1, np.round(_START_SHARE * lengths)).astype(np.int64)
    return np.array([values[b : b + n].mean(axis=0) for b, n in zip(begins, few, strict=True)])
