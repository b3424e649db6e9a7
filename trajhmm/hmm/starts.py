"""Where restarts begin: states as consecutive shares of each run, or clusters of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.parameters import CovarianceType, Parameters

# A little of every transition and every start is possible at first: what EM starts at 0 stays at 0.
_PSEUDOCOUNT = 1.0


def start_parameters(
    values: NDArray[np.float64],
    offsets: NDArray[np.int64],
    *,
    n_states: int,
    covariance_type: CovarianceType,
    restart: int,
    seed: np.random.SeedSequence,
) -> Parameters:
    """Parameters to start a restart from: restart 0 cuts each run into consecutive shares, later ones cluster rows.

    Parameters
    ----------
    values, offsets : (N, D) rows and (R + 1,) run offsets.
    seed : of this restart; restart 0 does not use it.
    """
    labels = (
        consecutive_shares(offsets, n_states)
        if restart == 0
        else clusters(values, n_states, np.random.default_rng(seed))
    )
    return parameters_from_labels(values, offsets, labels, n_states=n_states, covariance_type=covariance_type)


def consecutive_shares(offsets: NDArray[np.int64], n_states: int) -> NDArray[np.int64]:
    """(N,) labels that cut each run into ``n_states`` consecutive shares of equal length."""
    lengths = np.diff(offsets)
    position = np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths)
    share: NDArray[np.int64] = position * n_states // np.repeat(lengths, lengths)
    return share


def clusters(values: NDArray[np.float64], n_states: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(N,) labels by k-means (k-means++ seeding) on metrics brought to unit variance."""
    from sklearn.cluster import KMeans

    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if len(np.unique(scaled, axis=0)) < n_states:
        return rng.integers(n_states, size=len(values))
    kmeans = KMeans(n_states, n_init=1, max_iter=50, random_state=int(rng.integers(2**31)))
    labels: NDArray[np.int64] = kmeans.fit_predict(scaled).astype(np.int64)
    return labels


def parameters_from_labels(
    values: NDArray[np.float64],
    offsets: NDArray[np.int64],
    labels: NDArray[np.int64],
    *,
    n_states: int,
    covariance_type: CovarianceType,
) -> Parameters:
    """The moments and counts of labelled rows; a label without rows gets those of all rows."""
    n_metrics = values.shape[1]
    means = np.tile(values.mean(axis=0), (n_states, 1))
    covars = np.empty((n_states, n_metrics) if covariance_type == "diag" else (n_states, n_metrics, n_metrics))
    for state in range(n_states):
        rows = values[labels == state]
        if not len(rows):
            rows = values
        means[state] = rows.mean(axis=0)
        away = rows - means[state]
        covars[state] = (away**2).mean(axis=0) if covariance_type == "diag" else away.T @ away / len(away)
    start = np.bincount(labels[offsets[:-1]], minlength=n_states) + _PSEUDOCOUNT
    transitions = np.full((n_states, n_states), _PSEUDOCOUNT)
    inside = np.ones(len(labels), dtype=bool)
    inside[offsets[1:] - 1] = False
    here = np.flatnonzero(inside)
    np.add.at(transitions, (labels[here], labels[here + 1]), 1.0)
    return Parameters(
        startprob=start / start.sum(),
        transmat=transitions / transitions.sum(axis=1, keepdims=True),
        means=means,
        covars=covars,
        covariance_type=covariance_type,
    )
