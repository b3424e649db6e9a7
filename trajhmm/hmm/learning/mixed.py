"""The M-step of the mixed-effects HMM: means of the states and shifts of the runs together.

Row t of run r in state k is z with exp(b_r) z = a_r + μ_k + ε, a_r ~ N(0, diag τ²), ε ~ N(0, Σ_k); b_r = 0 unless runs
have scales. Beside forward–backward EM keeps a normal q(a_r), independent over metrics (variational EM; Neal and Hinton
1998), and the likeliest b_r. Every step here climbs the bound in one block of variables, the others held: means and
shifts; scales and shifts; covariances; variances of the shifts; τ², υ². So the bound never falls.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.shifts import ByRun, rescaled, shift_precision
from trajhmm.hmm.inference.statistics import Statistics
from trajhmm.hmm.kernels.together import equations, moved_about
from trajhmm.hmm.learning.mstep import Prior, floored, mstep
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.shifts import Shifts

Floats = NDArray[np.float64]

# The variance of scales is learnt as if so many more runs had been seen, with this one: it stays away from 0, where it
# would keep all scales, and where few runs are seen it stays small.
_RUNS_BEFORE, _SCALE_BEFORE = 2.0, 0.05**2
# Expected rows that say nothing of a mean; and what keeps equations apart that say the same, relative to their size.
_NEXT_TO_NOTHING, _RIDGE = 1e-9, 1e-10
# Runs differ by at least this share of a metric's variance: a variance of 0 could not be left again.
LEAST_SHIFT = 1e-6


def shifted_mstep(
    statistics: Statistics, parameters: Parameters, shifts: Shifts, weights: Floats, prior: Prior
) -> tuple[Parameters, Shifts]:
    """Maximise the bound block by block; covariances are floored already.

    Parameters
    ----------
    statistics : under ``parameters`` and ``shifts``, with moments of each run.
    shifts : of all R runs.
    weights : (R,) of the runs; a run of weight 0 keeps its shift.
    prior : of the covariances.
    """
    own = ByRun.of(statistics.by_run, len(weights))
    if (weights[weights > 0] != 1.0).any():
        own = _unweighted(own, weights)
    solve = _together if parameters.is_diagonal else _in_turn
    means, moved, second = solve(statistics, own, parameters, shifts, weights)
    # Shifts add up to 0: what they have in common is the states'.
    mean = shifts.mean + moved
    common = weights @ mean / weights.sum()
    used = (weights > 0)[:, np.newaxis]
    mean = np.where(used, mean - common, shifts.mean)
    spread = replace(statistics, first=np.zeros_like(statistics.first), second=second)
    around = replace(parameters, means=parameters.means + means + common)
    better = floored(mstep(spread, around, prior), prior.floor)
    log_scale = shifts.log_scale
    if parameters.scale_variance is not None:
        moments = _moved(own, (moved[:, np.newaxis, :] + means) * used[:, :, np.newaxis])
        found = rescaled(moments, replace(shifts, mean=mean), better)
        mean, log_scale = np.where(used, found.mean, mean), np.where(used, found.log_scale, log_scale)
        total = weights @ log_scale**2 + _RUNS_BEFORE * _SCALE_BEFORE
        better = replace(better, scale_variance=total / (weights.sum() + _RUNS_BEFORE))
    variance = np.where(used, 1.0 / shift_precision(own.there, better), shifts.variance)
    tau = weights @ (mean**2 + variance) / weights.sum()
    better = replace(better, shift_variance=np.maximum(tau, LEAST_SHIFT * prior.target))
    return better, Shifts(mean=mean, variance=variance, log_scale=log_scale)


def log_density_of_scales(scale_variance: Floats) -> float:
    """Log-density of the (D,) variances of scales, in nats, up to a constant: as if some more runs had been seen."""
    return float(-0.5 * _RUNS_BEFORE * (np.log(scale_variance) + _SCALE_BEFORE / scale_variance).sum())


def _moved(own: ByRun, away: Floats) -> ByRun:
    """Moments about means and shifts that are (R, K, D) ``away`` from those they were taken about."""
    there = own.there
    first = own.first - there * away
    return replace(own, first=first, second=own.second - away * (own.first + first))


def _unweighted(moments: ByRun, weights: Floats) -> ByRun:
    share = np.divide(1.0, weights, out=np.zeros_like(weights), where=weights > 0)
    wide = share[:, np.newaxis, np.newaxis]
    return replace(
        moments,
        mass=moments.mass * share[:, np.newaxis],
        absent=moments.absent * wide,
        first=moments.first * wide,
        second=moments.second * wide,
    )


def _together(
    statistics: Statistics, own: ByRun, parameters: Parameters, shifts: Shifts, weights: Floats
) -> tuple[Floats, Floats, Floats]:
    """Moves of means and shifts, and second moments about where they then are: (K, D), (R, D), (K, D)."""
    tau = parameters.shift_variance
    assert tau is not None  # noqa: S101 (narrows the type)
    inverse, (k, d) = 1.0 / parameters.variances(), parameters.means.shape
    matrix, right = np.empty((d, k, k)), np.empty((d, k))
    moved, precision = np.empty(shifts.mean.shape), np.empty(shifts.mean.shape)
    equations(
        own.mass, own.absent, own.first, inverse, tau, shifts.mean, weights, _NEXT_TO_NOTHING, _RIDGE, matrix, right,
        moved, precision,
    )  # fmt: skip
    means = np.asarray(np.linalg.solve(matrix, right[:, :, np.newaxis])[:, :, 0], dtype=np.float64)
    second = statistics.second.copy()
    moved_about(own.mass, own.absent, own.first, inverse, shifts.variance, weights, means, precision, moved, second)
    return np.ascontiguousarray(means.T), moved, second


def _in_turn(
    statistics: Statistics, own: ByRun, parameters: Parameters, shifts: Shifts, weights: Floats
) -> tuple[Floats, Floats, Floats]:
    """The same where metrics hang together: the means first, then the shifts; (K, D), (R, D), (K, D, D)."""
    tau = parameters.shift_variance
    assert tau is not None  # noqa: S101 (narrows the type)
    mass = (weights @ own.mass)[:, np.newaxis]
    first = np.einsum("r,rkd->kd", weights, own.first)
    means = np.divide(first, mass, out=np.zeros_like(first), where=mass > 0)
    precisions = parameters.precisions()
    joint = np.einsum("rk,kde->rde", own.mass, precisions) + np.diag(1.0 / tau)
    left = own.first - own.mass[:, :, np.newaxis] * means
    pull = np.einsum("rke,kde->rd", left, precisions) - shifts.mean / tau
    moved = np.linalg.solve(joint, pull[:, :, np.newaxis])[:, :, 0]
    return means, moved, _about_new(statistics, own, moved[:, np.newaxis, :] + means, weights, shifts.variance)


def _about_new(statistics: Statistics, own: ByRun, away: Floats, weights: Floats, variance: Floats) -> Floats:
    """(K, D, D) second moments about means and shifts that moved, together (R, K, D) ``away``."""
    there = own.there * weights[:, np.newaxis, np.newaxis]
    first = own.first * weights[:, np.newaxis, np.newaxis]
    doubt = np.einsum("rkd,rd->kd", there, variance)
    cross = np.einsum("rki,rkj->kij", first, away)
    outer = np.einsum("rki,rkj->kij", there * away, away)
    second: Floats = statistics.second - cross - cross.transpose(0, 2, 1) + outer
    second += doubt[:, :, np.newaxis] * np.eye(away.shape[2])
    return second
