"""The columns that a condition names, one run at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.features.sequences import carried_forward
from trajhmm.logs import Condition, RunSet
from trajhmm.naming import instead_of


def columns_by_run(runs: RunSet, condition: Condition) -> Iterator[tuple[str, slice, dict[str, NDArray[Any]]]]:
    """Yield each run's name, its rows and the columns that ``condition`` names, each as long as the run.

    A column is a metric, an attribute, ``step`` or ``run``. Metrics that are logged less often carry their last value.

    Raises
    ------
    AnalysisError
        The condition names a column that the logs do not have.
    """
    known = {*runs.metrics, *runs.attributes.columns, "step", "run"}
    for name in condition.columns:
        if name not in known:
            meant = instead_of(name, [*runs.metrics, *runs.attributes.columns])
            raise AnalysisError(f"condition {condition.text!r}: no column {name!r} in these logs{meant}")
    for index, (run, rows) in enumerate(runs.slices()):
        yield run, rows, {name: _column(runs, name, index, rows) for name in condition.columns}


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
