"""`Table`: the columns of one file as it was read, before anything is decided about runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute, plain_text


@dataclass(frozen=True, kw_only=True, eq=False)
class Text:
    """A text column of n cells as (n,) int64 ``codes`` into ``words``; a blank cell has code -1."""

    codes: NDArray[np.int64]
    words: tuple[str, ...]

    @classmethod
    def of(cls, cells: Sequence[str | None]) -> Text:
        """Encode cells; words are numbered in order of appearance."""
        try:
            column = pa.array(cells, type=pa.string())
        except UnicodeEncodeError:
            column = pa.array([None if cell is None else plain_text(cell) for cell in cells], type=pa.string())
        return cls.from_arrow(pa.chunked_array([column]))

    @classmethod
    def from_arrow(cls, column: pa.ChunkedArray) -> Text:
        """Encode an Arrow text column."""
        encoded = column.combine_chunks()
        if not pa.types.is_dictionary(encoded.type):
            encoded = encoded.dictionary_encode()
        codes = np.asarray(encoded.indices.fill_null(-1), dtype=np.int64)
        return cls(codes=codes, words=tuple(encoded.dictionary.to_pylist()))

    @classmethod
    def joined(cls, texts: Sequence[Text]) -> Text:
        """One column from several, one after the other."""
        if len(texts) == 1 and len(set(texts[0].words)) == len(texts[0].words):
            return texts[0]
        number: dict[str, int] = {}
        codes = []
        for text in texts:
            own = np.array([*(number.setdefault(word, len(number)) for word in text.words), -1], dtype=np.int64)
            codes.append(own[text.codes])
        return cls(codes=np.concatenate(codes), words=tuple(number))

    def at(self, rows: NDArray[Any]) -> Text:
        """The cells at ``rows``."""
        return Text(codes=self.codes[rows], words=self.words)

    def cells(self) -> NDArray[Any]:
        """(n,) object array of str or None."""
        return np.array([*self.words, None], dtype=object)[self.codes]


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """n rows of one source, in the order in which they stand there.

    Attributes
    ----------
    path : the file, for messages.
    name : what its run is called if no column says otherwise.
    numbers : name to (n,) float64; blank cells are NaN.
    present : name to (n,) bool; only for columns of ``numbers`` that have blank cells.
    texts : name to `Text`.
    attributes : what holds for every row (hive partition, ``_meta`` line).
    blanks_are_blank : True if the writer told a blank from a non-finite value.
    numbered : True if this is one of the parts that `RunLogger` wrote one after the other.
    carry : what reading on behind these rows must know of them, see `Lines`.
    step_from : what the column of steps was called before it was called ``step``.
    format : what people call the format that it was read as.
    """

    path: Path
    name: str
    n: int
    numbers: dict[str, NDArray[np.float64]]
    present: dict[str, NDArray[np.bool_]]
    texts: dict[str, Text]
    attributes: dict[str, Attribute] = field(default_factory=dict)
    blanks_are_blank: bool = False
    numbered: bool = False
    carry: Mapping[str, float] = field(default_factory=dict)
    step_from: str = "step"
    format: str = ""
    notes: tuple[Note, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """All names, numbers first."""
        return (*self.numbers, *self.texts, *self.settings)

    @property
    def settings(self) -> dict[str, Attribute]:
        """The attributes that no column of the table itself tells otherwise."""
        own = self.numbers.keys() | self.texts.keys()
        return {name: value for name, value in self.attributes.items() if name not in own}

    def only(self, names: Container[str]) -> Table:
        """The same table with no columns but ``names``."""
        return replace(
            self,
            numbers={name: column for name, column in self.numbers.items() if name in names},
            present={name: column for name, column in self.present.items() if name in names},
            texts={name: text for name, text in self.texts.items() if name in names},
        )

    def heading(self) -> Table:
        """The same table without its rows."""
        return replace(
            self,
            n=0,
            numbers=dict.fromkeys(self.numbers, np.empty(0)),
            present={},
            texts={
                name: Text(codes=np.empty(0, dtype=np.int64), words=text.words[:1]) for name, text in self.texts.items()
            },
        )

    def renamed(self, names: Mapping[str, str]) -> Table:
        """The same table with columns renamed; names that do not occur are ignored."""
        if not names:
            return self
        return replace(
            self,
            numbers={names.get(key, key): value for key, value in self.numbers.items()},
            present={names.get(key, key): value for key, value in self.present.items()},
            texts={names.get(key, key): value for key, value in self.texts.items()},
            attributes={names.get(key, key): value for key, value in self.attributes.items()},
        )


# Columns that a log may have.
MOST_COLUMNS = 2**14
# Characters of the names around a name, deeper than any person nests and not as deep as Python's own stack.
LONGEST_NAME = 500
# Cells that a table may have, and more for each that holds something: where each row has columns of its own nearly all
# are blank, and there are as many as rows times columns.
_MOST_CELLS, _CELLS_A_VALUE = 2**24, 64


def check_columns(n_columns: int, path: Path) -> None:
    """Refuse a table that is too wide.

    Raises
    ------
    LogError
        It has more than `MOST_COLUMNS`.
    """
    if n_columns > MOST_COLUMNS:
        raise LogError(f"{path}: {n_columns:,} columns; expected at most {MOST_COLUMNS:,}, a column a metric")


def most_cells(n_values: int) -> int:
    """How many cells a table may have in which so many hold something."""
    return _MOST_CELLS + _CELLS_A_VALUE * n_values


def check_cells(n_rows: int, n_columns: int, n_values: int, path: Path) -> None:
    """Refuse a table that takes far more memory than what is in it.

    Parameters
    ----------
    n_rows, n_columns : of the table.
    n_values : cells that are not blank, or what takes as much room where these are not known.
    path : file, for the message.

    Raises
    ------
    LogError
        Nearly all of its cells are blank, and they are many.
    """
    check_columns(n_columns, path)
    if n_rows * n_columns > most_cells(n_values):
        millions = n_rows * n_columns / 1e6
        raise LogError(
            f"{path}: {n_columns:,} columns in {n_rows:,} rows are {millions:,.0f} million cells, {n_values:,} of "
            "them not blank; give metrics the same names in each row"
        )


def plain_cell(value: object) -> object:
    """A cell of JSON as a table can hold it: text without halves of characters, and no integer beyond 64 bits."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        try:
            return float(value)
        except OverflowError:
            return np.inf if value > 0 else -np.inf
    return value


def table_from_arrow(arrow: pa.Table, *, path: Path, name: str) -> Table:
    """Take the numeric, boolean and text columns of an Arrow table, dates as text; leave out the rest with a note.

    Of columns of one name those that hold the same are kept once, others are called ``NAME.1``.
    """
    names = [column for column in arrow.column_names if column not in _INDEX_NAMES]
    if len(set(names)) < len(names):
        names, copies = unique_names(arrow.column_names)
        copies = {copy: column for copy, column in copies.items() if column not in _INDEX_NAMES}
        return without_copies(table_from_arrow(arrow.rename_columns(names), path=path, name=name), copies)
    numbers: dict[str, NDArray[np.float64]] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    texts: dict[str, Text] = {}
    left_out = []
    for column_name, stored in zip(arrow.column_names, arrow.columns, strict=True):
        encoded = pa.types.is_dictionary(stored.type) and not _is_text(stored.type.value_type)
        column = stored.cast(stored.type.value_type) if encoded else stored
        kind = column.type
        if column_name in _INDEX_NAMES:
            left_out.append(f"{column_name or 'column without a name'} (an index)")
        elif column_name == RUN_NAME and pa.types.is_integer(kind):  # floats do not tell all apart
            texts[column_name] = Text.from_arrow(column.cast(pa.string()))
        elif pa.types.is_floating(kind) or pa.types.is_integer(kind) or _castable(kind):
            if column.null_count:
                present[column_name] = column.is_valid().to_numpy()
            floats = column if pa.types.is_float64(kind) else column.cast(pa.float64(), safe=False)
            numbers[column_name] = np.asarray(floats.to_numpy(), dtype=np.float64)
        elif column.null_count == arrow.num_rows > 0 or pa.types.is_null(kind):
            numbers[column_name] = np.full(arrow.num_rows, np.nan)
            present[column_name] = np.zeros(arrow.num_rows, dtype=bool)
        elif _is_text(kind) or pa.types.is_dictionary(kind):
            texts[column_name] = Text.from_arrow(column)
        elif pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind):
            # Runs are often called after when they started.
            texts[column_name] = Text.from_arrow(column.cast(pa.string()))
        else:
            left_out.append(f"{column_name} ({kind})")
    notes: tuple[Note, ...] = ()
    if left_out:
        notes = (Note(kind="left-out", text=f"{path}: neither numbers nor text, left out: {', '.join(left_out)}"),)
    return Table(path=path, name=name, n=arrow.num_rows, numbers=numbers, present=present, texts=texts, notes=notes)


def table_from_cells(
    columns: Mapping[str, Sequence[object]],
    *,
    lines: Sequence[int],
    path: Path,
    name: str,
    attributes: dict[str, Attribute],
    as_text: Container[str] = (),
    rows: Mapping[str, Sequence[int]] | None = None,
) -> Table:
    """Build a table from Python cells: numbers, booleans, texts and None for a blank.

    A cell may spell its number (``"0.5"``, ``"NaN"``). ``lines`` are those of the file at which the rows stand. Columns
    in ``as_text`` are text whatever they hold. ``rows`` are those in which the cells of a column stand, by default the
    first; the others are blank.

    Raises
    ------
    LogError
        Words among the numbers of a column; or far more cells are blank than not.
    """
    n = len(lines)
    check_cells(n, len(columns), sum(map(len, columns.values())), path)
    numbered = np.asarray(lines, dtype=np.int64)
    rows = {} if rows is None else rows
    numbers: dict[str, NDArray[np.float64]] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    texts: dict[str, Text] = {}
    left_out = []
    for column_name, cells in columns.items():
        if not all(cell is None or isinstance(cell, (str, int, float)) for cell in cells):
            left_out.append(column_name)
            continue
        known = column_name in as_text
        at = np.array(rows.get(column_name, range(len(cells))), dtype=np.int64)
        parsed = None if known else numbers_among(cells, column=column_name, path=path, lines=numbered[at])
        if parsed is None:
            text = Text.of([None if cell is None else str(cell) for cell in cells])
            texts[column_name] = replace(text, codes=_spread(text.codes, at, n, np.int64(-1)))
            continue
        values, valid = parsed
        numbers[column_name] = _spread(values, at, n, np.float64(np.nan))
        if not valid.all() or len(valid) < n:
            present[column_name] = _spread(valid, at, n, np.False_)
    notes: tuple[Note, ...] = ()
    if left_out:
        notes = (Note(kind="left-out", text=f"{path}: neither numbers nor text, left out: {', '.join(left_out)}"),)
    return Table(
        path=path, name=name, n=n, numbers=numbers, present=present, texts=texts, attributes=attributes, notes=notes
    )


def _spread(cells: NDArray[Any], rows: NDArray[np.int64], n: int, blank: np.generic) -> NDArray[Any]:
    """(n,) cells that stand in some rows, blank in the others."""
    if len(cells) == n:
        return cells
    column = np.full(n, blank)
    column[rows] = cells
    return column


RUN_NAME = "run"
# Characters of a cell that a message shows.
_LONGEST_SHOWN = 60
_BLANK_WORDS = {"", "none", "null", "na", "n/a", "<na>", "#n/a", "#na", "-"}


def numbers_among(
    cells: Sequence[Any] | NDArray[Any], *, column: str, path: Path, lines: Sequence[int] | NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
    """Read a column as (n,) numbers and (n,) whether a cell is not blank; None if it holds text.

    Words such as ``None`` are blanks among numbers, and words if they stand alone. The column ``run`` is text unless
    all its cells are numbers.

    Raises
    ------
    LogError
        Words among numbers.
    """
    numbers = np.full(len(cells), np.nan)
    present = np.zeros(len(cells), dtype=bool)
    bad: list[int] = []
    for row, cell in enumerate(cells):
        if means_blank(cell):
            continue
        try:
            numbers[row] = float(cell)
            present[row] = True
        except OverflowError:
            numbers[row] = np.inf if cell > 0 else -np.inf
            present[row] = True
        except ValueError:
            bad.append(row)
    only_words = not present.any() and any(cell is not None for cell in cells)
    if only_words or len(bad) > present.sum() or (bad and column == RUN_NAME):
        return None
    if bad:
        raise LogError(
            f"{path}: line {lines[bad[0]]}, column {column!r}: expected a number, found {_shortened(cells[bad[0]])}; "
            "mend the cell or leave it empty"
        )
    return numbers, present


def _shortened(cell: object) -> str:
    shown = repr(cell)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}…"


def means_blank(cell: object) -> bool:
    """Whether a cell is blank or a word that writers put for a blank."""
    return cell is None or (isinstance(cell, str) and cell.strip().lower() in _BLANK_WORDS)


_INDEX_NAMES = {"", "Unnamed: 0", "__index_level_0__"}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _castable(kind: pa.DataType) -> bool:
    return bool(pa.types.is_boolean(kind) or pa.types.is_decimal(kind))


def unique_names(names: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Names of which none but blank ones stand twice, and which of them were alike."""
    counts = Counter(name for name in names if name)
    taken = set(counts)
    seen: Counter[str] = Counter()
    unique: list[str] = []
    copies: dict[str, str] = {}
    for name in names:
        called = name
        if seen[name] and name:
            while (called := f"{name}.{seen[name]}") in taken:
                seen[name] += 1
            taken.add(called)
            copies[called] = name
        seen[name] += 1
        unique.append(called)
    return unique, copies


def without_copies(table: Table, copies: Mapping[str, str]) -> Table:
    """Leave out columns of the same name that hold the same; note the others."""
    same = [copy for copy, column in copies.items() if _are_equal(table, copy, column)]
    notes = []
    if same:
        told = ", ".join(dict.fromkeys(copies[copy] for copy in same))
        notes.append(
            Note(kind="duplicate", text=f"{table.path}: columns twice under one name, the same, kept once: {told}")
        )
    for copy in copies.keys() - set(same):
        text = f"{table.path}: two columns are called {copies[copy]}; the later one is read as {copy}"
        notes.append(Note(kind="duplicate", text=text))
    if not notes:
        return table
    kept = table.only({*table.columns} - set(same))
    return replace(kept, notes=(*kept.notes, *notes))


def _are_equal(table: Table, one: str, other: str) -> bool:
    if one in table.numbers and other in table.numbers:
        return np.array_equal(table.numbers[one], table.numbers[other], equal_nan=True) and np.array_equal(
            table.present.get(one, True), table.present.get(other, True)
        )
    both = one in table.texts and other in table.texts
    return both and np.array_equal(table.texts[one].cells(), table.texts[other].cells())
