"""What became of each run: collapse, recovery, area and end of its performance, beside those of its match."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import integrate

from trajhmm.dynamics.stability.audit.pairing import PERTURBED, PLAIN, Design
from trajhmm.errors import AnalysisError
from trajhmm.features.events import is_loss
from trajhmm.logs import RunSet
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
    ``back_step``, ``recovery_steps`` (to the end of the log where ``recovery_censored``), ``area_ratio``, ``final`` and
    ``final_ratio``; NaN where there is none.

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
    if performance not in runs.metrics:
        found = ", ".join(runs.metrics[:14])
        raise AnalysisError(f"no metric {performance!r} in these logs (found: {found}); name one with --performance")
    onsets = {str(run): int(onset) for run, onset in design.runs["onset"].items() if onset >= 0}
    truths = derive_truth(runs, collapse, sustained=sustained, onsets=onsets)
    sign = -1.0 if is_loss(performance) else 1.0
    curves = curves_of(runs, performance)
    means = {arm: _mean_curve([curves[str(run)] for run in some.index]) for arm, some in _healthy(design)}
    rows = []
    for run, what in design.runs.iterrows():
        curve, step = curves[str(run)], truths[str(run)].collapse_step
        row: dict[str, object] = {
            "collapsed": step is not None,
            "collapse_step": np.nan if step is None else step,
            "last_step": int(curve.steps[-1]),
            "final": final_of(curve),
        }
        if what["role"] == PERTURBED:
            matched = what["baseline"]
            beside = means.get(what["buffer"], means[PLAIN]) if not isinstance(matched, str) else curves[matched]
            recovery = recovery_of(curve, int(what["onset"]), sign=sign, mads=mads)
            row |= {
                "lag": np.nan if step is None else step - what["onset"],
                "area_ratio": area_ratio(curve, beside, int(what["onset"]), fill=0.0 if sign > 0 else np.nan),
                "final_ratio": _ratio(final_of(curve), final_of(beside)),
            }
            if recovery is not None:
                row |= {
                    "left_step": np.nan if recovery.left_step is None else recovery.left_step,
                    "back_step": np.nan if recovery.back_step is None else recovery.back_step,
                    "recovery_steps": recovery.time,
                    "recovery_censored": not recovery.observed,
                }
        rows.append(row)
    names = [
        "last_step",
        "collapsed",
        "collapse_step",
        "lag",
        "left_step",
        "back_step",
        "recovery_steps",
        "recovery_censored",
    ]
    names += ["area_ratio", "final", "final_ratio"]
    became = pd.DataFrame(rows, index=design.runs.index).reindex(columns=names)
    return pd.concat([design.runs, became], axis=1)


def curves_of(runs: RunSet, metric: str) -> dict[str, Curve]:
    """The rows of each run at which a metric is logged."""
    column = runs.metrics.index(metric)
    found = {}
    for run, rows in runs.slices():
        logged = runs.logged[rows, column]
        found[run] = Curve(steps=runs.steps[rows][logged], values=runs.values[rows, column][logged])
    return found


def recovery_of(curve: Curve, onset: int, *, sign: float = 1.0, mads: float = MADS) -> Recovery | None:
    """When performance is back within k MAD of its level before the onset, having left it.

    The level is the median of the 20 rows up to the onset, the spread their median absolute deviation, scaled to that
    of normal noise and at least 1% of the level. A run has left where two rows in a row lie more than k of it on the
    worse side, or are not finite, and is back at the first of five rows in a row that do not. One that never leaves
    needs no recovery, and counts with 0 steps; one that is not back when the log ends is censored there, whether it
    collapsed or not.

    Parameters
    ----------
    curve : performance.
    onset : step.
    sign : 1 where more is better, -1 where less is.
    mads : k.

    Returns
    -------
    None where fewer than five finite rows come before the onset, or none after it.
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
    NaN where the baseline ends first, its area is not positive, or fewer than two rows follow the onset.
    """
    known = np.isfinite(beside.values)
    after = curve.steps > onset
    steps = curve.steps[after].astype(np.float64)
    if len(steps) < 2 or known.sum() < 2 or beside.steps[-1] < steps[-1]:
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
    healthy = design.runs[(design.runs["role"] != PERTURBED) & (design.runs["buffer"] != PLAIN)]
    return [
        (PLAIN, design.baselines() if len(design.baselines()) else design.runs[design.runs["role"] != PERTURBED])
    ] + [(str(arm), some) for arm, some in healthy.groupby("buffer", sort=False)]


def _mean_curve(curves: list[Curve]) -> Curve:
    """The mean over runs at the steps of the first, for those that have no match of their own."""
    steps = curves[0].steps
    values = [
        np.interp(steps, curve.steps[np.isfinite(curve.values)], curve.values[np.isfinite(curve.values)])
        for curve in curves
        if np.isfinite(curve.values).any()
    ]
    return Curve(steps=steps, values=np.mean(values, axis=0) if values else np.full(len(steps), np.nan))
