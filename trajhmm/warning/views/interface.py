"""What a view of a run is: one way of seeing that something is wrong, row by row and from the past alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """n rows of one run, as views see them.

    Attributes
    ----------
    scaled : (n, D) the last finite value of each metric, as they are compared; NaN before the first.
    fresh : (n, D) whether it was logged at that very row.
    moved : (n, D) innovations, see `trajhmm.features.innovations`.
    """

    scaled: Floats
    fresh: NDArray[np.bool_]
    moved: Floats

    def at(self, rows: NDArray[np.bool_] | slice) -> Rows:
        """Some of the rows."""
        return Rows(scaled=self.scaled[rows], fresh=self.fresh[rows], moved=self.moved[rows])


def stretches(steps: NDArray[np.int64]) -> list[slice]:
    """(n,) steps cut where they go back, so that they go on within a stretch."""
    if len(steps) == 1:  # as rows of a run that is followed come
        return [slice(0, 1)]
    cuts = [0, *(np.flatnonzero(np.diff(steps) < 0) + 1).tolist(), len(steps)]
    return [slice(first, stop) for first, stop in pairwise(cuts)] if len(steps) else []


def goes_back(steps: NDArray[np.int64], last: float) -> bool:
    """Whether rows begin before the step ``last`` of the row ahead of them; NaN if there is none."""
    return bool(len(steps) and steps[0] < last)


class View(ABC):
    """A score of each row; the higher, the less it is what healthy runs do.

    What is known of the rows before is kept in a vector of a few numbers, so that a run costs the same however long it
    is, and rows give the same scores to the last bit however they are dealt out.

    Attributes
    ----------
    name : in models, tables and alarms.
    """

    name: ClassVar[str]

    @abstractmethod
    def start(self) -> Floats:
        """What is known of a run before its first row: (M,) numbers."""

    @abstractmethod
    def begin_again(self, memory: Floats) -> None:
        """Forget in place what holds no longer where a run goes back to an earlier step, as a resumed one does."""

    @abstractmethod
    def scores(self, rows: Rows, memory: Floats) -> Floats:
        """(n,) finite scores; ``memory`` is moved on behind the last row, in place."""

    @abstractmethod
    def shares(self, rows: Rows, memory: Floats) -> Floats:
        """(n, D) what each metric adds to the score of each row; ``memory`` is moved on as by `scores`."""
