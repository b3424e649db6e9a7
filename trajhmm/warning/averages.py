"""Averages over the rows so far."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled


@takes(values="N")
@compiled
def exponential_average(values: NDArray[np.float64], span: float, before: float) -> NDArray[np.float64]:
    """Average exponentially, with weight 2 / (span + 1) on the newest row.

    Parameters
    ----------
    values : (n,)
    span : rows; an average with equal weights over so many is as old.
    before : the average up to the row ahead of these; NaN if there is none, so that the first row stands by itself.

    Returns
    -------
    (n,), the same to the last bit however rows are dealt out.
    """
    rate = 2.0 / (span + 1.0)
    averages = np.empty(len(values))
    average = before
    for t in range(len(values)):
        average = values[t] if np.isnan(average) else average + rate * (values[t] - average)
        averages[t] = average
    return averages
