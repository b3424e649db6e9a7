"""The E-step as a sum over runs: `estep` gives `Statistics`, and `Statistics` add up."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.emissions import Emissions
from trajhmm.hmm.inference.recursions import Exact, Piece, Recursion, Scaled, Smoothing
from trajhmm.hmm.kernels import scaled
from trajhmm.hmm.kernels.densities import shifted_densities
from trajhmm.hmm.kernels.moments import expected_moments
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.chunk import Chunk, count_transitions, run_begins
from trajhmm.hmm.shifts import Shifts

# Rows whose densities and probabilities are held at a time. A longer run is filtered piece by piece, and each piece
# once more on the way back.
STRETCH = 8192
# Whole runs go on from no earlier piece.
_CONTINUED = False


@dataclass(frozen=True, kw_only=True, eq=False)
class RunMoments:
    """Some of `Statistics`, for each of G consecutive runs or for a part of one, each run times its weight.

    Attributes
    ----------
    first_run : number of the first among all runs of the data.
    mass : (G, K).
    absent : (G, K, D).
    first : (G, K, D), about the run's shift and the state's mean.
    second : (G, K, D), squares about these; of the diagonal alone.
    log_likelihood : (G,) in nats, not times the weight.
    """

    first_run: int
    log_likelihood: NDArray[np.float64]
    mass: NDArray[np.float64]
    absent: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Statistics:
    """Sufficient statistics of some runs under given parameters, each run times its weight.

    Moments are taken about the means of those parameters, and about the shifts of the runs if they have any.

    Attributes
    ----------
    start : (K,) expected number of runs that start in each state.
    transitions : (K, K) expected number of transitions.
    mass : (K,) expected number of rows in each state.
    absent : (K, D) expected number of rows in each state that miss the metric; 0 if covariances are full or tied, where
        missing values count with their expectation.
    first : (K, D) Σ_t γ_t(k) (z_t - μ_k).
    second : (K, D) Σ_t γ_t(k) (z_t - μ_k)² if metrics are independent (``diag``, ``spherical``); (K, D, D)
        Σ_t γ_t(k) (z_t - μ_k)(z_t - μ_k)ᵀ if not (``full``, ``tied``).
    log_likelihood : in nats.
    n_rows : number of rows, each times the weight of its run.
    by_run : masses and first moments of each run, in pieces; empty where runs are not shifted.
    """

    start: NDArray[np.float64]
    transitions: NDArray[np.float64]
    mass: NDArray[np.float64]
    absent: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    log_likelihood: float
    n_rows: float
    by_run: tuple[RunMoments, ...] = ()

    def __add__(self, other: Statistics) -> Statistics:
        return Statistics(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


def estep(
    chunk: Chunk,
    parameters: Parameters,
    weights: NDArray[np.float64] | None = None,
    shifts: Shifts | None = None,
) -> Statistics:
    """Expected statistics of whole runs (Baum–Welch; Rabiner 1989).

    Parameters
    ----------
    chunk : the runs.
    parameters : of the current iteration.
    weights : (R,) of the runs, not negative; 1 if None.
    shifts : of the chunk's runs; the log-likelihood is then the expected one, without the divergence of the shifts.

    Raises
    ------
    numpy.linalg.LinAlgError
        A covariance matrix is not positive definite.
    """
    weights = np.ones(chunk.n_runs) if weights is None else weights
    emissions = Emissions.of(parameters)
    total = _nothing(parameters)
    whole = _taken_whole(chunk, parameters)
    if whole.any():
        total, hard = _whole_runs(chunk, np.where(whole, weights, 0.0), shifts, emissions)
        for run in np.flatnonzero(hard).tolist():
            shift = None if shifts is None else shifts.runs(run, run + 1)
            total = total + _in_logarithms(chunk.runs(run, run + 1), weights[run : run + 1], shift, emissions)
        if whole.all():
            return _about_means(total, emissions)
    recursion = Scaled(emissions)
    for stretch in chunk.stretches(np.where(whole, 0.0, weights), rows=STRETCH):
        begin = stretch.first_run - chunk.first_run
        own = slice(begin, begin + stretch.n_runs)
        shifted = None if shifts is None else shifts.runs(own.start, own.stop)
        total = total + _over_stretch(stretch, weights[own], shifted, emissions, recursion)
    return _about_means(total, emissions)


def labelled_statistics(
    chunk: Chunk, labels: NDArray[np.int64], parameters: Parameters, shifts: Shifts | None = None
) -> Statistics:
    """The statistics of runs whose states are known, likelihood apart.

    Parameters
    ----------
    chunk : the runs.
    labels : (N,) their states.
    parameters, shifts : what moments are taken about.
    """
    emissions = Emissions.of(parameters)
    k = parameters.n_states
    certain = np.eye(k)[labels]
    piece = _pieces(chunk, np.ones(chunk.n_runs), shifts, cut=False)[0]
    transitions = count_transitions(labels, run_begins(chunk.offsets), k)
    started = certain[chunk.offsets[:-1]].sum(axis=0)
    smoothing = Smoothing(probs=certain, started=started, transitions=transitions)
    counted = _counted(piece, np.zeros(chunk.n_rows), smoothing, emissions, chunk.first_run)
    return _about_means(counted, emissions)


def _taken_whole(chunk: Chunk, parameters: Parameters) -> NDArray[np.bool_]:
    """(R,) runs for `_whole_runs`: of metrics that are independent, and no longer than a stretch."""
    return np.full(chunk.n_runs, parameters.is_diagonal) & (np.diff(chunk.offsets) <= STRETCH)


def _whole_runs(
    chunk: Chunk, weights: NDArray[np.float64], shifts: Shifts | None, emissions: Emissions
) -> tuple[Statistics, NDArray[np.bool_]]:
    """What runs add that are no longer than a stretch, their metrics independent; about the centre.

    Returns
    -------
    statistics : as `_over_stretch` gives them, in fewer steps: searches spend their time here.
    hard : (R,) runs that it leaves out, as they need logarithms.
    """
    parameters = emissions.parameters
    (k, d), n_runs, lengths = parameters.means.shape, chunk.n_runs, np.diff(chunk.offsets)
    none = np.empty((0, d))
    shift, doubt = (none, none) if shifts is None else (shifts.mean, shifts.variance)
    log_scale = shifts.log_scale if shifts is not None and shifts.log_scale.any() else none
    places = 1 if shifts is None else n_runs
    log_likelihood, start, transitions = np.zeros(n_runs), np.zeros(k), np.zeros((k, k))
    mass, absent, moments = np.zeros((places, k)), np.zeros((places, k, d)), np.zeros((places, k, 2 * d))
    forward, backward = scaled.recursions(k)
    transposed = np.ascontiguousarray(parameters.transmat.T)
    hard = (weights != 0) & (lengths > 0)
    counted = np.where(hard, weights, 0.0)
    groups = _groups(np.flatnonzero(hard), lengths)
    while groups:
        runs = groups.pop()
        own = np.concatenate(([0], np.cumsum(lengths[runs])))
        n = int(own[-1])
        divisors, largest = np.empty(n), np.empty(n)
        probs, alpha, ahead = np.empty((n, k)), np.empty((n, k)), np.empty((n, k))
        shifted_densities(
            chunk.values, chunk.complete, chunk.offsets, runs, shift, doubt, log_scale, *emissions.diagonal(),
            own, probs, largest,
        )  # fmt: skip
        before, beta = np.zeros(k), np.ones(k)
        if forward(
            probs, own, _CONTINUED, parameters.startprob, parameters.transmat, before, alpha, divisors
        ) and backward(probs, own, _CONTINUED, weights[runs], transposed, alpha, divisors, beta, ahead):
            expected_moments(
                chunk.values, chunk.complete, chunk.offsets, own, runs, shift, log_scale, alpha, divisors, largest,
                probs, ahead, parameters.transmat, emissions.centre, log_likelihood, start, transitions, mass, absent,
                moments,
            )  # fmt: skip
            hard[runs] = False
        elif len(runs) > 1:  # some of them are hard
            groups += [runs[: len(runs) // 2], runs[len(runs) // 2 :]]
    first, squares = moments[:, :, :d], moments[:, :, d:]
    by_run = RunMoments(
        first_run=chunk.first_run, log_likelihood=log_likelihood, mass=mass, absent=absent, first=first, second=squares
    )
    counted[hard] = 0.0
    total = Statistics(
        start=start,
        transitions=transitions,
        mass=mass.sum(axis=0),
        absent=absent.sum(axis=0),
        first=first.sum(axis=0),
        second=squares.sum(axis=0),
        log_likelihood=float(counted @ log_likelihood),
        n_rows=float(counted @ lengths),
        by_run=() if shifts is None else (by_run,),
    )
    return total, hard


def _groups(runs: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Runs of which none is longer than a stretch, in groups that one holds; the last group first."""
    ends = np.cumsum(lengths[runs])
    groups, begin = [], 0
    while begin < len(runs):
        passed = ends[begin - 1] if begin else 0
        end = int(np.searchsorted(ends, passed + STRETCH, side="right"))
        groups.append(runs[begin:end])
        begin = end
    return groups[::-1]


def _over_stretch(
    stretch: Chunk, weights: NDArray[np.float64], shifts: Shifts | None, emissions: Emissions, recursion: Scaled
) -> Statistics:
    """Scaled where that can be trusted, else in halves, down to the run that needs logarithms; about the centre."""
    statistics = _sweep(stretch, weights, shifts, emissions, recursion)
    if statistics is not None:
        return statistics
    if stretch.n_runs > 1:
        half, n = stretch.n_runs // 2, stretch.n_runs
        parts = [
            _over_stretch(
                stretch.runs(first, last),
                weights[first:last],
                None if shifts is None else shifts.runs(first, last),
                emissions,
                recursion,
            )
            for first, last in ((0, half), (half, n))
        ]
        return parts[0] + parts[1]
    return _in_logarithms(stretch, weights, shifts, emissions)


def _in_logarithms(run: Chunk, weights: NDArray[np.float64], shifts: Shifts | None, emissions: Emissions) -> Statistics:
    """What one run adds, however hard; about the centre."""
    statistics = _sweep(run, weights, shifts, emissions, Exact(emissions))
    return statistics if statistics is not None else _impossible(run, shifts, emissions.parameters)


def _sweep(
    stretch: Chunk, weights: NDArray[np.float64], shifts: Shifts | None, emissions: Emissions, recursion: Recursion
) -> Statistics | None:
    """Forward and backward over a stretch, piece by piece; None where the recursion cannot be trusted."""
    pieces = _pieces(stretch, weights, shifts)
    befores = []
    before = recursion.before()
    filtering = None
    total = _nothing(emissions.parameters)
    for piece in pieces:
        befores.append(before.copy())
        filtering = recursion.forward(piece, before)
        if filtering is None:
            return None
        per_row = piece.per_row()
        log_likelihood, n_rows = float(per_row @ piece.density(filtering.predictive)), float(per_row.sum())
        total = total + replace(_nothing(emissions.parameters), log_likelihood=log_likelihood, n_rows=n_rows)
    beta = recursion.after()
    for piece, before in zip(reversed(pieces), reversed(befores), strict=True):
        if piece is not pieces[-1]:
            filtering = recursion.forward(piece, before)
        smoothing = None if filtering is None else recursion.backward(piece, filtering, beta)
        if filtering is None or smoothing is None:
            return None
        total = total + _counted(piece, piece.density(filtering.predictive), smoothing, emissions, stretch.first_run)
    return total


def _counted(
    piece: Piece, predictive: NDArray[np.float64], smoothing: Smoothing, emissions: Emissions, first_run: int
) -> Statistics:
    """What a smoothed piece adds, its likelihood apart; about the centre of the states."""
    groups = None if piece.doubt is None else piece.offsets
    moments = emissions.moments(piece.values, smoothing.probs, complete=piece.complete, groups=groups)
    by_run = RunMoments(
        first_run=first_run,
        log_likelihood=np.add.reduceat(predictive, piece.offsets[:-1]),
        mass=moments.mass,
        absent=moments.absent,
        first=moments.first,
        second=moments.squares,
    )
    return Statistics(
        start=smoothing.started,
        transitions=smoothing.transitions,
        mass=moments.mass.sum(axis=0),
        absent=moments.absent.sum(axis=0),
        first=moments.first.sum(axis=0),
        second=moments.second,
        log_likelihood=0.0,
        n_rows=0.0,
        by_run=() if piece.doubt is None else (by_run,),
    )


def _pieces(stretch: Chunk, weights: NDArray[np.float64], shifts: Shifts | None, *, cut: bool = True) -> list[Piece]:
    """The stretch as one piece, or a long run in several, less the shifts of its runs."""
    values, jacobian = stretch.values, None
    if shifts is not None:
        lengths = np.diff(stretch.offsets)
        values = shifts.taken_from(values, lengths)
        if shifts.log_scale.any():
            stretched = np.repeat(shifts.log_scale, lengths, axis=0)
            jacobian = (stretched if stretch.complete else np.where(np.isnan(values), 0.0, stretched)).sum(axis=1)
    if stretch.n_rows <= STRETCH or not cut:
        bounds = [(0, stretch.n_rows, stretch.offsets)]
    else:
        begins = range(0, stretch.n_rows, STRETCH)
        ends = [min(begin + STRETCH, stretch.n_rows) for begin in begins]
        bounds = [(begin, end, np.array([0, end - begin])) for begin, end in zip(begins, ends, strict=True)]
    return [
        Piece(
            values=values[begin:end],
            complete=stretch.complete,
            offsets=offsets,
            weights=weights,
            continued=begin > 0,
            doubt=None if shifts is None else shifts.variance,
            jacobian=None if jacobian is None else jacobian[begin:end],
        )
        for begin, end, offsets in bounds
    ]


def _nothing(parameters: Parameters) -> Statistics:
    k, d = parameters.means.shape
    return Statistics(
        start=np.zeros(k),
        transitions=np.zeros((k, k)),
        mass=np.zeros(k),
        absent=np.zeros((k, d)),
        first=np.zeros((k, d)),
        second=np.zeros((k, d) if parameters.is_diagonal else (k, d, d)),
        log_likelihood=0.0,
        n_rows=0.0,
    )


def _impossible(run: Chunk, shifts: Shifts | None, parameters: Parameters) -> Statistics:
    """What a run that no state can emit counts: nothing, and that it cannot be."""
    nothing = _nothing(parameters)
    by_run = RunMoments(
        first_run=run.first_run,
        log_likelihood=np.array([-np.inf]),
        mass=nothing.mass[np.newaxis],
        absent=nothing.absent[np.newaxis],
        first=nothing.first[np.newaxis],
        second=np.zeros_like(nothing.first)[np.newaxis],
    )
    return replace(nothing, log_likelihood=-np.inf, by_run=() if shifts is None else (by_run,))


def _run_about_means(part: RunMoments, shift: NDArray[np.float64]) -> RunMoments:
    first = part.first - (part.mass[:, :, np.newaxis] - part.absent) * shift
    return replace(part, first=first, second=part.second - shift * (part.first + first))


def _about_means(statistics: Statistics, emissions: Emissions) -> Statistics:
    """Move moments from the centre of the states to the mean of each."""
    shift = emissions.parameters.means - emissions.centre
    there = statistics.mass[:, np.newaxis] - statistics.absent
    statistics = replace(statistics, by_run=tuple(_run_about_means(part, shift) for part in statistics.by_run))
    first = statistics.first - there * shift
    if emissions.parameters.is_diagonal:
        return replace(statistics, first=first, second=statistics.second - shift * (statistics.first + first))
    cross = statistics.first[:, :, np.newaxis] * shift[:, np.newaxis, :]
    outer = statistics.mass[:, np.newaxis, np.newaxis] * shift[:, :, np.newaxis] * shift[:, np.newaxis, :]
    return replace(statistics, first=first, second=statistics.second - cross - cross.transpose(0, 2, 1) + outer)
