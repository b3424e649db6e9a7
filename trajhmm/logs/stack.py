"""`Stack`: the rows of all tables on top of each other, before they are sorted into runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.table import RUN_NAME, Table, Text, means_blank


@dataclass(frozen=True, kw_only=True, eq=False)
class Stack:
    """All N rows of all tables, in reading order.

    Attributes
    ----------
    numbers : names of the D numeric columns.
    values, present : (N, D) their cells, and whether a cell is not blank.
    texts : text columns by name.
    source : (N,) number of the table that each row came from.
    """

    numbers: tuple[str, ...]
    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    texts: dict[str, Text]
    source: NDArray[np.int64]

    def column(self, name: str) -> NDArray[Any]:
        """(N,) one column: numbers, or an object array of str or None."""
        if name in self.numbers:
            return self.values[:, self.numbers.index(name)]
        return self.texts[name].cells()

    @property
    def columns(self) -> tuple[str, ...]:
        """All names, numbers first."""
        return (*self.numbers, *self.texts)

    def at(self, rows: NDArray[Any]) -> Stack:
        """The rows at ``rows``, in that order."""
        return Stack(
            numbers=self.numbers,
            values=self.values[rows],
            present=self.present[rows],
            texts={name: column.at(rows) for name, column in self.texts.items()},
            source=self.source[rows],
        )


def stack_tables(tables: Sequence[Table]) -> Stack:
    """Stack tables; a column that one of them lacks is blank there.

    Raises
    ------
    LogError
        A metric is numbers in one file and text in another.
    """
    numeric, textual = _kinds(tables)
    sizes = [table.n for table in tables]
    values = np.full((sum(sizes), len(numeric)), np.nan)
    present = np.zeros(values.shape, dtype=bool)
    start = 0
    for table in tables:
        rows = slice(start, start + table.n)
        for index, name in enumerate(numeric):
            if name in table.numbers:
                values[rows, index] = table.numbers[name]
                present[rows, index] = table.present.get(name, True)
            elif not isinstance(setting := table.attributes.get(name, ""), str) and np.isfinite(setting):
                # A setting that is infinite, such as no limit, is no event.
                values[rows, index] = setting
                present[rows, index] = True
        start += table.n
    return Stack(
        numbers=tuple(numeric),
        values=values,
        present=present,
        texts={name: Text.joined([_as_text(table, name) for table in tables]) for name in textual},
        source=np.repeat(np.arange(len(tables), dtype=np.int64), sizes),
    )


def _kinds(tables: Sequence[Table]) -> tuple[list[str], list[str]]:
    """Names of numeric and of text columns over all tables, in order of appearance.

    Attributes may be numbers here and text there, then all are text; a metric may not.
    """
    numeric: dict[str, None] = {}
    textual: dict[str, Table] = {}
    blank: dict[str, None] = {}
    for table in tables:
        for name in table.numbers:
            if name in table.present and not table.present[name].any():
                blank[name] = None
            else:
                numeric[name] = None
        for name in table.texts:
            textual.setdefault(name, table)
        for name, value in table.attributes.items():
            if name not in table.numbers and name not in table.texts:
                if isinstance(value, str):
                    textual.setdefault(name, table)
                else:
                    numeric[name] = None
    for name in [name for name in textual if name in numeric and _is_blank(name, tables)]:
        del textual[name]
    for name in [name for name in textual if name in numeric]:
        numeric.pop(name)
        one, other = next((table for table in tables if _changes(name, table)), None), textual[name]
        if one is not None and name != RUN_NAME:
            word = other.texts[name].words[0] if name in other.texts else other.attributes[name]
            raise LogError(
                f"{other.path}: column {name!r} is text ({word!r}) but holds numbers in {one.path}; "
                "make them alike or leave one file out"
            )
    return [*numeric, *(name for name in blank if name not in numeric and name not in textual)], list(textual)


def _is_blank(name: str, tables: Sequence[Table]) -> bool:
    """Whether a column of text holds nothing but words for a blank, in every table in which it is text."""
    words = [word for table in tables if name in table.texts for word in table.texts[name].words]
    settings = [setting for table in tables if isinstance(setting := table.attributes.get(name), str)]
    return all(means_blank(cell) for cell in (*words, *settings))


def _changes(name: str, table: Table) -> bool:
    return name in table.numbers and len(np.unique(table.numbers[name][np.isfinite(table.numbers[name])])) > 1


def _as_text(table: Table, name: str) -> Text:
    if name in table.texts:
        return table.texts[name]
    if name in table.numbers:
        return number_text(table.numbers[name])
    word = _label(table.attributes[name]) if name in table.attributes else ""
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
