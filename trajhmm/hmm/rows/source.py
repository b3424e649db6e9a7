"""Where the rows of a fit come from: one interface, whether they are in memory, on disk or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from trajhmm.features.spread import Spread, spread_about_runs
from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.logs.runset import offsets_of

Result = TypeVar("Result")


class Source(Protocol):
    """Rows of R runs over D metrics, in chunks.

    Attributes
    ----------
    lengths : (R,) int64, rows of each run.
    n_metrics : D.
    one_pass : True if a pass over the rows is dear, so that all fits should share it; False if each fit may make its
        own, side by side.
    """

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(R,) rows of each run."""

    @property
    def n_metrics(self) -> int:
        """Number of metrics, D."""

    @property
    def one_pass(self) -> bool:
        """Whether all fits should share a pass over the rows."""

    def map(self, function: Callable[[Chunk], Result]) -> Iterator[Result]:
        """``function`` of each chunk, in order; it may be sent to another process."""


@dataclass(frozen=True, kw_only=True, eq=False)
class InMemory:
    """One chunk that holds all rows."""

    chunk: Chunk
    one_pass: bool = False

    @classmethod
    def of(cls, values: NDArray[np.float64], offsets: NDArray[np.int64]) -> InMemory:
        """All rows as they are: (N, D) values and (R + 1,) offsets of the runs."""
        return cls(chunk=Chunk.of(values, offsets))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(R,) rows of each run."""
        return np.diff(self.chunk.offsets)

    @property
    def n_metrics(self) -> int:
        """Number of metrics, D."""
        return int(self.chunk.values.shape[1])

    def map(self, function: Callable[[Chunk], Result]) -> Iterator[Result]:
        """``function`` of the one chunk."""
        yield function(self.chunk)


def spread_of(chunk: Chunk, weights: NDArray[np.float64]) -> Spread:
    """Mean and variance over a chunk; ``weights`` (R,) of all runs of the data."""
    d = chunk.values.shape[1]
    total = Spread(mass=np.zeros(d), mean=np.zeros(d), squares=np.zeros(d))
    own = chunk.own(weights)
    for stretch in chunk.stretches(own, rows=8192):
        first = stretch.first_run - chunk.first_run
        rows = np.repeat(own[first : first + stretch.n_runs], np.diff(stretch.offsets))[:, np.newaxis]
        there = ~np.isnan(stretch.values)
        mass = (rows * there).sum(axis=0)
        filled = np.where(there, stretch.values, 0.0)
        # Scaled first, so that a sum of finite values is finite.
        mean = np.divide(
            (rows * (filled / max(len(filled), 1))).sum(axis=0) * len(filled), mass, out=np.zeros(d), where=mass > 0
        )
        squares = (rows * np.where(there, stretch.values - mean, 0.0) ** 2).sum(axis=0)
        total = total + Spread(mass=mass, mean=mean, squares=squares)
    return total


def spread_within(chunk: Chunk, weights: NDArray[np.float64]) -> Spread:
    """Variance about each run's own mean over a chunk; ``weights`` (R,) of all runs of the data."""
    return spread_about_runs(chunk.values, np.diff(chunk.offsets), chunk.own(weights))


def sample_of(chunk: Chunk, weights: NDArray[np.float64], every: int) -> Chunk:
    """About one in ``every`` rows of each run whose weight is not 0, evenly spaced, as a chunk of its own.

    Where in a run the first one stands is told by the run's own values: so what is sampled depends neither on the order
    of the runs nor on how they are cut into chunks.

    Parameters
    ----------
    weights : (R,) of all runs of the data.
    """
    rows = [
        np.arange(begin + crc32(chunk.values[begin].tobytes()) % every, end, every)
        for begin, end, weight in zip(chunk.offsets[:-1], chunk.offsets[1:], chunk.own(weights), strict=True)
        if weight > 0
    ]
    rows = [run for run in rows if len(run)]
    keep = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    return Chunk.of(chunk.values[keep], offsets_of(np.array([len(run) for run in rows], dtype=np.int64)))


def joined(chunks: list[Chunk]) -> Chunk:
    """One chunk of the rows of all."""
    sizes = np.concatenate([np.diff(chunk.offsets) for chunk in chunks])
    return Chunk.of(np.concatenate([chunk.values for chunk in chunks]), offsets_of(sizes))
