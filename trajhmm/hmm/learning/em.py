"""Expectation–maximisation: iterations, stopping rule, honest status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial, reduce
from operator import add
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.inference.statistics import Statistics, estep
from trajhmm.hmm.learning.mixed import log_density_of_scales, shifted_mstep
from trajhmm.hmm.learning.mstep import Prior, floored, mstep
from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.results import Outcome
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.parallel import in_threads
from trajhmm.hmm.rows.source import Source
from trajhmm.hmm.shifts import Shifts

# A fall of the log-likelihood by more than this, relative, is no rounding: the restart is not to be trusted.
_ROUNDING = 1e-9
# A state that explains less than one row, all runs together, is empty.
_EMPTY = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """Where a restart begins.

    Attributes
    ----------
    parameters : to begin with.
    weights : (R,) of all runs of the data; 0 leaves a run out.
    prior : on the covariances.
    shifts : of all runs, if ``parameters`` hold a variance of shifts; else None.
    """

    parameters: Parameters
    weights: NDArray[np.float64]
    prior: Prior
    shifts: Shifts | None = None

    @property
    def beside(self) -> float:
        """What EM maximises beside the expected log-likelihood, in nats: log-prior, less the shifts' divergence."""
        beside = self.log_prior
        if self.shifts is not None and self.parameters.shift_variance is not None:
            used = self.weights > 0
            tau, upsilon = self.parameters.shift_variance, self.parameters.scale_variance
            beside += float(self.weights[used] @ self.shifts.picked(used).log_density(tau, upsilon))
        return beside

    @property
    def log_prior(self) -> float:
        """Log-density of the priors of the parameters, in nats: of covariances, and of variances of scales."""
        upsilon = self.parameters.scale_variance
        of_scales = 0.0 if upsilon is None else log_density_of_scales(upsilon)
        return self.prior.log_density(self.parameters) + of_scales


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One iteration of EM: the likelihood of the parameters it began with, and better parameters.

    Attributes
    ----------
    log_likelihood : in nats.
    mass : (K,) expected rows in each state.
    n_rows : rows times weights of their runs.
    parameters : that maximise the expected log-likelihood, before the floor.
    shifts : of the runs, that maximise it with them; None if runs have none.
    """

    log_likelihood: float
    mass: NDArray[np.float64]
    n_rows: float
    parameters: Parameters
    shifts: Shifts | None = None


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
        sums = reduce(_add_each, self._source.map(partial(_esteps, starts=starts, n_jobs=self._n_jobs)))
        return [_step(statistics, start) for statistics, start in zip(sums, starts, strict=True)]


def _esteps(chunk: Chunk, starts: Sequence[Start], n_jobs: int) -> list[Statistics | None]:
    if len(starts) == 1 or n_jobs == 1:
        return [_estep(chunk, start) for start in starts]
    return in_threads(partial(_estep, chunk), starts, n_jobs=n_jobs)


def _estep(chunk: Chunk, start: Start) -> Statistics | None:
    shifts = None if start.shifts is None else start.shifts.of(chunk)
    try:
        return estep(chunk, start.parameters, chunk.own(start.weights), shifts)
    except np.linalg.LinAlgError:  # a covariance matrix is singular
        return None


def _add_each(one: list[Statistics | None], other: list[Statistics | None]) -> list[Statistics | None]:
    return [None if a is None or b is None else add(a, b) for a, b in zip(one, other, strict=True)]


def _step(statistics: Statistics | None, start: Start) -> Step:
    if statistics is None or not np.isfinite(statistics.log_likelihood):
        return _nowhere(start)
    if start.shifts is None:
        parameters, shifts = mstep(statistics, start.parameters, start.prior), None
    else:
        try:
            parameters, shifts = shifted_mstep(statistics, start.parameters, start.shifts, start.weights, start.prior)
        except np.linalg.LinAlgError:  # equations that have no solution, of moments beyond what floats hold
            return _nowhere(start)
    return Step(
        log_likelihood=statistics.log_likelihood,
        mass=statistics.mass,
        n_rows=statistics.n_rows,
        parameters=parameters,
        shifts=shifts,
    )


def _nowhere(start: Start) -> Step:
    """A step that leads nowhere: the restart has degenerated."""
    nothing = np.zeros(start.parameters.n_states)
    return Step(log_likelihood=np.nan, mass=nothing, n_rows=0.0, parameters=start.parameters)


@dataclass(frozen=True, kw_only=True, eq=False)
class Restart:
    """Where EM ended from one start.

    Attributes
    ----------
    outcome : ``converged``; ``max_iterations``, stopped by the cap; ``degenerate``, an empty state, a singular
        covariance, or a likelihood that is not finite or fell.
    log_likelihoods : nats, of the parameters before each iteration, with the log-density of the prior if there is one;
        the last is that of ``parameters``. With shifts, the lower bound on it that EM maximises.
    log_likelihood : of ``parameters``, without the prior; with shifts its lower bound.
    parameters : the best parameters reached.
    shifts : of the runs, with them; None if runs have none.
    """

    outcome: Outcome
    log_likelihoods: tuple[float, ...]
    log_likelihood: float
    parameters: Parameters
    shifts: Shifts | None = None

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


def best_parameters(restarts: Sequence[Restart]) -> Parameters | None:
    """Parameters of the best restart; None if all are degenerate."""
    index = best_of(restarts)
    return None if index is None else restarts[index].parameters


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
        beside = self.current.beside if np.isfinite(likelihood) else 0.0
        objective = likelihood + beside
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
        self._likelihood = objective - self.current.log_prior
        converged = len(trace) > 1 and trace[-1] - trace[-2] <= self._tol * step.n_rows
        if converged or len(trace) > self._n_iter:
            usual: Outcome = "converged" if converged else "max_iterations"
            self._end(usual if step.mass.min() >= _EMPTY else "degenerate")
        elif not step.parameters.is_finite:
            self._end("degenerate")
        else:
            self._previous = self.current
            parameters = floored(step.parameters, self.current.prior.floor)
            self.current = replace(self.current, parameters=parameters, shifts=step.shifts)

    def _end(self, outcome: Outcome) -> None:
        self.result = Restart(
            outcome=outcome,
            log_likelihoods=tuple(self._objectives),
            log_likelihood=self._likelihood,
            parameters=self.current.parameters,
            shifts=self.current.shifts,
        )
