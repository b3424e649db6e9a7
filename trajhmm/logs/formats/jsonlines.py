"""JSON lines: one object a row; ``_meta`` and ``_summary`` lines are understood."""

from __future__ import annotations

import io
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

from trajhmm.errors import LogError
from trajhmm.jsontext import loads
from trajhmm.logs.formats.encodings import opened, utf8, utf16_of, whole_text, without_mark
from trajhmm.logs.formats.format import HEAD, Format, Growth, is_of_every_run, itself_or_folder
from trajhmm.logs.formats.lines import LONGEST_LINE, Lines, whole_lines, without_end
from trajhmm.logs.formats.repairs import Skipped, counted, mostly_torn, note_of_skipped
from trajhmm.logs.formats.table import LONGEST_NAME, Table, plain_cell, table_from_cells
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute, plain_text

Row = dict[str, object]

# Bytes and lines that are looked at to tell a log from other objects.
_LOOKED_AT = 2**20
_FIRST_LINES = 20
_STEP = re.compile(r"_?(?:global_?)?(?:step|iteration|iter|epoch|update|timestep)s?|training_iteration", re.IGNORECASE)


def read_jsonlines(path: Path, name: str) -> Table:
    """Read one file of JSON lines.

    Nested objects become columns joined by ``/``; ``null`` is blank; ``NaN`` and ``Infinity`` are non-finite values
    that were logged. A line ``{"_meta": {…}}`` gives attributes of the run. Other lines whose only key starts with an
    underscore (``_summary``) are no steps and are left out with a note, as are lines that are no objects: half-written
    at the end, or torn where a job was killed and went on.

    Raises
    ------
    LogError
        Half of the lines or more are no JSON objects, or a column holds words among numbers.
    """
    return records_of(path).table(path, name)


def read_some_jsonlines(lines: Lines, path: Path, name: str) -> Table:
    """Read some lines of a file as `read_jsonlines` reads all."""
    return records_among(lines, path).table(path, name, as_text=lines.texts)


def is_json_object(line: bytes) -> bool:
    """Whether a line that may be half-written is whole."""
    try:
        return isinstance(loads(line), dict)
    except (ValueError, RecursionError):
        return False


@dataclass(frozen=True, kw_only=True)
class Records:
    """n objects, flat, with the numbers of their lines; and what other lines say.

    Attributes
    ----------
    rows, lines : n of each.
    attributes : what holds for all rows.
    carry : how many lines of which kind there were so far, see `Lines`.
    """

    rows: list[Row]
    lines: list[int]
    attributes: dict[str, Attribute]
    notes: tuple[Note, ...]
    carry: Mapping[str, float]

    def table(self, path: Path, name: str, *, as_text: Container[str] = ()) -> Table:
        """The table of the rows.

        Raises
        ------
        LogError
            A column holds words among numbers.
        """
        columns: dict[str, list[object]] = {}
        places: dict[str, list[int]] = {}
        for number, row in enumerate(self.rows):
            for key, value in row.items():
                cells = columns.get(key)
                if cells is None:
                    cells = columns[key] = []
                if key in places:
                    places[key].append(number)
                elif len(cells) != number:
                    places[key] = [*range(len(cells)), number]
                cells.append(value)
        attributes = {key: _attribute(value) for key, value in self.attributes.items() if key not in columns}
        table = table_from_cells(
            columns, lines=self.lines, path=path, name=name, attributes=attributes, as_text=as_text, rows=places
        )
        return replace(table, notes=(*self.notes, *table.notes), carry=self.carry)


def records_of(path: Path) -> Records:
    """The objects of a file.

    Raises
    ------
    LogError
        It cannot be read, or half of its lines or more are no objects.
    """
    with opened(path) as stream:
        wide = utf16_of(stream.read(HEAD))
    if wide or path.suffix.lower() == ".gz":
        raw = whole_text(path)
        return _records(io.BytesIO(utf8(raw, wide) if wide else raw), path, first=1, carry={})
    with opened(path) as stream:
        return _records(stream, path, first=1, carry={})


def records_among(lines: Lines, path: Path) -> Records:
    """The objects among some lines.

    Raises
    ------
    LogError
        Of all lines so far half or more are no objects.
    """
    return _records(io.BytesIO(lines.raw), path, first=lines.first, carry=lines.carry)


def flat(record: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield what an object and the objects in it hold, under names joined by ``/``; not those very deep in it."""
    for key, value in record.items():
        if isinstance(value, dict) and len(prefix) < LONGEST_NAME:
            yield from flat(value, f"{prefix}{key}/")
        else:
            name = prefix + key
            # Most names and values are plain: only others cost a call.
            yield name if name.isascii() else plain_text(name), value if type(value) is float else plain_cell(value)


def first_records(path: Path, head: bytes) -> list[Row] | None:
    """The first objects of a file whose lines hold an object each; None if its first line does not.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if not without_mark(head).lstrip().startswith(b"{"):
        return None
    raw = head
    if head.count(b"\n") < 2:
        try:
            with opened(path) as stream:
                raw = stream.read(_LOOKED_AT)
        except LogError:
            return None
    lines = [line for line in without_mark(raw).split(b"\n")[:_FIRST_LINES] if line.strip()]
    found: list[Row] = []
    for line in lines:
        try:
            record = loads(line)
        except (ValueError, RecursionError):
            record = None
        if isinstance(record, dict):
            found.append(dict(flat(record)))
        elif not found:
            return None
    return found


def takes_lines(path: Path, head: bytes) -> bool:
    """Whether a file holds JSON lines that are a log: by its name, or as something counts up in it.

    Of a file that is called like the log of every run, one row may be there yet, or half of it.
    """
    if _NAMED.search(path.name):
        return True
    found = first_records(path, head)
    if is_of_every_run(path):
        half = without_mark(head)
        return (
            counts_up(found, least=1) if found else half[:2] in (b"{", b'{"') and b"\n" not in half and len(half) < HEAD
        )
    return found is not None and counts_up(found)


def counts_up(rows: Sequence[Row], *, least: int = 2) -> bool:
    """Whether rows count steps: a number called so in ``least`` of them, or a whole one that grows beside fractions."""
    numbers = [{key: float(value) for key, value in row.items() if is_number(value)} for row in rows]
    if sum(any(_STEP.fullmatch(key.rpartition("/")[2]) for key in row) and len(row) > 1 for row in numbers) >= least:
        return True
    first = next((row for row in numbers if row), {})
    whole = [key for key, value in first.items() if value.is_integer()]
    growing = any(
        len(cells := [row[key] for row in numbers if key in row]) > 1
        and all(one < other for one, other in pairwise(cells))
        for key in whole
    )
    return growing and any(not value.is_integer() for row in numbers for value in row.values())


def is_number(value: object) -> TypeGuard[int | float]:
    """Whether a value is a number, and not a truth value or one that no float can hold."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 2**63


def _records(stream: BinaryIO, path: Path, *, first: int, carry: Mapping[str, float]) -> Records:
    rows: list[Row] = []
    lines: list[int] = []
    attributes: dict[str, Attribute] = {}
    notes: list[Note] = []
    torn: list[Skipped] = []
    n_lines = 0
    for number, record in _objects(stream, first, path, torn, notes):
        n_lines += 1
        if len(record) == 1 and (key := next(iter(record))).startswith("_") and isinstance(record[key], dict):
            inside = record[key]
            if key == "_meta" and isinstance(inside, dict):
                attributes.update({k: v for k, v in flat(inside) if isinstance(v, (str, int, float))})
            else:
                notes.append(Note(kind="left-out", text=f"{path}: line {key} is not a step, left out"))
            continue
        rows.append(dict(flat(record)))
        lines.append(number)
    carry = counted(carry, rows=n_lines, torn=len(torn))
    if torn and mostly_torn(carry):
        raise LogError(f"{path}: line {torn[0].line} {torn[0].why}")
    return Records(
        rows=rows,
        lines=lines,
        attributes=attributes,
        notes=(*notes, *note_of_skipped(path, torn)),
        carry=carry,
    )


def _objects(
    stream: BinaryIO, first: int, path: Path, torn: list[Skipped], notes: list[Note]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each object with the number of its line; other lines go to ``torn``, a half-written last one to notes."""
    for number, raw in enumerate(_lines(stream, path), start=first):
        line = _decoded(without_mark(raw) if number == 1 else raw)
        if not line.strip():
            continue
        try:
            record = loads(line)
        except (ValueError, RecursionError) as error:
            if not raw.endswith(b"\n"):
                notes.append(Note(kind="torn", text=f"{path}: last line is half-written, left out"))
                return
            torn.append(Skipped(line=number, why=_why_torn(line, error)))
            continue
        if isinstance(record, dict):
            yield number, record
        else:
            torn.append(Skipped(line=number, why=f"is not an object but {str(line).strip()[:20]!r}; expected {{…}}"))


def _lines(stream: BinaryIO, path: Path) -> Iterator[bytes]:
    """Yield lines with their line breaks.

    Raises
    ------
    LogError
        One does not end.
    """
    while line := stream.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE and not line.endswith(b"\n"):
            raise LogError(f"{path}: {without_end(LONGEST_LINE)}")
        yield line


def _decoded(line: bytes) -> str | bytes:
    """A line as text; one that is none as it is."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line


def _why_torn(line: str | bytes, error: Exception) -> str:
    if isinstance(line, bytes):
        return "is not UTF-8 text"
    if "\0" in line:
        return "holds NUL bytes"
    reason = str(getattr(error, "msg", error)).partition(";")[0]
    return f"is not JSON ({reason}); expected one object a line"


def _attribute(value: Attribute) -> Attribute:
    return float(value) if isinstance(value, bool) else value


_NAMED = re.compile(r"\.(?:jsonl|ndjson)(?:\.gz)?\Z", re.IGNORECASE)

JSON_LINES = Format(
    name="jsonl",
    title="JSON lines",
    names=r"\.(jsonl|ndjson|json|log|txt)(\.gz)?",
    read=read_jsonlines,
    takes=takes_lines,
    growth=Growth(read=read_some_jsonlines, cut=whole_lines(is_json_object)),
    home=itself_or_folder,
)
