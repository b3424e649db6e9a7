"""What became of each run: collapse, recovery, area and end of its performance, beside those of its match."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import integrate

from trajhmm.dynamics.stability.audit.cells import PLAIN
from trajhmm.dynamics.stability.audit.pairing import PERTURBED, UNSEEN, Design
from trajhmm.errors import AnalysisError
from trajhmm.features.events import is_loss
from trajhmm.logs import RunSet
from trajhmm.naming import instead_of
from trajhmm.warning.evaluation import derive_truth

MADS = 5.0
"""How many scaled median absolute deviations from its level a run has left it, k."""
# Rows before the onset that tell the level; rows in a row outside it to have left, and inside it to be back.
_BEFORE, _LEFT, _BACK = 20, 2, 5
_FEWEST_BEFORE = 5
# Scales a MAD to the standard deviation of normal noise, and the least spread, as a share of the level: accuracies and
# returns that stand still have a MAD of 0, and no blip leaves them.
_TO_SIGMA, _LEAST = 1.4826, 0.01
# Share of the rows, and least number of them, that the final performance is of.
_END, _FEWEST_END = 0.1, 5
_COLUMNS = (
    *("last_step", "collapsed", "collapse_step", "lag"),
    *("left_step", "back_step", "recovery_steps", "recovery_censored"),
    *("area_ratio", "final", "final_baseline", "final_ratio"),
)
_Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """The performance of a run where it is logged: (T,) steps, (T,) values."""

    steps: NDArray[np.int64]
    values: _Array


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """How long until performance is back at its level before the onset.

    Attributes
    ----------
    left_step : first step outside; None if it never left.
    back_step : first step after that from which on it is back; None if it never left, or never came back.
    time : steps from the onset until it is back; 0 if it never left; to the end of the log where censored.
    observed : False where the log ends before it is back.
    """

    left_step: int | None
    back_step: int | None
    time: float
    observed: bool


def outcomes_of(
    runs: RunSet, design: Design, *, performance: str, collapse: str, sustained: int, mads: float = MADS
) -> pd.DataFrame:
    """One row a run, indexed by run: the columns of the design, and what became of the run.

    These are ``last_step``, ``collapsed``, ``collapse_step``, ``lag`` (from onset to collapse), ``left_step``,
    ``back_step``, ``recovery_steps`` (to the end of the log where ``recovery_censored``), ``area_ratio``, ``final``,
    ``final_baseline`` (of the match) and ``final_ratio``; NaN where there is none.

    Parameters
    ----------
    runs : the logs.
    design : what was done to them.
    performance : metric; more is better, unless it is a loss by its name.
    collapse, sustained : as for `trajhmm.warning.evaluation.derive_truth`.
    mads : k, of `recovery_of`.

    Raises
    ------
    AnalysisError
        No such metric.
    """
    _demand(runs, performance)
    onsets = {str(run): int(onset) for run, onset in design.runs["onset"].items() if onset >= 0}
    truths = derive_truth(runs, collapse, sustained=sustained, onsets=onsets)
    sign = sign_of(performance)
    curves = curves_of(runs, performance)
    means = {arm: _mean_curve([curves[str(run)] for run in some.index]) for arm, some in _healthy(design)}
    ends = {run: int(runs.steps[rows][-1]) for run, rows in runs.slices()}
    rows = []
    # Values near the largest that there are overflow to infinity, which is what they are told as.
    with np.errstate(over="ignore", invalid="ignore"):
        for run, what in design.runs.iterrows():
            curve, collapsed_at = curves[str(run)], truths[str(run)].collapse_step
            row: dict[str, object] = {
                "collapsed": None if what["role"] == UNSEEN else collapsed_at is not None,
                "collapse_step": np.nan if collapsed_at is None else collapsed_at,
                "last_step": ends[str(run)],
                "final": final_of(curve),
            }
            if what["role"] == PERTURBED:
                matched, onset = what["baseline"], int(what["onset"])
                beside = curves[matched] if isinstance(matched, str) else means.get(what["buffer"], means[PLAIN])
                row["lag"] = np.nan if collapsed_at is None else collapsed_at - onset
                row |= _beside(curve, beside, onset, fill=0.0 if sign > 0 else np.nan)
                row |= _recovery_columns(recovery_of(curve, onset, sign=sign, mads=mads))
            rows.append(row)
    became = pd.DataFrame(rows, index=design.runs.index).reindex(columns=list(_COLUMNS))
    return pd.concat([design.runs, became], axis=1)


def sign_of(performance: str) -> float:
    """1 where more of a metric is better, -1 where less is: in a loss by its name."""
    return -1.0 if is_loss(performance) else 1.0


def _demand(runs: RunSet, performance: str) -> None:
    """Raise `AnalysisError` if performance is no metric."""
    if performance in runs.metrics:
        return
    if performance in runs.attributes.columns:
        raise AnalysisError(
            f"column {performance!r} never changes within a run, so that nothing can be told by it; name another "
            "metric with --performance"
        )
    meant = instead_of(performance, runs.metrics)
    raise AnalysisError(f"no metric {performance!r} in these logs{meant}; name one with --performance")


def _beside(curve: Curve, beside: Curve, onset: int, *, fill: float) -> dict[str, object]:
    """The columns that compare a perturbed run with its match."""
    final = final_of(beside)
    return {
        "area_ratio": area_ratio(curve, beside, onset, fill=fill),
        "final_baseline": final,
        "final_ratio": _ratio(final_of(curve), final),
    }


def _recovery_columns(recovery: Recovery | None) -> dict[str, object]:
    if recovery is None:
        return {}
    return {
        "left_step": np.nan if recovery.left_step is None else recovery.left_step,
        "back_step": np.nan if recovery.back_step is None else recovery.back_step,
        "recovery_steps": recovery.time,
        "recovery_censored": not recovery.observed,
    }


def curves_of(runs: RunSet, metric: str) -> dict[str, Curve]:
    """The rows of each run at which a metric is logged."""
    column = runs.metrics.index(metric)
    found = {}
    for run, rows in runs.slices():
        logged = runs.logged[rows, column]
        found[run] = Curve(steps=runs.steps[rows][logged], values=runs.values[rows, column][logged])
    return found


def silent_runs(runs: RunSet, metric: str) -> tuple[str, ...]:
    """Runs in which a metric is never a finite number."""
    return tuple(run for run, curve in curves_of(runs, metric).items() if not np.isfinite(curve.values).any())


def recovery_of(curve: Curve, onset: int, *, sign: float = 1.0, mads: float = MADS) -> Recovery | None:
    """When performance is back within k MAD of its level before the onset, having left it.

    The level is the median of the 20 rows up to the onset, the spread their median absolute deviation, scaled to that
    of normal noise and at least 1% of the level. A run has left where two rows in a row lie more than k of it on the
    worse side, or are not finite, and is back at the first of five rows in a row that do not. One that never leaves
    needs no recovery, and counts with 0 steps; one that is not back when the log ends is censored there, whether it
    collapsed or not, and so is one whose last row lies outside: a run that diverges logs no second one.

    Parameters
    ----------
    curve : performance.
    onset : step.
    sign : 1 where more is better, -1 where less is.
    mads : k.

    Returns
    -------
    None where fewer than five finite rows come before the onset, or none after it, or but one, which is inside.
    """
    before = curve.values[curve.steps <= onset][-_BEFORE:]
    before = before[np.isfinite(before)]
    after = curve.steps > onset
    if len(before) < _FEWEST_BEFORE or not after.any():
        return None
    level = float(np.median(before))
    spread = max(_TO_SIGMA * float(np.median(np.abs(before - level))), _LEAST * abs(level))
    steps, values = curve.steps[after], curve.values[after]
    outside = ~(sign * (level - values) <= mads * spread) | ~np.isfinite(values)
    left = _first_of(outside, _LEFT)
    if left is None and outside[-1]:  # whether it had left the log does not say any more
        left = len(outside) - 1
    if left is None and len(outside) < _LEFT:
        return None
    if left is None:
        return Recovery(left_step=None, back_step=None, time=0.0, observed=True)
    back = _first_of(~outside[left:], _BACK)
    end = steps[-1] if back is None else steps[left + back]
    return Recovery(
        left_step=int(steps[left]),
        back_step=None if back is None else int(end),
        time=float(end - onset),
        observed=back is not None,
    )


def area_ratio(curve: Curve, beside: Curve, onset: int, *, fill: float = 0.0) -> float:
    """Area under performance after the onset over that of the baseline, between the same steps (trapezoids).

    Parameters
    ----------
    curve, beside : performance of the run, and of the baseline, which is interpolated at the run's steps.
    onset : step.
    fill : what a value that is not finite counts as.

    Returns
    -------
    NaN where the baseline begins later or ends first, its area is not positive, or fewer than two rows come after the
    onset.
    """
    known = np.isfinite(beside.values)
    after = curve.steps > onset
    steps = curve.steps[after].astype(np.float64)
    if len(steps) < 2 or known.sum() < 2 or beside.steps[0] > steps[0] or beside.steps[-1] < steps[-1]:
        return np.nan
    own = np.where(np.isfinite(curve.values[after]), curve.values[after], fill)
    other = np.interp(steps, beside.steps[known].astype(np.float64), beside.values[known])
    return _ratio(float(integrate.trapezoid(own, steps)), float(integrate.trapezoid(other, steps)))


def final_of(curve: Curve) -> float:
    """The mean of the last tenth of the rows, at least five, that are finite."""
    last = curve.values[-max(int(_END * len(curve.values)), _FEWEST_END) :]
    last = last[np.isfinite(last)]
    return float(last.mean()) if len(last) else np.nan


def _ratio(own: float, other: float) -> float:
    return own / other if other > 0 else np.nan


def _first_of(holds: NDArray[np.bool_], rows: int) -> int | None:
    """Index of the first of so many rows in a row; None if there are none."""
    if len(holds) < rows:
        return None
    found = np.flatnonzero(np.convolve(holds, np.ones(rows), "valid") > rows - 0.5)
    return int(found[0]) if len(found) else None


def _healthy(design: Design) -> list[tuple[str, pd.DataFrame]]:
    """The healthy runs of each arm: of the plain one the baselines."""
    healthy, baselines = design.healthy(), design.baselines()
    buffered = healthy[healthy["buffer"] != PLAIN].groupby("buffer", sort=False)
    return [(PLAIN, baselines if len(baselines) else healthy), *((str(arm), some) for arm, some in buffered)]


def _mean_curve(curves: list[Curve]) -> Curve:
    """The mean over runs at the steps of the longest, for those that have no match of their own."""
    known = [curve for curve in curves if np.isfinite(curve.values).any()]
    if not known:
        return Curve(steps=curves[0].steps, values=np.full(len(curves[0].steps), np.nan))
    steps = max(known, key=lambda curve: int(curve.steps[-1])).steps
    values = [
        np.interp(steps, curve.steps[np.isfinite(curve.values)], curve.values[np.isfinite(curve.values)])
        for curve in known
    ]
    return Curve(steps=steps, values=np.mean(values, axis=0))
