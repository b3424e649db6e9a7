"""`Moving`: which columns of logs that are followed are metrics, of those that nobody watches yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Moving:
    """What was in the first row of each run: a column is a metric's if it begins later, or comes to hold another value.

    What stands in the first row and never changes is an attribute, as in a finished log.

    Attributes
    ----------
    first : run to what its first row held, by column.
    """

    def __init__(self) -> None:
        self.first: dict[str, dict[str, float]] = {}

    def names(
        self, run: str, names: Sequence[str], values: NDArray[np.float64], present: NDArray[np.bool_]
    ) -> list[str]:
        """Names of columns of E that move in the next n rows of a run, n at least 1.

        Parameters
        ----------
        run : name.
        names : of E columns.
        values, present : (n, E) and which of them are not blank.
        """
        first = self.first.get(run)
        if first is None:
            first = {name: float(values[0, e]) for e, name in enumerate(names) if present[0, e]}
            self.first[run] = first
        return [name for e, name in enumerate(names) if _moves(values[present[:, e], e], first.get(name))]


def _moves(told: NDArray[np.float64], first: float | None) -> bool:
    return bool(len(told)) and (first is None or bool((told != first).any()))
