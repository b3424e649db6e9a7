"""How much all metrics move against their own past."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.averages import exponential_average
from trajhmm.warning.views.interface import Floats, Rows, View

_SPAN = 5.0


class Movement(View):
    """Mean squared innovation of the metrics, squeezed by the inverse hyperbolic sine, of the last five rows.

    Metrics that a run has not logged yet do not count. Losses, which have views of their own, count as still.

    Parameters
    ----------
    losses : columns of the metrics that are.
    """

    name: ClassVar[str] = "movement"

    def __init__(self, losses: NDArray[np.int64]) -> None:
        self.losses = losses

    def start(self) -> Floats:
        """The average; NaN before the first row."""
        return np.array([np.nan])

    def begin_again(self, memory: Floats) -> None:
        """The average begins anew."""
        memory[0] = np.nan

    def scores(self, rows: Rows, memory: Floats) -> Floats:
        """(n,) in squared spreads while they are small, in squares of their logarithm beyond."""
        known = ~np.isnan(rows.scaled)
        squares = self._squares(rows, known)
        total = np.zeros(len(squares))
        for column in squares.T:  # one after the other, so that a row's sum does not depend on how many there are
            total += column
        averages = exponential_average(total / np.maximum(known.sum(axis=1), 1), _SPAN, memory[0])
        if len(averages):
            memory[0] = averages[-1]
        return averages

    def shares(self, rows: Rows, memory: Floats) -> Floats:
        """(n, D) squeezed squared innovation of each metric over their number."""
        self.scores(rows, memory)
        known = ~np.isnan(rows.scaled)
        shares = self._squares(rows, known)
        shares /= np.maximum(known.sum(axis=1, keepdims=True), 1)
        return shares

    def _squares(self, rows: Rows, known: NDArray[np.bool_]) -> Floats:
        squares: Floats = np.where(known, np.arcsinh(rows.moved) ** 2, 0.0)
        squares[:, self.losses] = 0.0
        return squares
