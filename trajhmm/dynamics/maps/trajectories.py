"""`Trajectories`: what runs logged beside the states they were decoded to, for figures and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.runset import offsets_of


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectories:
    """Metrics and decoded states of R runs, N rows in all.

    Attributes
    ----------
    runs : R names.
    lengths : (R,) rows of each run.
    steps : (N,) training steps.
    metrics : D names.
    values : (N, D) metrics as logged, not scaled.
    path : (N,) decoded state of each row.
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    steps: NDArray[np.int64]
    metrics: tuple[str, ...]
    values: NDArray[np.float64]
    path: NDArray[np.int64]

    def slices(self) -> Iterator[tuple[str, slice]]:
        """Yield each run's name with the slice of its rows."""
        offsets = offsets_of(self.lengths).tolist()
        for run, start, stop in zip(self.runs, offsets, offsets[1:], strict=False):
            yield run, slice(start, stop)
