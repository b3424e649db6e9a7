"""Outlier states: single rows far off, from which runs go on where they were.

Noise with heavy tails fills a state of its own (a normal distribution as wide as the tails), into which runs of all
states stray for a row or two. Who does has not left the state in which they were. Two states between which runs swing
to and fro are none: neither is where they are.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.rows.chunk import run_begins
from trajhmm.logs.runset import offsets_of

Ints = NDArray[np.int64]

# Stays in an outlier state: at least so many, nearly all of them as short as this, and most back to where they came
# from, where most stay longer.
_FEWEST, _SHORT, _SHORT_SHARE, _BACK_SHARE = 10, 2, 0.9, 0.6


def outlier_states(path: Ints, lengths: Ints, n_states: int) -> frozenset[int]:
    """States into which runs stray for a row or two.

    Parameters
    ----------
    path, lengths : (N,) states and (R,) rows of the runs.
    """
    begins = run_begins(offsets_of(lengths))
    first = np.flatnonzero(begins | (np.diff(path, prepend=-1) != 0))
    state, rows = path[first], np.diff(first, append=len(path))
    # Stays that a run both comes to and leaves.
    inside, back = np.zeros(len(first), dtype=bool), np.zeros(len(first), dtype=bool)
    inside[1:-1] = ~begins[first[1:-1]] & ~begins[first[2:]]
    back[1:-1] = state[:-2] == state[2:]
    return frozenset(
        k
        for k in range(n_states)
        if (stays := inside & (state == k)).sum() >= _FEWEST
        and (rows[state == k] <= _SHORT).mean() >= _SHORT_SHARE
        and back[stays].mean() >= _BACK_SHARE
        and np.median(np.concatenate([rows[np.flatnonzero(stays) + side] for side in (-1, 1)])) > _SHORT
    )


def without_outliers(path: Ints, lengths: Ints, outliers: frozenset[int]) -> Ints:
    """(N,) states, where a run strays that of the row before; of the first row after, where a run begins astray.

    Parameters
    ----------
    path, lengths : as for `outlier_states`.
    """
    settled = path.copy()
    if not outliers:
        return settled
    astray = np.isin(path, list(outliers))
    for start, stop in pairwise(offsets_of(lengths)):
        there = np.flatnonzero(~astray[start:stop])
        if len(there):
            last = np.searchsorted(there, np.arange(stop - start), side="right") - 1
            settled[start:stop] = path[start:stop][there[np.maximum(last, 0)]]
    return settled
