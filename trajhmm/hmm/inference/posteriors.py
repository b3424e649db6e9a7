"""What the HMM infers from sequences under fixed parameters: densities, filter, smoother, path.

Pure functions over arrays. Filtered and smoothed results are different types: nothing online can be handed what saw
the future.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import floats_of, offsets_of_rows
from trajhmm.hmm.inference.emissions import Emissions, log_density
from trajhmm.hmm.kernels import exact
from trajhmm.hmm.kernels.viterbi import viterbi
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.chunk import run_begins

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, eq=False)
class Filtered:
    """What is known at each row from the rows up to it.

    Attributes
    ----------
    runs, lengths, steps : R names, (R,) and (N,): which rows these are.
    probs : (N, K), p(s_t = k | z_1…t).
    predictive_logpdf : (N,), log p(z_t | z_1…t-1) in nats.
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    probs: NDArray[np.float64]
    predictive_logpdf: NDArray[np.float64]

    def __repr__(self) -> str:
        return _described(self)

    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame, as in the states file: ``run, step, state, probability, p_0 … p_{K-1}``."""
        return _frame(self)

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of all runs, in nats."""
        return float(self.predictive_logpdf.sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Smoothed:
    """What is known at each row from the whole run.

    Attributes
    ----------
    runs, lengths, steps : R names, (R,) and (N,): which rows these are.
    probs : (N, K), p(s_t = k | all rows of the run).
    path : (N,) int64, the likeliest sequence of states (Viterbi).
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    probs: NDArray[np.float64]
    path: NDArray[np.int64]

    def __repr__(self) -> str:
        return _described(self)

    def frame(self) -> pd.DataFrame:
        """The rows as a DataFrame, as in the states file: ``run, step, state, probability, p_0 … p_{K-1}``."""
        return _frame(self)


def _described(decoded: Filtered | Smoothed) -> str:
    n_rows, n_states = decoded.probs.shape
    return f"{type(decoded).__name__}({len(decoded.runs)} runs, {n_rows} rows, {n_states} states)"


def _frame(decoded: Filtered | Smoothed) -> pd.DataFrame:
    from trajhmm.hmm.statesfile import states_table

    frame: pd.DataFrame = states_table(decoded).to_pandas()
    return frame


def rows_and_offsets(
    values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(N, D) rows and (R + 1,) offsets of runs as compiled loops take them.

    Raises
    ------
    ArrayError
        The rows are not of these D metrics, or the offsets not those of N rows.
    """
    values = floats_of("values", values, (None, parameters.n_metrics))
    return values, offsets_of_rows("offsets", offsets, len(values))


def filter_rows(
    values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Filter runs.

    Parameters
    ----------
    values : (N, D)
    offsets : (R + 1,) row offsets of the runs.

    Returns
    -------
    log_probs : (N, K), log p(s_t = k | z_1…t).
    predictive_logpdf : (N,), log p(z_t | z_1…t-1).
    """
    values, offsets = rows_and_offsets(values, offsets, parameters)
    density = Emissions.of(parameters).log_densities_by_row(values)
    log_alpha, predictive = np.empty_like(density), np.empty(len(values))
    before = np.zeros(parameters.n_states)
    exact.forward(
        density, run_begins(offsets), parameters.startprob, parameters.transmat, before, log_alpha, predictive
    )
    return log_alpha, predictive


def smooth_rows(values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters) -> NDArray[np.float64]:
    """(N, K): p(s_t = k | all rows of the run)."""
    values, offsets = rows_and_offsets(values, offsets, parameters)
    density, fresh, k = log_density(values, parameters), run_begins(offsets), parameters.n_states
    log_alpha, smoothed = np.empty_like(density), np.empty_like(density)
    predictive, none = np.empty(len(values)), np.zeros(k)
    exact.forward(density, fresh, parameters.startprob, parameters.transmat, none, log_alpha, predictive)
    ones, beta, started, pairs = np.ones(len(values)), np.zeros(k), np.zeros(k), np.zeros((k, k))
    exact.backward(density, fresh, ones, parameters.transmat, none, log_alpha, beta, smoothed, started, pairs)
    return smoothed


def decode_rows(
    values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters
) -> tuple[NDArray[np.int64], float]:
    """(N,) likeliest paths (Viterbi) and the sum over runs of their log-probabilities with the values."""
    values, offsets = rows_and_offsets(values, offsets, parameters)
    path = np.empty(len(values), dtype=np.int64)
    density = log_density(values, parameters)
    return path, float(viterbi(density, offsets, parameters.startprob, parameters.transmat, path))
