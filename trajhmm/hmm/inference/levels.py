"""The levels that rows with a memory tell of; see `trajhmm.hmm.learning.autoregression`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.rows.chunk import run_begins

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def whitened(values: Floats, offsets: Ints, autoregression: Floats | None) -> Floats:
    """(N, D) levels that (N, D) rows tell of, each with the row before it; the rows themselves without coefficients.

    Parameters
    ----------
    offsets : (R + 1,) row offsets of the runs.
    autoregression : (D,) φ.
    """
    if autoregression is None:
        return values
    begins = run_begins(offsets)[1:, np.newaxis]
    levels = values.copy()
    levels[1:] = np.where(begins, values[1:], (values[1:] - autoregression * values[:-1]) / (1 - autoregression))
    return levels


def log_jacobian(offsets: Ints, autoregression: Floats) -> Floats:
    """(N,) what to add to the log-densities of `whitened` rows to get those of the rows, in nats."""
    return np.where(run_begins(offsets), 0.0, -np.log1p(-autoregression).sum())
