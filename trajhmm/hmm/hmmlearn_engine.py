"""hmmlearn as reference engine and interchange format."""

from __future__ import annotations

from typing import Any

import numpy as np
from hmmlearn.hmm import GaussianHMM as HmmlearnHMM
from numpy.typing import NDArray

from trajhmm.hmm.em import Step
from trajhmm.hmm.parameters import CovarianceType, Parameters


class HmmlearnEngine:
    """hmmlearn's E-step and M-step, without its priors, one iteration at a time."""

    def step(self, values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters) -> Step:
        """One iteration, before the covariance floor."""
        model = to_hmmlearn(parameters, n_iter=1)
        # An empty state makes hmmlearn divide by zero; the caller sees the NaN and marks the restart degenerate.
        with np.errstate(divide="ignore", invalid="ignore"):
            model.fit(values, np.diff(offsets))
        return Step(
            log_likelihood=float(model.monitor_.history[-1]), mass=None, parameters=from_hmmlearn(model, parameters)
        )


def to_hmmlearn(parameters: Parameters, *, n_iter: int = 10) -> Any:
    """An `hmmlearn.hmm.GaussianHMM` with these parameters, no priors, that starts a fit from them."""
    model = HmmlearnHMM(
        n_components=parameters.n_states,
        covariance_type=parameters.covariance_type,
        init_params="",
        n_iter=n_iter,
        min_covar=0.0,
        covars_prior=0.0,
        covars_weight=1.0 if parameters.covariance_type == "diag" else 0.0,
    )
    model.n_features = parameters.n_metrics
    model.startprob_ = parameters.startprob.copy()
    model.transmat_ = parameters.transmat.copy()
    model.means_ = parameters.means.copy()
    model.covars_ = parameters.covars.copy()
    return model


def from_hmmlearn(model: Any, previous: Parameters | None = None) -> Parameters:
    """The parameters of an `hmmlearn.hmm.GaussianHMM`; transitions that it left at 0 stay as in ``previous``."""
    covariance_type: CovarianceType = model.covariance_type
    covars = np.array(model.covars_)
    if covariance_type == "diag":
        covars = np.stack([np.diag(matrix) for matrix in covars])
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
