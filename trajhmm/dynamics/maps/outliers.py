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
    state, rows, _ = _stays(path, begins)
    stays, briefly = np.bincount(state, minlength=n_states), np.bincount(state[rows <= _SHORT], minlength=n_states)
    short = (stays > 0) & (briefly >= _SHORT_SHARE * stays)
    # A run may stray through several of them in turn: what counts is how long it is away, and where it comes back to.
    away = short[path]
    state, rows, first = _stays(np.where(away, n_states, path), begins)
    left = np.zeros(len(state), dtype=bool)
    left[1:-1] = (state[1:-1] == n_states) & ~begins[first[1:-1]] & ~begins[first[2:]]
    found = []
    for k in np.flatnonzero(short).tolist():
        with_k = np.unique(np.searchsorted(first, np.flatnonzero(path == k), side="right") - 1)
        stays = with_k[left[with_k]]
        if (
            len(stays) >= _FEWEST
            and (rows[with_k] <= _SHORT).mean() >= _SHORT_SHARE
            and (state[stays - 1] == state[stays + 1]).mean() >= _BACK_SHARE
            and np.median(np.concatenate([rows[stays - 1], rows[stays + 1]])) > _SHORT
        ):
            found.append(k)
    return frozenset(found)


def _stays(path: Ints, begins: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """(M,) state, rows and first row of each stay."""
    first = np.flatnonzero(begins | (np.diff(path, prepend=-1) != 0))
    return path[first], np.diff(first, append=len(path)), first


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
