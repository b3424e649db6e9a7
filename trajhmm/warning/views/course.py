"""Where a run is and where it is going, all metrics together, against all rows of healthy runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.errors import ArrayError
from trajhmm.features import CausalRun, LevelsAndInnovations
from trajhmm.features.departures import squeezed
from trajhmm.hmm.inference.emissions import Emissions
from trajhmm.hmm.parameters import Parameters
from trajhmm.stored import Stored
from trajhmm.warning.views.interface import Floats, Rows, View

# Rows whose average a metric is compared with.
_SPAN = 20.0
# Least variance of a column, in its squeezed spreads: one that never changes in healthy runs has none.
_LEAST = 1e-3
# Runs that count as if their columns did not go together: what is known of that grows with runs, not rows.
_APART = 1.0
# What a model file may hold.
_LARGEST, _SMALLEST = 1e150, 1e-150


class Course(View):
    """Surprise, -log p(z_t) in nats, of a row under one normal of all rows of healthy runs.

    z are the level of each metric among all healthy rows, and how far it is from the average of its own last 20 rows,
    in what healthy runs move; both squeezed by the inverse hyperbolic sine. The covariance is full: it is how metrics
    go together that tells runs of many configurations from runs that go astray.

    Parameters
    ----------
    centre, spread : (2 D,) of levels, then of departures.
    parameters : of the normal, an HMM of one state over z.
    """

    name: ClassVar[str] = "course"

    def __init__(self, centre: Floats, spread: Floats, parameters: Parameters) -> None:
        self.centre = centre
        self.spread = spread
        self.parameters = parameters

    @property
    def n_metrics(self) -> int:
        """D, of the metrics that it looks at."""
        return len(self.centre) // 2

    @cached_property
    def _emissions(self) -> Emissions:
        return Emissions.of(self.parameters)

    def start(self) -> Floats:
        """The average of each metric; NaN before the first row."""
        return np.full(self.n_metrics, np.nan)

    def begin_again(self, memory: Floats) -> None:
        """The averages begin anew."""
        memory[:] = np.nan

    def scores(self, rows: Rows, memory: Floats) -> Floats:
        """(n,) surprise, in nats."""
        surprise: Floats = -self._emissions.log_densities_by_row(self._columns(rows, memory))[:, 0]
        return surprise

    def shares(self, rows: Rows, memory: Floats) -> Floats:
        """(n, D) share of each metric in ½ (z - μ)ᵀ Σ⁻¹ (z - μ)."""
        away = np.nan_to_num(self._columns(rows, memory) - self.parameters.means[0])
        shares: Floats = 0.5 * away * (away @ self.parameters.precisions()[0])
        return shares[:, : self.n_metrics] + shares[:, self.n_metrics :]

    def _columns(self, rows: Rows, memory: Floats) -> Floats:
        """(n, 2 D) z; ``memory`` is moved on."""
        return squeezed(_levels_and_departures(rows.scaled, memory), self.centre, self.spread)

    def to_dict(self) -> dict[str, Any]:
        """What the model file holds."""
        return {
            "name": self.name,
            "centre": self.centre.tolist(),
            "spread": self.spread.tolist(),
            "mean": self.parameters.means[0].tolist(),
            "covariance": self.parameters.covars[0].tolist(),
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises
        ------
        StoredError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, cls.name)
        piece.members(known=("name", "centre", "spread", "mean", "covariance"))
        centre = piece["centre"].array((None,), -_LARGEST, _LARGEST)
        n = len(centre)
        if n == 0 or n % 2:
            raise piece["centre"].error("two numbers for each metric")
        spread = piece["spread"].array((n,), _SMALLEST, _LARGEST)
        mean = piece["mean"].array((n,), -_LARGEST, _LARGEST)
        covariance = piece["covariance"].array((n, n), -_LARGEST, _LARGEST)
        try:
            return cls(centre, spread, _normal(mean, covariance))
        except ArrayError as error:
            raise piece["covariance"].error("a covariance, symmetric and positive definite") from error


def fit_course(
    runs: Sequence[CausalRun], taken: Sequence[NDArray[np.bool_]], features: LevelsAndInnovations, *, most_rows: int
) -> Course:
    """Fit the normal to healthy runs.

    Parameters
    ----------
    runs, taken : healthy runs, and which of their rows count.
    features : of the same runs: how metrics are compared, and their levels.
    most_rows : that it is fitted to, evenly from all.
    """
    stride = -(-sum(int(kept.sum()) for kept in taken) // most_rows)

    def columns() -> Iterator[Floats]:
        for run, kept in zip(runs, taken, strict=True):
            scaled = features.scales(run.columns(features.metrics)[kept])
            # A copy, as a view of some rows would hold on to all of them.
            yield _levels_and_departures(scaled, np.full(scaled.shape[1], np.nan))[::stride].copy()

    rows = np.concatenate(list(columns()))
    n_metrics = len(features.metrics)
    moved = rows[:, n_metrics:]
    squares = np.nansum(moved**2, axis=0) / np.maximum(np.isfinite(moved).sum(axis=0), 1)
    centre = np.concatenate([features.centre, np.zeros(n_metrics)])
    spread = np.concatenate([features.spread, np.maximum(np.sqrt(squares), features.floors)])
    z = squeezed(rows, centre, spread)
    known = np.isfinite(z)
    mean = np.where(known, z, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    away = np.where(known, z - mean, 0.0)
    covariance = away.T @ away / len(z)
    alone = np.diag(np.maximum(np.diag(covariance), _LEAST))
    covariance[np.diag_indices_from(covariance)] = np.diag(alone)
    share = _APART / (len(runs) + _APART)
    return Course(centre, spread, _normal(mean, (1.0 - share) * covariance + share * alone))


def _normal(mean: Floats, covariance: Floats) -> Parameters:
    normal = Parameters(
        startprob=np.ones(1),
        transmat=np.ones((1, 1)),
        means=mean[np.newaxis],
        covars=covariance[np.newaxis],
        covariance_type="full",
    )
    normal.check()
    return normal


def _levels_and_departures(scaled: Floats, memory: Floats) -> Floats:
    """(n, 2 D) values, and how far each is from the average up to it; ``memory`` is moved on."""
    columns = np.empty((len(scaled), 2 * scaled.shape[1]))
    _depart(scaled, _SPAN, memory, columns)
    return columns


@takes(values="N D", span=(0.0, np.inf), averages="D filled", columns="N 2D filled")
@compiled
def _depart(values: Floats, span: float, averages: Floats, columns: Floats) -> None:
    rate = 2.0 / (span + 1.0)
    n_metrics = len(averages)
    for t in range(len(values)):
        for d in range(n_metrics):
            value = values[t, d]
            if np.isnan(averages[d]):
                averages[d] = value
            else:
                averages[d] += rate * (value - averages[d])
            columns[t, d] = value
            columns[t, n_metrics + d] = value - averages[d]
