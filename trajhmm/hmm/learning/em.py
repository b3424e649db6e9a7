"""Expectation–maximisation: M-step, covariance floor, stopping rule, honest status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.learning.statistics import Statistics, estep
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.parallel import in_threads
from trajhmm.hmm.rows.source import Source

Outcome = Literal["converged", "max_iterations", "degenerate"]

# A fall of the log-likelihood by more than this, relative, is no rounding: the restart is not to be trusted.
_ROUNDING = 1e-9
# A state that explains less than one row, all runs together, is empty.
_EMPTY = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Prior:
    """What keeps covariances away from zero.

    Attributes
    ----------
    floor : (D,) least variance of each metric.
    target : (D,) variance that states are shrunk to.
    rows : how many rows of variance ``target`` each state is given beside its own; 0 for none.
    """

    floor: NDArray[np.float64]
    target: NDArray[np.float64]
    rows: float

    def log_density(self, parameters: Parameters) -> float:
        """Log-density of the covariances, up to a constant, in nats: an inverse Wishart prior."""
        if self.rows == 0:
            return 0.0
        if parameters.is_diagonal:
            variances = parameters.variances()
            if parameters.covariance_type == "spherical":
                variances, target = variances[:, :1], self.target.mean()
                return float(-0.5 * self.rows * len(self.target) * (np.log(variances) + target / variances).sum())
            return float(-0.5 * self.rows * (np.log(variances) + self.target / variances).sum())
        matrices = parameters.matrices()
        if parameters.covariance_type == "tied":
            matrices = matrices[:1]
        traces = (np.diagonal(np.linalg.inv(matrices), axis1=1, axis2=2) * self.target).sum(axis=1)
        return float(-0.5 * self.rows * (np.linalg.slogdet(matrices)[1] + traces).sum())


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where a restart begins.

    Attributes
    ----------
    parameters : to begin with.
    weights : (R,) of all runs of the data; 0 leaves a run out.
    prior : on the covariances.
    """

    parameters: Parameters
    weights: NDArray[np.float64]
    prior: Prior


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One iteration of EM: the likelihood of the parameters it began with, and better parameters.

    Attributes
    ----------
    log_likelihood : in nats.
    mass : (K,) expected rows in each state.
    n_rows : rows times weights of their runs.
    parameters : that maximise the expected log-likelihood, before the floor.
    """

    log_likelihood: float
    mass: NDArray[np.float64]
    n_rows: float
    parameters: Parameters


class Engine(Protocol):
    """What runs the iterations: this package's own code, or hmmlearn."""

    def steps(self, starts: Sequence[Start]) -> list[Step]:
        """One iteration from each of several parameters."""


class NativeEngine:
    """The E-step and the M-step of this package; starts share one pass over the rows, in ``n_jobs`` threads."""

    def __init__(self, source: Source, *, n_jobs: int = 1) -> None:
        self._source = source
        self._n_jobs = n_jobs

    def steps(self, starts: Sequence[Start]) -> list[Step]:
        """One iteration from each of several parameters."""
        pairs = [(start.parameters, start.weights) for start in starts]
        sums = reduce(_add_each, self._source.map(partial(_esteps, pairs=pairs, n_jobs=self._n_jobs)))
        return [_step(statistics, start) for statistics, start in zip(sums, starts, strict=True)]


def _esteps(
    chunk: Chunk, pairs: Sequence[tuple[Parameters, NDArray[np.float64]]], n_jobs: int
) -> list[Statistics | None]:
    if len(pairs) == 1 or n_jobs == 1:
        return [_estep(chunk, pair) for pair in pairs]
    return in_threads(partial(_estep, chunk), pairs, n_jobs=n_jobs)


def _estep(chunk: Chunk, pair: tuple[Parameters, NDArray[np.float64]]) -> Statistics | None:
    parameters, weights = pair
    try:
        return estep(chunk, parameters, chunk.own(weights))
    except np.linalg.LinAlgError:  # a covariance matrix is singular
        return None


def _add_each(one: list[Statistics | None], other: list[Statistics | None]) -> list[Statistics | None]:
    return [None if a is None or b is None else add(a, b) for a, b in zip(one, other, strict=True)]


def _step(statistics: Statistics | None, start: Start) -> Step:
    if statistics is None:
        nothing = np.zeros(start.parameters.n_states)
        return Step(log_likelihood=np.nan, mass=nothing, n_rows=0.0, parameters=start.parameters)
    return Step(
        log_likelihood=statistics.log_likelihood,
        mass=statistics.mass,
        n_rows=statistics.n_rows,
        parameters=mstep(statistics, start.parameters, start.prior),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Restart:
    """Where EM ended from one start.

    Attributes
    ----------
    outcome : ``converged``; ``max_iterations``, stopped by the cap; ``degenerate``, an empty state, a singular
        covariance, or a likelihood that is not finite or fell.
    log_likelihoods : nats, of the parameters before each iteration, with the log-density of the prior if there is one;
        the last is that of ``parameters``.
    log_likelihood : of ``parameters``, without the prior.
    parameters : the best parameters reached.
    """

    outcome: Outcome
    log_likelihoods: tuple[float, ...]
    log_likelihood: float
    parameters: Parameters

    @property
    def objective(self) -> float:
        """What EM maximised: log-likelihood and log-density of the prior, in nats."""
        return self.log_likelihoods[-1] if self.log_likelihoods else -np.inf


def best_of(restarts: Sequence[Restart]) -> int | None:
    """Index of the best restart that is not degenerate; None if all are.

    Of restarts that reached the same optimum it is the first: which of them is ahead in the last digits is chance.
    """
    usable = [index for index, restart in enumerate(restarts) if restart.outcome != "degenerate"]
    if not usable:
        return None
    best = max(restarts[index].objective for index in usable)
    return next(index for index in usable if best - restarts[index].objective <= _ROUNDING * abs(best))


def mstep(statistics: Statistics, parameters: Parameters, prior: Prior | None = None) -> Parameters:
    """Maximise the expected log-likelihood (with a prior, the posterior); what has no evidence stays as it is.

    Parameters
    ----------
    statistics : under ``parameters``.
    prior : its ``rows`` and ``target`` shrink covariances; its floor is left to `floored`.
    """
    mass = statistics.mass[:, np.newaxis] - statistics.absent
    seen = mass > 0
    shift = np.divide(statistics.first, mass, out=np.zeros_like(statistics.first), where=seen)
    leaving = statistics.transitions.sum(axis=1, keepdims=True)
    startprob = statistics.start / statistics.start.sum() if statistics.start.sum() > 0 else parameters.startprob
    return replace(
        parameters,
        startprob=startprob,
        transmat=np.divide(statistics.transitions, leaving, out=parameters.transmat.copy(), where=leaving > 0),
        means=parameters.means + shift,
        covars=_covariances(statistics, parameters, mass, shift, prior),
    )


def _covariances(
    statistics: Statistics,
    parameters: Parameters,
    mass: NDArray[np.float64],
    shift: NDArray[np.float64],
    prior: Prior | None,
) -> NDArray[np.float64]:
    """Covariances in the shape that ``parameters`` has them; ``mass`` and ``shift`` (K, D)."""
    rows, target = (prior.rows, prior.target) if prior is not None else (0.0, np.zeros(parameters.n_metrics))
    if parameters.is_diagonal:
        squares = np.maximum(statistics.second - mass * shift**2, 0.0) + rows * target
        counts = mass + rows
        if parameters.covariance_type == "spherical":
            squares, counts = squares.sum(axis=1), counts.sum(axis=1)
        return np.divide(squares, counts, out=parameters.covars.copy(), where=counts > 0)
    outer = shift[:, :, np.newaxis] * shift[:, np.newaxis, :]
    products = statistics.second - statistics.mass[:, np.newaxis, np.newaxis] * outer
    counts = statistics.mass
    if parameters.covariance_type == "tied":
        products, counts = products.sum(axis=0), counts.sum(axis=0)
    products = (products + np.swapaxes(products, -1, -2)) / 2 + rows * np.diag(target)
    counts = np.asarray(counts + rows)[..., np.newaxis, np.newaxis]
    return np.divide(products, counts, out=parameters.covars.copy(), where=counts > 0)


def floored(parameters: Parameters, floor: NDArray[np.float64]) -> Parameters:
    """Raise covariances to at least ``floor``.

    Variances are at least the metric's floor (``spherical``: the mean of the floors). Of a matrix, with F the diagonal
    matrix of floors, Σ - F is positive semidefinite, by raising the eigenvalues of F^-½ Σ F^-½ to 1. Either is the
    exact maximum of the M-step under that constraint, so the likelihood still never falls.

    Parameters
    ----------
    floor : (D,) least variance of each metric; 0 for none.
    """
    if not floor.any():
        return parameters
    if parameters.is_diagonal:
        least = floor if parameters.covariance_type == "diag" else floor.mean()
        return replace(parameters, covars=np.maximum(parameters.covars, least))
    root = np.sqrt(floor)
    scale = root[:, np.newaxis] * root[np.newaxis, :]
    eigenvalues, vectors = np.linalg.eigh(parameters.covars / scale)
    low = eigenvalues[..., 0] < 1.0
    if not low.any():
        return parameters
    raised = (vectors * np.maximum(eigenvalues, 1.0)[..., np.newaxis, :]) @ np.swapaxes(vectors, -1, -2)
    raised = (raised + np.swapaxes(raised, -1, -2)) / 2 * scale
    return replace(parameters, covars=np.where(low[..., np.newaxis, np.newaxis], raised, parameters.covars))


def climb(
    engine: Engine,
    starts: Sequence[Start],
    *,
    n_iter: int,
    tol: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[Restart]:
    """Run EM from each start, at most ``n_iter`` times, until the likelihood rises by no more than ``tol`` nats a row.

    A rise is measured against the number of rows and not against the log-likelihood itself, which changes with the
    units of the metrics and may be 0. Starts go side by side, so that they can share each pass over the rows.
    """
    ascents = [_Ascent(start, n_iter=n_iter, tol=tol) for start in starts]
    while active := [ascent for ascent in ascents if ascent.result is None]:
        if progress is not None:
            progress(len(ascents) - len(active), len(ascents))
        for ascent, step in zip(active, engine.steps([ascent.current for ascent in active]), strict=True):
            ascent.advance(step)
    return [ascent.result for ascent in ascents if ascent.result is not None]


class _Ascent:
    """EM from one start: told of one iteration after the other until it has a result."""

    def __init__(self, start: Start, *, n_iter: int, tol: float) -> None:
        self.current = replace(start, parameters=floored(start.parameters, start.prior.floor))
        self.result: Restart | None = None
        self._previous = self.current
        self._objectives: list[float] = []
        self._likelihood = np.nan
        self._n_iter, self._tol = n_iter, tol

    def advance(self, step: Step) -> None:
        """Take in one iteration from ``current``: move on, or end."""
        likelihood = step.log_likelihood
        objective = likelihood + (self._log_prior() if np.isfinite(likelihood) else 0.0)
        trace = self._objectives
        if not np.isfinite(objective):
            self._end("degenerate")
            return
        if trace and objective < trace[-1]:
            # At the optimum the last digits waver: the parameters before are as good, and the trace never falls.
            wavers = trace[-1] - objective <= _ROUNDING * abs(objective)
            self.current = self._previous
            self._end("converged" if wavers and step.mass.min() >= _EMPTY else "degenerate")
            return
        trace.append(objective)
        self._likelihood = likelihood
        converged = len(trace) > 1 and trace[-1] - trace[-2] <= self._tol * step.n_rows
        if converged or len(trace) > self._n_iter:
            usual: Outcome = "converged" if converged else "max_iterations"
            self._end(usual if step.mass.min() >= _EMPTY else "degenerate")
        elif not step.parameters.is_finite:
            self._end("degenerate")
        else:
            self._previous = self.current
            parameters = floored(step.parameters, self.current.prior.floor)
            self.current = replace(self.current, parameters=parameters)

    def _log_prior(self) -> float:
        return self.current.prior.log_density(self.current.parameters)

    def _end(self, outcome: Outcome) -> None:
        self.result = Restart(
            outcome=outcome,
            log_likelihoods=tuple(self._objectives),
            log_likelihood=self._likelihood,
            parameters=self.current.parameters,
        )
