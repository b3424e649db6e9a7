"""Expectation–maximisation from one start: M-step, covariance floor, stopping rule, honest status."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.parameters import Parameters
from trajhmm.hmm.statistics import Statistics, estep

Outcome = Literal["converged", "max_iterations", "degenerate"]

# A fall of the log-likelihood by more than this, relative, is no rounding: the restart is not to be trusted.
_ROUNDING = 1e-9
# A state that explains less than one row, all runs together, is empty.
_EMPTY = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """One iteration of EM: the likelihood of the parameters it began with, and better parameters."""

    log_likelihood: float
    mass: NDArray[np.float64] | None
    parameters: Parameters


class Engine(Protocol):
    """What runs the iterations: this package's own code, or hmmlearn."""

    def step(self, values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters) -> Step:
        """One iteration, before the covariance floor."""


class NativeEngine:
    """The E-step and the M-step of this package."""

    def step(self, values: NDArray[np.float64], offsets: NDArray[np.int64], parameters: Parameters) -> Step:
        """One iteration, before the covariance floor."""
        statistics = estep(values, offsets, parameters)
        return Step(
            log_likelihood=statistics.log_likelihood,
            mass=statistics.mass,
            parameters=mstep(statistics, parameters),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Restart:
    """Where EM ended from one start.

    Attributes
    ----------
    outcome : ``converged``; ``max_iterations``, stopped by the cap; ``degenerate``, an empty state or a likelihood that
        is not finite or fell.
    log_likelihoods : nats, of the parameters before each iteration; the last is that of ``parameters``.
    parameters : the best parameters reached.
    """

    outcome: Outcome
    log_likelihoods: tuple[float, ...]
    parameters: Parameters

    @property
    def log_likelihood(self) -> float:
        """Log-likelihood of the parameters reached, in nats."""
        return self.log_likelihoods[-1]


def mstep(statistics: Statistics, parameters: Parameters) -> Parameters:
    """Maximise the expected log-likelihood (no priors, no floor); what has no evidence stays as it is."""
    mass = statistics.mass[:, np.newaxis]
    seen = mass > 0
    shift = np.divide(statistics.first, mass, out=np.zeros_like(statistics.first), where=seen)
    if parameters.covariance_type == "diag":
        second = np.divide(statistics.second, mass, out=parameters.covars.copy(), where=seen)
        covars = np.where(seen, np.maximum(second - shift**2, 0.0), parameters.covars)
    else:
        second = statistics.second / np.where(seen, mass, 1.0)[:, :, np.newaxis]
        outer = shift[:, :, np.newaxis] * shift[:, np.newaxis, :]
        covars = np.where(seen[:, :, np.newaxis], second - outer, parameters.covars)
        covars = (covars + covars.transpose(0, 2, 1)) / 2
    leaving = statistics.transitions.sum(axis=1, keepdims=True)
    return replace(
        parameters,
        startprob=statistics.start / statistics.start.sum(),
        transmat=np.divide(statistics.transitions, leaving, out=parameters.transmat.copy(), where=leaving > 0),
        means=parameters.means + shift,
        covars=covars,
    )


def floored(parameters: Parameters, floor: NDArray[np.float64]) -> Parameters:
    """Raise covariances to at least ``floor``.

    Diagonal: each variance is at least the metric's floor. Full: with F the diagonal matrix of floors, Σ − F is
    positive semidefinite, by raising the eigenvalues of F^-½ Σ F^-½ to 1. Both are the exact maximum of the M-step
    under that constraint, so the likelihood still never falls.

    Parameters
    ----------
    floor : (D,) least variance of each metric, all positive.
    """
    if parameters.covariance_type == "diag":
        return replace(parameters, covars=np.maximum(parameters.covars, floor))
    root = np.sqrt(floor)
    scale = root[:, np.newaxis] * root[np.newaxis, :]
    eigenvalues, vectors = np.linalg.eigh(parameters.covars / scale)
    low = eigenvalues[:, 0] < 1.0
    if not low.any():
        return parameters
    raised = (vectors * np.maximum(eigenvalues, 1.0)[:, np.newaxis, :]) @ vectors.transpose(0, 2, 1)
    raised = (raised + raised.transpose(0, 2, 1)) / 2 * scale
    return replace(parameters, covars=np.where(low[:, np.newaxis, np.newaxis], raised, parameters.covars))


def run_em(
    engine: Engine,
    values: NDArray[np.float64],
    offsets: NDArray[np.int64],
    start: Parameters,
    *,
    floor: NDArray[np.float64],
    n_iter: int,
    tol: float,
) -> Restart:
    """Iterate until the log-likelihood rises by no more than ``tol`` nats a row, at most ``n_iter`` times.

    Parameters
    ----------
    values, offsets : (N, D) rows and (R + 1,) run offsets.
    start : where to begin.
    floor : (D,) least variance of each metric.
    """
    current = floored(start, floor)
    previous = current
    trace: list[float] = []
    outcome: Outcome = "max_iterations"
    for _ in range(n_iter + 1):
        step = engine.step(values, offsets, current)
        likelihood = step.log_likelihood
        if not np.isfinite(likelihood):
            return Restart(outcome="degenerate", log_likelihoods=(*trace, likelihood), parameters=current)
        if trace and likelihood < trace[-1]:
            # At the optimum the last digits waver: the parameters before are as good, and the trace never falls.
            outcome = "converged" if trace[-1] - likelihood <= _ROUNDING * abs(likelihood) else "degenerate"
            current = previous
            break
        trace.append(likelihood)
        if len(trace) > 1 and trace[-1] - trace[-2] <= tol * len(values):
            outcome = "converged"
            break
        if len(trace) <= n_iter:
            if not _is_finite(step.parameters):
                return Restart(outcome="degenerate", log_likelihoods=tuple(trace), parameters=current)
            previous, current = current, floored(step.parameters, floor)
    mass = step.mass if step.mass is not None else estep(values, offsets, current).mass
    if mass.min() < _EMPTY:
        outcome = "degenerate"
    return Restart(outcome=outcome, log_likelihoods=tuple(trace), parameters=current)


def _is_finite(parameters: Parameters) -> bool:
    arrays = (parameters.startprob, parameters.transmat, parameters.means, parameters.covars)
    return all(bool(np.isfinite(array).all()) for array in arrays)
