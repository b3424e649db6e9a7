"""The shift of each run under fixed parameters: what EM updates, and what a run that no fit has seen needs.

A run's likelihood has several modes in its shift: moved by the distance of two states it looks as if it had been in the
other one. So a new run is tried from several sides, and the best is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.statistics import RunMoments, estep
from trajhmm.hmm.parameters import Parameters, Topology, allowed_transitions
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.shifts import Shifts, joined_shifts

Floats = NDArray[np.float64]

# Rows of a run that are looked at while its sides are compared, and rows of all of them in one pass.
_ROWS_TO_COMPARE = 64
_ROWS_AT_ONCE = 65536
_COMPARED_FOR = 2
# A run's first and last rows: this share of it, but at least so many.
_END_SHARE, _FEWEST_AT_END = 0.03, 2
_ITERATIONS = 20
_TOLERANCE = 1e-7
# Steps of Newton's method for a run's scale, and the largest of them.
_NEWTON, _LARGEST_STEP = 6, 0.5
# No run is stretched or squeezed more than tenfold: one whose metric never changes would be stretched without end.
_LARGEST_SCALE = float(np.log(10.0))
# Probability of what no fitted run did.
_LEAST = 1e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class ByRun:
    """Masses and first moments of all R runs of some data; see `trajhmm.hmm.inference.statistics.RunMoments`.

    ``log_likelihood`` (R,), ``mass`` (R, K), ``absent``, ``first`` and ``second`` (R, K, D).
    """

    log_likelihood: Floats
    mass: Floats
    absent: Floats
    first: Floats
    second: Floats

    @classmethod
    def of(cls, parts: Sequence[RunMoments], n_runs: int) -> ByRun:
        """Put parts together; runs that are in none have no mass."""
        if len(parts) == 1 and parts[0].first_run == 0 and len(parts[0].mass) == n_runs:
            one = parts[0]
            return cls(
                log_likelihood=one.log_likelihood, mass=one.mass, absent=one.absent, first=one.first, second=one.second
            )
        shape = parts[0].first.shape[1:]
        log_likelihood, mass = np.zeros(n_runs), np.zeros((n_runs, shape[0]))
        absent, first, second = (np.zeros((n_runs, *shape)) for _ in range(3))
        for part in parts:
            rows = slice(part.first_run, part.first_run + len(part.mass))
            log_likelihood[rows] += part.log_likelihood
            mass[rows] += part.mass
            absent[rows] += part.absent
            first[rows] += part.first
            second[rows] += part.second
        return cls(log_likelihood=log_likelihood, mass=mass, absent=absent, first=first, second=second)

    @property
    def there(self) -> Floats:
        """(R, K, D) expected rows of each run in each state in which the metric is there."""
        return self.mass[:, :, np.newaxis] - self.absent


def shift_precision(there: Floats, parameters: Parameters) -> Floats:
    """(R, D) precision of each shift on its own, given (R, K, D) expected rows: 1/τ² + Σ_k n_rk (Σ_k⁻¹)_dd."""
    own = parameters.is_diagonal
    inverse = 1.0 / parameters.variances() if own else np.diagonal(parameters.precisions(), axis1=1, axis2=2)
    precision: Floats = np.einsum("rkd,kd->rd", there, inverse) + 1.0 / _shift_variance(parameters)
    return precision


def updated_shifts(moments: ByRun, shifts: Shifts, parameters: Parameters) -> Shifts:
    """The best q(a_r) and scales for fixed states of the rows; the bound on the likelihood cannot fall.

    Parameters
    ----------
    moments : under ``parameters`` and ``shifts``, runs not weighted.
    shifts : of the R runs.
    """
    tau = _shift_variance(parameters)
    if not parameters.is_diagonal:
        matrices = parameters.precisions()
        joint = np.einsum("rk,kde->rde", moments.mass, matrices) + np.diag(1.0 / tau)
        pull = np.einsum("rke,kde->rd", moments.first, matrices) - shifts.mean / tau
        moved = np.linalg.solve(joint, pull[:, :, np.newaxis])[:, :, 0]
        variance = 1.0 / shift_precision(moments.there, parameters)
        return replace(shifts, mean=shifts.mean + moved, variance=variance)
    if parameters.scale_variance is not None:
        shifts = rescaled(moments, shifts, parameters)
        return replace(shifts, variance=1.0 / shift_precision(moments.there, parameters))
    precision = shift_precision(moments.there, parameters)
    pull = np.einsum("rkd,kd->rd", moments.first, 1.0 / parameters.variances()) - shifts.mean / tau
    return replace(shifts, mean=shifts.mean + pull / precision, variance=1.0 / precision)


def rescaled(moments: ByRun, shifts: Shifts, parameters: Parameters) -> Shifts:
    """The likeliest scale of each run, and the mean of its shift with it, for fixed states of the rows.

    With w the rows as they are scaled now, S_k and Q_k their weighted sums and sums of squares in state k, the bound as
    a function of a further factor exp(b) and of the shift is n b - ½ Σ_k Σ_t γ_tk (exp(b) w_t - a - μ_k)² / σ_k² -
    a² / 2τ² - (b_0 + b)² / 2υ². The best a is linear in exp(b); what is left is climbed in b alone, within what scales
    may be, so that the bound cannot fall.
    """
    tau, upsilon = _shift_variance(parameters), parameters.scale_variance
    if upsilon is None:
        raise ValueError("these parameters hold no variance of scales")
    inverse, means = 1.0 / parameters.variances(), parameters.means
    there = moments.there
    level = shifts.mean[:, np.newaxis, :] + means
    first = moments.first + there * level
    second = moments.second + 2 * level * moments.first + there * level**2
    rows = there.sum(axis=1)
    precision = (there * inverse).sum(axis=1) + 1.0 / tau
    p = (first * inverse).sum(axis=1) / precision
    q = (there * means * inverse).sum(axis=1) / precision
    a = np.maximum((second * inverse).sum(axis=1) - precision * p**2, 0.0)
    c = (first * means * inverse).sum(axis=1) - precision * p * q
    more = _climb_scale(rows, a, c, shifts.log_scale, upsilon)
    return replace(shifts, mean=np.exp(more) * p - q, log_scale=shifts.log_scale + more)


def _climb_scale(rows: Floats, a: Floats, c: Floats, known: Floats, upsilon: Floats) -> Floats:
    """(R, D) b that raises n b - ½ a exp(2b) + c exp(b) - (known + b)² / 2υ² from b = 0.

    Steps are those of Newton's method under a bound on the curvature, so that none of at most a half leads lower:
    for s = slope / curve it gains no less than curve (s² - ¼ (exp(2s) - 1 - 2s)), which is positive up to there.
    """
    b = np.zeros_like(rows)
    for _ in range(_NEWTON):
        slope = rows - a * np.exp(2 * b) + c * np.exp(b) - (known + b) / upsilon
        curve = 2 * a * np.exp(2 * b) + np.abs(c) * np.exp(b) + 1.0 / upsilon
        step = np.clip(slope / curve, -_LARGEST_STEP, _LARGEST_STEP)
        b = np.clip(known + b + step, -_LARGEST_SCALE, _LARGEST_SCALE) - known
    return b


def infer_shifts(chunk: Chunk, parameters: Parameters, *, known: Shifts | None = None, settle: bool = True) -> Shifts:
    """Shifts of a chunk's runs under fixed parameters, the best of several sides.

    Tried are: no shift; the first, the last and all rows on each state in turn; and ``known``. A run's few rows decide
    which side is best, then all of its rows where exactly. What is inferred of a run does not depend on the others.

    Parameters
    ----------
    chunk : R runs.
    parameters : with a variance of shifts.
    known : (R, D) shifts of these runs to try as well.
    settle : whether all rows are to have their say; EM that goes on from here sees to that itself.
    """
    sides = list(_sides(chunk, parameters, known))
    likely, best = possible(parameters), sides[0]
    for every, runs in _of_like_length(chunk):
        few = thinned(chunk.picked(runs), every)
        found = _best_side(few, strided_parameters(likely, every), [side.picked(runs) for side in sides])
        best = best.instead(found.spread(runs), runs)
    if not settle:
        return best
    return _settled(chunk, likely, best, iterations=_ITERATIONS, tolerance=_TOLERANCE)[0]


def _best_side(few: Chunk, parameters: Parameters, sides: Sequence[Shifts]) -> Shifts:
    """Of several shifts of the same runs, improved a few times, the best of each run."""
    best, reached = sides[0], np.full(few.n_runs, -np.inf)
    # Several sides at once, as copies of the runs: small passes cost more than their rows.
    at_once = max(1, _ROWS_AT_ONCE // few.n_rows)
    for first in range(0, len(sides), at_once):
        some = sides[first : first + at_once]
        copies, scores = _settled(
            _repeated(few, len(some)), parameters, joined_shifts(some), iterations=_COMPARED_FOR, tolerance=0.0
        )
        for number in range(len(some)):
            begin = number * few.n_runs
            score = scores[begin : begin + few.n_runs]
            best = best.instead(copies.runs(begin, begin + few.n_runs), score > reached)
            reached = np.maximum(reached, score)
    return best


def _of_like_length(chunk: Chunk) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """(R,) runs of which one row in so many, a power of two, leaves enough to compare."""
    often = np.maximum(np.diff(chunk.offsets) // _ROWS_TO_COMPARE, 1)
    powers = np.frexp(often)[1] - 1
    for power in np.unique(powers):
        yield 2 ** int(power), powers == power


def without_shifts(values: Floats, offsets: NDArray[np.int64], parameters: Parameters) -> Floats:
    """(N, D) rows less the shifts of their runs; the rows themselves if the model knows no shifts.

    Parameters
    ----------
    values, offsets : (N, D) rows, NaN where missing, and (R + 1,) row offsets of the runs.
    """
    return with_evidence(values, offsets, parameters)[0]


def with_evidence(values: Floats, offsets: NDArray[np.int64], parameters: Parameters) -> tuple[Floats, Floats]:
    """Rows less the shifts of their runs, and what the log-likelihood of the runs has beside that of these.

    Parameters
    ----------
    values, offsets : (N, D) rows, NaN where missing, and (R + 1,) row offsets of the runs.

    Returns
    -------
    rows : (N, D); the rows themselves if the model knows no shifts.
    evidence : (R,) in nats, see `Shifts.evidence`; then 0.
    """
    if parameters.shift_variance is None or not len(values):
        return values, np.zeros(len(offsets) - 1)
    lengths = np.diff(offsets)
    shifts = infer_shifts(Chunk.of(np.ascontiguousarray(values), offsets), parameters)
    return shifts.taken_from(values, lengths), shifts.evidence(values, lengths, parameters)


def possible(parameters: Parameters, topology: Topology = "free") -> Parameters:
    """The same with every start and transition a little possible, so that no run that was not fitted is impossible.

    What the topology rules out stays so: from left to right a run may begin in any state and stay there.
    """
    startprob = np.maximum(parameters.startprob, _LEAST)
    transmat = np.maximum(parameters.transmat, _LEAST)
    transmat = transmat * allowed_transitions(parameters.n_states, topology)
    return replace(
        parameters,
        startprob=startprob / startprob.sum(),
        transmat=transmat / transmat.sum(axis=1, keepdims=True),
    )


def strided_parameters(parameters: Parameters, every: int) -> Parameters:
    """The same for rows of which one in ``every`` was taken."""
    return replace(parameters, transmat=np.linalg.matrix_power(parameters.transmat, every))


def thinned(chunk: Chunk, every: int) -> Chunk:
    """One row in ``every`` of each run, its first among them."""
    if every == 1:
        return chunk
    lengths = -(-np.diff(chunk.offsets) // every)
    rows = np.concatenate(
        [np.arange(begin, end, every) for begin, end in zip(chunk.offsets, chunk.offsets[1:], strict=False)]
    )
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return Chunk(values=np.ascontiguousarray(chunk.values[rows]), offsets=offsets, complete=chunk.complete)


def _repeated(chunk: Chunk, times: int) -> Chunk:
    """The runs of a chunk so many times over."""
    starts = np.arange(times)[:, np.newaxis] * chunk.n_rows + chunk.offsets[:-1]
    offsets = np.append(starts.ravel(), times * chunk.n_rows)
    return Chunk(values=np.tile(chunk.values, (times, 1)), offsets=offsets, complete=chunk.complete)


def end_means(chunk: Chunk) -> tuple[Floats, Floats, Floats]:
    """(R, D) means of each run's first rows, of its last rows, and of all; NaN for a metric that they miss."""
    found: list[list[Floats]] = [[], [], []]
    for begin, end in zip(chunk.offsets, chunk.offsets[1:], strict=False):
        few = min(end - begin, max(_FEWEST_AT_END, round(_END_SHARE * (end - begin))))
        for kept, rows in zip(found, ((begin, begin + few), (end - few, end), (begin, end)), strict=True):
            kept.append(_mean(chunk.values[rows[0] : rows[1]]))
    first, last, whole = (np.array(kept) for kept in found)
    return first, last, whole


def _sides(chunk: Chunk, parameters: Parameters, known: Shifts | None) -> Iterator[Shifts]:
    """Shifts to begin with, about as sure as a mean over a run's rows: certain ones would have no likelihood."""
    tau = _shift_variance(parameters)
    variance = np.minimum(tau, parameters.variances().min(axis=0) / np.diff(chunk.offsets)[:, np.newaxis])
    none = replace(Shifts.none(chunk.n_runs, parameters.n_metrics), variance=variance)
    yield none
    if known is not None:
        yield replace(known, variance=variance)
    ends = end_means(chunk)
    for mean in parameters.means:
        for end in ends:
            away = end - mean
            yield replace(none, mean=np.where(np.isnan(away), 0.0, away))


def _settled(
    chunk: Chunk, parameters: Parameters, shifts: Shifts, *, iterations: int, tolerance: float
) -> tuple[Shifts, Floats]:
    """Improve the shift of each run until the bound on its log-likelihood rises by no more than ``tolerance`` a row.

    Returns
    -------
    shifts : after at most ``iterations`` + 1 improvements.
    bound : (R,) that of the shifts before the last of them; -inf for a run that is impossible whatever its state.
    """
    tau, lengths = _shift_variance(parameters), np.diff(chunk.offsets)
    bound = np.full(chunk.n_runs, -np.inf)
    going: NDArray[np.bool_] = np.ones(chunk.n_runs, dtype=bool)
    for _ in range(iterations + 1):
        found = estep(chunk, parameters, going.astype(np.float64), shifts)
        moments = ByRun.of(_from(found.by_run, chunk.first_run), chunk.n_runs)
        reached = moments.log_likelihood + shifts.log_density(tau, parameters.scale_variance)
        going &= reached > bound + tolerance * lengths
        if not going.any():
            break
        bound = np.where(going, reached, bound)
        shifts = shifts.instead(updated_shifts(moments, shifts, parameters), going)
    return shifts, bound


def _from(parts: Sequence[RunMoments], first_run: int) -> list[RunMoments]:
    return [replace(part, first_run=part.first_run - first_run) for part in parts]


def _shift_variance(parameters: Parameters) -> Floats:
    if parameters.shift_variance is None:
        raise ValueError("these parameters hold no variance of shifts")
    return parameters.shift_variance


def _mean(rows: Floats) -> Floats:
    """(D,) mean of what is there, NaN where nothing is."""
    there = ~np.isnan(rows)
    count = there.sum(axis=0)
    total = np.where(there, rows, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, count, out=np.full(rows.shape[1], np.nan), where=count > 0)
    return mean
