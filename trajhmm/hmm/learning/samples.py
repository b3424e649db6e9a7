"""Some rows of some runs, for what would take too long on all: looking for where EM should start."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from trajhmm.hmm.rows.chunk import Chunk
from trajhmm.hmm.rows.source import Source, joined
from trajhmm.logs.runset import offsets_of

# Rows in all, and rows that a run should at least have among them: of very many runs only some are taken.
_ROWS = 6144
_ROWS_OF_A_RUN = 48


@dataclass(frozen=True, kw_only=True, eq=False)
class Sample:
    """Evenly spaced rows of some runs.

    Attributes
    ----------
    chunk : the rows, of S runs.
    runs : (S,) which of all runs of the data these are.
    every : one row in so many was taken.
    """

    chunk: Chunk
    runs: NDArray[np.int64]
    every: int


def take_sample(source: Source, weights: NDArray[np.float64]) -> Sample:
    """About 6,000 rows of the runs whose weight is not 0, a run's first row among them.

    Which runs and rows depends neither on the order of the runs nor on how a source cuts them into chunks: of more than
    128 runs those are taken whose rows have the least check sums.

    Parameters
    ----------
    weights : (R,) of all runs of the data.
    """
    used = np.flatnonzero(weights > 0)
    most = _ROWS // _ROWS_OF_A_RUN
    if len(used) > most:
        sums = np.concatenate(list(source.map(_check_sums)))[used]
        used = np.sort(used[np.argsort(sums, kind="stable")[:most]])
    taken = np.zeros(len(weights), dtype=bool)
    taken[used] = True
    every = max(1, -(-int(source.lengths[used].sum()) // _ROWS))
    parts = [part for part in source.map(partial(_rows, taken=taken, every=every)) if part.n_rows]
    return Sample(chunk=joined(parts), runs=used, every=every)


def _check_sums(chunk: Chunk) -> NDArray[np.int64]:
    """(R,) of all rows of each run: first rows may be the same in many runs, where these are taken from them."""
    return np.array(
        [crc32(chunk.values[begin:end].tobytes()) for begin, end in pairwise(chunk.offsets)],
        dtype=np.int64,
    )


def _rows(chunk: Chunk, taken: NDArray[np.bool_], every: int) -> Chunk:
    spans = zip(chunk.offsets[:-1], chunk.offsets[1:], chunk.own(taken.astype(np.float64)), strict=True)
    rows = [np.arange(begin, end, every) for begin, end, wanted in spans if wanted]
    kept = np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)
    sizes = np.array([len(run) for run in rows], dtype=np.int64)
    return Chunk.of(np.ascontiguousarray(chunk.values[kept]), offsets_of(sizes))
