"""How far each metric is from its own last rows, in its own spread: what a run's past alone can say."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import takes
from trajhmm.compiled import compiled

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# What is kept of a metric: rows that its mean rests on, its mean, its spread, its last innovation, and rows that its
# spread rests on.
MEMORY = 5
# Rows before a metric has a spread, and before an odd one counts as no more than so many spreads.
FIRST, SETTLED, _CLIPPED = 5, 10, 4.0
# From a mean absolute deviation to the standard deviation of a normal.
NORMAL = np.sqrt(np.pi / 2)
# More spreads than this are all the same; with them, everything downstream stays finite.
FARTHEST = 1e6


@takes(values="N D", fresh="bool N D", floors="D", memory="D 5 filled", innovations="N D filled")
@compiled
def advance(values: Floats, fresh: Bools, floors: Floats, span: float, memory: Floats, innovations: Floats) -> None:
    """Take in rows of a run, in place.

    Mean and spread are exponential averages over the last rows at which the metric was logged, those before a row when
    it is compared; at first over all of them. A row counts for the averages as four spreads at most, so that one wild
    value does not hide the next. A row at which a metric is not logged repeats its last innovation.

    Parameters
    ----------
    values : (n, D) as they are compared: logarithms where a metric is positive.
    fresh : (n, D) whether a finite value was logged at that very row.
    floors : (D,) least spread.
    span : rows; an average with equal weights over so many is as old.
    memory : (D, 5) what is known of the rows before, zeros at first; left as that behind the last. See `begin_again`.
    innovations : (n, D) filled, in spreads; 0 while there is no spread.
    """
    n_rows, n_metrics = values.shape
    for d in range(n_metrics):
        known, mean, spread, last, told = memory[d]
        for t in range(n_rows):
            if fresh[t, d]:
                value = values[t, d]
                if known == 0.0:
                    mean = value
                away = value - mean
                size = spread + floors[d]
                last = min(max(away / size, -FARTHEST), FARTHEST) if known >= FIRST else 0.0
                if known >= SETTLED:
                    away = min(max(away, -_CLIPPED * size), _CLIPPED * size)
                if known > 0.0 or told == 0.0:
                    spread += max(2.0 / (span + 1.0), 1.0 / (told + 1.0)) * (NORMAL * abs(away) - spread)
                    told += 1.0
                mean += max(2.0 / (span + 1.0), 1.0 / (known + 1.0)) * away
                known += 1.0
            innovations[t, d] = last
        memory[d, 0], memory[d, 1], memory[d, 2], memory[d, 3], memory[d, 4] = known, mean, spread, last, told


def begin_again(memory: Floats) -> None:
    """Forget in place where metrics were, but not how they spread: a run went back to where it had been before."""
    memory[:, 0] = 0.0
    memory[:, 3] = 0.0
