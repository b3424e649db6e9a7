"""`Stack`: the rows of all tables on top of each other, before they are sorted into runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.assembly.columns import Kinds
from trajhmm.logs.formats.table import Table, Text, check_cells

_ROWS_IN_CACHE = 8192
# As many values more are counted in each row, as settings hold for all rows of a file.
_SETTINGS = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """All N rows of all tables, in reading order.

    Attributes
    ----------
    numbers : name to (N,) float64; a blank cell is NaN.
    present : name to (N,) bool, False where blank; only for columns of ``numbers`` that have blank cells.
    texts : text columns by name.
    tables : the tables, without their rows.
    source : (N,) number of the table that each row came from.
    """

    numbers: dict[str, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]
    texts: dict[str, Text]
    tables: tuple[Table, ...]
    source: NDArray[np.int64]

    def column(self, name: str) -> NDArray[Any]:
        """(N,) one column: numbers, or an object array of str or None."""
        return self.numbers[name] if name in self.numbers else self.texts[name].cells()

    @property
    def columns(self) -> tuple[str, ...]:
        """All names, numbers first."""
        return (*self.numbers, *self.texts)

    def path_at(self, row: int | np.integer[Any]) -> Path:
        """The file that a row came from."""
        return self.tables[int(self.source[row])].path

    def at(self, rows: NDArray[Any]) -> Stack:
        """The rows at ``rows``, in that order."""
        return replace(
            self,
            numbers={name: column[rows] for name, column in self.numbers.items()},
            present={name: stands for name, column in self.present.items() if not (stands := column[rows]).all()},
            texts={name: column.at(rows) for name, column in self.texts.items()},
            source=self.source[rows],
        )

    def values(self, rows: NDArray[Any] | slice, names: Sequence[str]) -> NDArray[np.float64]:
        """(n, d) float64: cells of some rows and columns of numbers."""
        columns = [self.numbers[name][rows] for name in names]
        block = np.empty((len(self.source[rows]), len(columns)))
        # Row by row or column by column, half of the accesses would miss the cache.
        for start in range(0, len(block), _ROWS_IN_CACHE):
            part = slice(start, start + _ROWS_IN_CACHE)
            for d, column in enumerate(columns):
                block[part, d] = column[part]
        return block

    def logged(self, rows: NDArray[Any] | slice, names: Sequence[str]) -> NDArray[np.bool_]:
        """(n, d) bool: which of those cells are not blank; without memory of its own where all are."""
        shape = (len(self.source[rows]), len(names))
        if not any(name in self.present for name in names):
            return np.broadcast_to(np.True_, shape)
        block = np.ones(shape, dtype=bool)
        for d, name in enumerate(names):
            if name in self.present:
                block[:, d] = self.present[name][rows]
        return block


def stack_tables(tables: Sequence[Table], kinds: Kinds) -> Stack:
    """Stack tables; a column that one of them lacks, or holds as another kind, is blank there.

    Raises
    ------
    LogError
        Far more cells would be blank, or the same in all rows of a file, than not.
    """
    n_rows = sum(table.n for table in tables)
    n_values = sum(table.n * (len(table.numbers) + len(table.texts) + _SETTINGS) for table in tables)
    check_cells(n_rows, len(kinds.numbers) + len(kinds.texts), n_values, tables[0].path)
    numbers: dict[str, NDArray[np.float64]] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    for name in kinds.numbers:
        columns = [_numbers(table, name) for table in tables]
        numbers[name] = columns[0] if len(columns) == 1 else np.concatenate(columns)
        if any(name in table.present or name not in table.numbers for table in tables):
            stands = np.concatenate([_stands(table, name) for table in tables])
            if not stands.all():
                present[name] = stands
    return Stack(
        numbers=numbers,
        present=present,
        texts={name: Text.joined([_text(table, name) for table in tables]) for name in kinds.texts},
        tables=tuple(table.heading() for table in tables),
        source=np.repeat(np.arange(len(tables), dtype=np.int64), [table.n for table in tables]),
    )


def _numbers(table: Table, name: str) -> NDArray[np.float64]:
    return table.numbers[name] if name in table.numbers else np.full(table.n, _setting(table, name))


def _stands(table: Table, name: str) -> NDArray[np.bool_]:
    if name in table.numbers:
        return table.present[name] if name in table.present else np.ones(table.n, dtype=bool)
    return np.full(table.n, np.isfinite(_setting(table, name)))


def _setting(table: Table, name: str) -> float:
    """A number that holds for all rows; NaN if there is none. One that is infinite, such as no limit, is no event."""
    setting = table.settings.get(name, np.nan)
    return setting if not isinstance(setting, str) and np.isfinite(setting) else np.nan


def _text(table: Table, name: str) -> Text:
    if name in table.texts:
        return table.texts[name]
    if name in table.numbers:
        return number_text(table.numbers[name])
    word = _label(table.settings[name]) if name in table.settings else ""
    return Text(codes=np.full(table.n, 0 if word else -1, dtype=np.int64), words=(word,) if word else ())


def number_text(column: NDArray[np.float64]) -> Text:
    """Numbers as text, 3 rather than 3.0; a cell that is not finite is blank."""
    unique, codes = np.unique(column, return_inverse=True)
    finite = np.isfinite(unique)
    return Text(codes=np.where(finite, np.arange(len(unique)), -1)[codes], words=tuple(_label(v) for v in unique))


def _label(value: Any) -> str:
    """A number as a person would write it: 3 rather than 3.0."""
    if isinstance(value, str):
        return value
    if value is None or np.isnan(value):
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))
