"""`Counts`: what is counted in the rows of some runs, so that they need not be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.blanks import Due, started_cells
from trajhmm.logs.assembly.evidence import changing_runs
from trajhmm.logs.assembly.rows import Rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Counts:
    """How often each of L columns of numbers stands in each of R runs, and whether it changes.

    Attributes
    ----------
    runs, lengths : R names, and (R,) int64 rows of each.
    columns : L names.
    changes : (R, L) bool, whether the column takes more than one finite value.
    stands : (R, L) int64, rows at which the column is not blank, without those of ``doubtful``.
    doubtful : where a blank may be an event: run to the different rows, (P, 2 L) bool, whether each column stands and
        whether it has stood by then; and to how many rows are like that, (P,) int64.
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    columns: tuple[str, ...]
    changes: NDArray[np.bool_]
    stands: NDArray[np.int64]
    doubtful: dict[int, tuple[NDArray[np.bool_], NDArray[np.int64]]]

    @classmethod
    def of(cls, rows: Rows) -> Counts:
        """Count in ``rows``."""
        stack, offsets = rows.stack, rows.offsets
        columns = tuple(stack.numbers)
        changes = [changing_runs(column, offsets) for column in stack.numbers.values()]
        stands = np.repeat(rows.lengths[:, np.newaxis], len(columns), axis=1)
        doubtful: dict[int, tuple[NDArray[np.bool_], NDArray[np.int64]]] = {}
        if stack.present:
            present = stack.logged(slice(None), columns)
            started = started_cells(present, offsets)
            told = np.array([table.blanks_are_blank for table in stack.tables])[stack.source]
            for r, (start, stop) in enumerate(pairwise(offsets)):
                sure = told[start:stop] | present[start:stop].all(axis=1)
                stands[r] = present[start:stop][sure].sum(axis=0)
                if not sure.all():
                    cells = np.hstack([present[start:stop], started[start:stop]])[~sure]
                    doubtful[r] = np.unique(cells, axis=0, return_counts=True)
        return cls(
            runs=rows.runs,
            lengths=rows.lengths,
            columns=columns,
            changes=np.stack(changes, axis=1),
            stands=stands,
            doubtful=doubtful,
        )

    def logged(self, metrics: Sequence[str], due: Due | None) -> NDArray[np.int64]:
        """(R, D) int64: rows at which each of ``metrics`` is logged, with the blanks that are events."""
        counts = self._at(self.stands, metrics)
        for r, (rows, times) in self.doubtful.items():
            present, started = (self._at(block, metrics) for block in np.hsplit(rows, 2))
            for d in range(len(metrics)):
                logged = present[:, d] if due is None else present[:, d] | (due.at(present, d) & started[:, d])
                counts[r, d] += times @ logged
        return counts

    def changing(self, metrics: Sequence[str]) -> NDArray[np.bool_]:
        """(R, D) bool: whether each of ``metrics`` changes."""
        return self._at(self.changes, metrics)

    def _at(self, block: NDArray[Any], metrics: Sequence[str]) -> NDArray[Any]:
        """(n, D): columns of an (n, L) block; zero or False for a metric that these runs lack."""
        found = np.zeros((len(block), len(metrics)), dtype=block.dtype)
        for d, metric in enumerate(metrics):
            if metric in self.columns:
                found[:, d] = block[:, self.columns.index(metric)]
        return found
