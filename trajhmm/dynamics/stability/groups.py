"""Runs that share the values of some attributes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import AnalysisError
from trajhmm.logs import RunSet
from trajhmm.naming import instead_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Runs with the same attributes.

    Attributes
    ----------
    values : the attributes that they share, by name.
    runs : (G,) int64, their numbers in the run set.
    """

    values: Mapping[str, Any]
    runs: NDArray[np.int64]

    def __str__(self) -> str:
        return ", ".join(f"{name} {_told(value)}" for name, value in self.values.items()) or "all runs"


def groups_of(runs: RunSet, by: Sequence[str] = ()) -> tuple[Group, ...]:
    """The runs by the values of attributes, in their order; all in one group without attributes.

    Raises
    ------
    AnalysisError
        The runs have no such attribute.
    """
    for name in by:
        if name not in runs.attribute_names:
            why = "is a metric: it changes within a run" if name in runs.metrics else "is no column"
            raise AnalysisError(
                f"{name!r} {why}; expected a column that is constant within each run"
                f"{instead_of(name, runs.attribute_names)}"
            )
    everything = np.arange(runs.n_runs, dtype=np.int64)
    if not by:
        return (Group(values={}, runs=everything),)
    numbered = runs.attributes.reset_index(drop=True)
    return tuple(
        Group(values=dict(zip(by, values, strict=True)), runs=members.index.to_numpy(dtype=np.int64))
        for values, members in numbered.groupby(list(by), dropna=False)
    )


def _told(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
