"""When each run converges: the first row at which a condition holds; runs for which it never does are censored."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import columns_by_run
from trajhmm.logs import Condition, RunSet, parse_condition
from trajhmm.naming import shown

# A metric and the bound that it has to pass.
_BOUND = re.compile(r"\s*(?P<name>[A-Za-z_][\w./-]*)\s*(?P<sign>>=?|<=?)\s*[-+]?[\d.]+(?:[eE][-+]?\d+)?\s*")


@dataclass(frozen=True, kw_only=True, eq=False)
class Convergence:
    """Convergence times of R runs.

    Attributes
    ----------
    condition : what has to hold.
    runs : R names.
    steps : (R,) int64, the step at which the condition first held, or the last step logged: censored there.
    converged : (R,) bool.
    unmet : where no run meets the condition, what the logs hold instead, and which one some would meet; else empty.
    """

    condition: str
    runs: tuple[str, ...]
    steps: NDArray[np.int64]
    converged: NDArray[np.bool_]
    unmet: str = ""


def convergence_of(runs: RunSet, condition: str, *, only: Iterable[str] | None = None) -> Convergence:
    """Find when each run first meets ``condition``.

    Metrics that are logged less often carry their last value; a row with a blank or non-finite value does not meet a
    condition on it.

    Parameters
    ----------
    runs : the logs.
    condition : on any column: metrics, attributes, ``step`` or ``run``.
    only : names of runs to look at, in the order of the logs; by default all.

    Raises
    ------
    AnalysisError
        The condition names a column that the logs do not have.
    ConditionError
        It does not parse.
    """
    parsed = parse_condition(condition)
    wanted = set(runs.runs if only is None else only)
    names, steps, converged = [], [], []
    for run, rows, columns in columns_by_run(runs, parsed):
        if run not in wanted:
            continue
        met = np.flatnonzero(parsed.evaluate(columns))
        names.append(run)
        steps.append(runs.steps[rows][met[0] if len(met) else -1])
        converged.append(bool(len(met)))
    return Convergence(
        condition=condition,
        runs=tuple(names),
        steps=np.array(steps, dtype=np.int64),
        converged=np.array(converged, dtype=bool),
        unmet="" if any(converged) or not names else _instead(runs, parsed, names),
    )


def _instead(runs: RunSet, condition: Condition, names: Sequence[str]) -> str:
    """What these runs hold of the metrics that a condition names, and which condition half of them would meet."""
    few = runs.select_runs(names)
    told = []
    for name in condition.columns:
        values = few.column(name) if name in few.metrics else np.empty(0)
        finite = values[np.isfinite(values)]
        if len(finite):
            told.append(f"{shown(name)} lies between {finite.min():.4g} and {finite.max():.4g} in these runs")
        elif name in few.metrics:
            told.append(f"{shown(name)} is never a number in these runs")
    easier = _easier(few, condition.text)
    if easier:
        told.append(easier)
    return "; ".join(told) or "check the names and the values in the condition"


def _easier(runs: RunSet, text: str) -> str:
    """For a metric and one bound: the bound, in two digits, that half of the runs or more reach."""
    found = _BOUND.fullmatch(text)
    if found is None or found["name"] not in runs.metrics:
        return ""
    sign = 1.0 if found["sign"].startswith(">") else -1.0
    values = sign * np.where(np.isfinite(column := runs.column(found["name"])), column, np.nan)
    best = np.array([np.fmax.reduce(values[rows]) for _, rows in runs.slices()])
    best = np.sort(best[np.isfinite(best)])
    if not len(best):
        return ""
    half = float(best[(len(best) - 1) // 2])
    unit = 10.0 ** (math.floor(math.log10(abs(half))) - 1) if half else 1.0
    bound = sign * (math.ceil(half / unit) - 1) * unit
    name, met = found["name"], int((best > sign * bound).sum())
    return f"{met} of {runs.n_runs} would meet --converged '{name} {found['sign']} {bound:.6g}'"
