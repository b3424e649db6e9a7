"""`GaussianHMM`: a scikit-learn style estimator for one number of states, with several restarts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from trajhmm.arrays import unmasked, whole_of
from trajhmm.errors import ArrayError, FitError
from trajhmm.hmm.inference.posteriors import decode_rows, filter_rows, smooth_rows
from trajhmm.hmm.inference.shifts import with_evidence, without_shifts
from trajhmm.hmm.learning.fitting import Data, Job, run_jobs
from trajhmm.hmm.parameters import CovarianceType, Parameters, Topology, allowed_transitions, count_parameters
from trajhmm.hmm.results import FitStatus
from trajhmm.hmm.rows.source import InMemory
from trajhmm.hmm.settings import EngineName, SearchName, Settings
from trajhmm.logs.runset import offsets_of

# Squares of larger values overflow, and squares of smaller differences vanish.
_LARGEST, _SMALLEST = 1e150, 1e-150
# A metric that stays within this share of its largest value does not vary.
_CONSTANT = 1e-12


class InputError(FitError, ValueError):
    """Rows, lengths, weights or a start that do not fit the estimator; a ValueError, as scikit-learn has it."""


class GaussianHMM(BaseEstimator):  # type: ignore[misc]
    """Gaussian hidden Markov model, fitted by expectation–maximisation from several starts.

    States come in the order in which runs first enter them; where the topology is left to right, in its order.

    Parameters
    ----------
    n_components : number of states, K.
    covariance_type : ``diag``, ``full``, ``tied`` or ``spherical``.
    topology : ``free``, or ``left-right``: from a state only to itself or a later one; a run may begin in any.
    n_restarts : number of starts; the best that is not degenerate is kept. The first cuts runs into consecutive shares,
        the next cluster rows, one in four is a shaken copy of the best of these.
    n_iter : most iterations of each.
    tol : a restart has converged when the log-likelihood rises by no more than ``tol`` nats a row.
    floor : least variance of a state in each metric, as a share of the metric's own variance; holds in every iteration.
    shrinkage : how many rows with the variances of the whole data, and no covariances, each state is given beside its
        own (an inverse Wishart prior).
    start : parameters to start from; then the first restart begins there, and the others at shaken copies. What is 0
        in its transitions or its start probabilities stays 0.
    engine : ``native``, or ``hmmlearn`` to run its iterations from the same starts.
    random_state : seed of the starts.
    shifts : whether each run is shifted by an offset of its own in each metric (a mixed-effects HMM); what is asked of
        the fitted model is then answered for rows less the shift that is inferred for their run. Needs a wide search.
    scales : whether each run has a scale of its own in each metric as well; with diagonal covariances.
    search : ``restarts``; or ``wide``, a search on a sample of the rows whose best finds EM goes on from, see
        `trajhmm.hmm.learning.search`.

    Attributes
    ----------
    startprob_ : (K,)
    transmat_ : (K, K)
    means_ : (K, D)
    covars_ : (K, D) variances if ``diag``, (K, D, D) if ``full``, (D, D) if ``tied``, (K,) if ``spherical``.
    shift_variance_, scale_variance_ : (D,) variances over runs of shifts and of logarithms of scales; None without.
    status_ : `FitStatus`.

    Notes
    -----
    scikit-learn's ``check_estimator`` holds, but for three things: the second argument is ``lengths``, as in hmmlearn,
    not ``y``; ``sample_weight`` is of runs, not of rows; and an object that is no number is an `InputError`, which is a
    ValueError, not a TypeError.
    """

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: CovarianceType = "diag",
        topology: Topology = "free",
        n_restarts: int = 5,
        n_iter: int = 200,
        tol: float = 1e-6,
        floor: float = 1e-3,
        shrinkage: float = 0.0,
        start: Parameters | None = None,
        engine: EngineName = "native",
        random_state: int = 0,
        shifts: bool = False,
        scales: bool = False,
        search: SearchName = "restarts",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.topology = topology
        self.n_restarts = n_restarts
        self.n_iter = n_iter
        self.tol = tol
        self.floor = floor
        self.shrinkage = shrinkage
        self.start = start
        self.engine = engine
        self.random_state = random_state
        self.shifts = shifts
        self.scales = scales
        self.search = search

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
        X : (N, D), finite; NaN where a metric is missing, which is marginalised. Units do not matter, as long as floats
            hold the squares.
        lengths : (R,) rows of each run.
        sample_weight : (R,) weights of the runs, not negative, 0 leaves out; 1 if None. Their unit does not matter: the
            rows that are not left out weigh 1 on average.

        Raises
        ------
        FitError
            Fewer rows than states, or every restart degenerate.
        InputError
            Infinite values or such whose squares floats cannot hold; a metric that is missing everywhere; weights or a
            start that do not match.
        """
        values, offsets, kept = _checked(X, lengths)
        _check_columns(values)
        settings = self.settings
        if settings.start is not None:
            _check_start(settings.start, settings, values.shape[1])
        weights = _weights(sample_weight, kept, np.diff(offsets))
        job = Job(settings=settings, data=Data(source=InMemory.of(values, offsets), weights=weights))
        chosen = job.choose(run_jobs([job])[0])
        return self.take(chosen.parameters, chosen.status)

    def __sklearn_tags__(self) -> Any:
        """Missing values are marginalised; nothing is learnt from a target."""
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.estimator_type = "density_estimator"
        return tags

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
            shift_variance=None if self.shift_variance_ is None else np.asarray(self.shift_variance_),
            scale_variance=None if self.scale_variance_ is None else np.asarray(self.scale_variance_),
        )

    def _given(
        self,
        X: ArrayLike,  # noqa: N803
        lengths: ArrayLike | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], Parameters]:
        """Values, less shifts, and offsets of rows to look at; a metric may be missing in every row."""
        values, offsets, parameters = self._as_given(X, lengths)
        return without_shifts(values, offsets, parameters), offsets, parameters

    def _as_given(
        self,
        X: ArrayLike,  # noqa: N803
        lengths: ArrayLike | None,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], Parameters]:
        parameters = self.parameters
        parameters.check()
        values, offsets, _ = _checked(X, lengths)
        if values.shape[1] != parameters.n_metrics:
            raise InputError(
                f"X has {values.shape[1]} features, but GaussianHMM is expecting {parameters.n_metrics} features as "
                "input: the metrics that it was fitted to"
            )
        return values, offsets, parameters

    @property
    def n_parameters(self) -> int:
        """Number of free parameters."""
        return count_parameters(
            self.n_components,
            self.parameters.n_metrics,
            self.covariance_type,
            topology=self.topology,
            own=self.shifts + self.scales,
        )

    def score(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:  # noqa: N803
        """Log-likelihood of the runs, in nats, summed; with shifts, these integrated out (Laplace's approximation)."""
        values, offsets, parameters = self._as_given(X, lengths)
        unshifted, evidence = with_evidence(values, offsets, parameters)
        return float(filter_rows(unshifted, offsets, parameters)[1].sum() + evidence.sum())

    def bic(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:  # noqa: N803
        """Bayesian information criterion on the total log-likelihood: lower is better."""
        n_rows = len(_checked(X, lengths)[0])
        if not n_rows:
            raise InputError("X has no row; a criterion counts them")
        return float(self.n_parameters * np.log(n_rows) - 2 * self.score(X, lengths))

    def aic(self, X: ArrayLike, lengths: ArrayLike | None = None) -> float:  # noqa: N803
        """Akaike information criterion on the total log-likelihood: lower is better."""
        return 2 * self.n_parameters - 2 * self.score(X, lengths)

    def predict(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.int64]:  # noqa: N803
        """(N,) likeliest paths (Viterbi)."""
        return decode_rows(*self._given(X, lengths))[0]

    def predict_proba(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) smoothed probabilities of the states."""
        return smooth_rows(*self._given(X, lengths))

    def filter(self, X: ArrayLike, lengths: ArrayLike | None = None) -> NDArray[np.float64]:  # noqa: N803
        """(N, K) filtered probabilities of the states: row t from rows up to t of its run."""
        return np.exp(filter_rows(*self._given(X, lengths))[0])

    def _set(self, parameters: Parameters) -> None:
        self.startprob_ = parameters.startprob
        self.transmat_ = parameters.transmat
        self.means_ = parameters.means
        self.covars_ = parameters.covars
        self.shift_variance_ = parameters.shift_variance
        self.scale_variance_ = parameters.scale_variance
        self.n_features_in_ = parameters.n_metrics


def _checked(
    rows: ArrayLike, lengths: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.bool_]]:
    """Values, offsets of the runs that have rows, and (R,) which of the runs given these are."""
    values = _numbers("X", rows)
    if values.ndim != 2:
        raise InputError(
            f"expected rows of shape (N, D), found shape {values.shape}. Reshape your data, with .reshape(-1, 1) if it "
            "is one metric"
        )
    # Maxima rather than a mask, which would be another large array; NaN is passed over.
    if values.size and max(np.fmax.reduce(values, axis=None), -np.fmin.reduce(values, axis=None)) > _LARGEST:
        row, column = np.argwhere(np.abs(values) > _LARGEST)[0]
        raise InputError(f"row {row}, column {column} is {values[row, column]}; expected values within ±{_LARGEST:g}")
    if lengths is None:
        sizes = np.array([len(values)])
    else:
        try:
            sizes = whole_of("lengths", np.atleast_1d(np.asarray(lengths)), (None,))
        except (TypeError, ValueError) as error:
            raise InputError(f"{' '.join(str(error).split())}: the rows of each run") from error
    # One by one first: a sum of very large ones may come out as anything.
    if (sizes < 0).any() or (sizes > len(values)).any() or sizes.sum() != len(values):
        raise InputError(f"lengths add up to {sum(sizes.tolist())}, but there are {len(values)} rows")
    return values, offsets_of(sizes[sizes > 0]), sizes > 0


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    """C-contiguous float64, NaN where masked; also of objects that are numbers, as a DataFrame may hold them.

    Raises
    ------
    InputError
        They are none.
    """
    if hasattr(values, "tocsr"):
        raise InputError(f"{name}: expected a dense array, found a sparse one; .toarray() makes it dense")
    try:
        given = np.asarray(unmasked(name, values))
        found = np.ascontiguousarray(given.real if np.iscomplexobj(given) else given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{name}: expected numbers ({' '.join(str(error).split()):.100})") from error
    if np.iscomplexobj(given):
        raise InputError(f"{name}: expected real numbers, found complex ones. Complex data not supported")
    if given.dtype.kind in "SUmM":  # which numpy takes for numbers where it can
        raise InputError(f"{name}: expected numbers, found {given.dtype}")
    return found.reshape(given.shape)


def _check_columns(values: NDArray[np.float64]) -> None:
    """Refuse (N, D) rows that hold nothing of a metric, or that would seem constant because of its unit."""
    if not values.shape[1]:
        raise InputError(
            f"X has no column: 0 feature(s) (shape={values.shape}) while a minimum of 1 is required, one a metric"
        )
    if not len(values):
        raise InputError("X has no row, and nothing can be learnt from it")
    for column in range(values.shape[1]):
        top, bottom = np.fmax.reduce(values[:, column]), np.fmin.reduce(values[:, column])
        if np.isnan(top):
            raise InputError(f"column {column} is missing in every row; leave it out")
        if _CONSTANT * max(top, -bottom) < top - bottom < _SMALLEST:
            raise InputError(
                f"column {column} varies by no more than {top - bottom:.2g}, and floats do not hold the square of it; "
                "multiply it by a power of ten"
            )


def _weights(
    sample_weight: ArrayLike | None, kept: NDArray[np.bool_], lengths: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(R,) weights of the runs that have rows, so that a row of a run that is not left out weighs 1 on average.

    How many rows a state needs, and how many a prior adds, is counted in such rows.

    Parameters
    ----------
    kept : which of the runs that weights were given for have rows.
    lengths : (R,) rows of those that do.
    """
    if sample_weight is None:
        return np.ones(len(lengths))
    weights = _numbers("sample_weight", sample_weight)
    if weights.shape != kept.shape:
        raise InputError(f"sample_weight has shape {weights.shape}; expected one number for each of {len(kept)} runs")
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights[kept].any()):
        raise InputError("sample_weight: expected finite numbers, none negative, not all 0")
    weights = weights[kept] / weights[kept].max()  # so that equal weights become exactly 1
    used = weights > 0
    scaled: NDArray[np.float64] = weights / (weights[used] @ lengths[used] / lengths[used].sum())
    return scaled


def _check_start(start: Parameters, settings: Settings, n_metrics: int) -> None:
    """Refuse a start of other states, metrics or covariances than are to be fitted, or that is no model at all."""
    if not isinstance(start, Parameters):
        raise InputError(f"start: expected Parameters, found {type(start).__name__}")
    if start.n_states != settings.n_components:
        raise InputError(f"start has {start.n_states} states; expected n_components, which is {settings.n_components}")
    if start.covariance_type != settings.covariance_type:
        raise InputError(
            f"start has {start.covariance_type} covariances; expected covariance_type, which is "
            f"{settings.covariance_type}"
        )
    if start.n_metrics != n_metrics:
        raise InputError(f"start has {start.n_metrics} metrics; expected {n_metrics}, the columns of X")
    try:
        start.check()
    except ArrayError as error:
        raise InputError(f"start: {error}") from error
    if start.transmat[~allowed_transitions(start.n_states, settings.topology)].any():
        raise InputError(
            f"start: transmat has transitions that topology {settings.topology} rules out; expected 0 there"
        )
