"""Detectors of other packages, entered by name: the entry points ``trajhmm.detectors``."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun
from trajhmm.warning.detectors.interface import Detector, Reference

GROUP = "trajhmm.detectors"
# Rows that a run is cut at to see whether what comes later changes a score, as shares of its length.
_CUTS = (0.25, 0.5, 0.8)


@dataclass(frozen=True, kw_only=True, eq=False)
class Guest(Detector):
    """Somebody else's detector: whatever it raises is an error of this library, and what it returns is looked at.

    Parameters
    ----------
    entered : its name, by which errors speak of it.
    inner : the detector.
    """

    name: ClassVar[str] = "guest"
    entered: str
    inner: Detector

    @property
    def published_threshold(self) -> float | None:  # type: ignore[override]
        """Its own."""
        return self.inner.published_threshold

    @property
    def uses_labels(self) -> bool:  # type: ignore[override]
        """Whether it learns from runs whose end is known."""
        return bool(self.inner.uses_labels)

    def _fit(self, reference: Reference) -> Self:
        return replace(self, inner=self._call(self.inner.fit, reference))

    def scores(self, run: CausalRun) -> NDArray[np.float64]:
        """(T,) score of each row.

        Raises
        ------
        FitError
            It fails, or returns something else than a number for each row.
        """
        found = np.asarray(self._call(self.inner.scores, run), dtype=np.float64)
        if found.shape != (run.n_rows,) or np.isnan(found).any():
            raise FitError(
                f"{self.entered}: expected {run.n_rows} scores, none NaN, of run {run.run}; found {found.shape}"
            )
        return found

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        return self.scores(run)

    def _call(self, method: Callable[[Any], Any], given: Any) -> Any:
        try:
            return method(given)
        except (Exception, SystemExit) as error:
            raise FitError(f"{self.entered}: {type(error).__name__}: {error}") from error


def entered_detectors() -> tuple[dict[str, Guest], dict[str, str]]:
    """Detectors that installed packages enter, by name, not fitted; and why others cannot be used.

    An entry point names a subclass of `Detector`, or one that is made. In the ``pyproject.toml`` of a package:

    .. code-block:: toml

        [project.entry-points."trajhmm.detectors"]
        my_rule = "my_package.rules:MyRule"
    """
    from trajhmm.warning.detectors import DETECTORS

    found: dict[str, Guest] = {}
    wrong: dict[str, str] = {}
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda one: one.name):
        if entry.name in DETECTORS:
            wrong[f"{entry.name} of {entry.value}"] = (
                f"a detector of trajhmm is called {entry.name}; enter another name"
            )
            continue
        try:
            loaded = entry.load()
            detector = loaded() if isinstance(loaded, type) else loaded
        except (Exception, SystemExit) as error:  # noqa: BLE001 (a stranger's code)
            wrong[entry.name] = f"{entry.value}: {type(error).__name__}: {error}"
            continue
        if isinstance(detector, Detector):
            found[entry.name] = Guest(entered=entry.name, inner=detector)
        else:
            wrong[entry.name] = (
                f"{entry.value}: expected a trajhmm.warning.detectors.Detector, found {type(detector).__name__}"
            )
    return found, wrong


def looks_ahead(detector: Detector, runs: Sequence[CausalRun]) -> str | None:
    """Whether scores of a fitted detector change when later rows are cut off, or by themselves; in words if they do.

    Parameters
    ----------
    detector : fitted.
    runs : to try it on.
    """
    for run in runs:
        whole = detector.scores(run)
        if not np.array_equal(detector.scores(run), whole):
            return f"does not repeat itself: run {run.run} has other scores the second time; draw from a seed"
        for rows in {max(int(run.n_rows * share), 1) for share in _CUTS}:
            if not np.array_equal(detector.scores(run.first_rows(rows)), whole[:rows]):
                return f"looks ahead: the first {rows} scores of run {run.run} change when later rows are cut off"
    return None
