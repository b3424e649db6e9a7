"""How differently runs distribute their time over states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MOST_PAIRS = 2000
BOOTSTRAPS = 2000
# Four runs make so many pairs.
_FEWEST_PAIRS = 6
# Pairs whose linear programs are solved as one: each by itself takes longer to state than to solve.
_TOGETHER = 250


@dataclass(frozen=True, kw_only=True)
class Distance:
    """A mean over pairs of runs, with a 95% interval by bootstrap over runs.

    None of fewer than 2 runs; without interval of fewer than 4.
    """

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
    first, second = _some_pairs(n_runs, rng)
    away = bags[first] - bags[second]
    ground = np.sqrt(((means[:, np.newaxis] - means[np.newaxis]) ** 2).sum(axis=2))
    moved = transport_costs(bags[first], bags[second], ground)
    weights = rng.multinomial(n_runs, np.full(n_runs, 1 / max(n_runs, 1)), size=BOOTSTRAPS).astype(np.float64)
    pair_weights = weights[:, first] * weights[:, second]
    return Dissimilarity(
        total_variation=_distance(np.abs(away).sum(axis=1) / 2, pair_weights),
        wasserstein_means=_distance(moved, pair_weights),
        wasserstein_index=_distance(np.abs(np.cumsum(away, axis=1)).sum(axis=1), pair_weights),
        n_runs=n_runs,
        n_pairs=len(first),
    )


def _some_pairs(n_runs: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(P,) and (P,) the runs of all pairs, or of a random `MOST_PAIRS` of them, in the order of the first."""
    n_pairs = n_runs * (n_runs - 1) // 2
    if n_pairs <= MOST_PAIRS:
        first, second = np.triu_indices(n_runs, 1)
        return first.astype(np.int64), second.astype(np.int64)
    chosen = np.sort(rng.choice(n_pairs, MOST_PAIRS, replace=False))
    # Pairs are numbered by their first run, of which pairs of the runs before it lie behind.
    begins = np.concatenate(([0], np.cumsum(np.arange(n_runs - 1, 0, -1))))
    first = np.searchsorted(begins, chosen, side="right") - 1
    return first.astype(np.int64), (chosen - begins[first] + first + 1).astype(np.int64)


def transport_costs(p: NDArray[np.float64], q: NDArray[np.float64], ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least costs Σ_ij f_ij d_ij of moving shares onto others: P linear programs, many of which are solved as one.

    Parameters
    ----------
    p, q : (P, K) shares that add up to 1.
    ground : (K, K) distances d.

    Returns
    -------
    (P,)
    """
    costs = np.zeros(len(p))
    for begin in range(0, len(p), _TOGETHER):
        some = range(begin, min(begin + _TOGETHER, len(p)))
        moves = {pair: move for pair in some if (move := _Move.between(p[pair], q[pair])) is not None}
        if moves:
            costs[list(moves)] = _least(list(moves.values()), ground)
    return costs


@dataclass(frozen=True, kw_only=True, eq=False)
class _Move:
    """Shares that are to be moved: from where, to where, and how much; what both have in common stays."""

    sources: NDArray[np.int64]
    sinks: NDArray[np.int64]
    supply: NDArray[np.float64]
    demand: NDArray[np.float64]

    @classmethod
    def between(cls, p: NDArray[np.float64], q: NDArray[np.float64]) -> _Move | None:
        """From (K,) shares ``p`` to ``q``; None where nothing is to be moved."""
        shared = np.minimum(p, q)
        supply, demand = p - shared, q - shared
        sources, sinks = np.flatnonzero(supply > 0), np.flatnonzero(demand > 0)
        if not len(sources) or not len(sinks):
            return None
        supply, demand = supply[sources], demand[sinks]
        return cls(sources=sources, sinks=sinks, supply=supply, demand=demand * (supply.sum() / demand.sum()))


def _least(moves: Sequence[_Move], ground: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) least costs of moves, from one linear program that falls into as many parts."""
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    rows, columns, prices, sums = [], [], [], []
    n_flows = n_equations = 0
    for move in moves:
        n, m = len(move.sources), len(move.sinks)
        flows = np.arange(n * m)
        equations = np.concatenate([flows // m, n + flows % m])
        # One equation follows from the others; without it rounding cannot make the problem infeasible.
        needed = equations < n + m - 1
        rows.append(n_equations + equations[needed])
        columns.append(n_flows + np.tile(flows, 2)[needed])
        prices.append(ground[np.ix_(move.sources, move.sinks)].ravel())
        sums.append(np.concatenate([move.supply, move.demand])[:-1])
        n_flows, n_equations = n_flows + n * m, n_equations + n + m - 1
    place = (np.concatenate(rows), np.concatenate(columns))
    constraints = csr_array((np.ones(len(place[0])), place), shape=(n_equations, n_flows))
    solved = linprog(np.concatenate(prices), A_eq=constraints, b_eq=np.concatenate(sums), method="highs")
    whose = np.repeat(np.arange(len(moves)), [len(price) for price in prices])
    costs = np.zeros(len(moves))
    np.add.at(costs, whose, np.concatenate(prices) * solved.x)
    return costs


def _distance(distances: NDArray[np.float64], pair_weights: NDArray[np.float64]) -> Distance:
    """Mean over pairs, and its interval from (B, P) bootstrap weights; pairs of copies of one run do not count.

    Of two or three runs there is no interval: what few pairs they make is drawn again and again.
    """
    if not len(distances):
        return Distance(mean=None, ci_low=None, ci_high=None)
    if len(distances) < _FEWEST_PAIRS:
        return Distance(mean=float(distances.mean()), ci_low=None, ci_high=None)
    drawn = pair_weights.sum(axis=1)
    means = (pair_weights @ distances)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return Distance(mean=float(distances.mean()), ci_low=float(low), ci_high=float(high))
