"""Convergence in probability: the share of runs below a bound over time, beside moments that can diverge meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trajhmm.dynamics.stability.exponents.quantities import quantities_of
from trajhmm.dynamics.stability.exponents.tables import counted, logged_rows
from trajhmm.dynamics.stability.groups import groups_of
from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet
from trajhmm.logs.runset import offsets_of
from trajhmm.naming import instead_of
from trajhmm.shares import score_intervals

if TYPE_CHECKING:
    import pandas as pd

CONVERGENCE_COLUMNS = (
    "quantity",
    "step",
    "share",
    "ci_low",
    "ci_high",
    "n_runs",
    "log_first_moment",
    "log_second_moment",
)
# Cells of runs by steps that are laid out at a time: where each run has steps of its own there are many.
_CELLS = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class ConvergenceInProbability:
    """How many of R runs are close, at each of T steps.

    Attributes
    ----------
    share : (T,) of the runs below the bound.
    ci_low, ci_high : (T,) Wilson's 95% interval.
    n_runs : (T,) runs that it is a share of.
    log_first_moment, log_second_moment : (T,) logarithms of the mean over runs of the distance and of its square; a
        few runs make them, so that they have no interval that could be trusted.
    """

    share: NDArray[np.float64]
    ci_low: NDArray[np.float64]
    ci_high: NDArray[np.float64]
    n_runs: NDArray[np.int64]
    log_first_moment: NDArray[np.float64]
    log_second_moment: NDArray[np.float64]


def convergence_in_probability(log_distance: NDArray[np.float64], *, bound: float) -> ConvergenceInProbability:
    """The share of runs whose distance is below a bound, and the moments of the distance, at each step.

    A distance converges in probability where the share goes to 1 for every bound, however small.

    Parameters
    ----------
    log_distance : (R, T) logarithms; −∞ for a distance of 0, ∞ for a run that has diverged, NaN for one that has no
        row at a step and is not counted there.
    bound : of the distance, above 0.
    """
    if not 0.0 < bound < np.inf:
        raise ValueError(f"bound = {bound:g}: expected a distance above 0")
    known = ~np.isnan(log_distance)
    n_runs = known.sum(axis=0).astype(np.int64)
    below = (known & (log_distance < np.log(bound))).sum(axis=0)
    low, high = score_intervals(below, n_runs)
    return ConvergenceInProbability(
        share=np.divide(below, n_runs, out=np.full(len(n_runs), np.nan), where=n_runs > 0),
        ci_low=low,
        ci_high=high,
        n_runs=n_runs,
        log_first_moment=_log_mean(log_distance, known),
        log_second_moment=_log_mean(_doubled(log_distance), known),
    )


def convergence_table(runs: RunSet, by: Sequence[str] = (), *, quantity: str, bound: float) -> pd.DataFrame:
    """One row for each group of runs and step: the attributes, then `CONVERGENCE_COLUMNS`.

    A run that ends in a value that is not finite has diverged, and counts as far away from then on; one whose log just
    ends is no longer counted. Separations that both twins of a pair log count once; groups that do not log the distance
    are left out.

    Parameters
    ----------
    runs : the logs.
    by : attributes whose values make the groups.
    quantity : the column of the distance.
    bound : of the distance itself, also where its logarithm is logged.

    Raises
    ------
    AnalysisError
        The column is no distance, or the runs have no such attribute.
    """
    import pandas as pd

    known = {one.column: one for one in quantities_of(runs.metrics)}
    if quantity not in known:
        raise AnalysisError(f"{quantity!r} is no distance that these runs log{instead_of(quantity, known)}")
    groups = groups_of(runs, by)
    tables = []
    for group, members in zip(groups, counted(runs, known[quantity], groups), strict=True):
        if len(members):
            at, found = _over_steps(*logged_rows(runs, known[quantity], members), bound=bound)
            tables.append(pd.DataFrame({**group.values, "quantity": known[quantity].label, "step": at, **found}))
    wanted = [*by, *CONVERGENCE_COLUMNS]
    return pd.concat(tables, ignore_index=True)[wanted] if tables else pd.DataFrame(columns=wanted)


def _over_steps(
    values: NDArray[np.float64], steps: NDArray[np.int64], lengths: NDArray[np.int64], *, bound: float
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """(T,) steps at which any run has a row, and what is told there, by its name: so many steps at a time."""
    at = np.unique(steps)
    pieces = np.array_split(at, -(-len(at) * len(lengths) // _CELLS))
    found = [convergence_in_probability(by_step(values, steps, lengths, piece)[1], bound=bound) for piece in pieces]
    return at, {name: np.concatenate([getattr(one, name) for one in found]) for name in CONVERGENCE_COLUMNS[2:]}


def by_step(
    values: NDArray[np.float64],
    steps: NDArray[np.int64],
    lengths: NDArray[np.int64],
    at: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Steps (T,) at which any run has a row, and (R, T) its values there; NaN where it has none.

    Parameters
    ----------
    values, steps : (N,) logarithms of a distance, run after run, and where they stand.
    lengths : (R,) rows of each run.
    at : (T,) some of the steps in succession; by default all.
    """
    at = np.unique(steps) if at is None else at
    laid_out = np.full((len(lengths), len(at)), np.nan)
    diverged = np.where(np.isnan(values), np.inf, values)
    for run, (start, stop) in enumerate(itertools.pairwise(offsets_of(lengths).tolist()) if len(at) else ()):
        mine, told = steps[start:stop], diverged[start:stop]
        inside = slice(*np.searchsorted(mine, [at[0], at[-1] + 1]))
        laid_out[run, np.searchsorted(at, mine[inside])] = told[inside]
        if len(told) and np.isinf(told[-1]):
            laid_out[run, np.searchsorted(at, mine[-1]) :] = told[-1]
    return at, laid_out


def _doubled(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(over="ignore"):
        return 2.0 * logs


def _log_mean(logs: NDArray[np.float64], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(T,) logarithm of the mean over runs of the exponentials of (R, T) logs, without over- or underflow."""
    filled = np.where(known, logs, -np.inf)
    highest = filled.max(axis=0)
    finite = np.isfinite(highest)
    shifted = np.where(finite, highest, 0.0)
    n_runs = known.sum(axis=0)
    with np.errstate(divide="ignore", over="ignore"):
        means = shifted + np.log(np.exp(filled - shifted).sum(axis=0) / np.maximum(n_runs, 1))
    return np.asarray(np.where(n_runs > 0, means, np.nan))
