"""`GaussianHMM`: a scikit-learn style estimator for one number of states, with several restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from trajhmm.errors import FitError
from trajhmm.hmm.inference.posteriors import decode_rows, filter_rows, smooth_rows
from trajhmm.hmm.learning.fitting import Data, EngineName, FitStatus, Job, Settings, run_jobs
from trajhmm.hmm.parameters import CovarianceType, Parameters, count_parameters
from trajhmm.hmm.rows.source import InMemory
from trajhmm.logs.runset import offsets_of

# Squares of larger values overflow.
_LARGEST = 1e150


class GaussianHMM(BaseEstimator):  # type: ignore[misc]
    """Gaussian hidden Markov model, fitted by expectation–maximisation from several starts.

    States come in the order in which runs first enter them.

    Parameters
    ----------
    n_components : number of states, K.
    covariance_type : ``diag``, ``full``, ``tied`` or ``spherical``.
    n_restarts : number of starts; the best that is not degenerate is kept. The first cuts runs into consecutive shares,
        the next cluster rows, one in four is a shaken copy of the best of these.
    n_iter : most iterations of each.
    tol : a restart has converged when the log-likelihood rises by no more than ``tol`` nats a row.
    floor : least variance of a state in each metric, as a share of the metric's own variance; holds in every iteration.
    shrinkage : how many rows with the variances of the whole data, and no covariances, each state is given beside its
        own (an inverse Wishart prior).
    start : parameters to start from; then the first restart begins there, and the others at shaken copies.
    engine : ``native``, or ``hmmlearn`` to run its iterations from the same starts.
    random_state : seed of the starts.

    Attributes
    ----------
    startprob_ : (K,)
    transmat_ : (K, K)
    means_ : (K, D)
    covars_ : (K, D) variances if ``diag``, (K, D, D) if ``full``, (D, D) if ``tied``, (K,) if ``spherical``.
    status_ : `FitStatus`.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: CovarianceType = "diag",
        n_restarts: int = 5,
        n_iter: int = 200,
        tol: float = 1e-6,
        floor: float = 1e-3,
        shrinkage: float = 0.0,
        start: Parameters | None = None,
        engine: EngineName = "native",
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.n_restarts = n_restarts
        self.n_iter = n_iter
        self.tol = tol
        self.floor = floor
        self.shrinkage = shrinkage
        self.start = start
        self.engine = engine
        self.random_state = random_state

    def fit(
        self,
        X: ArrayLike,  # noqa: N803 (scikit-learn's name)
        lengths: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
    ) -> GaussianHMM:
        """Fit to (N, D) rows of runs with (R,) lengths; one run if None.

        Parameters
        ----------
        X : (N, D), finite; NaN where a metric is missing, which is marginalised.
        lengths : (R,) rows of each run.
        sample_weight : (R,) weights of the runs, not negative; 1 if None.

        Raises
        ------
        FitError
            Infinite values, a metric that is missing everywhere, fewer rows than states, or every restart degenerate.
        """
        values, offsets, kept = _checked(X, lengths)
        weights = _weights(sample_weight, kept)
        job = Job(settings=self.settings, data=Data(source=InMemory.of(values, offsets), weights=weights))
        chosen = job.choose(run_jobs([job])[0])
        return self.take(chosen.parameters, chosen.status)

    @property
    def settings(self) -> Settings:
        """How this estimator fits.

        Raises
        ------
        FitError
            A setting makes no sense.
        """
        return Settings(**self.get_params())

    def take(self, parameters: Parameters, status: FitStatus) -> GaussianHMM:
        """Become what a finished fit found."""
        self._set(parameters)
        self.status_ = status
        return self

    @classmethod
    def from_parameters(cls, parameters: Parameters, **settings: Any) -> GaussianHMM:
        """A fitted estimator with given parameters."""
        model = cls(parameters.n_states, covariance_type=parameters.covariance_type, **settings)
        model._set(parameters)
        return model

    @classmethod
    def from_hmmlearn(cls, model: Any, **settings: Any) -> GaussianHMM:
        """A fitted estimator with the parameters of an `hmmlearn.hmm.GaussianHMM`; its `fit` goes on from there.

        It starts once and has no covariance floor, as hmmlearn, unless ``settings`` say otherwise: ``n_iter``, ``tol``
        (here in nats a row), ``floor``, … as for the class.
        """
        from trajhmm.hmm.learning.hmmlearn_engine import from_hmmlearn

        parameters = from_hmmlearn(model)
        return cls.from_parameters(parameters, **{"start": parameters, "n_restarts": 1, "floor": 0.0, **settings})

    def to_hmmlearn(self) -> Any:
        """An `hmmlearn.hmm.GaussianHMM` with these parameters."""
        from trajhmm.hmm.learning.hmmlearn_engine import to_hmmlearn

        return to_hmmlearn(self.parameters)

    @property
    def parameters(self) -> Parameters:
        """The fitted parameters.

        Raises
        ------
        NotFittedError
            Before `fit`.
        """
        if not hasattr(self, "startprob_"):
            raise NotFittedError("this GaussianHMM is not fitted; call fit first")
        return Parameters(
            startprob=np.asarray(self.startprob_),
            transmat=np.asarray(self.transmat_),
            means=np.asarray(self.means_),
            covars=np.asarray(self.covars_),
            covariance_type=self.covariance_type,
        )

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return count_parameters(self.n_components, self.parameters.n_metrics, self.covariance_type)

    def score(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:  # noqa: N803
        """Log-likelihood of the runs, in nats, summed."""
        values, offsets, _ = _checked(X, lengths)
        return float(filter_rows(values, offsets, self.parameters)[1].sum())

    def bic(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:  # noqa: N803
        """Bayesian information criterion on the total log-likelihood: lower is better."""
        values, _, _ = _checked(X, lengths)
        return float(self.n_parameters * np.log(len(values)) - 2 * self.score(X, lengths))

    def aic(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:  # noqa: N803
        """Akaike information criterion on the total log-likelihood: lower is better."""
        return 2 * self.n_parameters - 2 * self.score(X, lengths)

    def predict(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.int64]:  # noqa: N803
        """(N,) likeliest paths (Viterbi)."""
        values, offsets, _ = _checked(X, lengths)
        return decode_rows(values, offsets, self.parameters)[0]

    def predict_proba(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) smoothed probabilities of the states."""
        values, offsets, _ = _checked(X, lengths)
        return smooth_rows(values, offsets, self.parameters)

    def filter(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) filtered probabilities of the states: row t from rows up to t of its run."""
        values, offsets, _ = _checked(X, lengths)
        return np.exp(filter_rows(values, offsets, self.parameters)[0])

    def _set(self, parameters: Parameters) -> None:
        self.startprob_ = parameters.startprob
        self.transmat_ = parameters.transmat
        self.means_ = parameters.means
        self.covars_ = parameters.covars
        self.n_features_in_ = parameters.n_metrics


def _checked(
    rows: ArrayLike, lengths: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Values, offsets of the runs that have rows, and (R,) which of the runs given these are."""
    values = np.ascontiguousarray(rows, dtype=np.float64)
    if values.ndim != 2:
        raise FitError(f"expected rows of shape (N, D), found shape {values.shape}")
    # Maxima rather than a mask, which would be another large array; NaN is passed over.
    if len(values) and max(np.fmax.reduce(values, axis=None), -np.fmin.reduce(values, axis=None)) > _LARGEST:
        row, column = np.argwhere(np.abs(values) > _LARGEST)[0]
        raise FitError(f"row {row}, column {column} is {values[row, column]}; expected values within ±{_LARGEST:g}")
    unseen = [column for column in range(values.shape[1]) if np.isnan(values[:, column]).all()]
    if len(values) and unseen:
        raise FitError(f"column {unseen[0]} is missing in every row; leave it out")
    sizes = np.array([len(values)]) if lengths is None else np.asarray(lengths, dtype=np.int64)
    if sizes.sum() != len(values) or (sizes < 0).any():
        raise FitError(f"lengths add up to {sizes.sum()}, but there are {len(values)} rows")
    return values, offsets_of(sizes[sizes > 0]), sizes > 0


def _weights(sample_weight: ArrayLike | None, kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(R,) weights of the runs that have rows."""
    if sample_weight is None:
        return np.ones(int(kept.sum()))
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != kept.shape:
        raise FitError(f"sample_weight has shape {weights.shape}; expected one number for each of {len(kept)} runs")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise FitError("sample_weight: expected finite numbers, none negative, not all 0")
    return weights[kept]
