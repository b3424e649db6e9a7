"""JSON lines: one object a row; ``_meta`` and ``_summary`` lines are understood."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.formats.format import Format, Growth
from trajhmm.logs.formats.lines import Lines, whole_lines
from trajhmm.logs.formats.table import Table, table_from_cells
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute


def read_jsonlines(path: Path, name: str) -> Table:
    """Read one file of JSON lines.

    Nested objects become columns joined by ``/``; ``null`` is blank; ``NaN`` and ``Infinity`` are non-finite values
    that were logged. A line ``{"_meta": {…}}`` gives attributes of the run. Other lines whose only key starts with an
    underscore (``_summary``) are no steps and are left out with a note, as is a half-written last line.

    Raises
    ------
    LogError
        A line in the middle is not a JSON object, or a column holds words among numbers.
    """
    try:
        raw = path.read_bytes()
        return _table(gzip.decompress(raw) if path.suffix == ".gz" else raw, path, name)
    except (OSError, EOFError, zlib.error) as error:
        raise _no_text(path, error) from error


def read_some_jsonlines(lines: Lines, path: Path, name: str) -> Table:
    """Read some lines of a file as `read_jsonlines` reads all."""
    return _table(lines.raw, path, name, first=lines.first, texts=lines.texts)


def is_json_object(line: bytes) -> bool:
    """Whether a line that may be half-written is whole."""
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _table(raw: bytes, path: Path, name: str, *, first: int = 1, texts: Container[str] = ()) -> Table:
    """Make a table of lines, the first of which has the number ``first``; columns in ``texts`` are text."""
    rows: list[dict[str, object]] = []
    lines: list[int] = []
    attributes: dict[str, Attribute] = {}
    notes: list[Note] = []
    for line, record in _records(raw, first, path, notes):
        if len(record) == 1 and (key := next(iter(record))).startswith("_") and isinstance(record[key], dict):
            inside = record[key]
            if key == "_meta" and isinstance(inside, dict):
                attributes.update({k: v for k, v in _flat(inside) if isinstance(v, (str, int, float))})
            else:
                notes.append(Note(kind="left-out", text=f"{path}: line {key} is not a step, left out"))
            continue
        rows.append(dict(_flat(record)))
        lines.append(line)
    columns: dict[str, list[object]] = {}
    for number, row in enumerate(rows):
        for key, value in row.items():
            if key not in columns:
                columns[key] = [None] * number
            columns[key].append(value)
        for cells in columns.values():
            if len(cells) == number:
                cells.append(None)
    attributes = {key: _attribute(value) for key, value in attributes.items() if key not in columns}
    table = table_from_cells(columns, lines=lines, path=path, name=name, attributes=attributes, as_text=texts)
    return replace(table, notes=(*notes, *table.notes))


def _records(raw: bytes, first: int, path: Path, notes: list[Note]) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield each record with the number of its line."""
    try:
        lines = raw.decode("utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise _no_text(path, error) from error
    last = first + len(lines) - 1
    for number, line in enumerate(lines, start=first):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == last:
                notes.append(Note(kind="torn", text=f"{path}: last line is half-written, left out"))
                return
            reason = str(getattr(error, "msg", error)).partition(";")[0]
            raise LogError(f"{path}: line {number} is not JSON ({reason}); expected one object a line") from error
        if not isinstance(record, dict):
            raise LogError(f"{path}: line {number} is not an object but {line.strip()[:20]!r}; expected {{…}}")
        yield number, record


def _no_text(path: Path, error: Exception) -> LogError:
    return LogError(f"{path}: cannot be read as text ({error})")


def _flat(record: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def _attribute(value: Attribute) -> Attribute:
    return float(value) if isinstance(value, bool) else value


JSON_LINES = Format(
    name="jsonl",
    title="JSON lines",
    names=r"\.(jsonl|ndjson)(\.gz)?",
    read=read_jsonlines,
    growth=Growth(read=read_some_jsonlines, cut=whole_lines(is_json_object)),
)
