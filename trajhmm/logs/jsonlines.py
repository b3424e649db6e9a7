"""JSON lines: one object a row; ``_meta`` and ``_summary`` lines are understood."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.runset import Note
from trajhmm.logs.table import Table, table_from_cells
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
    rows: list[dict[str, object]] = []
    lines: list[int] = []
    attributes: dict[str, Attribute] = {}
    notes: list[Note] = []
    for line, record in _records(path, notes):
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
            columns.setdefault(key, [None] * number).append(value)
        for cells in columns.values():
            if len(cells) == number:
                cells.append(None)
    attributes = {key: _attribute(value) for key, value in attributes.items() if key not in columns}
    table = table_from_cells(columns, lines=lines, path=path, name=name, attributes=attributes)
    return replace(table, notes=(*notes, *table.notes))


def _records(path: Path, notes: list[Note]) -> Iterator[tuple[int, dict[str, object]]]:
    """Yield each record with the number of its line."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise LogError(f"{path}: cannot be read as text ({error})") from error
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                notes.append(Note(kind="torn", text=f"{path}: last line is half-written, left out"))
                return
            reason = str(getattr(error, "msg", error)).partition(";")[0]
            raise LogError(f"{path}: line {number} is not JSON ({reason}); expected one object a line") from error
        if not isinstance(record, dict):
            raise LogError(f"{path}: line {number} is not an object but {line.strip()[:20]!r}; expected {{…}}")
        yield number, record


def _flat(record: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in record.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}/")
        else:
            yield prefix + key, value


def _attribute(value: Attribute) -> Attribute:
    return float(value) if isinstance(value, bool) else value
