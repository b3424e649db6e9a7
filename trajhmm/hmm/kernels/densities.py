"""Log-densities of rows in each state, and their exponentials scaled so that none can underflow in the wrong place.

Loops run over blocks of rows, state by state, so that they vectorise over rows and stay in cache. Missing values (NaN)
are marginalised: a metric that is missing takes no part. Where each run is shifted by an offset that is known up to a
variance, what that costs is taken from the log-densities (`_less_doubt`).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.errors import ArrayError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rows at a time: temporaries of a block stay in the first or second level of cache.
BLOCK = 512

LOG_TWO_PI = math.log(2 * math.pi)

# exp by x = q log 2 + r with |r| <= log(2) / 2 and the Taylor polynomial of degree 13 for r: within 1 ulp. Unlike
# np.exp inside compiled code it vectorises.
_LOG2_E = 1.0 / math.log(2.0)
_LOG_2_HIGH = 6.93147180369123816490e-01
_LOG_2_LOW = 1.90821492927058770002e-10
_LOWEST = -708.0  # what is less counts as e^-708: for `trajhmm.hmm.kernels.scaled` that is nothing
_EXPONENT_BIAS = 1023
_MANTISSA_BITS = 52
# Added to a float of less than 2^51 it rounds that to a whole number, which then stands in the last bits: processors
# without AVX-512 have no other way to turn several floats at once into integers.
_ROUNDER = 1.5 * 2.0**_MANTISSA_BITS


@takes(
    values="N D",
    means="K1+ D",
    precisions="K D",
    log_norms="K D",
    offsets="R runs of N",
    doubt="R? D",
    densities="N K filled",
    largest="N filled",
)
@compiled
def diagonal_densities(
    values: Floats,
    complete: bool,  # noqa: FBT001 (numba takes arguments by position)
    means: Floats,
    precisions: Floats,
    log_norms: Floats,
    offsets: Ints,
    doubt: Floats,
    scaled: bool,  # noqa: FBT001
    densities: Floats,
    largest: Floats,
) -> None:
    """Densities under diagonal covariances.

    Parameters
    ----------
    values : (N, D); NaN where missing.
    complete : True if no value is missing.
    means, precisions : (K, D), precisions 1/σ².
    log_norms : (K, D), -½ log 2πσ².
    offsets : (R + 1,) run r holds the rows ``offsets[r]:offsets[r + 1]``.
    doubt : (R, D) variance of each run's shift; (0, D) if runs are not shifted.
    scaled : what to fill in.
    densities : (N, K), filled with log-densities; if ``scaled`` with densities over the largest of their row.
    largest : (N,), filled with the logarithm of that largest density; 0 if not ``scaled``.
    """
    alike = np.empty((0, values.shape[1]))
    _diagonal_densities(
        values,
        complete,
        offsets[:-1],
        offsets,
        alike,
        alike,
        doubt,
        means,
        precisions,
        log_norms,
        scaled,
        densities,
        largest,
    )


@takes(
    values="N D",
    offsets="R runs of N",
    runs="int G among R",
    shift="R? D",
    doubt="R? D",
    log_scale="R? D",
    means="K1+ D",
    precisions="K D",
    log_norms="K D",
    densities="M K filled",
    largest="M filled",
    own="G runs of M",
)
@compiled
def shifted_densities(
    values: Floats,
    complete: bool,  # noqa: FBT001 (numba takes arguments by position)
    offsets: Ints,
    runs: Ints,
    shift: Floats,
    doubt: Floats,
    log_scale: Floats,
    means: Floats,
    precisions: Floats,
    log_norms: Floats,
    own: Ints,
    densities: Floats,
    largest: Floats,
) -> None:
    """Densities of some runs less their shifts, under diagonal covariances.

    Parameters
    ----------
    values : (N, D) of all runs; NaN where missing.
    complete : True if no value is missing.
    offsets : (R + 1,) run r holds the rows ``offsets[r]:offsets[r + 1]``.
    runs : (G,) which are wanted.
    shift, doubt : (R, D) shift of each run and its variance; (0, D) if runs are not shifted.
    log_scale : (R, D) logarithm of the scale of each run; (0, D) if runs have none.
    means, precisions, log_norms : as for `diagonal_densities`.
    own : (G + 1,) where each stands among the rows of the wanted runs.
    densities, largest : (M, K), (M,), filled as by `diagonal_densities`, scaled.
    """
    n_wanted, n_metrics = len(runs), values.shape[1]
    begins = np.empty(n_wanted, dtype=np.int64)
    factor = np.empty((n_wanted if len(log_scale) else 0, n_metrics))
    less = np.empty((n_wanted if len(shift) else 0, n_metrics))
    unsure = np.empty((n_wanted if len(doubt) else 0, n_metrics))
    for g in range(n_wanted):
        r = runs[g]
        begins[g] = offsets[r]
        if offsets[r + 1] - offsets[r] != own[g + 1] - own[g]:
            raise ArrayError("shifted_densities: own: a run has another number of rows")
        for d in range(n_metrics):
            if len(log_scale):
                factor[g, d] = math.exp(log_scale[r, d])
            if len(shift):
                less[g, d] = shift[r, d]
            if len(doubt):
                unsure[g, d] = doubt[r, d]
    _diagonal_densities(
        values,
        complete,
        begins,
        own,
        factor,
        less,
        unsure,
        means,
        precisions,
        log_norms,
        True,  # noqa: FBT003
        densities,
        largest,
    )


@compiled
def _diagonal_densities(
    values: Floats,
    complete: bool,  # noqa: FBT001 (numba takes arguments by position)
    begins: Ints,
    own: Ints,
    factor: Floats,
    less: Floats,
    doubt: Floats,
    means: Floats,
    precisions: Floats,
    log_norms: Floats,
    scaled: bool,  # noqa: FBT001
    densities: Floats,
    largest: Floats,
) -> None:
    """`diagonal_densities` of G runs, unchecked.

    Parameters
    ----------
    begins, own : (G,), (G + 1,) run g holds the rows ``values[begins[g]:]``, which are the rows ``own[g]:own[g + 1]``
        of ``densities``.
    factor, less, doubt : (G, D) what the rows of each are times, and less, and the variance of that; (0, D) for none.
    """
    n_metrics = values.shape[1]
    n_states = len(means)
    run = 0
    logs = np.empty((n_states, BLOCK))
    column = np.empty(BLOCK)
    powers = np.empty(BLOCK, dtype=np.int64)
    for begin in range(0, own[-1], BLOCK):
        size = min(BLOCK, own[-1] - begin)
        while own[run + 1] <= begin:
            run += 1
        for k in range(n_states):
            constant = log_norms[k].sum()
            log = logs[k]
            for t in range(size):
                log[t] = constant
        for d in range(n_metrics):
            now, filled = run, 0
            while filled < size:
                there = begins[now] - own[now] + begin
                until = min(size, own[now + 1] - begin)
                times = factor[now, d] if len(factor) else 1.0
                away = less[now, d] if len(less) else 0.0
                for t in range(filled, until):
                    column[t] = values[there + t, d] * times - away
                filled = max(filled, until)
                now += 1
            for k in range(n_states):
                mean, half, norm, log = means[k, d], 0.5 * precisions[k, d], log_norms[k, d], logs[k]
                if complete:
                    for t in range(size):
                        off = column[t] - mean
                        log[t] -= off * off * half
                else:
                    for t in range(size):
                        off = column[t] - mean
                        log[t] -= off * off * half if off == off else norm  # noqa: PLR0124 (NaN is not itself)
        if len(doubt):
            _less_doubt(logs, size, begin, values, complete, begins, own, run, doubt, precisions)
        _hand_over(logs, size, begin, scaled, column, powers, densities, largest)


@takes(
    values="N D",
    partial="M K",
    place="int N? below M",
    means="K1+ D",
    whitening="K D D",
    centre="D",
    offsets="R runs of N",
    doubt="R? D",
    densities="N K filled",
    largest="N filled",
)
@compiled
def full_densities(
    values: Floats,
    partial: Floats,
    place: Ints,
    means: Floats,
    whitening: Floats,
    centre: Floats,
    offsets: Ints,
    doubt: Floats,
    scaled: bool,  # noqa: FBT001
    densities: Floats,
    largest: Floats,
) -> None:
    """Densities under full covariances, by whitening with the inverse of the Cholesky factor.

    Parameters
    ----------
    values : (N, D); NaN where missing.
    partial : (M, K) log-densities of the rows with missing values.
    place : (N,) where in ``partial`` a row stands, -1 if it misses nothing; (0,) if none does.
    means : (K, D).
    whitening : (K, D, D) lower triangular, W with W Σ Wᵀ = 1.
    centre : (D,) somewhere among the means, so that products lose no digits to large offsets.
    offsets, doubt : as for `diagonal_densities`; a missing value counts as if it were there.
    scaled, densities, largest : as for `diagonal_densities`.
    """
    n_rows, n_metrics = values.shape
    n_states = len(means)
    stacked = whitening.reshape(n_states * n_metrics, n_metrics)
    shifts = np.zeros(n_states * n_metrics)
    constants = np.full(n_states, -0.5 * n_metrics * LOG_TWO_PI)
    precisions = np.zeros((n_states, n_metrics))
    run = 0
    for k in range(n_states):
        for d in range(n_metrics):
            constants[k] += math.log(whitening[k, d, d])
            for e in range(d + 1):
                precisions[k, e] += whitening[k, d, e] * whitening[k, d, e]
                shifts[k * n_metrics + d] += whitening[k, d, e] * (means[k, e] - centre[e])
    logs = np.empty((n_states, BLOCK))
    columns = np.zeros((n_metrics, BLOCK))
    white = np.empty((n_states * n_metrics, BLOCK))
    column = np.empty(BLOCK)
    powers = np.empty(BLOCK, dtype=np.int64)
    for begin in range(0, n_rows, BLOCK):
        size = min(BLOCK, n_rows - begin)
        for d in range(n_metrics):
            for t in range(size):
                columns[d, t] = values[begin + t, d] - centre[d]
        np.dot(stacked, columns, out=white)
        for k in range(n_states):
            log = logs[k]
            for t in range(size):
                log[t] = constants[k]
            for d in range(n_metrics):
                row, shift = white[k * n_metrics + d], shifts[k * n_metrics + d]
                for t in range(size):
                    away = row[t] - shift
                    log[t] -= 0.5 * away * away
        if len(place):
            for t in range(size):
                if place[begin + t] >= 0:
                    logs[:, t] = partial[place[begin + t]]
        if len(doubt):
            while offsets[run + 1] <= begin:
                run += 1
            _less_doubt(logs, size, begin, values, True, offsets[:-1], offsets, run, doubt, precisions)  # noqa: FBT003
        _hand_over(logs, size, begin, scaled, column, powers, densities, largest)


@compiled
def _less_doubt(
    logs: Floats,
    size: int,
    begin: int,
    values: Floats,
    complete: bool,  # noqa: FBT001
    begins: Ints,
    own: Ints,
    run: int,
    doubt: Floats,
    precisions: Floats,
) -> None:
    """Take ½ Σ_d v_rd (Σ_k⁻¹)_dd from one block of (K, BLOCK) log-densities: their mean over a run's shift.

    Parameters
    ----------
    values, complete, begins, own, doubt : as for `_diagonal_densities`; v is ``doubt``.
    run : that of the first row.
    precisions : (K, D) diagonals of the inverse covariances.
    """
    n_states, n_metrics = precisions.shape
    costs = np.empty(n_states)
    known = -1
    for t in range(size):
        row = begin + t
        while row >= own[run + 1]:
            run += 1
        if run != known or not complete:
            for k in range(n_states):
                costs[k] = 0.0
            for d in range(n_metrics):
                if not complete and np.isnan(values[begins[run] + row - own[run], d]):
                    continue
                for k in range(n_states):
                    costs[k] += 0.5 * doubt[run, d] * precisions[k, d]
            known = run
        for k in range(n_states):
            logs[k, t] -= costs[k]


@compiled
def _hand_over(
    logs: Floats,
    size: int,
    begin: int,
    scaled: bool,  # noqa: FBT001
    column: Floats,
    powers: Ints,
    densities: Floats,
    largest: Floats,
) -> None:
    """Write one block of (K, BLOCK) log-densities to (N, K) ``densities``, scaled or as they are."""
    n_states = len(logs)
    top = largest[begin : begin + size]
    if not scaled:
        top[:] = 0.0
        for k in range(n_states):
            log = logs[k]
            for t in range(size):
                densities[begin + t, k] = log[t]
        return
    for t in range(size):
        top[t] = logs[0, t]
    for k in range(1, n_states):
        log = logs[k]
        for t in range(size):
            top[t] = max(top[t], log[t])
    scale = powers.view(np.float64)
    for k in range(n_states):
        log = logs[k]
        for t in range(size):
            x = max(_LOWEST, log[t] - top[t])
            scale[t] = x * _LOG2_E + _ROUNDER
            power = scale[t] - _ROUNDER
            r = (x - power * _LOG_2_HIGH) - power * _LOG_2_LOW
            series = 1 / 6227020800
            series = series * r + 1 / 479001600
            series = series * r + 1 / 39916800
            series = series * r + 1 / 3628800
            series = series * r + 1 / 362880
            series = series * r + 1 / 40320
            series = series * r + 1 / 5040
            series = series * r + 1 / 720
            series = series * r + 1 / 120
            series = series * r + 1 / 24
            series = series * r + 1 / 6
            series = series * r + 0.5
            series = series * r + 1.0
            series = series * r + 1.0
            column[t] = series
        for t in range(size):
            powers[t] = (powers[t] + _EXPONENT_BIAS) << _MANTISSA_BITS
        for t in range(size):
            densities[begin + t, k] = column[t] * scale[t]


@takes(values="N D", means="K D", whitening="K D D", constants="K", log_densities="N K filled")
@compiled
def full_densities_by_row(
    values: Floats, means: Floats, whitening: Floats, constants: Floats, log_densities: Floats
) -> None:
    """Log-densities under full covariances, of each row alike whatever rows are beside it.

    A library's matrix product may round a row differently with other rows beside it; what is known at a row must not
    depend on what comes after it, in the last bit either.

    Parameters
    ----------
    values : (N, D) finite.
    means, whitening : (K, D), (K, D, D) lower triangular.
    constants : (K,) -½ log det 2πΣ.
    log_densities : (N, K), filled.
    """
    n_rows, n_metrics = values.shape
    away, white, distance = np.empty((n_metrics, BLOCK)), np.empty(BLOCK), np.empty(BLOCK)
    for begin in range(0, n_rows, BLOCK):
        size = min(BLOCK, n_rows - begin)
        for k in range(len(means)):
            for d in range(n_metrics):
                column, mean = away[d], means[k, d]
                for t in range(size):
                    column[t] = values[begin + t, d] - mean
            for t in range(size):
                distance[t] = 0.0
            for d in range(n_metrics):
                for t in range(size):
                    white[t] = 0.0
                for e in range(d + 1):
                    weight, column = whitening[k, d, e], away[e]
                    for t in range(size):
                        white[t] += weight * column[t]
                for t in range(size):
                    distance[t] += white[t] * white[t]
            for t in range(size):
                log_densities[begin + t, k] = constants[k] - 0.5 * distance[t]
