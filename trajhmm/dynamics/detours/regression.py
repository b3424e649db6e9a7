"""Convergence time on the bag of states, with the evidence that a regression on shares needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.detours.convergence import Convergence

PERMUTATIONS = 9999


@dataclass(frozen=True, kw_only=True, eq=False)
class PaperRegression:
    """The regression as published: runs that never converged count as converging at their last step.

    ``coefficients`` (K,) as those of `Regression`.
    """

    r2: float | None
    f_p_value: float | None
    n_runs: int
    coefficients: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Regression:
    """Ordinary least squares of convergence step on the shares of rows in each state, without an intercept.

    The shares add up to 1, so an intercept is implied: steps count from their mean, and where the shares leave the
    coefficients open, as for a state that only the run left out visits, those nearest to the mean are taken. Nothing
    depends on where steps are counted from. Only runs that converged take part.

    Attributes
    ----------
    r2 : share of the variance about the mean that is explained, in sample; None with too few runs.
    f_p_value : of the overall F test.
    loro_r2 : leave-one-run-out: 1 − Σ(errors of the run left out)² / Σ(deviation from the mean of the others)².
    permutation_p : share of permutations of the convergence steps over runs whose R² is as large.
    coefficients : (K,) steps: the fitted convergence step of a run that is all in that state; NaN if none visits it.
    n_runs : that converged, M.
    observed : (M,) their convergence steps.
    fitted : (M,) the steps that the regression gives them.
    left_out : (M,) the same, each from the regression of the other runs; empty with too few runs.
    paper : with all runs, coded as in Hu et al. (2023).
    why_not : why there is no regression, in words; None if there is one.
    """

    r2: float | None
    f_p_value: float | None
    loro_r2: float | None
    permutation_p: float | None
    coefficients: NDArray[np.float64]
    n_runs: int
    observed: NDArray[np.float64]
    fitted: NDArray[np.float64]
    left_out: NDArray[np.float64]
    paper: PaperRegression
    why_not: str | None = None


def bag_of_states(path: NDArray[np.int64], lengths: NDArray[np.int64], n_states: int) -> NDArray[np.float64]:
    """(R, K) share of each run's rows in each state."""
    counts = np.zeros((len(lengths), n_states))
    np.add.at(counts, (np.repeat(np.arange(len(lengths)), lengths), path), 1.0)
    return counts / lengths[:, np.newaxis]


def regress(bags: NDArray[np.float64], convergence: Convergence, *, seed: int = 0) -> Regression:
    """Regress convergence steps on (R, K) bags of states.

    Parameters
    ----------
    bags : shares of rows, rows add up to 1.
    convergence : of the same R runs.
    seed : of the permutations.
    """
    kept = convergence.converged
    x, y = bags[kept], convergence.steps[kept].astype(np.float64)
    r2, f_p_value = r_squared(x, y)
    coefficients = np.full(bags.shape[1], np.nan)
    visited = x.any(axis=0)
    if len(y):
        coefficients[visited] = _coefficients(x[:, visited], y)
    left_out = _left_out(x, y) if r2 is not None else np.empty(0)
    all_steps = convergence.steps.astype(np.float64)
    all_r2, all_p = r_squared(bags, all_steps)
    all_coefficients, ever = np.full(bags.shape[1], np.nan), bags.any(axis=0)
    all_coefficients[ever] = _coefficients(bags[:, ever], all_steps)
    return Regression(
        r2=r2,
        f_p_value=f_p_value,
        loro_r2=_loro_r2(y, left_out) if r2 is not None else None,
        permutation_p=_permutation_p(x, y, r2, np.random.default_rng(seed)) if r2 is not None else None,
        coefficients=coefficients,
        n_runs=int(kept.sum()),
        observed=y,
        fitted=x[:, visited] @ coefficients[visited],
        left_out=left_out,
        paper=PaperRegression(r2=all_r2, f_p_value=all_p, n_runs=len(kept), coefficients=all_coefficients),
        why_not=_why_not(x, y),
    )


def r_squared(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[float | None, float | None]:
    """R² about the mean and p of the overall F test; None where runs are too few or all converge at once."""
    if _why_not(x, y) is not None:
        return None, None
    rank = int(np.linalg.matrix_rank(x))
    centred = y - y.mean()
    total = (centred**2).sum()
    residual = ((centred - _hat(x) @ centred) ** 2).sum()
    r2 = float(1 - residual / total)
    if rank < 2:
        return r2, None
    from scipy.special import fdtrc

    f = ((total - residual) / (rank - 1)) / max(residual / (len(y) - rank), np.finfo(float).tiny)
    return r2, float(fdtrc(rank - 1, len(y) - rank, f))


def _why_not(x: NDArray[np.float64], y: NDArray[np.float64]) -> str | None:
    if not len(y):
        return "no run converges: choose another --converged"
    if len(y) == 1:
        return "one run converges: nothing to regress"
    if np.ptp(y) == 0:
        return f"all {len(y)} runs that converge do so at the same step: nothing to regress"
    rank = int(np.linalg.matrix_rank(x))
    if len(y) <= rank:
        return (
            f"{len(y)} runs converge, too few to regress on {rank} shares of rows: log more runs, or fit fewer states"
        )
    return None


def _coefficients(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    mean = y.mean()
    coefficients: NDArray[np.float64] = mean + np.linalg.lstsq(x, y - mean, rcond=None)[0]
    return coefficients


def _hat(x: NDArray[np.float64]) -> NDArray[np.float64]:
    hat: NDArray[np.float64] = x @ np.linalg.pinv(x)
    return hat


def _left_out(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M,) what the regression of the other runs gives each run."""
    predicted = np.empty(len(y))
    for run in range(len(y)):
        others = np.arange(len(y)) != run
        predicted[run] = x[run] @ _coefficients(x[others], y[others])
    return predicted


def _loro_r2(y: NDArray[np.float64], left_out: NDArray[np.float64]) -> float:
    others = (y.sum() - y) / (len(y) - 1)
    return float(1 - ((y - left_out) ** 2).sum() / ((y - others) ** 2).sum())


def _permutation_p(x: NDArray[np.float64], y: NDArray[np.float64], r2: float, rng: np.random.Generator) -> float:
    centred = y - y.mean()
    shuffled = rng.permuted(np.tile(centred, (PERMUTATIONS, 1)), axis=1)
    residual = shuffled - shuffled @ _hat(x).T
    permuted = 1 - (residual**2).sum(axis=1) / (centred**2).sum()
    return float((1 + (permuted >= r2 - 1e-12).sum()) / (1 + PERMUTATIONS))
