"""How unlikely a row is under what healthy runs do: distances, densities, innovations, isolation."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun
from trajhmm.warning.detectors.interface import Detector, Reference
from trajhmm.warning.detectors.standardise import (
    Features,
    LevelsAndDifferences,
    LevelsAndOwnPast,
    StandardisedMetrics,
    row_products,
)

# Share of the largest variance that each direction has at least.
_SINGULAR = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureDetector(Detector):
    """A score of the features of each row.

    Parameters
    ----------
    learn_features : from healthy runs to the features; by default each metric in its standard deviations.
    """

    learn_features: Callable[[Sequence[CausalRun]], Features] = StandardisedMetrics.of
    features_: Features | None = None

    def _fit(self, reference: Reference) -> Self:
        features = self.learn_features(reference.healthy)
        healthy = [features.transform(run) for run in reference.healthy]
        return replace(self, features_=features, **self._fields(healthy))

    def _scores(self, run: CausalRun) -> NDArray[np.float64]:
        return self._score_rows(self._learnt(self.features_).transform(run))

    @abstractmethod
    def _fields(self, healthy: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
        """The fields to set, from the (T, F) features of each healthy run."""

    @abstractmethod
    def _score_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(T,) scores of (T, F) features of one run."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Whitening:
    """The affine map after which rows have mean 0 and covariance 1: the squared length is Mahalanobis's distance."""

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]

    @classmethod
    def of(cls, rows: NDArray[np.float64]) -> Whitening:
        """From (N, F) rows, with the covariance shrunk as Ledoit and Wolf (2004) have it.

        Raises
        ------
        FitError
            All rows are the same.
        """
        from sklearn.covariance import LedoitWolf

        shrunk = LedoitWolf().fit(rows)
        largest = np.linalg.eigvalsh(shrunk.covariance_)[-1]
        if largest <= 0:
            raise FitError("the features of healthy runs never change; a distance from them has no unit")
        covariance = shrunk.covariance_ + _SINGULAR * largest * np.eye(rows.shape[1])
        return cls(mean=shrunk.location_, matrix=inverse_root(covariance))

    def distances(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) distance of each of (N, F) rows from the mean."""
        white = row_products(rows - self.mean, self.matrix)
        distances: NDArray[np.float64] = np.sqrt((white**2).sum(axis=1))
        return distances


def inverse_root(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """(F, F) A with rows @ A white if rows have ``covariance``: the inverse of the transposed Cholesky factor."""
    from scipy.linalg import solve_triangular

    root = np.linalg.cholesky(covariance)
    return np.ascontiguousarray(solve_triangular(root, np.eye(len(root)), lower=True).T)


@dataclass(frozen=True, kw_only=True, eq=False)
class MahalanobisDistance(FeatureDetector):
    """Distance of a row from the mean of all healthy rows, under their shrunk covariance (Mahalanobis 1936)."""

    name: ClassVar[str] = "mahalanobis"
    whitening_: Whitening | None = None

    def _fields(self, healthy: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
        return {"whitening_": Whitening.of(np.concatenate(healthy))}

    def _score_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._learnt(self.whitening_).distances(rows)


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorAutoregression(FeatureDetector):
    """Size of the innovation of a first-order vector autoregression x_t = c + A x_{t−1} + e_t.

    c and A by ridge regression over all pairs of rows of healthy runs (Lütkepohl 2005, chapter 3, for the model); the
    size is the Mahalanobis distance of e_t under the shrunk covariance of healthy innovations. The first row scores 0.

    Parameters
    ----------
    ridge : penalty on A, in rows of unit variance.
    """

    name: ClassVar[str] = "autoregression"
    ridge: float = 1.0
    matrix_: NDArray[np.float64] | None = None
    constant_: NDArray[np.float64] | None = None
    whitening_: Whitening | None = None

    def _fields(self, healthy: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
        before = np.concatenate([rows[:-1] for rows in healthy])
        after = np.concatenate([rows[1:] for rows in healthy])
        if not len(before):
            raise FitError(f"{self.name}: no healthy run has two rows")
        centred = before - before.mean(axis=0)
        gram = centred.T @ centred + self.ridge * np.eye(centred.shape[1])
        matrix = np.linalg.solve(gram, centred.T @ (after - after.mean(axis=0)))
        constant = after.mean(axis=0) - before.mean(axis=0) @ matrix
        innovations = after - constant - before @ matrix
        return {"matrix_": matrix, "constant_": constant, "whitening_": Whitening.of(innovations)}

    def _score_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        predicted = self._learnt(self.constant_) + row_products(rows[:-1], self._learnt(self.matrix_))
        return np.concatenate(([0.0], self._learnt(self.whitening_).distances(rows[1:] - predicted)))


@dataclass(frozen=True, kw_only=True, eq=False)
class GaussianMixture(FeatureDetector):
    """Surprise, −log p, of a row under a mixture of normals (scikit-learn): an HMM without memory.

    Covariances are full.

    Parameters
    ----------
    states : number of components, K.
    floor : added to variances, in those of healthy rows; as the HMM's floor.
    starts : k-means starts of which the likeliest fit is kept.
    seed : of the starts.
    """

    name: ClassVar[str] = "mixture"
    states: int = 6
    floor: float = 1e-3
    starts: int = 1
    seed: int = 0
    log_weights_: NDArray[np.float64] | None = None
    whitenings_: tuple[Whitening, ...] = ()

    def _fields(self, healthy: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
        from sklearn import mixture
        from sklearn.exceptions import ConvergenceWarning

        rows = np.concatenate(healthy)
        if len(rows) < self.states:
            raise FitError(f"{self.name}: {len(rows)} healthy rows are too few for {self.states} components")
        model = mixture.GaussianMixture(
            self.states, reg_covar=self.floor, n_init=self.starts, random_state=self.seed, max_iter=200
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # duplicate rows, or 200 iterations: still a density
            model.fit(rows)
        whitenings = tuple(
            Whitening(mean=mean, matrix=inverse_root(covariance))
            for mean, covariance in zip(model.means_, model.covariances_, strict=True)
        )
        with np.errstate(divide="ignore"):
            return {"log_weights_": np.log(model.weights_), "whitenings_": whitenings}

    def _score_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy.special import logsumexp

        logs = np.column_stack(
            [
                log_weight
                - 0.5 * (whitening.distances(rows) ** 2 + rows.shape[1] * np.log(2 * np.pi))
                + np.log(np.diagonal(whitening.matrix)).sum()
                for log_weight, whitening in zip(self._learnt(self.log_weights_), self.whitenings_, strict=True)
            ]
        )
        surprise: NDArray[np.float64] = -logsumexp(logs, axis=1)
        return surprise


@dataclass(frozen=True, kw_only=True, eq=False)
class DifferencesMixture(GaussianMixture):
    """The mixture of log levels and their differences over 20 rows: where a run is, and where it is going."""

    name: ClassVar[str] = "mixture_differences"
    learn_features: Callable[[Sequence[CausalRun]], Features] = LevelsAndDifferences.of


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnPastMixture(GaussianMixture):
    """The mixture of log levels and departures from the run's own last 120 rows, for healthy runs that differ."""

    name: ClassVar[str] = "mixture_own_past"
    learn_features: Callable[[Sequence[CausalRun]], Features] = LevelsAndOwnPast.of


@dataclass(frozen=True, kw_only=True, eq=False)
class IsolationForest(FeatureDetector):
    """The isolation forest of Liu, Ting and Zhou (2008) by scikit-learn: how few cuts set a row apart.

    The score is the paper's, near 1 for anomalies and below 0.5 for what is normal; scikit-learn's default
    (``contamination="auto"``) takes a row for an outlier above 0.5.

    Parameters
    ----------
    trees : number of them.
    seed : of the cuts.
    """

    name: ClassVar[str] = "isolation_forest"
    published_threshold: ClassVar[float | None] = 0.5
    trees: int = 100
    seed: int = 0
    forest_: Any = None

    def _fields(self, healthy: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
        from sklearn import ensemble

        rows = np.concatenate(healthy)
        return {"forest_": ensemble.IsolationForest(n_estimators=self.trees, random_state=self.seed).fit(rows)}

    def _score_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return -np.asarray(self._learnt(self.forest_).score_samples(rows), dtype=np.float64)
