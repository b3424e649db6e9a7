"""What tells metrics from attributes: which columns change within a run, over the rows of any number of runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.columns import ColumnsSeen
from trajhmm.logs.assembly.rows import Rows
from trajhmm.logs.formats.table import Text


@dataclass(frozen=True, kw_only=True)
class ColumnEvidence:
    """What is true of one column over a set of whole runs.

    Attributes
    ----------
    stands : some cell is not blank.
    finite : some cell holds a finite number, or text.
    complete : every cell holds a finite number.
    events : some cell is not blank and not finite.
    changes : within some run there is more than one finite number, or more than one text.
    whole : the runs begin with whole numbers, all of them.
    closing : it stands in no row but the last of a run that has more.
    """

    stands: bool = False
    finite: bool = False
    complete: bool = False
    events: bool = False
    changes: bool = False
    whole: bool = False
    closing: bool = False

    @property
    def constant(self) -> bool:
        """Whether each run has but one value, if any, and some run has one."""
        return self.finite and not self.events and not self.changes

    @classmethod
    def joined(cls, several: Iterable[ColumnEvidence]) -> ColumnEvidence:
        """What is true over several sets of runs."""
        several = list(several)
        return cls(
            stands=any(one.stands for one in several),
            finite=any(one.finite for one in several),
            complete=all(one.complete for one in several),
            events=any(one.events for one in several),
            changes=any(one.changes for one in several),
            whole=all(one.whole for one in several),
            closing=any(one.closing for one in several) and all(one.closing or not one.stands for one in several),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What tells the columns of some tables apart; what several sets of whole runs give can be joined.

    Attributes
    ----------
    seen : what the tables hold.
    n_runs : how many runs were looked at; ``several``: some of them has more than one row.
    numbers, texts : what is true of each column.
    """

    seen: ColumnsSeen
    n_runs: int = 0
    several: bool = False
    numbers: dict[str, ColumnEvidence] = field(default_factory=dict)
    texts: dict[str, ColumnEvidence] = field(default_factory=dict)

    @classmethod
    def of(cls, rows: Rows, seen: ColumnsSeen) -> Evidence:
        """Look at all columns of ``rows``."""
        names = tuple(rows.stack.numbers)
        return cls(
            seen=seen,
            n_runs=len(rows.runs),
            several=bool((rows.lengths > 1).any()),
            numbers={name: _of_numbers(rows, name) for name in names},
            texts={name: _of_text(text, rows.offsets) for name, text in rows.stack.texts.items()},
        )

    @classmethod
    def joined(cls, several: Sequence[Evidence]) -> Evidence:
        """The evidence of several sets of runs; numbers in one may be text in another."""
        blank = ColumnEvidence()
        looked = [one for one in several if one.n_runs]
        numbers = dict.fromkeys(name for one in looked for name in one.numbers)
        texts = dict.fromkeys(name for one in looked for name in (*one.texts, *one.numbers))
        return cls(
            seen=ColumnsSeen.joined(one.seen for one in several),
            n_runs=sum(one.n_runs for one in looked),
            several=any(one.several for one in looked),
            numbers={name: ColumnEvidence.joined(one.numbers.get(name, blank) for one in looked) for name in numbers},
            texts={
                name: ColumnEvidence.joined(
                    held.get(name, blank) for one in looked for held in (one.numbers, one.texts)
                )
                for name in texts
            },
        )

    def of_numbers(self, name: str) -> ColumnEvidence:
        """What is true of a column of numbers."""
        return self.numbers.get(name, ColumnEvidence())

    def of_text(self, name: str) -> ColumnEvidence:
        """What is true of a column of text, which may hold numbers in some tables."""
        return self.texts.get(name, ColumnEvidence())


def changing_runs(column: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(R,) bool: whether an (N,) column takes more than one finite value within each run."""
    first, last = column[offsets[:-1]], column[offsets[1:] - 1]
    changing: NDArray[np.bool_] = np.isfinite(first) & np.isfinite(last) & (first != last)
    # Metrics seldom end where they began: the few runs that do are looked at row by row.
    if not changing.all():
        rest = np.flatnonzero(~changing)
        lengths = np.diff(offsets)
        cells = column if len(rest) == len(changing) else column[np.repeat(~changing, lengths)]
        starts = np.concatenate(([0], np.cumsum(lengths[rest])))[:-1]
        finite = np.isfinite(cells)
        low = np.minimum.reduceat(np.where(finite, cells, np.inf), starts)
        high = np.maximum.reduceat(np.where(finite, cells, -np.inf), starts)
        changing[rest] = low < high
    return changing


def value_of_runs(column: NDArray[np.float64], offsets: NDArray[np.int64]) -> NDArray[np.float64]:
    """(R,) the value that an (N,) column has within each run, which must not change there; NaN where it is blank."""
    values = column[offsets[:-1]]
    if not np.isfinite(values).all():
        values = np.fmin.reduceat(column, offsets[:-1])
    return values


def codes_of_runs(text: Text, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """(R,) the code that a text column has within each run, -1 where it is blank."""
    codes: NDArray[np.int64] = np.maximum.reduceat(text.codes, offsets[:-1])
    return codes


def are_whole(values: NDArray[np.float64]) -> bool:
    """Whether all values are whole numbers that a float holds exactly."""
    return bool(np.isfinite(values).all() and (values == np.floor(values)).all() and (np.abs(values) < 2**53).all())


def _of_numbers(rows: Rows, name: str) -> ColumnEvidence:
    column, offsets = rows.stack.numbers[name], rows.offsets
    logged = column[rows.stack.present[name]] if name in rows.stack.present else column
    finite = np.isfinite(logged)
    changes = bool(changing_runs(column, offsets).any())
    return ColumnEvidence(
        stands=len(logged) > 0,
        finite=bool(finite.any()),
        complete=len(logged) == len(column) and bool(finite.all()),
        events=not finite.all(),
        changes=changes,
        whole=not changes and are_whole(value_of_runs(column, offsets)),
        closing=_is_closing(rows, name),
    )


def _is_closing(rows: Rows, name: str) -> bool:
    if name not in rows.stack.present:
        return False
    stands = rows.stack.present[name].copy()
    last = rows.offsets[1:][rows.lengths > 1] - 1
    told = stands[last].any()
    stands[last] = False
    return bool(told and not stands.any())


def _of_text(text: Text, offsets: NDArray[np.int64]) -> ColumnEvidence:
    high = codes_of_runs(text, offsets)
    low = np.minimum.reduceat(np.where(text.codes < 0, len(text.words), text.codes), offsets[:-1])
    stands = bool((high >= 0).any())
    return ColumnEvidence(stands=stands, finite=stands, changes=bool((low < high).any()))
