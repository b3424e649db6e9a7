"""When each run converges: the first row at which a condition holds; runs for which it never does are censored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.features import columns_by_run
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
    )
