"""Where EM should start: a search among many short fits to some of the rows.

The likelihood of an HMM has many peaks, and the higher of them are as often missed as hit from a few starts: fits of
different seeds then show different maps. So each number of states is searched on a sample of the rows, where a fit
takes milliseconds:

1. *sides*: rows are clustered as they are, less each run's first rows, last rows or mean, and scaled within each run;
   one start cuts runs into consecutive shares. Where runs are shifted against each other, one of these sees through it.
2. *short runs* of EM from each ("emEM"; Biernacki, Celeux and Govaert 2003), the best of which go on;
3. *runs are moved*: under the states found so far every run's shift is looked for from several sides
   (`trajhmm.hmm.inference.shifts`);
4. *split and merge* (Ueda, Nakano, Ghahramani and Hinton 2000): two states become one and another is cut in two, as
   long as that leads higher.

What is left is handed to EM on all rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.emissions import log_density
from trajhmm.hmm.inference.posteriors import decode_rows
from trajhmm.hmm.inference.shifts import end_means, infer_shifts
from trajhmm.hmm.inference.statistics import labelled_statistics
from trajhmm.hmm.learning.em import NativeEngine, Restart, Start, climb
from trajhmm.hmm.learning.mixed import shifted_mstep
from trajhmm.hmm.learning.mstep import Prior, floored
from trajhmm.hmm.learning.samples import Sample
from trajhmm.hmm.learning.starts import clusters, consecutive_shares, in_time, parameters_from_labels
from trajhmm.hmm.parameters import CovarianceType, Parameters, Topology
from trajhmm.hmm.rows.chunk import Chunk, count_transitions, run_begins
from trajhmm.hmm.rows.source import InMemory
from trajhmm.hmm.shifts import Shifts

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Iterations of a short run, and of one that goes on; nats a row that still count as a rise.
_SHORT, _LONG = 8, 60
_RISE = 1e-5
# How many go on, how many splits and merges are tried in each round, and how many rounds there are at most.
_GO_ON, _TRIED, _ROUNDS = 4, 4, 6
# A split or merge is followed up if its short run ends no more than this below what it set out from, nats a row.
_HOPE = 0.02
_BETTER = 1e-4
# What is so much less likely than the best on the sample, nats a row, is not tried on all rows: of 522 searches of
# planted logs and nulls none that was 0.021 behind came first there.
_FAR = 0.05
# Means and shifts that belong to fixed labels settle within a few alternations.
_ALTERNATIONS = 4
_FEWEST_TO_SPLIT = 10
# Variance of the logarithms of scales to begin with.
_SCALES_VARY = 0.1**2
_CUTS = 6


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """Where EM on all rows may start.

    Attributes
    ----------
    parameters : of the sample; transitions from row to row of the full data.
    shifts : of the sample's runs; None if runs have none.
    objective : bound reached on the sample, in nats.
    """

    parameters: Parameters
    shifts: Shifts | None
    objective: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Search:
    """A search for one number of states.

    Attributes
    ----------
    sample : the rows to search on.
    n_states, covariance_type, topology : of what is searched.
    prior : on the covariances.
    shifted, scaled : whether runs have shifts, and scales.
    n_starts : how many short runs of EM.
    """

    sample: Sample
    n_states: int
    covariance_type: CovarianceType
    topology: Topology
    prior: Prior
    shifted: bool
    scaled: bool
    n_starts: int

    def run(self, seed: np.random.SeedSequence, *, keep: int) -> list[Found]:
        """The best that was found, at most ``keep``, best first; empty if all degenerated."""
        rng = np.random.default_rng(seed)
        engine = NativeEngine(InMemory(chunk=self.sample.chunk))
        starts = [self._start(labels) for labels in self._labellings(rng)]
        short = [r for r in climb(engine, starts, n_iter=_SHORT, tol=_RISE) if np.isfinite(r.objective)]
        short.sort(key=lambda restart: -restart.objective)
        reached = [self._go_on(engine, restart) for restart in short[:_GO_ON]]
        reached = sorted((r for r in reached if np.isfinite(r.objective)), key=lambda restart: -restart.objective)
        if not reached:
            return []
        best = self._split_and_merge(engine, reached[0])
        behind = [(best.objective - restart.objective) / self._n_rows for restart in reached]
        others = [restart for restart, gap in zip(reached, behind, strict=True) if _BETTER < gap < _FAR]
        return [self._found(restart) for restart in (best, *others)][:keep]

    @property
    def _n_rows(self) -> int:
        return self.sample.chunk.n_rows

    def _labellings(self, rng: np.random.Generator) -> list[Ints]:
        """(N,) labels of the sample's rows, from several sides."""
        chunk, k = self.sample.chunk, self.n_states
        shares = consecutive_shares(chunk.offsets, k)
        found = [shares] if np.bincount(shares, minlength=k).all() else []
        sides = _sides(chunk, shifted=self.shifted)
        for number in range(max(1, self.n_starts - len(found))):
            labels = clusters(sides[number % len(sides)], k, rng)
            found.append(in_time(labels, chunk.offsets, k) if self.topology == "left-right" else labels)
        return found

    def _start(self, labels: Ints) -> Start:
        """What fixed labels say of the parameters, and of the shifts."""
        chunk = self.sample.chunk
        parameters = parameters_from_labels(
            chunk,
            labels,
            n_states=self.n_states,
            covariance_type=self.covariance_type,
            topology=self.topology,
            variance=self.prior.target,
        )
        weights = np.ones(chunk.n_runs)
        if not self.shifted:
            return Start(parameters=parameters, weights=weights, prior=self.prior)
        parameters = replace(floored(parameters, self.prior.floor), shift_variance=self.prior.target)
        if self.scaled:
            parameters = replace(parameters, scale_variance=np.full(parameters.n_metrics, _SCALES_VARY))
        shifts = Shifts.none(chunk.n_runs, parameters.n_metrics)
        chain = parameters
        for _ in range(_ALTERNATIONS):
            statistics = labelled_statistics(chunk, labels, parameters, shifts)
            parameters, shifts = shifted_mstep(statistics, parameters, shifts, weights, self.prior)
        parameters = replace(parameters, startprob=chain.startprob, transmat=chain.transmat)
        return Start(parameters=parameters, weights=weights, prior=self.prior, shifts=shifts)

    def _go_on(self, engine: NativeEngine, restart: Restart) -> Restart:
        """Look for every run's shift anew and let EM go on."""
        shifts = restart.shifts
        if shifts is not None:
            shifts = infer_shifts(self.sample.chunk, restart.parameters, known=shifts, settle=False)
        start = Start(
            parameters=restart.parameters,
            weights=np.ones(self.sample.chunk.n_runs),
            prior=self.prior,
            shifts=shifts,
        )
        gone = climb(engine, [start], n_iter=_LONG, tol=_RISE)[0]
        return gone if gone.objective >= restart.objective else restart

    def _split_and_merge(self, engine: NativeEngine, best: Restart) -> Restart:
        if self.n_states < 3 or self.topology != "free":
            return best
        for _ in range(_ROUNDS):
            better = self._moved(engine, best)
            if better is None:
                break
            best = better
        return best

    def _moved(self, engine: NativeEngine, best: Restart) -> Restart | None:
        """Something better than ``best`` by one split and one merge; None if none of those tried leads higher."""
        starts = [self._start(labels) for labels in self._moves(best)]
        tried = [r for r in climb(engine, starts, n_iter=_SHORT, tol=_RISE) if np.isfinite(r.objective)]
        for restart in sorted(tried, key=lambda restart: -restart.objective):
            if restart.objective < best.objective - _HOPE * self._n_rows:
                break
            gone = self._go_on(engine, restart)
            if gone.objective > best.objective + _BETTER * self._n_rows:
                return gone
        return None

    def _moves(self, restart: Restart) -> list[Ints]:
        """(N,) labels in which two states are one and another is cut in two, the most promising first.

        What a cut gains counts with what its labels cost as a Markov chain: a state cut through its noise changes sides
        at every row, which costs more than the cut gains.
        """
        chunk, k = self.sample.chunk, self.n_states
        values = chunk.values
        if restart.shifts is not None:
            values = restart.shifts.taken_from(values, np.diff(chunk.offsets))
        values = np.where(np.isnan(values), _nearest(values, restart.parameters), values)
        path = decode_rows(np.ascontiguousarray(values), chunk.offsets, restart.parameters)[0]
        groups = [_Group.of(values[path == state]) for state in range(k)]
        floor, begins = self.prior.floor, run_begins(chunk.offsets)
        costs = [group.cost(floor) for group in groups]
        chain = _chain_cost(path, begins, k)
        merges = sorted(
            (
                groups[i].joined(groups[j]).cost(floor)
                - costs[i]
                - costs[j]
                + _chain_cost(np.where(path == j, i, path), begins, k)
                - chain,
                i,
                j,
            )
            for i, j in combinations(range(k), 2)
        )
        cuts = []
        for state in range(k):
            rows = np.flatnonzero(path == state)
            if len(rows) >= _FEWEST_TO_SPLIT:
                half = _cut(values[rows] / np.sqrt(self.prior.target))
                parts = _Group.of(values[rows[half]]).cost(floor) + _Group.of(values[rows[~half]]).cost(floor)
                labels = path.copy()
                labels[rows[half]] = k
                gain = costs[state] - parts + chain - _chain_cost(labels, begins, k + 1)
                cuts.append((gain, state, rows[half]))
        cuts.sort(key=lambda cut: -cut[0])
        pairs = [
            (gain - loss, i, j, rows)
            for loss, i, j in merges[:_TRIED]
            for gain, state, rows in cuts[:_TRIED]
            if state not in (i, j)
        ]
        moves = []
        for _, i, j, rows in sorted(pairs, key=lambda pair: -pair[0])[:_TRIED]:
            labels = np.where(path == j, i, path)
            labels[rows] = j
            moves.append(labels)
        return moves

    def _found(self, restart: Restart) -> Found:
        """Transitions of rows that stand ``every`` rows apart become those of neighbours, roughly."""
        every = self.sample.every
        identity = np.eye(self.n_states)
        parameters = replace(restart.parameters, transmat=identity + (restart.parameters.transmat - identity) / every)
        return Found(parameters=parameters, shifts=restart.shifts, objective=restart.objective)


def _sides(chunk: Chunk, *, shifted: bool) -> list[Floats]:
    """(N, D) rows, each metric with variance 1, as they are and less what runs may be shifted by; 0 where missing."""
    values = chunk.values
    found = [values]
    if shifted:
        lengths = np.diff(chunk.offsets)
        first, last, whole = (np.repeat(end, lengths, axis=0) for end in end_means(chunk))
        centred = values - whole
        spread = np.sqrt(np.add.reduceat(np.nan_to_num(centred) ** 2, chunk.offsets[:-1]) / lengths[:, np.newaxis])
        spread = np.repeat(spread, lengths, axis=0)
        scaled = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
        found = [values - first, values, centred, values - last, scaled]
    return [_standardised(side) for side in found]


def _standardised(values: Floats) -> Floats:
    there = ~np.isnan(values)
    count = np.maximum(there.sum(axis=0), 1)
    centred = values - np.where(there, values, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(there, centred, 0.0) ** 2).sum(axis=0) / count)
    return np.where(there, centred / np.where(spread > 0, spread, 1.0), 0.0)


def _nearest(values: Floats, parameters: Parameters) -> Floats:
    """(N, D) the mean of each row's likeliest state."""
    nearest: Floats = parameters.means[log_density(values, parameters).argmax(axis=1)]
    return nearest


def _cut(values: Floats) -> NDArray[np.bool_]:
    """(n,) which of (n, D) rows are in one of two clusters: 2-means from the two sides of the widest direction."""
    centred = values - values.mean(axis=0)
    half: NDArray[np.bool_] = centred @ np.linalg.eigh(centred.T @ centred)[1][:, -1] > 0
    for _ in range(_CUTS):
        if half.all() or not half.any():
            break
        one, other = centred[half].mean(axis=0), centred[~half].mean(axis=0)
        half = centred @ (one - other) > (one + other) @ (one - other) / 2
    return half


def _chain_cost(labels: Ints, begins: NDArray[np.bool_], k: int) -> float:
    """Minus the log-likelihood of (N,) labels as a Markov chain; (N,) ``begins`` where runs begin."""
    counts = count_transitions(labels, begins, k)
    share = np.divide(counts, counts.sum(axis=1, keepdims=True), out=np.ones_like(counts), where=counts > 0)
    return float(-(counts * np.log(share)).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Group:
    """Rows of one label: their number, and (D,) sums and sums of squares about a common origin."""

    n: int
    total: Floats
    squares: Floats

    @classmethod
    def of(cls, values: Floats) -> _Group:
        return cls(n=len(values), total=values.sum(axis=0), squares=(values**2).sum(axis=0))

    def joined(self, other: _Group) -> _Group:
        return _Group(n=self.n + other.n, total=self.total + other.total, squares=self.squares + other.squares)

    def cost(self, floor: Floats) -> float:
        """Minus the log-likelihood of a normal fitted to them, metrics independent, up to what does not change."""
        if self.n == 0:
            return 0.0
        variance = np.maximum(self.squares / self.n - (self.total / self.n) ** 2, np.maximum(floor, 1e-300))
        return float(0.5 * self.n * np.log(variance).sum())
