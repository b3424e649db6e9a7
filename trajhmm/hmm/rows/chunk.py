"""`Chunk`: rows of whole runs, as the E-step takes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trajhmm.arrays import floats_of, offsets_of_rows


def run_begins(offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(N,) True at the first row of each run, from (R + 1,) row offsets."""
    marks = np.zeros(int(offsets[-1]) + 1, dtype=bool)
    marks[offsets] = True
    return marks[:-1]


def count_transitions(labels: NDArray[np.int64], begins: NDArray[np.bool_], n_states: int) -> NDArray[np.float64]:
    """(K, K) how often one of (N,) labels follows another within a run; (N,) ``begins`` from `run_begins`."""
    steps = (labels[:-1] * n_states + labels[1:])[~begins[1:]]
    counts = np.bincount(steps, minlength=n_states * n_states)
    return counts.reshape(n_states, n_states).astype(np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Rows of R whole runs, N in all, D metrics.

    Attributes
    ----------
    values : (N, D) float64, C-contiguous; NaN where a metric is missing.
    offsets : (R + 1,) int64, run r holds the rows ``offsets[r]:offsets[r + 1]``.
    first_run : number of its first run among all runs of the data.
    complete : True if no value is missing.

    Raises
    ------
    ArrayError
        An array is of another shape or type, or offsets are not those of so many rows.
    """

    values: NDArray[np.float64]
    offsets: NDArray[np.int64]
    first_run: int = 0
    complete: bool = True

    def __post_init__(self) -> None:
        values, offsets = floats_of("values", self.values, (None, None)), self.offsets
        checked = offsets_of_rows("offsets", offsets, len(values))
        if values is not self.values or checked is not offsets:
            object.__setattr__(self, "values", values)
            object.__setattr__(self, "offsets", checked)

    @classmethod
    def of(cls, values: NDArray[np.float64], offsets: NDArray[np.int64], *, first_run: int = 0) -> Chunk:
        """Make a chunk, and find out whether values are missing."""
        # A sum is NaN if a term is; it needs no temporary as large as the data.
        return cls(values=values, offsets=offsets, first_run=first_run, complete=not np.isnan(values.sum()))

    @property
    def n_runs(self) -> int:
        """Number of runs, R."""
        return len(self.offsets) - 1

    @property
    def n_rows(self) -> int:
        """Number of rows, N."""
        return int(self.offsets[-1] - self.offsets[0])

    def own(self, per_run: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of numbers for all runs of the data, those for the runs of this chunk."""
        return per_run[self.first_run : self.first_run + self.n_runs]

    def picked(self, wanted: NDArray[np.bool_]) -> Chunk:
        """The runs that (R,) ``wanted`` marks, as a chunk of its own, with copies of their rows."""
        if wanted.all():
            return self
        lengths = np.diff(self.offsets)
        values = np.ascontiguousarray(self.values[np.repeat(wanted, lengths)])
        return Chunk(values=values, offsets=np.concatenate(([0], np.cumsum(lengths[wanted]))), complete=self.complete)

    def runs(self, first: int, last: int) -> Chunk:
        """The runs ``first:last`` of this chunk as a chunk that shares their rows."""
        rows = slice(self.offsets[first], self.offsets[last])
        return Chunk(
            values=self.values[rows],
            offsets=self.offsets[first : last + 1] - self.offsets[first],
            first_run=self.first_run + first,
            complete=self.complete,
        )

    def stretches(self, weights: NDArray[np.float64], *, rows: int) -> Iterator[Chunk]:
        """Cut into chunks of at most ``rows`` rows, or one run each; runs of weight 0 are passed over.

        Parameters
        ----------
        weights : (R,) of the runs of this chunk.
        """
        ignored = np.flatnonzero(weights == 0)
        begin = 0
        while begin < self.n_runs:
            if weights[begin] == 0:
                begin += 1
                continue
            stop = int(ignored[np.searchsorted(ignored, begin)]) if begin < ignored.max(initial=-1) else self.n_runs
            fitting = int(np.searchsorted(self.offsets, self.offsets[begin] + rows, side="right")) - 1
            end = min(max(fitting, begin + 1), stop)
            yield self.runs(begin, end)
            begin = end
