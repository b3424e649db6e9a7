"""Outlier states: single rows far off, from which runs go on where they were.

Noise with heavy tails fills a state of its own (a normal distribution as wide as the tails), into which runs of all
states stray for a row or two. Who does has not left the state in which they were. Two states between which runs swing
to and fro are none: neither is where they are. Where no state of their own is left for them, such rows are found in the
widest of the others.
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
# In a place that runs may stray into as well short stays hold at most so many of the rows; or up to so many, if stays
# up to so long are few beside them: as two kinds of stays have it, and not one whose lengths scatter.
_FEW_ROWS, _MORE_ROWS, _LONGER, _GAP = 0.1, 0.3, 6, 0.15


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


def settled(path: Ints, lengths: Ints, outliers: frozenset[int], *, strays: bool = False) -> Ints:
    """Where runs are, but for rows astray.

    Parameters
    ----------
    path, lengths : as for `outlier_states`.
    outliers : states that are no place to be in.
    strays : whether rows may be astray in other states too. Only where outliers are known to be about: else who is
        somewhere for a row or two has been there, and to pass over that is to choose visitors by how long they stay.

    Returns
    -------
    (N,) states: for rows in ``outliers`` that of the row before (of the first row after, where a run begins astray).
    With ``strays`` also, for a row or two in a state in which runs are much longer else, between longer stays in one
    and the same other state, that state: under heavy tails a run is taken for elsewhere in single rows.
    """
    path = path.copy()
    offsets = offsets_of(lengths)
    there = np.ones(len(path), dtype=bool)
    if outliers:
        there = ~np.isin(path, list(outliers))
        for start, stop in pairwise(offsets):
            known = np.flatnonzero(there[start:stop])
            if len(known):
                last = np.searchsorted(known, np.arange(stop - start), side="right") - 1
                path[start:stop] = path[start:stop][known[np.maximum(last, 0)]]
    if not strays or not len(path):
        return path
    begins = run_begins(offsets)
    state, rows, first = _stays(path, begins)
    counted = np.add.reduceat(there.astype(np.int64), first)  # rows that are known to be there
    short = counted <= _SHORT
    n_short, n_longer = np.bincount(state, weights=short), np.bincount(state, weights=~short & (counted <= _LONGER))
    share = np.bincount(state, weights=counted * short) / np.bincount(state, weights=counted).clip(1)
    gap = (n_short >= _FEWEST) & (n_longer <= _GAP * n_short)
    stray = short & ((share <= _FEW_ROWS) | gap & (share <= _MORE_ROWS))[state]
    stray[:1] = stray[-1:] = False
    within = ~begins[first]  # begins, and the next one, in the run of the stay before
    stray[1:-1] &= within[1:-1] & within[2:] & (state[:-2] == state[2:]) & ~short[:-2] & ~short[2:]
    came_from = np.concatenate([state[:1], state[:-1]])
    return np.repeat(np.where(stray, came_from, state), rows)


def _stays(path: Ints, begins: NDArray[np.bool_]) -> tuple[Ints, Ints, Ints]:
    """(M,) state, rows and first row of each stay."""
    first = np.flatnonzero(begins | (np.diff(path, prepend=-1) != 0))
    return path[first], np.diff(first, append=len(path)), first
