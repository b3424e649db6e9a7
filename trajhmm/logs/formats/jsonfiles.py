"""JSON files that hold a whole log: an array of rows, or an object of columns."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.jsontext import TooManyValuesError, loads
from trajhmm.logs.formats.encodings import opened, utf8, utf16_of, whole_text, without_mark
from trajhmm.logs.formats.format import Format, itself_or_folder
from trajhmm.logs.formats.jsonlines import Records, Row, counts_up, flat, is_number
from trajhmm.logs.formats.table import Table, plain_cell
from trajhmm.naming import plain_text

# Bytes; in memory it takes up to twenty times as many.
_LARGEST = 2**27
_ROWS_OR_COLUMNS = re.compile(rb'\s*(?:\[\s*\{|\{\s*"(?:[^"\\]|\\.)*"\s*:\s*\[)')


def read_json(path: Path, name: str) -> Table:
    """Read one JSON file of rows, ``[{"step": 0, "loss": 3}, …]``, or of columns, ``{"step": [0, …], "loss": [3, …]}``.

    Rows are what ``DataFrame.to_json(orient="records")`` writes. Objects within rows are understood as `read_jsonlines`
    does.

    Raises
    ------
    LogError
        It is half-written, or neither.
    """
    rows = rows_of(loaded(path))
    if rows is None:
        raise LogError(f"{path}: neither an array of objects nor an object of columns of one length")
    numbers = range(1, len(rows) + 1)
    return Records(rows=rows, lines=[*numbers], attributes={}, notes=(), carry={}).table(path, name)


def loaded(path: Path) -> object:
    """What a JSON file holds.

    Raises
    ------
    LogError
        It cannot be read, is half-written, or larger than such a file should be: it is held in memory as a whole.
    """
    if path.suffix.lower() == ".gz":
        raw = whole_text(path)
    else:
        with opened(path) as stream:
            raw = stream.read(_LARGEST + 1)
    if len(raw) > _LARGEST:
        raise LogError(f"{path}: more than {_LARGEST >> 20} MiB in one JSON value; write one object a line (.jsonl)")
    if encoding := utf16_of(raw):
        raw = utf8(raw, encoding)
    try:
        return loads(without_mark(raw).decode())
    except TooManyValuesError as error:
        raise LogError(f"{path}: {error} in one JSON value; write one object a line (.jsonl)") from error
    except (ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "msg", None) or str(error)
        raise LogError(f"{path}: not whole JSON, torn or half-written ({reason[:90]}); write it again") from error


def rows_of(held: object) -> list[Row] | None:
    """The rows of an array of objects, or of an object of columns; None if it is neither."""
    if isinstance(held, list) and all(isinstance(row, dict) for row in held):
        return [dict(flat(row)) for row in held]
    if isinstance(held, dict) and held and all(isinstance(column, list) for column in held.values()):
        return _rows_of_columns(held)
    return None


def _rows_of_columns(columns: Mapping[str, list[object]]) -> list[Row] | None:
    if len({len(column) for column in columns.values()}) > 1:
        return None
    names = [plain_text(name) for name in columns]
    cells = zip(*columns.values(), strict=True)
    return [dict(zip(names, map(plain_cell, row), strict=True)) for row in cells]


def takes_json(path: Path, head: bytes) -> bool:
    """Whether a file holds rows or columns among which something counts up."""
    if not _ROWS_OR_COLUMNS.match(without_mark(head)):
        return False
    try:
        rows = rows_of(loaded(path))
    except LogError:
        # An array of rows that is being written: said when it is read.
        return without_mark(head).lstrip().startswith(b"[") and any(
            word in head for word in (b'"step"', b'"global_step"', b'"epoch"', b'"iteration"')
        )
    return rows is not None and counts_up([{k: v for k, v in row.items() if is_number(v)} for row in rows])


JSON = Format(
    name="json",
    title="JSON",
    names=r"\.json(\.gz)?",
    read=read_json,
    takes=takes_json,
    home=itself_or_folder,
)
