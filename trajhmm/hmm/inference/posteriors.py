"""What the HMM infers from sequences under fixed parameters: densities, filter, smoother, path.

Pure functions over arrays.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import floats_of, offsets_of_rows
from trajhmm.hmm.inference.emissions import Emissions, log_density
from trajhmm.hmm.kernels import exact
from trajhmm.hmm.kernels.viterbi import viterbi
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.chunk import run_begins


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
