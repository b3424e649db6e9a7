"""What past collapses looked like: logistic regression on windows of metrics."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun
from trajhmm.warning.detectors.interface import Detector, Reference
from trajhmm.warning.detectors.standardise import StandardisedMetrics, row_products
from trajhmm.warning.runs import Trial


@dataclass(frozen=True, kw_only=True, eq=False)
class LogisticWindows(Detector):
    """Log-odds that a row lies between onset and collapse, from metrics now, lately and before (scikit-learn).

    Features are each metric in its healthy standard deviations, its mean over the last ``window`` rows, and how far it
    lies from its value ``window`` rows back (from its first, at the start); each is passed through the inverse
    hyperbolic sine, so that a single huge value does not decide. Rows of a collapsing run count as collapse from its
    onset to its collapse, or, where it has no onset, the last ``horizon`` rows before it; rows from the collapse on are
    left out; all others count as none, those of runs that were perturbed and lived among them. Either class weighs as
    much as the other.

    Parameters
    ----------
    window, horizon : in rows.
    penalty : scikit-learn's C.
    every : learns from each so-many-th row, as neighbours say much the same.
    """

    name: ClassVar[str] = "logistic"
    published_threshold: ClassVar[float | None] = None
    uses_labels: ClassVar[bool] = True
    window: int = 10
    horizon: int = 50
    penalty: float = 0.1
    every: int = 4
    scaling_: StandardisedMetrics | None = None
    weights_: NDArray[np.float64] | None = None
    intercept_: float = 0.0

    def _fit(self, reference: Reference) -> Self:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        if not any(trial.truth.collapse_step is not None for trial in reference.labelled):
            raise FitError(f"{self.name}: the reference holds no collapsed run; label some, or use another detector")
        scaling = StandardisedMetrics.of(reference.healthy)
        rows = [self.window_features(scaling.transform(run))[:: self.every] for run in reference.healthy]
        doomed = [np.zeros(len(part), dtype=bool) for part in rows]
        for trial in reference.labelled:
            kept, label = _labels(trial, self.horizon)
            features = self.window_features(scaling.transform(trial.run))
            rows.append(features[kept][:: self.every])
            doomed.append(label[kept][:: self.every])
        classes = np.concatenate(doomed)
        if not classes.any():
            raise FitError(f"{self.name}: no row of the reference lies between an onset and a collapse")
        model = LogisticRegression(C=self.penalty, class_weight="balanced", max_iter=500)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a direction that is nearly right is still a score
            model.fit(np.concatenate(rows), classes)
        return replace(
            self, scaling_=scaling, weights_=np.ascontiguousarray(model.coef_.T), intercept_=float(model.intercept_[0])
        )

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        features = self.window_features(self._learnt(self.scaling_).transform(run))
        scored: NDArray[np.float64] = row_products(features, self._learnt(self.weights_))[:, 0] + self.intercept_
        return scored

    def window_features(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T, 3 D) level, mean and change of (T, D) rows."""
        n = len(rows)
        back = np.maximum(np.arange(n) - self.window, 0)
        mean = np.stack([rows[max(0, t - self.window + 1) : t + 1].mean(axis=0) for t in range(n)])
        features: NDArray[np.float64] = np.arcsinh(np.hstack([rows, mean, rows - rows[back]]))
        return features


def _labels(trial: Trial, horizon: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which rows to learn from, and which of them lead to a collapse; both (T,)."""
    steps, truth = trial.run.steps, trial.truth
    if truth.collapse_step is None:
        return np.ones(len(steps), dtype=bool), np.zeros(len(steps), dtype=bool)
    before = steps < truth.collapse_step
    if truth.onset is not None:
        return before, before & (steps >= truth.onset)
    return before, before & (np.cumsum(before[::-1])[::-1] <= horizon)
