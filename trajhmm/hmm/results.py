"""What fits and inference leave behind: plain results, which can be read without what made them.

Filtered and smoothed results are different types: nothing online can be handed what saw the future.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

Outcome = Literal["converged", "max_iterations", "degenerate"]
Criterion = Literal["reproducible", "bic", "aic", "icl", "heldout"]
CRITERIA: tuple[Criterion, ...] = get_args(Criterion)

# Restarts whose log-likelihoods differ by less than this, in nats, have reached the same optimum.
_SAME_OPTIMUM = 0.1


@dataclass(frozen=True, kw_only=True, eq=False)
class _Posteriors:
    """What `Filtered` and `Smoothed` have in common; they stay two types."""

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    probs: NDArray[np.float64]

    def __post_init__(self) -> None:
        for array in vars(self).values():
            if isinstance(array, np.ndarray):
                array.setflags(write=False)

    def __repr__(self) -> str:
        n_rows, n_states = self.probs.shape
        return f"{type(self).__name__}({len(self.runs)} runs, {n_rows} rows, {n_states} states)"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Filtered(_Posteriors):
    """What is known at each row from the rows up to it.

    In a map of which each run has a shift of its own (``mixed``) z is the row less that shift, which comes from the
    whole run; and so does the scale of ``per-run``. What is known of a run under way is read by
    `trajhmm.hmm.inference.forwards`.

    Attributes
    ----------
    runs, lengths, steps : R names, (R,) and (N,): which rows these are.
    probs : (N, K), p(s_t = k | z_1…t).
    predictive_logpdf : (N,), log p(z_t | z_1…t-1) in nats.
    """

    predictive_logpdf: NDArray[np.float64]

    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame, as in the states file: ``run, step, state, probability, p_0 … p_{K-1}``."""
        return _frame(self)

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of all runs, in nats; given their shifts, if the map has any."""
        return float(self.predictive_logpdf.sum())


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Smoothed(_Posteriors):
    """What is known at each row from the whole run.

    Attributes
    ----------
    runs, lengths, steps : R names, (R,) and (N,): which rows these are.
    probs : (N, K), p(s_t = k | all rows of the run).
    path : (N,) int64, the likeliest sequence of states (Viterbi).
    """

    path: NDArray[np.int64]

    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame, as in the states file: ``run, step, state, probability, p_0 … p_{K-1}``."""
        return _frame(self)


def _frame(decoded: Filtered | Smoothed) -> pd.DataFrame:
    from trajhmm.hmm.statesfile import states_table

    frame: pd.DataFrame = states_table(decoded).to_pandas()
    return frame


@dataclass(frozen=True, kw_only=True)
class FitStatus:
    """How a fit ended, and how far restarts agree.

    Attributes
    ----------
    outcome : ``converged``, ``max_iterations`` or ``degenerate``, of the restart that was chosen.
    chosen : index of that restart.
    outcomes : of every restart.
    log_likelihoods : of every restart and iteration, in nats; with shrinkage, the log-density of the prior is in it.
    agreement : adjusted Rand index of the states that each restart decodes with those of the chosen one: 1 if they are
        the same, about 0 if not more alike than by chance; None for a degenerate restart.
    """

    outcome: Outcome
    chosen: int
    outcomes: tuple[Outcome, ...]
    log_likelihoods: tuple[tuple[float, ...], ...]
    agreement: tuple[float | None, ...]

    @property
    def reached_best(self) -> int:
        """How many restarts reached the best optimum: its log-likelihood, to a tenth of a nat."""
        best = self.log_likelihoods[self.chosen][-1]
        ended = zip(self.log_likelihoods, self.outcomes, strict=True)
        return sum(outcome != "degenerate" and best - trace[-1] < _SAME_OPTIMUM for trace, outcome in ended)


@dataclass(frozen=True, kw_only=True)
class SelectionPoint:
    """What is known of one number of states.

    Attributes
    ----------
    states : K.
    outcome : of the best restart; ``degenerate`` if none was usable, and then the numbers are None.
    log_likelihood : total over training runs, in nats.
    n_parameters : free parameters.
    bic, aic : on the total log-likelihood; lower is better.
    icl : integrated completed likelihood: BIC with the likeliest paths as if they had been seen (Biernacki, Celeux and
        Govaert 2000); it pays for states that cannot be told apart; lower is better.
    heldout : log-likelihood per row of runs left out of the fit, averaged over runs, in nats; None if not asked for.
    heldout_se : its standard error over runs.
    restart_log_likelihoods : of every usable restart, best first: the spread of the optima.
    reached_best : how many restarts reached the best optimum.
    agreement : mean adjusted Rand index of the states of the other restarts with the best one's; None if it is alone.
    halves, recovery : mean adjusted Rand index of maps of split halves of the runs, and how far the state that comes
        back worst is found again in them, see `trajhmm.hmm.certificate.Halves`; None where that was not tried.
    """

    states: int
    outcome: Outcome
    log_likelihood: float | None
    n_parameters: int | None
    bic: float | None
    aic: float | None
    icl: float | None
    heldout: float | None
    heldout_se: float | None
    restart_log_likelihoods: tuple[float, ...]
    reached_best: int
    agreement: float | None
    halves: float | None = None
    recovery: float | None = None
