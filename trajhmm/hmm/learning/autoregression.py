"""Rows that remember: a hidden Markov model whose noise is autoregressive, with one coefficient a metric.

Row t of run r in state k is z_t with z_t - a_r - μ_k = φ (z_t-1 - a_r - μ_k) + ε, ε ~ N(0, Σ_k): an AR(1) about the
level of the state, φ shared by the states, one for each metric (Hamilton 1989; Juang and Rabiner 1985). In other words
each row tells of a level,

    y_t = (z_t - φ z_t-1) / (1 - φ),    y_t ~ N(a_r + μ_k, Σ_k / (1 - φ)²),    and the first row of a run y_1 = z_1,

so that, given φ, the rows y are those of an ordinary HMM, or of one with shifts, whose means are the levels; whatever
knows such models knows this one. The first row, which has no past, is taken for a row as uncertain as the others: a
proper density, wider than the stationary one by (1 + φ) / (1 - φ). With R runs of N rows the density of the z is that
of the y over (1 - φ)^(N - R).

φ is learnt by alternation: EM given φ; then, given the states of the rows and levels and innovations held, the φ that
is likeliest. Both climb one bound on the likelihood of the rows z, and what does not raise it is not taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import FitError
from trajhmm.hmm.inference.levels import log_jacobian, whitened
from trajhmm.hmm.inference.posteriors import smooth_rows
from trajhmm.hmm.learning.em import NativeEngine, Restart, Start, best_of, climb
from trajhmm.hmm.learning.fitting import Data, Job, run_jobs
from trajhmm.hmm.learning.selection import Selection
from trajhmm.hmm.parameters import LARGEST_AUTOREGRESSION, Parameters
from trajhmm.hmm.results import SelectionPoint
from trajhmm.hmm.rows.chunk import Chunk, run_begins
from trajhmm.hmm.rows.source import InMemory
from trajhmm.hmm.settings import Settings
from trajhmm.hmm.shifts import Shifts
from trajhmm.logs.runset import offsets_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Rounds of a new search under the φ found so far, alternations in each, and iterations of EM in each of these.
_SEARCHES, _ALTERNATIONS, _ITERATIONS = 4, 50, 10
# How often a number of states is chosen, until it is that at which φ was learnt.
_CHOICES = 3
# Nats a row that still count as a rise.
_RISE = 1e-5


@dataclass(frozen=True, kw_only=True, eq=False)
class Autoregressive:
    """What was learnt of how rows remember.

    Attributes
    ----------
    autoregression : (D,) φ, 0 to `LARGEST_AUTOREGRESSION`.
    parameters : of the HMM of the rows y, which hold φ as well.
    log_likelihoods : of the rows z, or the bound on it, in nats, after each step that was taken; never falls.
    """

    autoregression: Floats
    parameters: Parameters
    log_likelihoods: tuple[float, ...]


def learn_autoregression(source: InMemory, settings: Settings) -> Autoregressive:
    """Learn φ together with the states, for one number of states.

    Begins with rows that do not remember. Each round searches for the states anew under the φ found so far, as the
    states of rows that were thought independent are often others; the better of that and of the fit before goes on.

    Parameters
    ----------
    source : (N, D) rows z, none missing.
    settings : of every fit.

    Raises
    ------
    FitError
        Every fit degenerates.
    """
    best: _Fitted | None = None
    trace: list[float] = []
    autoregression = np.zeros(source.n_metrics)
    for _ in range(_SEARCHES):
        found = _searched(source, settings, autoregression)
        if found is None or (best is not None and found.total <= best.total + _RISE * source.chunk.n_rows):
            break
        best, steps = _climbed(source, settings, found)
        trace += steps
        autoregression = best.autoregression
    if best is None:
        raise FitError(
            f"{settings.n_components} states: every fit degenerated (an empty state or a singular covariance); "
            "ask for fewer states or more restarts"
        )
    parameters = replace(best.restart.parameters, autoregression=autoregression)
    return Autoregressive(autoregression=autoregression, parameters=parameters, log_likelihoods=tuple(trace))


def select_with_autoregression(
    source: InMemory, settings: Settings, most: int, select: Callable[[InMemory], Selection]
) -> Selection:
    """Choose a number of states for rows that remember.

    φ belongs to a number of states: with fewer, what is a change of state becomes memory. So it is learnt at the most
    that are tried, a number is chosen under it, and both are done again at that number until it stays. Halves of the
    runs, and fits of other seeds, share the φ of the whole.

    Parameters
    ----------
    source : (N, D) rows z, none missing.
    settings : of every fit, save the number of states.
    most : states to begin with.
    select : what chooses a number of states for rows that do not remember.

    Returns
    -------
    The choice, with likelihoods of the rows z; its parameters hold φ.

    Raises
    ------
    FitError
        Every fit degenerates.
    """
    states = most
    for _ in range(_CHOICES):
        autoregression = learn_autoregression(source, replace(settings, n_components=states)).autoregression
        chosen = select(levels_of(source, autoregression))
        if chosen.fit.parameters.n_states == states:
            break
        states = chosen.fit.parameters.n_states
    return _of_rows(chosen, source, autoregression)


def _of_rows(selection: Selection, source: InMemory, autoregression: Floats) -> Selection:
    more = float(log_jacobian(source.chunk.offsets, autoregression).sum())
    fit = selection.fit
    traces = tuple(tuple(reached + more for reached in trace) for trace in fit.status.log_likelihoods)
    return replace(
        selection,
        fit=replace(
            fit,
            parameters=replace(fit.parameters, autoregression=autoregression),
            log_likelihood=fit.log_likelihood + more,
            joint=fit.joint + more,
            status=replace(fit.status, log_likelihoods=traces),
        ),
        curve=tuple(_point_of_rows(point, source.lengths, autoregression) for point in selection.curve),
    )


def _point_of_rows(point: SelectionPoint, lengths: Ints, autoregression: Floats) -> SelectionPoint:
    """What is known of one number of states, with likelihoods of the rows z, and φ among the parameters."""
    added, d = log_jacobian(offsets_of(lengths), autoregression), len(autoregression)
    more, penalty = float(added.sum()), d * float(np.log(len(added)))
    a_row = float((np.add.reduceat(added, offsets_of(lengths)[:-1]) / lengths).mean())

    def moved(value: float | None, by: float) -> float | None:
        return None if value is None else value + by

    return replace(
        point,
        log_likelihood=moved(point.log_likelihood, more),
        n_parameters=None if point.n_parameters is None else point.n_parameters + d,
        bic=moved(point.bic, penalty - 2 * more),
        aic=moved(point.aic, 2 * d - 2 * more),
        icl=moved(point.icl, penalty - 2 * more),
        heldout=moved(point.heldout, a_row),
        restart_log_likelihoods=tuple(reached + more for reached in point.restart_log_likelihoods),
    )


def levels_of(source: InMemory, autoregression: Floats) -> InMemory:
    """The levels that the rows of a source tell of."""
    chunk = source.chunk
    return InMemory.of(whitened(chunk.values, chunk.offsets, autoregression), chunk.offsets)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Fitted:
    """A fit under given (D,) coefficients; ``total`` is what it reached, in nats, of the rows z."""

    autoregression: Floats
    restart: Restart
    total: float

    @classmethod
    def of(cls, restart: Restart, source: InMemory, autoregression: Floats) -> _Fitted:
        more = float(log_jacobian(source.chunk.offsets, autoregression).sum())
        return cls(autoregression=autoregression, restart=restart, total=restart.objective + more)


def _searched(source: InMemory, settings: Settings, autoregression: Floats) -> _Fitted | None:
    levels = levels_of(source, autoregression)
    job = Job(settings=settings, data=Data(source=levels, weights=np.ones(len(source.lengths))))
    restarts = run_jobs([job])[0]
    chosen = best_of(restarts)
    return None if chosen is None else _Fitted.of(restarts[chosen], source, autoregression)


def _climbed(source: InMemory, settings: Settings, begun: _Fitted) -> tuple[_Fitted, list[float]]:
    """Alternate between φ and everything else; also what was reached after each step, which never falls."""
    best, trace = begun, [begun.total]
    for _ in range(_ALTERNATIONS):
        better = _alternated(source, settings, best)
        if better is None or better.total <= best.total:
            break
        rise = better.total - best.total
        best = better
        trace.append(best.total)
        if rise <= _RISE * source.chunk.n_rows:
            break
    return best, trace


def _alternated(source: InMemory, settings: Settings, fitted: _Fitted) -> _Fitted | None:
    """The likeliest φ for the states as they are, and some iterations of EM from there; None if these degenerate."""
    restart, before = fitted.restart, fitted.autoregression
    autoregression = likeliest(source.chunk, before, restart.parameters, restart.shifts)
    levels = levels_of(source, autoregression)
    weights = np.ones(len(source.lengths))
    job = Job(settings=settings, data=Data(source=levels, weights=weights))
    start = Start(
        parameters=_at(restart.parameters, before, autoregression),
        weights=weights,
        prior=job.prior,
        shifts=restart.shifts,
    )
    gone = climb(NativeEngine(levels), [start], n_iter=_ITERATIONS, tol=settings.tol)[0]
    return None if gone.outcome == "degenerate" else _Fitted.of(gone, source, autoregression)


def _at(parameters: Parameters, before: Floats, autoregression: Floats) -> Parameters:
    """The same levels and innovations under another φ; spherical ones, which share one variance, in the mean."""
    factor = (1 - before) / (1 - autoregression)
    covars = parameters.covars
    if parameters.covariance_type == "diag":
        covars = covars * factor**2
    elif parameters.covariance_type == "spherical":
        covars = covars * np.exp(np.log(factor**2).mean())
    else:
        covars = covars * factor[:, np.newaxis] * factor
    return replace(parameters, covars=covars)


def likeliest(chunk: Chunk, autoregression: Floats, parameters: Parameters, shifts: Shifts | None) -> Floats:
    """(D,) the φ that raises the expected log-likelihood most, for states as they are under the φ before.

    With e_t = z_t - a_r - μ_k, and e'_t the same of the row before, it is a concave function of each φ by itself,
    -½ A φ² + B φ - ½ E (1 - φ)² + R log(1 - φ): A and B are Σ γ e'² / σ² and Σ γ e e' / σ² over rows with a past, E is
    Σ γ e² / σ² over those without, and what is not known of the shifts. Where covariances are full metrics are taken
    one by one, as if they were independent.

    Parameters
    ----------
    chunk : R runs of rows z.
    autoregression : (D,) φ that ``parameters`` and ``shifts`` belong to.
    """
    lengths = np.diff(chunk.offsets)
    shifts = Shifts.none(chunk.n_runs, chunk.values.shape[1]) if shifts is None else shifts
    # Scales stretch rows, the row before with them.
    values = shifts.taken_from(chunk.values, lengths)
    levels = shifts.taken_from(whitened(chunk.values, chunk.offsets, autoregression), lengths)
    probs = smooth_rows(np.ascontiguousarray(levels), chunk.offsets, parameters)
    inverse = 1.0 / (parameters.variances() * (1 - autoregression) ** 2)
    first = run_begins(chunk.offsets)
    past = np.roll(values, 1, axis=0)
    doubt = np.repeat(shifts.variance, lengths, axis=0)
    a, b, e = (np.zeros(parameters.n_metrics) for _ in range(3))
    for k, mean in enumerate(parameters.means):
        weight = probs[:, k, np.newaxis] * inverse[k]
        now, then = values - mean, past - mean
        a += (weight * then**2)[~first].sum(axis=0)
        b += (weight * now * then)[~first].sum(axis=0)
        e += (weight * now**2)[first].sum(axis=0) + (weight * doubt).sum(axis=0)
    # Where the slope is 0: (A + E) x² + (B - A) x - R = 0 in x = 1 - φ.
    n_runs = chunk.n_runs
    x = (a - b + np.sqrt((a - b) ** 2 + 4 * (a + e) * n_runs)) / (2 * (a + e))
    found: Floats = np.clip(1 - x, 0.0, LARGEST_AUTOREGRESSION)
    return found
