"""From log files, or some of their rows, to tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa

from trajhmm.errors import LogError
from trajhmm.logs.formats.parquet import Range, read_parquet_rows
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note
from trajhmm.logs.sources.paths import LogFile
from trajhmm.logs.sources.products import product_of
from trajhmm.naming import instead_of

_READ_AT_ONCE, _MANY = 4, 50
_Task = TypeVar("_Task")
_Done = TypeVar("_Done")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A log file, or some of its rows.

    ``place`` is its number in reading order; ``rows`` are ranges (first, behind the last), None for all.
    """

    file: LogFile
    place: int
    rows: tuple[Range, ...] | None = None

    def read(self, rename: Mapping[str, str]) -> Table:
        """Read the table, with columns renamed."""
        file = self.file
        if self.rows is None:
            return file.read().renamed(rename)
        return file.told(read_parquet_rows(file.path, file.name, self.rows)).renamed(rename)


def side_by_side(
    read: Callable[[_Task], _Done], tasks: Sequence[_Task], progress: Callable[[int, int], None] | None = None
) -> list[_Done]:
    """Read several files, a few at a time; of several errors the first is raised.

    ``progress`` is called with (files read, files in all), where they are many.
    """
    if len(tasks) == 1:
        return [read(tasks[0])]
    done = []
    with ThreadPoolExecutor(_READ_AT_ONCE) as pool:
        for one in pool.map(read, tasks):
            done.append(one)
            if progress is not None and len(tasks) >= _MANY:
                progress(len(done), len(tasks))
    return done


def give_back_memory() -> None:
    """Give back what Arrow holds of tables that were let go, before as much is needed to lay out their rows."""
    pa.default_memory_pool().release_unused()


def why_left_out(file: LogFile, table: Table, n_rows: int) -> Note | None:
    """Say why a file is no log; None if it is one. ``table`` is as read, without rows if need be."""
    if file.searched and (product := product_of(table.columns)):
        return Note(kind="left-out", text=f"{file.path}: {product} that trajhmm wrote, no log, left out")
    if not n_rows:
        if table.notes and table.notes[-1].kind == "left-out":
            return table.notes[-1]
        return Note(kind="left-out", text=f"{file.path}: holds no rows, left out")
    return None


def no_logs(notes: Sequence[Note]) -> LogError:
    """The error of files which were all left out."""
    return LogError(notes[0].text.removesuffix(", left out"))


def check_rename(tables: Sequence[Table], rename: Mapping[str, str]) -> None:
    """Refuse to rename a column that no table has, or two columns to one name.

    Raises
    ------
    LogError
        Saying which.
    """
    for old, new in rename.items():
        if not any(old in table.columns for table in tables):
            meant = instead_of(old, tables[0].columns)
            raise LogError(f"--rename {old}={new}: no column {old!r}{meant}")
    for table in tables:
        names = Counter(rename.get(column, column) for column in dict.fromkeys(table.columns))
        for name, count in names.items():
            if count > 1:
                raise LogError(f"{table.path}: --rename gives {count} columns the name {name!r}; rename the other too")
