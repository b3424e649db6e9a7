"""What finished runs tell of how a map is to be read row by row, and how well it was."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.posteriors import decode_rows
from trajhmm.hmm.model import Model
from trajhmm.logs import RunSet

Ints = NDArray[np.int64]

# Of rows that stand alone this is 1, less what the shifts take; in the sets of data/ it is 14 and more.
_MOST_ALONE = 1.5


def rows_stand_alone(model: Model, runs: RunSet) -> bool:
    """Whether what a row tells of its run's shift is not told by the one before it; see `design_effect`."""
    return design_effect(model, runs) <= _MOST_ALONE


def design_effect(model: Model, runs: RunSet) -> float:
    """By how much the means of visits to a state vary more than they would if rows were independent (Kish 1965).

    For a visit of n rows, whose mean is m off that of its state, less the run's shift, in a metric of variance σ²: the
    mean of n m² / σ² over rows and metrics. It is 1 if rows are independent, and n if all rows of a visit are alike.

    Parameters
    ----------
    model : a map with diagonal covariances.
    runs : finished runs.
    """
    sequences, known = model.sequences(runs), model.parameters
    path, _ = decode_rows(sequences.values, sequences.offsets, known)
    begins = np.union1d(sequences.offsets[:-1], np.flatnonzero(np.diff(path)) + 1)
    n = np.diff(np.append(begins, len(path)))[:, np.newaxis]
    away = (sequences.values - known.means[path]) / np.sqrt(known.variances()[path])
    return float((np.add.reduceat(away, begins, axis=0) ** 2).mean(axis=1).sum() / n.sum())


def alike_when_finished(model: Model, runs: RunSet, told: Mapping[str, tuple[Ints, Ints]]) -> Ints:
    """Compare states with those that a map tells of whole runs.

    What comes back are numbers of rows: what was told of a run has nothing of its end.

    Parameters
    ----------
    model : a map.
    runs : finished runs.
    told : run to (T,) steps, rising, and (T,) states.

    Returns
    -------
    (R, 2) of the R runs of which the map tells states: at how many rows both are the same, and how many rows there are.
    """
    decoded = model.decode(runs)
    ends = np.cumsum(decoded.lengths)
    alike = np.empty((len(ends), 2), dtype=np.int64)
    for run, n, end, out in zip(decoded.runs, decoded.lengths, ends, alike, strict=True):
        steps, states = told[run]
        here = states[np.searchsorted(steps, decoded.steps[end - n : end])]
        out[:] = (here == decoded.path[end - n : end]).sum(), n
    return alike
