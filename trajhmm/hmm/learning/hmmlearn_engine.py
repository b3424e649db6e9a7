"""hmmlearn as reference engine and interchange format."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any

import numpy as np
from hmmlearn.hmm import GaussianHMM as HmmlearnHMM

from trajhmm.errors import FitError
from trajhmm.hmm.inference.statistics import estep
from trajhmm.hmm.learning.em import Start, Step
from trajhmm.hmm.parameters import CovarianceType, Parameters
from trajhmm.hmm.rows.source import InMemory

_FILTERS = Lock()


class HmmlearnEngine:
    """hmmlearn's E-step and M-step, without its priors, one iteration at a time."""

    def __init__(self, source: InMemory) -> None:
        self._chunk = source.chunk

    def steps(self, starts: Sequence[Start]) -> list[Step]:
        """One iteration from each of several parameters.

        Raises
        ------
        FitError
            Missing values, weights between 0 and 1, or shrinkage, which hmmlearn does not know.
        """
        return [self._step(start) for start in starts]

    def _step(self, start: Start) -> Step:
        if not self._chunk.complete or start.prior.rows or not np.isin(start.weights, (0.0, 1.0)).all():
            raise FitError("engine hmmlearn knows no missing values, weights or shrinkage; use the native engine")
        used = np.repeat(start.weights > 0, np.diff(self._chunk.offsets))
        lengths = np.diff(self._chunk.offsets)[start.weights > 0]
        model = to_hmmlearn(start.parameters, n_iter=1)
        # An empty state makes hmmlearn divide by zero; the caller sees the NaN and marks the restart degenerate.
        with np.errstate(divide="ignore", invalid="ignore"), _shapes_may_be_set():
            model.fit(self._chunk.values[used], lengths)
        return Step(
            log_likelihood=float(model.monitor_.history[-1]),
            mass=estep(self._chunk, start.parameters, start.weights).mass,
            n_rows=float(lengths.sum()),
            parameters=from_hmmlearn(model, start.parameters),
        )


@contextmanager
def _shapes_may_be_set() -> Iterator[None]:
    """Keep quiet that hmmlearn 0.3.3 sets an array's shape, which NumPy deprecates from 2.5 on and no user can mend.

    One thread at a time: filters of warnings belong to the process, and must come off in the order they were put on.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore",
            message="Setting the shape on a NumPy array",
            category=DeprecationWarning,
            module=r"hmmlearn\.utils",
        )
        yield


def to_hmmlearn(parameters: Parameters, *, n_iter: int = 10) -> Any:
    """An `hmmlearn.hmm.GaussianHMM` with these parameters, no priors, that starts a fit from them."""
    model = HmmlearnHMM(
        n_components=parameters.n_states,
        covariance_type=parameters.covariance_type,
        init_params="",
        n_iter=n_iter,
        min_covar=0.0,
        covars_prior=0.0,
        covars_weight=1.0 if parameters.is_diagonal else 0.0,
    )
    model.n_features = parameters.n_metrics
    model.startprob_ = parameters.startprob.copy()
    model.transmat_ = parameters.transmat.copy()
    model.means_ = parameters.means.copy()
    model.covars_ = parameters.covars.copy()
    return model


def from_hmmlearn(model: Any, previous: Parameters | None = None) -> Parameters:
    """The parameters of an `hmmlearn.hmm.GaussianHMM`; transitions that it left at 0 stay as in ``previous``.

    Raises
    ------
    FitError
        It has no parameters yet.
    """
    if not all(hasattr(model, name) for name in ("startprob_", "transmat_", "means_", "_covars_")):
        raise FitError(
            "this hmmlearn model has no parameters; set startprob_, transmat_, means_ and covars_, or fit it"
        )
    covariance_type: CovarianceType = model.covariance_type
    covars = np.array(model._covars_)  # covars_ fills in matrices, and needs n_features for that
    if covariance_type == "spherical" and covars.ndim > 1:
        covars = covars[:, 0]  # after a fit hmmlearn keeps one for each metric
    transmat = np.array(model.transmat_)
    if previous is not None:
        unseen = transmat.sum(axis=1) == 0
        transmat[unseen] = previous.transmat[unseen]
    return Parameters(
        startprob=np.array(model.startprob_),
        transmat=transmat,
        means=np.array(model.means_),
        covars=covars,
        covariance_type=covariance_type,
    )
