"""`Counts`: what is counted in the rows of some runs, so that they need not be kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.blanks import lost, missed_cells
from trajhmm.logs.assembly.clocks import UNKNOWN, paces
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
    paces : (R, L) int8, whether it goes as a clock does, see `trajhmm.logs.assembly.clocks.paces`.
    stands : (R, L) int64, rows at which the column is logged: it is not blank, or was lost.
    finite : (R, L) bool, whether it is ever finite.
    """

    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    columns: tuple[str, ...]
    changes: NDArray[np.bool_]
    paces: NDArray[np.int8]
    stands: NDArray[np.int64]
    finite: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Rows) -> Counts:
        """Count in ``rows``."""
        stack, offsets = rows.stack, rows.offsets
        columns = tuple(stack.numbers)
        changes = [changing_runs(column, offsets) for column in stack.numbers.values()]
        stands = np.repeat(rows.lengths[:, np.newaxis], len(columns), axis=1)
        missed = missed_cells(stack, offsets)
        for d, name in enumerate(columns):
            if name in stack.present:
                logged = (
                    stack.present[name] | lost(missed[name], stack.present[name], offsets)
                    if name in missed
                    else stack.present[name]
                )
                stands[:, d] = np.add.reduceat(logged.astype(np.int64), offsets[:-1])
        return cls(
            runs=rows.runs,
            lengths=rows.lengths,
            columns=columns,
            changes=np.stack(changes, axis=1),
            paces=np.stack([paces(column, rows.steps, offsets) for column in stack.numbers.values()], axis=1),
            stands=stands,
            finite=np.stack(
                [np.logical_or.reduceat(np.isfinite(column), offsets[:-1]) for column in stack.numbers.values()], axis=1
            ),
        )

    def logged(self, metrics: Sequence[str]) -> NDArray[np.int64]:
        """(R, D) int64: rows at which each of ``metrics`` is logged."""
        return self._at(self.stands, metrics)

    def known(self, metrics: Sequence[str]) -> NDArray[np.bool_]:
        """(R, D) bool: whether each of ``metrics`` is ever finite."""
        return self._at(self.finite, metrics)

    def changing(self, metrics: Sequence[str]) -> NDArray[np.bool_]:
        """(R, D) bool: whether each of ``metrics`` changes."""
        return self._at(self.changes, metrics)

    def going(self, metrics: Sequence[str]) -> NDArray[np.int8]:
        """(R, D) int8: how each of ``metrics`` goes; of one that these runs lack it is not known."""
        found = self._at(self.paces, metrics)
        there = frozenset(self.columns)
        found[:, [metric not in there for metric in metrics]] = UNKNOWN
        return found

    def _at(self, block: NDArray[Any], metrics: Sequence[str]) -> NDArray[Any]:
        """(n, D): columns of an (n, L) block; zero or False for a metric that these runs lack."""
        found = np.zeros((len(block), len(metrics)), dtype=block.dtype)
        places = {name: place for place, name in enumerate(self.columns)}
        for d, metric in enumerate(metrics):
            if metric in places:
                found[:, d] = block[:, places[metric]]
        return found
