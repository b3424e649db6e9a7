"""What every detector does: fit on a reference, score a run row by row without looking ahead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError, LogError
from trajhmm.features import CausalRun
from trajhmm.warning.runs import Trial

Learnt = TypeVar("Learnt")


@dataclass(frozen=True, kw_only=True, eq=False)
class Reference:
    """What a detector learns from.

    Attributes
    ----------
    healthy : runs that went well.
    labelled : perturbed or collapsed runs with what became of them; may be empty.
    """

    healthy: tuple[CausalRun, ...]
    labelled: tuple[Trial, ...] = ()


@dataclass(frozen=True, kw_only=True, eq=False)
class Detector(ABC):
    """A score for each row of a run; the higher, the more alarming.

    Settings are fields with defaults; fields that end in ``_`` are what ``fit`` has learnt. Scores are finite, save
    that a row with a non-finite event scores infinity, and 0 while there is nothing to say yet.

    Attributes
    ----------
    name : in tables.
    published_threshold : the detector's own rule is an alarm where the score is above it; None where it has none.
    uses_labels : whether it learns from ``Reference.labelled``.
    """

    name: ClassVar[str]
    published_threshold: ClassVar[float | None] = None
    uses_labels: ClassVar[bool] = False

    def fit(self, reference: Reference) -> Self:
        """A copy that has learnt from ``reference``; itself where there is nothing to learn.

        Raises
        ------
        FitError
            The reference does not hold what the detector needs.
        LogError
            Runs lack a metric.
        """
        if not reference.healthy:
            raise FitError(f"{self.name}: the reference holds no healthy run; at least 1 is needed")
        return self._fit(reference)

    def scores(self, run: CausalRun) -> NDArray[np.float64]:
        """(T,) score of each row, from the rows up to it and from the reference.

        Raises
        ------
        FitError
            The detector learns from a reference and was not fitted.
        LogError
            The run lacks a metric.
        """
        if not run.n_rows:
            return np.zeros(0)
        scored: NDArray[np.float64] = np.where(run.events, np.inf, self._scores(run))
        return scored

    def _fit(self, reference: Reference) -> Self:  # noqa: ARG002
        return self

    @abstractmethod
    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        """(T,) finite scores of a run of at least one row."""

    def _learnt(self, value: Learnt | None) -> Learnt:
        """What ``fit`` has set."""
        if value is None:
            raise FitError(f"{self.name}: not fitted; call fit(reference) and use what it returns")
        return value


@dataclass(frozen=True, kw_only=True, eq=False)
class SeriesDetector(Detector):
    """A rule on single metrics, each by itself; the largest score counts.

    Only rows at which a metric was logged enter its rule, so that a metric that is logged less often is not taken for
    one that stands still; in between its last score stands.

    Parameters
    ----------
    metrics : names of the metrics watched; those that a run lacks are passed over, but one must be there.
    """

    metrics: tuple[str, ...] = ("train_loss",)

    @abstractmethod
    def series_scores(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) scores of the (n,) logged values of one metric, n at least 1."""

    def scaled(self, values: NDArray[np.float64], metric: str) -> NDArray[np.float64]:  # noqa: ARG002
        """(n,) values of ``metric`` in the units that the rule is made for; by default as they are."""
        return values

    def watched(self, metrics: tuple[str, ...]) -> tuple[str, ...]:
        """Those of ``metrics`` that are watched.

        Raises
        ------
        LogError
            None is.
        """
        watched = tuple(metric for metric in self.metrics if metric in metrics)
        if not watched:
            raise LogError(
                f"{self.name} watches {' or '.join(self.metrics)}, found only {', '.join(metrics[:12])}; "
                "name the columns with metrics=(…)"
            )
        return watched

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        scored = [self._scores_of(run, metric) for metric in self.watched(run.metrics)]
        largest: NDArray[np.float64] = np.max(scored, axis=0)
        return largest

    def _scores_of(self, run: CausalRun, metric: str) -> NDArray[np.float64]:
        column = run.index_of(metric)
        logged = run.logged[:, column]
        if not logged.any():
            return np.zeros(run.n_rows)
        scored = self.series_scores(self.scaled(run.values[logged, column], metric))
        latest = np.cumsum(logged) - 1
        standing: NDArray[np.float64] = np.where(latest >= 0, scored[np.maximum(latest, 0)], 0.0)
        return standing
