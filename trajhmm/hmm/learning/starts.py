"""Where restarts begin: states as consecutive shares of each run, clusters of rows, or a shaken copy of the best."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.parameters import CovarianceType, Parameters, Topology, allowed_transitions
from trajhmm.hmm.rows.chunk import Chunk, count_transitions, run_begins
from trajhmm.hmm.rows.source import Source, joined, sample_of

# A little of every transition and every start is possible at first: what EM starts at 0 stays at 0.
_PSEUDOCOUNT = 1.0
# Rows that starts are made from; more would cost more than the EM that follows.
_SAMPLE = 8192
_LLOYD_ITERATIONS = 20
# How far a copy is shaken: means by this many standard deviations of their state, transitions by this share.
_SHAKE = 0.25


def sample_rows(source: Source, weights: NDArray[np.float64]) -> Chunk:
    """At most about 8,000 rows, evenly spaced over runs whose weight is not 0; (R,) ``weights``.

    Which rows depends on the runs alone, not on their order, nor on how a source cuts them into chunks.
    """
    used = int(source.lengths[weights > 0].sum())
    every = max(1, -(-used // _SAMPLE))
    sampled = source.map(partial(sample_of, weights=weights, every=every))
    return joined([chunk for chunk in sampled if chunk.n_rows])


def start_parameters(
    sample: Chunk,
    *,
    n_states: int,
    covariance_type: CovarianceType,
    topology: Topology = "free",
    variance: NDArray[np.float64],
    restart: int,
    seed: np.random.SeedSequence,
) -> Parameters:
    """Parameters to start a restart from: restart 0 cuts each run into consecutive shares, others cluster rows.

    Where runs are so short that a share would be left without rows, restart 0 clusters rows as well: states that begin
    alike never part, and most of them would stay empty. From left to right, clusters are put in order of time.

    Parameters
    ----------
    sample : rows to start from.
    variance : (D,) of the data.
    seed : of this restart.
    """
    labels = consecutive_shares(sample.offsets, n_states)
    if restart > 0 or not np.bincount(labels, minlength=n_states).all():
        labels = clusters(sample.values / np.sqrt(variance), n_states, np.random.default_rng(seed))
        if topology == "left-right":
            labels = in_time(labels, sample.offsets, n_states)
    return parameters_from_labels(
        sample, labels, n_states=n_states, covariance_type=covariance_type, topology=topology, variance=variance
    )


def consecutive_shares(offsets: NDArray[np.int64], n_states: int) -> NDArray[np.int64]:
    """(N,) labels that cut each run into ``n_states`` consecutive shares of equal length."""
    position, lengths = _positions(offsets)
    share: NDArray[np.int64] = position * n_states // lengths
    return share


def in_time(labels: NDArray[np.int64], offsets: NDArray[np.int64], n_states: int) -> NDArray[np.int64]:
    """(N,) labels renamed so that their rows stand ever later in their runs, in the mean over rows.

    The mean and not the first row: one row that strays would make a late label an early one.
    """
    position, lengths = _positions(offsets)
    counts = np.bincount(labels, minlength=n_states)
    passed = np.bincount(labels, weights=(position + 0.5) / lengths, minlength=n_states)
    mean = np.divide(passed, counts, out=np.ones(n_states), where=counts > 0)
    renamed: NDArray[np.int64] = np.argsort(np.argsort(mean, kind="stable"), kind="stable")[labels]
    return renamed


def _positions(offsets: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(N,) row within its run, and (N,) rows of that run."""
    lengths = np.diff(offsets)
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], lengths), np.repeat(lengths, lengths)


def clusters(values: NDArray[np.float64], n_states: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """(N,) labels of (N, D) rows by k-means (k-means++ seeding); a missing value counts as the metric's mean."""
    from sklearn.cluster import kmeans_plusplus

    centred = values - _mean(values)
    centred = np.where(np.isnan(centred), 0.0, centred)
    order = _sorted(centred)  # so that the order of runs does not matter
    rows = centred[order]
    labels = np.empty(len(values), dtype=np.int64)
    if len(np.unique(rows[:, 0])) < n_states and len(np.unique(rows, axis=0)) < n_states:
        labels[order] = rng.integers(n_states, size=len(values))
        return labels
    centres, _ = kmeans_plusplus(rows, n_states, random_state=int(rng.integers(2**31)))
    for _ in range(_LLOYD_ITERATIONS):
        found = _nearest(rows, centres)
        weights = np.eye(n_states)[found]
        counts = weights.sum(axis=0)[:, np.newaxis]
        moved = np.divide(weights.T @ rows, counts, out=centres.copy(), where=counts > 0)
        if np.allclose(moved, centres, rtol=0.0, atol=1e-9):
            break
        centres = moved
    labels[order] = found
    return labels


def _sorted(rows: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) the order of (N, D) rows by their last column, of equals by the one before, and so on."""
    order = np.argsort(rows[:, -1], kind="stable")
    ranked = rows[order, -1]
    tied = np.zeros(len(rows), dtype=bool)
    tied[1:] = ranked[1:] == ranked[:-1]
    tied[:-1] |= tied[1:]
    # The other columns have a say only where the last says nothing: all of them take ten times as long.
    some = order[tied]
    order[tied] = some[np.lexsort(rows[some].T)]
    return order


def _nearest(rows: NDArray[np.float64], centres: NDArray[np.float64]) -> NDArray[np.int64]:
    """(N,) the nearest of (K, D) centres to each of (N, D) rows."""
    nearest: NDArray[np.int64] = ((centres**2).sum(axis=1) - 2.0 * rows @ centres.T).argmin(axis=1)
    return nearest


def parameters_from_labels(
    sample: Chunk,
    labels: NDArray[np.int64],
    *,
    n_states: int,
    covariance_type: CovarianceType,
    topology: Topology = "free",
    variance: NDArray[np.float64],
) -> Parameters:
    """The moments and counts of labelled rows; a label without rows gets those of all rows.

    Parameters
    ----------
    labels : (N,) of the rows of ``sample``; from left to right in the order of the states.
    variance : (D,) of the data, for metrics that no row of a label has, and for the spread of all.
    """
    groups = [_moments(sample.values[labels == k], sample.values, variance) for k in range(n_states)]
    means = np.array([mean for mean, _ in groups])
    matrices = np.array([matrix for _, matrix in groups])
    counts = np.maximum(np.bincount(labels, minlength=n_states), 1)
    start = np.bincount(labels[sample.offsets[:-1]], minlength=n_states) + _PSEUDOCOUNT
    transitions = _PSEUDOCOUNT + count_transitions(labels, run_begins(sample.offsets), n_states)
    transitions *= allowed_transitions(n_states, topology)
    variances = np.diagonal(matrices, axis1=1, axis2=2)
    covars = {
        "diag": variances,
        "full": matrices,
        "tied": np.einsum("k,kij->ij", counts / counts.sum(), matrices),
        "spherical": variances.mean(axis=1),
    }[covariance_type]
    return Parameters(
        startprob=start / start.sum(),
        transmat=transitions / transitions.sum(axis=1, keepdims=True),
        means=means,
        covars=np.ascontiguousarray(covars),
        covariance_type=covariance_type,
    )


def _moments(
    rows: NDArray[np.float64], all_rows: NDArray[np.float64], variance: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(D,) mean and (D, D) covariance of rows; where values are missing, the mean stands for them."""
    rows = rows if len(rows) else all_rows
    mean = _mean(rows)
    missing = np.isnan(rows)
    if missing.any():
        mean = np.where(missing.all(axis=0), _mean(all_rows), mean)
    away = np.where(missing, 0.0, rows - mean)
    matrix = away.T @ away / len(rows)
    # The variance that imputing the mean takes away is given back.
    np.fill_diagonal(matrix, np.diag(matrix) + missing.mean(axis=0) * variance)
    return mean, matrix


def _mean(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """(D,) mean over rows of what is there, 0 where nothing is."""
    missing = np.isnan(rows)
    if not missing.any():
        return np.asarray((rows / max(len(rows), 1)).sum(axis=0))
    counts = np.maximum((~missing).sum(axis=0), 1)
    return np.asarray((np.where(missing, 0.0, rows) / counts).sum(axis=0))


def shaken(parameters: Parameters, rng: np.random.Generator, *, keep_zeros: bool = False) -> Parameters:
    """A copy whose means and transitions are off by chance, to find out whether EM comes back or finds better.

    Parameters
    ----------
    keep_zeros : whether what never happens goes on never to happen.
    """
    k = parameters.n_states
    noise = rng.normal(size=parameters.means.shape) * np.sqrt(parameters.variances())
    return replace(
        parameters,
        startprob=_mixed(parameters.startprob, rng.dirichlet(np.ones(k)), keep_zeros=keep_zeros),
        transmat=_mixed(parameters.transmat, rng.dirichlet(np.ones(k), size=k), keep_zeros=keep_zeros),
        means=parameters.means + _SHAKE * noise,
    )


def _mixed(probs: NDArray[np.float64], others: NDArray[np.float64], *, keep_zeros: bool) -> NDArray[np.float64]:
    """(…, K) probabilities that are a little those of ``others``."""
    mixed: NDArray[np.float64] = (1 - _SHAKE) * probs + _SHAKE * others
    if keep_zeros and not probs.all():
        mixed = np.where(probs > 0, mixed, 0.0)
        mixed /= mixed.sum(axis=-1, keepdims=True)
    return mixed
