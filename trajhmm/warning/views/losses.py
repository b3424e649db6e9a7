"""What the losses alone say, each against its own past."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled
from trajhmm.features import innovations
from trajhmm.features.innovations import FARTHEST, NORMAL, SETTLED
from trajhmm.features.levels import LEAST_SIZE
from trajhmm.stored import Stored
from trajhmm.warning.views.interface import Floats, Rows, View
from trajhmm.warning.views.phases import BURN_IN

# Rows of its own past that a loss is compared with for its cumulative sum.
_SPAN = 200.0
# Spreads that a loss may be above its own mean at each row before that adds up; and the most that one row counts.
_SLACK, _MOST = 1.0, 8.0
# Rows that tell where a loss is, how noisy it is, and where it began.
_RECENT, _NOISE, _BEGINNING = 10.0, 60.0, 5
# Noises below its beginning from which on a loss has fallen; and the most that one row counts for the noise.
_FALLEN, _CLIPPED = 5.0, 4.0
# Least noise, in the least spreads of an innovation.
_FLOORS = 10.0


class OfLosses(View):
    """A view of single metrics: the largest score counts.

    Parameters
    ----------
    columns : which of the D metrics are losses.
    floors : (D,) least spread of each metric.
    """

    kept: ClassVar[int]

    def __init__(self, columns: NDArray[np.int64], floors: Floats) -> None:
        self.columns = columns
        self.floors = floors
        self._own_floors = floors[columns]

    @property
    def n_metrics(self) -> int:
        """D, of all metrics."""
        return len(self.floors)

    def start(self) -> Floats:
        """Nothing is known of any loss."""
        return np.zeros(len(self.columns) * self.kept)

    def scores(self, rows: Rows, memory: Floats) -> Floats:
        """(n,) largest score of a loss."""
        largest: Floats = self._each(rows, memory).max(axis=1)
        return largest

    def shares(self, rows: Rows, memory: Floats) -> Floats:
        """(n, D) score of each loss, 0 for other metrics."""
        shares = np.zeros(rows.scaled.shape)
        shares[:, self.columns] = np.maximum(self._each(rows, memory), 0.0)
        return shares

    def _each(self, rows: Rows, memory: Floats) -> Floats:
        """(n, L) score of each loss."""
        values = np.ascontiguousarray(rows.scaled[:, self.columns])
        fresh = np.ascontiguousarray(rows.fresh[:, self.columns])
        known = memory.reshape(len(self.columns), self.kept)
        each = np.empty(values.shape)
        self._fill(values, fresh, known, each)
        return each

    def _fill(self, values: Floats, fresh: NDArray[np.bool_], known: Floats, each: Floats) -> None:
        raise NotImplementedError

    def to_dict(self) -> dict[str, Any]:
        """What a model file holds."""
        return {"name": self.name, "columns": self.columns.tolist(), "floors": self.floors.tolist()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """What `to_dict` gave.

        Raises
        ------
        StoredError
            A part is missing, or not what it must be.
        """
        piece = Stored(stored, cls.name)
        piece.members(known=("name", "columns", "floors"))
        floors = piece["floors"].array((None,), LEAST_SIZE, 1.0 / LEAST_SIZE)
        columns = [column.whole(0, len(floors) - 1) for column in piece["columns"].items()]
        if not columns or len(set(columns)) < len(columns):
            raise piece["columns"].error("some metrics, each once")
        return cls(np.array(columns, dtype=np.int64), floors)


class LossSum(OfLosses):
    """CUSUM (Page 1954), upwards, of each loss against its own last 200 rows, with a slack of one spread."""

    name: ClassVar[str] = "loss sum"
    kept: ClassVar[int] = innovations.MEMORY + 1

    def begin_again(self, memory: Floats) -> None:
        """The loss is where it is now, its spread as it was, and its sum nothing."""
        known = memory.reshape(len(self.columns), self.kept)
        innovations.begin_again(known)
        known[:, -1] = 0.0

    def _fill(self, values: Floats, fresh: NDArray[np.bool_], known: Floats, each: Floats) -> None:
        past = np.ascontiguousarray(known[:, :-1])
        seen, sums = past[:, 0].copy(), known[:, -1].copy()
        moved = np.empty(values.shape)
        innovations.advance(values, fresh, self._own_floors, _SPAN, past, moved)
        _add_up(moved, fresh, seen, sums, each)
        known[:, :-1], known[:, -1] = past, sums


class LossRise(OfLosses):
    """How far each loss is above the best it has been, in its own noise; 0 for one that never fell.

    Where it is, is the exponential average of its last ten rows; its noise is the mean deviation of the last sixty from
    that average, each counted as four times the noise at most. A loss counts from when it has once been five times its
    noise below where it began: one that rises from the start, as that of a policy does, tells nothing by rising.
    """

    name: ClassVar[str] = "loss rise"
    kept: ClassVar[int] = 7
    # The most noises that a row moves the average by.
    farthest: ClassVar[float] = 1e300

    def begin_again(self, memory: Floats) -> None:
        """The loss is at its best where it is now, and its noise as it was."""
        known = memory.reshape(len(self.columns), self.kept)
        known[known[:, 0] > 0.0, 1] = np.nan
        known[:, 4] = np.inf
        known[:, 6] = 0.0

    def usual(self, memory: Floats, limit: float) -> Floats:
        """(L, 2) ``limit`` noises about the best of each loss, as it is compared; NaN until it has fallen.

        One that is above 0 at its best is not said to go below.
        """
        _, _, noise, _, best, fallen, _ = memory.reshape(len(self.columns), self.kept).T
        reach = limit * (noise + _FLOORS * self._own_floors)
        around: Floats = best[:, np.newaxis] + reach[:, np.newaxis] * np.array([-1.0, 1.0])
        around[:, 0] = np.where(best > 0.0, np.maximum(around[:, 0], 0.0), around[:, 0])
        around[(fallen == 0.0) | ~np.isfinite(best)] = np.nan
        return around

    def _fill(self, values: Floats, fresh: NDArray[np.bool_], known: Floats, each: Floats) -> None:
        _risen(values, fresh, _FLOORS * self._own_floors, self.farthest, known, each)


@takes(moved="N L", fresh="bool N L", seen="L", sums="L filled", each="N L filled")
@compiled
def _add_up(moved: Floats, fresh: NDArray[np.bool_], seen: Floats, sums: Floats, each: Floats) -> None:
    for d in range(moved.shape[1]):
        total, rows = sums[d], seen[d]
        for t in range(len(moved)):
            if fresh[t, d]:
                if rows >= SETTLED:
                    total = max(0.0, total + min(moved[t, d], _MOST) - _SLACK)
                rows += 1.0
            each[t, d] = total
        sums[d] = total


@takes(values="N L", fresh="bool N L", floors="L", farthest=(0.0, 1e300), known="L 7 filled", each="N L filled")
@compiled
def _risen(
    values: Floats, fresh: NDArray[np.bool_], floors: Floats, farthest: float, known: Floats, each: Floats
) -> None:
    for d in range(values.shape[1]):
        rows, recent, noise, first, best, fallen, last = known[d]
        for t in range(len(values)):
            if fresh[t, d]:
                value = values[t, d]
                if rows == 0.0 or np.isnan(recent):
                    recent = value
                else:
                    away = abs(value - recent)
                    if rows >= BURN_IN:
                        away = min(away, _CLIPPED * noise)
                    noise += max(2.0 / (_NOISE + 1.0), 1.0 / (rows + 1.0)) * (NORMAL * away - noise)
                step = value - recent
                if rows >= BURN_IN:
                    most = farthest * (noise + floors[d])
                    step = min(max(step, -most), most)
                recent += max(2.0 / (_RECENT + 1.0), 1.0 / (rows + 1.0)) * step
                if rows < _BEGINNING:
                    first = recent
                rows += 1.0
                if rows > BURN_IN:
                    best = recent if rows == BURN_IN + 1.0 else min(best, recent)
                    size = noise + floors[d]
                    if first - best >= _FALLEN * size:
                        fallen = 1.0
                    last = min((recent - best) / size, FARTHEST) if fallen else 0.0
            each[t, d] = last
        known[d, 0], known[d, 1], known[d, 2], known[d, 3] = rows, recent, noise, first
        known[d, 4], known[d, 5], known[d, 6] = best, fallen, last
