"""How surprising a run is to a hidden Markov model of healthy runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.features import CausalRun, Departures
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.inference.posteriors import filter_rows
from trajhmm.hmm.parameters import CovarianceType
from trajhmm.warning.averages import exponential_average
from trajhmm.warning.detectors.densities import FeatureDetector
from trajhmm.warning.detectors.standardise import Features

_RUNS_A_STATE = 5
_MOST_STATES = 4


@dataclass(frozen=True, kw_only=True, eq=False)
class HMMSurprise(FeatureDetector):
    """Surprise, -log p(z_t | z_1…t-1), of the last rows under a Gaussian HMM of healthy runs.

    z are the departures from the healthy runs at the same step: what is usual while training moves on is no departure,
    what all seeds do at one step (a learning rate that drops, a jump) is none either. States are ways of departing; a
    row is surprising if its values are unlikely in every state that the rows before make likely. The surprise is
    averaged over the last rows, so that one odd row is no alarm.

    Rows of a run are far from independent: what is known of how metrics vary together grows with runs, not rows. So
    covariances are drawn to the diagonal as if by one more run a metric, and by default there is one state for every
    five runs, up to four.

    Parameters
    ----------
    learn_features : from healthy runs to the features; by default departures at the same step.
    states : number of states; fewer if EM degenerates with so many.
    covariance : of a state.
    shrinkage : runs a metric with the whole data's variances, and no covariances, shared among the states.
    span : rows over which surprise is averaged, exponentially; 1 for none.
    markov : False for a mixture of the same normals, to which the rows before say nothing of the state.
    restarts, iterations, seed : of EM.
    """

    name: ClassVar[str] = "hmm"
    learn_features: Callable[[Sequence[CausalRun]], Features] = Departures.of
    states: int | None = None
    covariance: CovarianceType = "full"
    shrinkage: float = 1.0
    span: float = 5.0
    markov: bool = True
    restarts: int = 4
    iterations: int = 100
    seed: int = 0
    hmm_: GaussianHMM | None = None

    def _fields(self, healthy: Sequence[NDArray[np.float64]]) -> dict[str, Any]:
        rows, lengths = np.concatenate(healthy), [len(run) for run in healthy]
        wanted = usual_states(len(healthy)) if self.states is None else self.states
        for states in range(min(wanted, len(rows)), 0, -1):
            try:
                return {"hmm_": self._fitted(states, rows, lengths)}
            except FitError:
                if states == 1:
                    raise
        raise FitError(f"{self.name}: the reference holds no row")

    def _fitted(self, states: int, rows: NDArray[np.float64], lengths: Sequence[int]) -> GaussianHMM:
        rows_a_run = len(rows) / len(lengths)
        hmm = GaussianHMM(
            states,
            covariance_type=self.covariance,
            shrinkage=self.shrinkage * rows.shape[1] * rows_a_run / states,
            n_restarts=self.restarts if states > 1 else 1,
            n_iter=self.iterations,
            tol=1e-5,
            random_state=self.seed,
        )
        return hmm.fit(rows, lengths if self.markov else np.ones(len(rows), dtype=np.int64))

    @property
    def hmm(self) -> GaussianHMM:
        """The fitted model."""
        return self._learnt(self.hmm_)

    def _score_rows(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        offsets = np.array([0, len(rows)]) if self.markov else np.arange(len(rows) + 1)
        return exponential_average(-filter_rows(rows, offsets, self.hmm.parameters)[1], self.span, np.nan)


def usual_states(n_runs: int) -> int:
    """Number of states for ``n_runs`` healthy runs: one for every five, up to four."""
    return min(max(n_runs // _RUNS_A_STATE, 1), _MOST_STATES)
