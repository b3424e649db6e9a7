"""When each run converges: the first row at which a condition holds; runs for which it never does are censored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.features import carried_forward
from trajhmm.logs import RunSet, parse_condition


@dataclass(frozen=True, kw_only=True, eq=False)
class Convergence:
    """Convergence times of R runs.

    Attributes
    ----------
    condition : what has to hold.
    runs : R names.
    steps : (R,) int64, the step at which the condition first held, or the last step logged: censored there.
    converged : (R,) bool.
    """

    condition: str
    runs: tuple[str, ...]
    steps: NDArray[np.int64]
    converged: NDArray[np.bool_]


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
    known = {*runs.metrics, *runs.attributes.columns, "step", "run"}
    for name in parsed.columns:
        if name not in known:
            found = ", ".join([*runs.metrics, *runs.attributes.columns][:14])
            raise AnalysisError(f"condition {condition!r}: no column {name!r} in these logs (found: {found})")
    wanted = set(runs.runs if only is None else only)
    names, steps, converged = [], [], []
    for index, (run, rows) in enumerate(runs.slices()):
        if run not in wanted:
            continue
        met = np.flatnonzero(parsed.evaluate({name: _column(runs, name, index, rows) for name in parsed.columns}))
        names.append(run)
        steps.append(runs.steps[rows][met[0] if len(met) else -1])
        converged.append(bool(len(met)))
    return Convergence(
        condition=condition,
        runs=tuple(names),
        steps=np.array(steps, dtype=np.int64),
        converged=np.array(converged, dtype=bool),
    )


def _column(runs: RunSet, name: str, index: int, rows: slice) -> NDArray[np.float64] | NDArray[np.object_]:
    if name in runs.metrics:
        column = runs.metrics.index(name)
        block = slice(column, column + 1)
        return carried_forward(runs.values[rows, block], runs.logged[rows, block])[:, 0]
    if name == "step":
        return runs.steps[rows].astype(np.float64)
    value = runs.runs[index] if name == "run" else runs.attributes[name].iloc[index]
    size = rows.stop - rows.start
    if value is None or isinstance(value, str):
        return np.full(size, value, dtype=object)
    return np.full(size, value, dtype=np.float64)
