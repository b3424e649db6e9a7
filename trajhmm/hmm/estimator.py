"""`GaussianHMM`: a scikit-learn style estimator for one number of states, with several restarts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from trajhmm.errors import FitError
from trajhmm.hmm.em import Engine, NativeEngine, Outcome, Restart, run_em
from trajhmm.hmm.inference import decode_rows, filter_rows, smooth_rows
from trajhmm.hmm.order import entry_order
from trajhmm.hmm.parameters import COVARIANCE_TYPES, CovarianceType, Parameters, count_parameters
from trajhmm.hmm.starts import start_parameters
from trajhmm.logs.runset import offsets_of

EngineName = Literal["native", "hmmlearn"]


@dataclass(frozen=True, kw_only=True)
class FitStatus:
    """How a fit ended.

    Attributes
    ----------
    outcome : ``converged``, ``max_iterations`` or ``degenerate``, of the restart that was chosen.
    chosen : index of that restart.
    outcomes : of every restart.
    log_likelihoods : of every restart and iteration, in nats.
    """

    outcome: Outcome
    chosen: int
    outcomes: tuple[Outcome, ...]
    log_likelihoods: tuple[tuple[float, ...], ...]


class GaussianHMM(BaseEstimator):  # type: ignore[misc]
    """Gaussian hidden Markov model, fitted by expectation–maximisation from several starts.

    States come in the order in which runs first enter them.

    Parameters
    ----------
    n_components : number of states, K.
    covariance_type : ``diag`` or ``full``.
    n_restarts : number of starts; the best that is not degenerate is kept.
    n_iter : most iterations of each.
    tol : a restart has converged when the log-likelihood rises by no more than ``tol`` nats a row.
    floor : least variance of a state in each metric, as a share of the metric's own variance; holds in every iteration.
    engine : ``native``, or ``hmmlearn`` to run its iterations from the same starts.
    random_state : seed of the starts.

    Attributes
    ----------
    startprob_ : (K,)
    transmat_ : (K, K)
    means_ : (K, D)
    covars_ : (K, D) variances if diagonal, (K, D, D) if full.
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
        engine: EngineName = "native",
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.n_restarts = n_restarts
        self.n_iter = n_iter
        self.tol = tol
        self.floor = floor
        self.engine = engine
        self.random_state = random_state

    def fit(self, X: ArrayLike, lengths: ArrayLike | None = None) -> GaussianHMM:  # noqa: N803 (scikit-learn's name)
        """Fit to (N, D) finite rows of runs with (R,) lengths; one run if None.

        Raises
        ------
        FitError
            Values that are not finite, fewer rows than states, or every restart degenerate.
        """
        values, offsets = _checked(X, lengths)
        restarts = [self.run_restart(values, offsets, restart) for restart in range(self.n_restarts)]
        return self.choose(values, offsets, restarts)

    def run_restart(self, values: NDArray[np.float64], offsets: NDArray[np.int64], restart: int) -> Restart:
        """Run EM from one start on (N, D) values with (R + 1,) offsets; what `fit` does for each of its restarts."""
        if self.covariance_type not in COVARIANCE_TYPES:
            raise FitError(f"covariance_type {self.covariance_type!r}: expected one of {', '.join(COVARIANCE_TYPES)}")
        if len(values) < self.n_components:
            raise FitError(f"{self.n_components} states need at least {self.n_components} rows, found {len(values)}")
        start = start_parameters(
            values,
            offsets,
            n_states=self.n_components,
            covariance_type=self.covariance_type,
            restart=restart,
            seed=np.random.SeedSequence([self.random_state, self.n_components, restart]),
        )
        variance = values.var(axis=0)
        floor = self.floor * np.where(variance > 0, variance, 1.0)
        return run_em(_engine(self.engine), values, offsets, start, floor=floor, n_iter=self.n_iter, tol=self.tol)

    def choose(self, values: NDArray[np.float64], offsets: NDArray[np.int64], restarts: list[Restart]) -> GaussianHMM:
        """Keep the best of finished restarts and put its states in order.

        Raises
        ------
        FitError
            Every restart is degenerate.
        """
        usable = [index for index, restart in enumerate(restarts) if restart.outcome != "degenerate"]
        if not usable:
            raise FitError(
                f"{self.n_components} states: all {len(restarts)} restarts degenerated (an empty state or a singular "
                "covariance); ask for fewer states or more restarts"
            )
        chosen = max(usable, key=lambda index: restarts[index].log_likelihood)
        parameters = restarts[chosen].parameters
        path, _ = decode_rows(values, offsets, parameters)
        self._set(parameters.permuted(entry_order(path, offsets, self.n_components)))
        self.status_ = FitStatus(
            outcome=restarts[chosen].outcome,
            chosen=chosen,
            outcomes=tuple(restart.outcome for restart in restarts),
            log_likelihoods=tuple(restart.log_likelihoods for restart in restarts),
        )
        return self

    @classmethod
    def from_parameters(cls, parameters: Parameters, **settings: Any) -> GaussianHMM:
        """A fitted estimator with given parameters."""
        model = cls(parameters.n_states, covariance_type=parameters.covariance_type, **settings)
        model._set(parameters)
        return model

    @classmethod
    def from_hmmlearn(cls, model: Any, **settings: Any) -> GaussianHMM:
        """A fitted estimator with the parameters of an `hmmlearn.hmm.GaussianHMM`."""
        from trajhmm.hmm.hmmlearn_engine import from_hmmlearn

        return cls.from_parameters(from_hmmlearn(model), **settings)

    def to_hmmlearn(self) -> Any:
        """An `hmmlearn.hmm.GaussianHMM` with these parameters."""
        from trajhmm.hmm.hmmlearn_engine import to_hmmlearn

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
        values, offsets = _checked(X, lengths)
        return float(filter_rows(values, offsets, self.parameters)[1].sum())

    def bic(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:  # noqa: N803
        """Bayesian information criterion on the total log-likelihood: lower is better."""
        values, _ = _checked(X, lengths)
        return float(self.n_parameters * np.log(len(values)) - 2 * self.score(X, lengths))

    def aic(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:  # noqa: N803
        """Akaike information criterion on the total log-likelihood: lower is better."""
        return 2 * self.n_parameters - 2 * self.score(X, lengths)

    def predict(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.int64]:  # noqa: N803
        """(N,) likeliest paths (Viterbi)."""
        values, offsets = _checked(X, lengths)
        return decode_rows(values, offsets, self.parameters)[0]

    def predict_proba(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) smoothed probabilities of the states."""
        values, offsets = _checked(X, lengths)
        return smooth_rows(values, offsets, self.parameters)

    def filter(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) filtered probabilities of the states: row t from rows up to t of its run."""
        values, offsets = _checked(X, lengths)
        return np.exp(filter_rows(values, offsets, self.parameters)[0])

    def _set(self, parameters: Parameters) -> None:
        self.startprob_ = parameters.startprob
        self.transmat_ = parameters.transmat
        self.means_ = parameters.means
        self.covars_ = parameters.covars
        self.n_features_in_ = parameters.n_metrics


def _engine(name: str) -> Engine:
    if name == "native":
        return NativeEngine()
    if name == "hmmlearn":
        from trajhmm.hmm.hmmlearn_engine import HmmlearnEngine

        return HmmlearnEngine()
    raise FitError(f"engine {name!r}: expected native or hmmlearn")


def _checked(rows: ArrayLike, lengths: ArrayLike | None) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    values = np.ascontiguousarray(rows, dtype=np.float64)
    if values.ndim != 2:
        raise FitError(f"expected rows of shape (N, D), found shape {values.shape}")
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise FitError(f"row {row}, column {column} is {values[row, column]}; expected finite values")
    sizes = np.array([len(values)]) if lengths is None else np.asarray(lengths, dtype=np.int64)
    if sizes.sum() != len(values) or (sizes < 0).any():
        raise FitError(f"lengths add up to {sizes.sum()}, but there are {len(values)} rows")
    return values, offsets_of(sizes[sizes > 0])
