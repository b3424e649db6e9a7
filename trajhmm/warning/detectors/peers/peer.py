"""What is common to other people's monitors: they are fed a run's rows in order, and their alerts become scores."""

from __future__ import annotations

import importlib.metadata
import math
import warnings
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError, LogError
from trajhmm.features import CausalRun
from trajhmm.warning.detectors.interface import Detector, Reference

LOSS = ("train_loss", "loss", "train/loss")
EVAL_LOSS = ("eval_loss", "val_loss", "eval/loss", "val/loss")
GRADIENT = ("grad_norm", "gradient_norm", "train/grad_norm")


@dataclass(frozen=True, kw_only=True, eq=False)
class Peer(Detector):
    """Another package's monitor at its own defaults; it has no reference, and its alerts are the scores.

    It is shown finite values only: a non-finite event scores infinity, as for every detector. What it says depends on
    its version, so no other than the one adapted will do.

    Attributes
    ----------
    distribution, version : as on PyPI.
    reads : its name of a metric, and what logs call it; the first that a run has counts.
    """

    distribution: ClassVar[str]
    version: ClassVar[str]
    reads: ClassVar[Mapping[str, tuple[str, ...]]]

    def _fit(self, reference: Reference) -> Self:  # noqa: ARG002
        self._require()
        return self

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        self._require()
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # what it thinks of huge values
            return self.alerts(run.steps, self._columns(run))

    @abstractmethod
    def alerts(self, steps: NDArray[np.int64], columns: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """How bad it finds each row.

        Parameters
        ----------
        steps : (T,)
        columns : its name of a metric to (T,) values, NaN where none was logged; at least one.

        Returns
        -------
        alerts : (T,) finite; 0 for none.
        """

    def _columns(self, run: CausalRun) -> dict[str, NDArray[np.float64]]:
        columns = {}
        for name, calls in self.reads.items():
            metric = next((metric for metric in calls if metric in run.metrics), None)
            if metric is not None:
                column = run.index_of(metric)
                columns[name] = np.where(run.logged[:, column], run.values[:, column], np.nan)
        if not columns:
            wanted = ", ".join(metric for calls in self.reads.values() for metric in calls)
            raise LogError(f"{self.name} reads {wanted}; run {run.run} has only {', '.join(run.metrics[:12])}")
        return columns

    def _require(self) -> None:
        try:
            found = importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            found = "none"
        if found != self.version:
            raise FitError(
                f"{self.name} is run by {self.distribution} {self.version}, found {found}: pip install 'trajhmm[peers]'"
            )


def logged_rows(columns: Mapping[str, NDArray[np.floating]]) -> Iterator[dict[str, float]]:
    """What each row logs, by name; nothing where it logs nothing."""
    for row in zip(*(column.tolist() for column in columns.values()), strict=True):
        yield {name: value for name, value in zip(columns, row, strict=True) if not math.isnan(value)}
