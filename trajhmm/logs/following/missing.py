"""`Missing`: which values were due and are blank, row by row, as `missed_in_succession` tells it of whole runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.blanks import APART, FEWEST, MOST, MOST_KINDS, OFTEN, TOGETHER

# Rows with other columns that are known again: logs have a handful.
_FEW = 64
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


class Missing:
    """What is known of the columns of one run, so far.

    Parameters
    ----------
    watched : D names of metrics.
    """

    def __init__(self, watched: Sequence[str]) -> None:
        self._watched = tuple(watched)
        d = len(self._watched)
        self._names: list[str] = list(watched)
        self._place = {name: place for place, name in enumerate(watched)}
        self._rows = 0
        # By the rows in which it has stood so far, the kind of each of E columns: 0 where it has not.
        self._kind, self._n_kinds = np.zeros(d, dtype=np.int64), 0
        self._as_before: set[bytes] = set()  # rows that have told none of these apart
        self._first = np.full(d, np.nan)  # finite value of each of E columns
        self._changed = np.zeros(d, dtype=bool)
        self._rows_with = np.zeros(d, dtype=np.int64)
        self._begin = np.full(d, -1, dtype=np.int64)  # the first row of each metric, and the one behind its last
        self._end = np.zeros(d, dtype=np.int64)
        self._times = np.zeros(d, dtype=np.int64)
        self._streak = np.zeros(d, dtype=np.int64)
        self._at_begin, self._at_end, self._both = (np.zeros((d, d), dtype=np.int64) for _ in range(3))

    def take(self, names: Sequence[str], values: NDArray[np.float64], present: Bools) -> NDArray[np.int8]:
        """(n, D) rows in succession at which a value was due and is blank, of the next rows.

        Parameters
        ----------
        names : of E columns, clocks left out.
        values, present : (n, E) cells, and which are not blank.
        """
        columns = self._columns(names)
        missed = np.zeros((len(values), len(self._watched)), dtype=np.int8)
        stands = np.zeros((len(values), len(self._names)), dtype=bool)
        stands[:, columns] = present
        for rows in _stretches(stands, len(self._watched)):
            here = stands[rows.start]
            self._tell_apart(here)
            self._see(columns, values[rows])
            due = self._due(here)
            self._count(here, rows.stop - rows.start)
            if due.any():
                self._streak[due] += 1
                missed[rows.start, due] = np.minimum(self._streak[due], MOST)
        return missed

    def _columns(self, names: Sequence[str]) -> Ints:
        """Places of columns, new ones among them."""
        new = [name for name in names if name not in self._place]
        for name in new:
            self._place[name] = len(self._names)
            self._names.append(name)
        if new:
            self._as_before = set()
            n, d = len(new), len(self._watched)
            self._kind = np.concatenate([self._kind, np.zeros(n, dtype=np.int64)])
            self._first = np.concatenate([self._first, np.full(n, np.nan)])
            self._changed = np.concatenate([self._changed, np.zeros(n, dtype=bool)])
            self._rows_with = np.concatenate([self._rows_with, np.zeros(n, dtype=np.int64)])
            more = np.zeros((d, n), dtype=np.int64)
            self._at_begin, self._at_end, self._both = (
                np.hstack([counts, more]) for counts in (self._at_begin, self._at_end, self._both)
            )
        return np.array([self._place[name] for name in names], dtype=np.int64)

    def _tell_apart(self, stands: Bools) -> None:
        """Give columns of one kind of which some stand in the next row, and some do not, kinds of their own."""
        if (row := stands.tobytes()) in self._as_before:
            return
        standing, all_ = (np.bincount(kinds, minlength=self._n_kinds + 1) for kinds in (self._kind[stands], self._kind))
        parted = (standing > 0) & (standing < all_)
        parted[0] = standing[0] > 0
        if parted.any():
            other = np.where(parted, self._n_kinds + np.cumsum(parted), np.arange(self._n_kinds + 1))
            self._kind[stands] = other[self._kind[stands]]
            self._n_kinds += int(parted.sum())
            self._as_before = set()
        if len(self._as_before) < _FEW:
            self._as_before.add(row)

    def _see(self, columns: Ints, values: NDArray[np.float64]) -> None:
        finite = np.isfinite(values)
        first = values[np.argmax(finite, axis=0), np.arange(len(columns))]
        fresh = np.isnan(self._first[columns]) & finite.any(axis=0)
        self._first[columns[fresh]] = first[fresh]
        self._changed[columns] |= (finite & (values != self._first[columns])).any(axis=0)

    def _due(self, stands: Bools) -> Bools:
        """(D,) whether each metric is due in a row, of which it is known where something stands."""
        d = len(self._watched)
        blank = ~stands[:d] & (self._times > 0)
        if not blank.any() or self._n_kinds > MOST_KINDS:
            return np.zeros(d, dtype=bool)
        times, length = self._times[:, np.newaxis], self._end - self._begin
        within = self._at_end - self._at_begin
        together = stands & (within >= FEWEST) & (self._both >= TOGETHER * within) & (self._both >= OFTEN * times)
        goes_with = (together & self._changed).any(axis=1)
        nothing = (length >= FEWEST) & (self._times >= TOGETHER * length)
        nothing &= (~stands | (together & ~self._changed)).all(axis=1)
        apart = (stands & (self._both < APART * np.minimum(np.maximum(self._rows_with, 1), times))).any(axis=1)
        due: Bools = blank & (goes_with | nothing) & ~apart
        return due

    def _count(self, stands: Bools, n: int) -> None:
        """Count n rows in which the same columns stand."""
        here = stands[: len(self._watched)]
        fresh = here & (self._times == 0)
        self._begin[fresh] = self._rows
        self._at_begin[fresh] = self._rows_with
        self._rows += n
        self._rows_with += n * stands
        self._end[here] = self._rows
        self._at_end[here] = self._rows_with
        self._both[here] += n * stands
        self._times += n * here
        self._streak[here] = 0

    def widened(self, watched: Sequence[str]) -> Missing:
        """The same of more metrics that are watched, none of which has stood so far."""
        wide = Missing(watched)
        columns, rows = wide._columns(self._names), [wide._place[name] for name in self._watched]
        for names, places in ((_OF_COLUMNS, columns), (_OF_METRICS, rows), (_OF_BOTH, np.ix_(np.array(rows), columns))):
            for name in names:
                getattr(wide, f"_{name}")[places] = getattr(self, f"_{name}")
        wide._kind[columns], wide._first[columns] = self._kind, self._first
        wide._rows, wide._n_kinds = self._rows, self._n_kinds
        return wide

    def copy(self) -> Missing:
        """The same, to go on from by itself."""
        other = Missing(self._watched)
        other.__dict__.update(
            {name: value.copy() if hasattr(value, "copy") else value for name, value in vars(self).items()}
        )
        return other

    def to_dict(self) -> dict[str, Any]:
        """What a state file holds."""
        arrays = {name: getattr(self, f"_{name}").tolist() for name in _ARRAYS}
        first = [None if np.isnan(value) else value for value in self._first.tolist()]
        kind = self._kind.tolist()
        return {"names": self._names, "rows": self._rows, "first": first, "kind": kind, **arrays}

    @classmethod
    def of(cls, watched: Sequence[str], stored: Mapping[str, Any]) -> Missing:
        """Take what `to_dict` gave."""
        known = cls(watched)
        known._columns(stored["names"])
        known._rows = stored["rows"]
        known._first = np.array([np.nan if value is None else value for value in stored["first"]])
        for name in _ARRAYS:
            array = getattr(known, f"_{name}")
            setattr(known, f"_{name}", np.array(stored[name], dtype=array.dtype).reshape(array.shape))
        # Files of before have no kinds; what has stood so far is told apart from here on.
        kind = np.array(stored.get("kind", known._rows_with > 0), dtype=np.int64)
        known._kind = np.clip(kind.reshape(known._kind.shape), 0, len(kind))
        known._n_kinds = int(known._kind.max(initial=0))
        return known


def _stretches(stands: Bools, n_watched: int) -> Iterator[slice]:
    """Rows that can be counted at once: the same columns stand in them, all that are watched among them; else one."""
    begins = np.ones(len(stands), dtype=bool)
    begins[1:] = (stands[1:] != stands[:-1]).any(axis=1) | ~stands[1:, :n_watched].all(axis=1)
    yield from (slice(begin, end) for begin, end in pairwise([*np.flatnonzero(begins).tolist(), len(stands)]))


# What is kept of each of E columns, of D metrics that are watched, and of each of these beside each column.
_OF_COLUMNS = ("changed", "rows_with")
_OF_METRICS = ("begin", "end", "times", "streak")
_OF_BOTH = ("at_begin", "at_end", "both")
_ARRAYS = (*_OF_COLUMNS, *_OF_METRICS, *_OF_BOTH)
