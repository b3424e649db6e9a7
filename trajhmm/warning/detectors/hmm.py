"""How surprising a run is to a hidden Markov model of healthy runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun, SameStep
from trajhmm.hmm import GaussianHMM, Parameters
from trajhmm.hmm.inference import filter_rows
from trajhmm.hmm.parameters import CovarianceType
from trajhmm.warning.detectors.densities import FeatureDetector
from trajhmm.warning.detectors.standardise import Features


@dataclass(frozen=True, kw_only=True, eq=False)
class HMMSurprise(FeatureDetector):
    """Surprise, -log p(z_t | z_1…t-1), of a row under a Gaussian HMM of healthy runs.

    z are the departures from the healthy runs at the same step: what is usual while training moves on is no departure,
    what all seeds do at one step (a learning rate that drops, a jump) is none either. States are ways of departing; a
    row is surprising if its values are unlikely in every state that the rows before make likely.

    Parameters
    ----------
    learn_features : from healthy runs to the features; by default departures at the same step.
    states : number of states; fewer if EM degenerates with so many.
    covariance : of a state.
    shrinkage : rows of the whole data's variances, and no covariances, given to each state.
    restarts, iterations, seed : of EM.
    """

    name: ClassVar[str] = "hmm"
    learn_features: Callable[[Sequence[CausalRun]], Features] = SameStep.of
    states: int = 4
    covariance: CovarianceType = "full"
    shrinkage: float = 10.0
    restarts: int = 4
    iterations: int = 100
    seed: int = 0
    hmm_: GaussianHMM | None = None

    def _fields(self, healthy: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
        rows, lengths = np.concatenate(healthy), [len(run) for run in healthy]
        for states in range(min(self.states, len(rows)), 0, -1):
            try:
                return {"hmm_": self._fresh(states).fit(rows, lengths)}
            except FitError:
                if states == 1:
                    raise
        raise FitError(f"{self.name}: the reference holds no row")

    def _fresh(self, states: int) -> GaussianHMM:
        return GaussianHMM(
            states,
            covariance_type=self.covariance,
            shrinkage=self.shrinkage,
            n_restarts=self.restarts,
            n_iter=self.iterations,
            tol=1e-5,
            random_state=self.seed,
        )

    @property
    def parameters(self) -> Parameters:
        """Of the fitted model."""
        return self._learnt(self.hmm_).parameters

    def _score_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        return -filter_rows(rows, np.array([0, len(rows)]), self.parameters)[1]
