"""Normal pseudo-residuals: what a model did not expect of each row, given the run's past.

If the model is right they are standard normal and, within a run, uncorrelated, whatever the states (Zucchini, MacDonald
and Langrock 2016, section 6.2, forecast pseudo-residuals): with Φ the normal distribution function and u the model's
own probability, given the rows before, of a value no larger than the one that came,

    u_td = Σ_k p(s_t = k | z_1…t-1) Φ((z_td - μ_kd) / σ_kd),    r_td = Φ⁻¹(u_td).

Each metric is judged by itself: σ²_kd is the variance on the diagonal of Σ_k, which is that of the metric given the
past, also where covariances are full. Residuals of metrics that hang together within a state are then correlated across
metrics at one row, though not along the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_ndtr, ndtri_exp

from trajhmm.bounds import student_bounds
from trajhmm.hmm.certificate import Estimate, MetricResiduals, ResidualSummary
from trajhmm.hmm.inference.posteriors import filter_rows, rows_and_offsets
from trajhmm.hmm.inference.shifts import possible, without_shifts
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.chunk import Chunk, run_begins
from trajhmm.hmm.rows.source import Source

Floats = NDArray[np.float64]

# Residuals further out than this; of normal ones 0.27% are.
FAR_OUT = 3.0
BOOTSTRAPS = 999
# Fewer runs give no interval.
_FEWEST_RUNS = 4


def pseudo_residuals(values: Floats, offsets: NDArray[np.int64], parameters: Parameters) -> Floats:
    """(N, D) forecast pseudo-residuals of rows, NaN where a value is missing.

    Right into both tails: where u rounds to 0 or 1, its logarithm or that of 1 - u still tells how far out.

    Parameters
    ----------
    values : (N, D) rows as the model sees them, less the shifts of their runs if it knows shifts; NaN where missing. A
        shift that comes from all of a run makes its residuals a little too regular.
    offsets : (R + 1,) row offsets of the runs.
    """
    values, offsets = rows_and_offsets(values, offsets, parameters)
    parameters = possible(parameters)
    log_probs = np.log(_expected(values, offsets, parameters))
    spread = np.sqrt(parameters.variances())
    missing = np.isnan(values)
    filled = np.where(missing, parameters.means[0], values)
    below, above = np.full(values.shape, -np.inf), np.full(values.shape, -np.inf)
    for k, mean in enumerate(parameters.means):
        away = (filled - mean) / spread[k]
        known = log_probs[:, k, np.newaxis]
        below = np.logaddexp(below, known + log_ndtr(away))
        above = np.logaddexp(above, known + log_ndtr(-away))
    # Rounding may leave a logarithm of slightly more than one.
    lower = below < above
    tail = ndtri_exp(np.minimum(np.where(lower, below, above), 0.0))
    residuals: Floats = np.where(missing, np.nan, np.where(lower, tail, -tail))
    return residuals


def _expected(values: Floats, offsets: NDArray[np.int64], parameters: Parameters) -> Floats:
    """(N, K) p(s_t = k | z_1…t-1)."""
    filtered = np.exp(filter_rows(values, offsets, parameters)[0])
    expected = np.empty_like(filtered)
    expected[1:] = filtered[:-1] @ parameters.transmat
    expected[run_begins(offsets)] = parameters.startprob
    return expected


def summarise_residuals(
    residuals: Floats,
    offsets: NDArray[np.int64],
    metrics: Sequence[str],
    *,
    bootstraps: int = BOOTSTRAPS,
    seed: int = 0,
) -> ResidualSummary:
    """Mean, spread, autocorrelation and tails of residuals, with intervals over runs.

    Parameters
    ----------
    residuals : (N, D), NaN where there is none.
    offsets : (R + 1,) row offsets of the runs.
    metrics : D names.
    bootstraps : how often runs are drawn with replacement.
    seed : of these draws.
    """
    return _summary(_sums(residuals, offsets), metrics, bootstraps, seed)


def residuals_over(
    source: Source, parameters: Parameters, metrics: Sequence[str], *, bootstraps: int = BOOTSTRAPS, seed: int = 0
) -> ResidualSummary:
    """Summarise the pseudo-residuals of all rows of a source in one pass; see `summarise_residuals`.

    Parameters
    ----------
    source : R runs of (N, D) rows as they were fitted, shifts left in.
    """
    sums = np.concatenate(list(source.map(partial(_sums_of_chunk, parameters=parameters))), axis=1)
    return _summary(sums, metrics, bootstraps, seed)


def _sums_of_chunk(chunk: Chunk, parameters: Parameters) -> Floats:
    values = chunk.values
    if parameters.shift_variance is not None:
        values = without_shifts(values, chunk.offsets, parameters)
    return _sums(pseudo_residuals(values, chunk.offsets, parameters), chunk.offsets)


def _summary(sums: Floats, metrics: Sequence[str], bootstraps: int, seed: int) -> ResidualSummary:
    n_runs = sums.shape[1]
    whole = _statistics(np.ones((1, n_runs)), sums)
    rng = np.random.default_rng([seed, 0x5E51])
    drawn = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=bootstraps).astype(np.float64)
    again = _statistics(drawn, sums)
    n_rows = sums[0].sum(axis=0)

    def estimates(d: int) -> dict[str, Estimate]:
        return {name: _estimate(whole[name][0, d], again[name][:, d], n_runs) for name in whole}

    return ResidualSummary(
        n_runs=n_runs,
        metrics=tuple(
            MetricResiduals(metric=metric, n_rows=int(n_rows[d]), **estimates(d)) for d, metric in enumerate(metrics)
        ),
    )


def _sums(residuals: Floats, offsets: NDArray[np.int64]) -> Floats:
    """(9, R, D) sums over the rows of each run.

    Of its residuals the number, sum, squares and number far out; of pairs of neighbours the number, sums of the first
    and of the second, products and mean squares.
    """
    there = ~np.isnan(residuals)
    r = np.where(there, residuals, 0.0)
    pair = np.zeros_like(there)
    pair[1:] = there[1:] & there[:-1]
    pair[run_begins(offsets)] = False
    before = np.zeros_like(r)
    before[1:] = r[:-1]
    of_rows = (there, r, r**2, np.abs(r) > FAR_OUT)
    of_pairs = (pair, pair * before, pair * r, pair * before * r, pair * (before**2 + r**2) / 2)
    return np.array([np.add.reduceat(part.astype(np.float64), offsets[:-1]) for part in (*of_rows, *of_pairs)])


def _statistics(weights: Floats, sums: Floats) -> dict[str, Floats]:
    """(B, D) statistics of runs with (B, R) weights; NaN where there is nothing to compute them from."""
    n, total, squares, far, pairs, before, after, products, mean_squares = np.einsum("br,srd->sbd", weights, sums)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / n
        variance = np.maximum(squares / n - mean**2, 0.0)
        covariance = products - mean * (before + after) + pairs * mean**2
        spread = mean_squares - mean * (before + after) + pairs * mean**2
        return {
            "mean": mean,
            "sd": np.sqrt(variance),
            "autocorrelation": np.where(spread > 0, covariance / spread, np.nan),
            "beyond": far / n,
        }


def _estimate(value: float, drawn: Floats, n_runs: int) -> Estimate:
    drawn = drawn[np.isfinite(drawn)]
    known = bool(np.isfinite(value))
    if not known or n_runs < _FEWEST_RUNS or len(drawn) < 2:
        return Estimate(value=float(value) if known else None, ci_low=None, ci_high=None)
    low, high = student_bounds(float(value), drawn, n_runs)
    return Estimate(value=float(value), ci_low=low, ci_high=high)
