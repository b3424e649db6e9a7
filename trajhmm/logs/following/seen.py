"""What is known of a log file that is followed: when it was read, how far, and which rows of which run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.columns import ColumnsSeen, Kinds
from trajhmm.logs.following.marks import SIZE, Marks
from trajhmm.logs.formats.lines import Place
from trajhmm.logs.formats.table import Table
from trajhmm.naming import Attribute


class Stamp(NamedTuple):
    """What tells that a file changed: which it is, its size, and when its content and its inode changed, in ns."""

    device: int
    inode: int
    size: int
    written: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Self:
        """Take it from what the file system says."""
        return cls(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)

    def beside(self, other: Stamp | None) -> Stamp:
        """What tells that one of several files changed, of this one and of ``other``, which may stand for several."""
        if other is None:
            return self
        return Stamp(
            device=self.device,
            inode=self.inode ^ other.inode,
            size=self.size + other.size,
            written=max(self.written, other.written),
            changed=max(self.changed, other.changed),
        )

    def is_of_file(self, other: Stamp) -> bool:
        """Whether both are of one file, not of another that took its name."""
        return (self.device, self.inode) == (other.device, other.inode)


@dataclass(frozen=True, kw_only=True)
class KnownColumns:
    """Columns of a file so far: those that hold numbers, words, or nothing; and which of them counts steps."""

    numbers: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    blanks: tuple[str, ...] = ()
    step: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return (*self.numbers, *self.texts, *self.blanks)

    def with_table(self, table: Table) -> tuple[Kinds, KnownColumns]:
        """What columns are, once some more rows are known: what was text stays so.

        Raises
        ------
        LogError
            A column of numbers turns out to be text.
        """
        place = (0, 0)
        before = ColumnsSeen(
            numbers=dict.fromkeys(self.numbers, place),
            blanks=dict.fromkeys(self.blanks, place),
            texts=dict.fromkeys(self.texts, place),
            words={name: (place, table.path, name) for name in self.texts},
            spelled=dict.fromkeys(self.texts, place),
        )
        both = ColumnsSeen.joined([before, ColumnsSeen.in_tables([table], [1])])
        kinds = both.kinds()
        numbers = tuple(name for name in kinds.numbers if name in both.numbers)
        texts = tuple(name for name in kinds.texts if name in both.spelled)
        blanks = tuple(name for name in (*kinds.numbers, *kinds.texts) if name not in numbers and name not in texts)
        return kinds, KnownColumns(numbers=numbers, texts=texts, blanks=blanks, step=table.step_from)


class RunSeen(NamedTuple):
    """How many rows of a run were seen in a file, and fingerprints of the first of them and of some of the others."""

    rows: int
    first: int
    marks: Marks = Marks()

    def up_to(self, rows: int) -> RunSeen:
        """The same as if fewer rows had been seen, at least 1, of which the last has a mark."""
        last = self.first.to_bytes(SIZE, "big", signed=True) if rows == 1 else self.marks.at(rows - 1)
        return RunSeen(rows=rows, first=self.first, marks=self.marks.of_first(rows, last))


class Skipped(NamedTuple):
    """How many lines of a file were passed over as they make no sense; what is wrong with the last; how many end it."""

    n: int
    why: str
    last: int = 0


def fingerprint_of_row(step: np.int64, values: NDArray[np.float64]) -> int:
    """A whole number that tells one row, a step and (D,) values, from another."""
    digest = blake2b(step.tobytes() + values.tobytes(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


@dataclass(kw_only=True, slots=True)
class FileSeen:
    """What was seen of a file.

    Attributes
    ----------
    name : what its run is called if no column says otherwise.
    stamp : of the file when it was last read; None if it never was.
    failed : its stamp when it was last found to make no sense; not kept in a state file.
    place : where reading of a text file stopped; None if it has to be read from its start.
    columns, attributes : what the lines before the place hold, and what they say of all rows.
    carry : what reading on from the place must know of them, see `Lines`.
    runs : what was seen of each run.
    n_rows : of a file that is read as a whole, those that it had.
    heading : bytes before the first row, which name columns; None if none were read.
    headless : whether the file was emptied and goes on without them.
    skipped : lines that were passed over; None if none were.
    """

    name: str
    stamp: Stamp | None = None
    failed: Stamp | None = None
    place: Place | None = None
    columns: KnownColumns = KnownColumns()
    attributes: dict[str, Attribute] = field(default_factory=dict)
    carry: dict[str, float] = field(default_factory=dict)
    runs: dict[str, RunSeen] = field(default_factory=dict)
    n_rows: int = 0
    heading: bytes | None = None
    headless: bool = False
    skipped: Skipped | None = None

    def skip(self, n: int, why: str) -> None:
        """Take note that n more lines were passed over."""
        before = Skipped(0, "") if self.skipped is None else self.skipped
        self.skipped = Skipped(n + before.n, why, n + before.last)

    def took(self, n: int) -> None:
        """Take note that n rows were read, behind the lines that were passed over."""
        if n and self.skipped is not None:
            self.skipped = self.skipped._replace(last=0)

    def grew(self, stamp: Stamp) -> bool:
        """Whether lines may have been added behind the place, and nothing else been done to the file."""
        known = self.stamp is not None and self.stamp.is_of_file(stamp)
        return known and self.place is not None and stamp.size >= self.place.offset

    def is_behind(self, passed: Mapping[str, int]) -> bool:
        """Whether a file that was written again holds fewer rows, ``passed`` of each run, than were seen of it."""
        return any(passed.get(run, 0) < seen.rows for run, seen in self.runs.items())

    def to_dict(self) -> dict[str, Any]:
        """What a state file holds of it, beside the runs."""
        return {
            "name": self.name,
            "stamp": self.stamp,
            "place": None if self.place is None else vars(self.place),
            "columns": vars(self.columns),
            "attributes": self.attributes,
            "carry": self.carry,
            "n_rows": self.n_rows,
            "heading": None if self.heading is None else self.heading.decode("latin-1"),
            "headless": self.headless,
            "skipped": self.skipped,
        }

    @classmethod
    def of(cls, stored: Mapping[str, Any], runs: Mapping[str, RunSeen]) -> FileSeen:
        """Take what `to_dict` gave."""
        stamp, place = stored["stamp"], stored["place"]
        return cls(
            name=stored["name"],
            stamp=None if stamp is None else Stamp(*stamp),
            place=None if place is None else Place(**place),
            columns=KnownColumns(
                **{kind: tuple(names) for kind, names in stored["columns"].items() if kind != "step"},
                step=stored["columns"].get("step"),
            ),
            attributes=stored["attributes"],
            carry=stored.get("carry", {}),
            runs=dict(runs),
            n_rows=stored["n_rows"],
            heading=None if (heading := stored.get("heading")) is None else heading.encode("latin-1"),
            headless=stored.get("headless", False),
            skipped=None if (skipped := stored.get("skipped")) is None else Skipped(*skipped),
        )
