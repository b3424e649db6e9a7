"""How differently runs distribute their time over states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_PAIRS = 2000
BOOTSTRAPS = 2000


@dataclass(frozen=True, kw_only=True)
class Distance:
    """A mean over pairs of runs, with a 95% interval by bootstrap over runs; None with fewer than 2 runs."""

    mean: float | None
    ci_low: float | None
    ci_high: float | None


@dataclass(frozen=True, kw_only=True)
class Dissimilarity:
    """Mean pairwise distance of the runs' bags of states.

    Attributes
    ----------
    total_variation : half the sum of absolute differences; does not depend on how states are numbered.
    wasserstein_means : least cost of moving one bag onto the other, a unit of share costing the distance between the
        means of the two states (in units of the scaled metrics).
    wasserstein_index : the published version, states being as far apart as their numbers: changes when states are
        renumbered; for comparison only.
    n_runs : number of runs.
    n_pairs : number of pairs of runs averaged over: all, or a random 2,000 of them.
    """

    total_variation: Distance
    wasserstein_means: Distance
    wasserstein_index: Distance
    n_runs: int
    n_pairs: int


def dissimilarity_of(bags: NDArray[np.float64], means: NDArray[np.float64], *, seed: int = 0) -> Dissimilarity:
    """Compare the (R, K) bags of states of R runs, given the (K, D) means of the states."""
    n_runs = len(bags)
    rng = np.random.default_rng(seed)
    first, second = np.triu_indices(n_runs, 1)
    if len(first) > MOST_PAIRS:
        chosen = np.sort(rng.choice(len(first), MOST_PAIRS, replace=False))
    else:
        chosen = np.arange(len(first))
    first, second = first[chosen], second[chosen]
    away = bags[first] - bags[second]
    ground = np.sqrt(((means[:, np.newaxis] - means[np.newaxis]) ** 2).sum(axis=2))
    moved = np.array([transport_cost(bags[i], bags[j], ground) for i, j in zip(first, second, strict=True)])
    weights = rng.multinomial(n_runs, np.full(n_runs, 1 / max(n_runs, 1)), size=BOOTSTRAPS).astype(np.float64)
    pair_weights = weights[:, first] * weights[:, second]
    return Dissimilarity(
        total_variation=_distance(np.abs(away).sum(axis=1) / 2, pair_weights),
        wasserstein_means=_distance(moved, pair_weights),
        wasserstein_index=_distance(np.abs(np.cumsum(away, axis=1)).sum(axis=1), pair_weights),
        n_runs=n_runs,
        n_pairs=len(chosen),
    )


def transport_cost(p: NDArray[np.float64], q: NDArray[np.float64], ground: NDArray[np.float64]) -> float:
    """Least cost Σ_ij f_ij d_ij of moving the (K,) shares ``p`` onto ``q``, with (K, K) ``ground`` distances d."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    shared = np.minimum(p, q)
    supply, demand = p - shared, q - shared
    sources, sinks = np.flatnonzero(supply > 0), np.flatnonzero(demand > 0)
    if not len(sources) or not len(sinks):
        return 0.0
    supply, demand = supply[sources], demand[sinks]
    demand = demand * (supply.sum() / demand.sum())
    n, m = len(sources), len(sinks)
    flows = np.arange(n * m)
    rows = np.concatenate([flows // m, n + flows % m])
    constraints = csr_array((np.ones(2 * n * m), (rows, np.concatenate([flows, flows]))), shape=(n + m, n * m))
    # One equation follows from the others; without it rounding cannot make the problem infeasible.
    result = linprog(
        ground[np.ix_(sources, sinks)].ravel(),
        A_eq=constraints[:-1],
        b_eq=np.concatenate([supply, demand])[:-1],
        method="highs",
    )
    return float(result.fun)


def _distance(distances: NDArray[np.float64], pair_weights: NDArray[np.float64]) -> Distance:
    """Mean over pairs, and its interval from (B, P) bootstrap weights; pairs of copies of one run do not count."""
    if not len(distances):
        return Distance(mean=None, ci_low=None, ci_high=None)
    drawn = pair_weights.sum(axis=1)
    means = (pair_weights @ distances)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return Distance(mean=float(distances.mean()), ci_low=float(low), ci_high=float(high))
