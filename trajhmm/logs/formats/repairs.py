"""Lines of a table of text that are no rows: torn ones, and a heading that was written again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.formats.headings import DELIMITERS, Heading, split_cells
from trajhmm.logs.runset import Note

_SAID = 5
# What `Table.carry` says of lines: how many were rows, and how many torn.
ROWS, TORN = "rows", "torn"


@dataclass(frozen=True, kw_only=True)
class Skipped:
    """A line that is no row: its number in the file, and why."""

    line: int
    why: str


def note_of_skipped(path: Path, skipped: Sequence[Skipped]) -> tuple[Note, ...]:
    """One note that counts the lines of a file that are no rows, and says where the first of them stand."""
    if not skipped:
        return ()
    listed = ", ".join(f"line {one.line} {one.why}" for one in skipped[:_SAID])
    more = f" and {len(skipped) - _SAID} more" if len(skipped) > _SAID else ""
    counted = "1 line is no row" if len(skipped) == 1 else f"{len(skipped)} lines are no rows"
    return (Note(kind="torn", text=f"{path}: {counted}, left out: {listed}{more}"),)


def mostly_torn(carry: Mapping[str, float]) -> bool:
    """Whether at least half of the lines so far are torn: then the file is another than it was taken for."""
    return carry[TORN] >= carry[ROWS] if carry[TORN] else False


def counted(carry: Mapping[str, float], *, rows: int, torn: int) -> dict[str, float]:
    """What is carried on behind so many more rows and torn lines."""
    return {**carry, ROWS: carry.get(ROWS, 0) + rows, TORN: carry.get(TORN, 0) + torn}


class NamedAnewError(LogError):
    """A line names other columns than the rows before it had: no row behind it is one of theirs."""


@dataclass(frozen=True, kw_only=True)
class Repaired:
    """The lines of a table that are rows.

    Attributes
    ----------
    raw : the n rows.
    lines : n, where each stands in the file.
    skipped : the other lines that are not blank.
    torn : those among them that are torn, a half-written last one aside.
    """

    raw: bytes
    lines: list[int]
    skipped: list[Skipped]
    torn: list[Skipped]


def repaired(raw: bytes, heading: Heading, first: int, path: Path) -> Repaired:
    """Choose the lines that are rows, the first line being number ``first`` of the file.

    Raises
    ------
    LogError
        A line is not UTF-8.
    """
    kept: list[str] = []
    lines: list[int] = []
    skipped: list[Skipped] = []
    torn: list[Skipped] = []
    *whole, last = _decoded(raw, first, path)
    for number, line in (*whole, last):
        for part in line.split("\r"):
            if not part.strip(" \t"):
                continue
            if heading.is_reordered_by(split_cells(part, heading.delimiter)):
                raise NamedAnewError(
                    f"{path}: line {number} names the columns anew, and otherwise than the first line does; keep the "
                    "rows behind it in a file of their own"
                )
            why, row = _judged(part, heading)
            if not why:
                kept.append(row)
                lines.append(number)
                continue
            half = line is last[1] and why not in (_AGAIN, _COMMENT)
            one = Skipped(line=number, why="is half-written" if half else why)
            skipped.append(one)
            if not half and why not in (_AGAIN, _COMMENT):
                torn.append(one)
    return Repaired(raw="\n".join([*kept, ""]).encode(), lines=lines, skipped=skipped, torn=torn)


def looks_separated_by(heading: Heading, raw: bytes) -> str:
    """A hint at what else separates cells, if names and the first row agree on it; else empty."""
    row = raw.lstrip().partition(b"\n")[0].decode(errors="replace").strip()
    line = heading.delimiter.join(heading.cells)
    for delimiter, called in DELIMITERS.items():
        width = len(split_cells(line, delimiter))
        if delimiter != heading.delimiter and width == len(split_cells(row, delimiter)) > 1:
            return f"; looks separated by {called}"
    return ""


_AGAIN = "repeats the header"
_COMMENT = "is a comment"


def _judged(line: str, heading: Heading) -> tuple[str, str]:
    """Why a line is no row, empty if it is one; and the row."""
    if "\0" in line:
        return "holds NUL bytes", ""
    cells = split_cells(line, heading.delimiter)
    if heading.is_repeated_by(cells):
        return _AGAIN, ""
    width = len(heading.names)
    if len(cells) > width and not any(cell.strip() for cell in cells[width:]):
        # Some writers end each row, not the names, with a comma.
        row = line.rstrip().rstrip(heading.delimiter) + heading.delimiter * _blank_at_end(cells[:width])
        return "", row
    why = ""
    if line.count('"') % 2:
        why = "has a quote that does not end"
    elif len(cells) != width:
        cells_found = f"{len(cells)} cell{'s' * (len(cells) != 1)}"
        why = _COMMENT if line.lstrip().startswith("#") else f"has {cells_found}, expected {width}"
    return why, "" if why else line


def _blank_at_end(cells: Sequence[str]) -> int:
    """How many cells at the end are blank."""
    blank = 0
    for cell in reversed(cells):
        if cell.strip():
            break
        blank += 1
    return blank


def _decoded(raw: bytes, first: int, path: Path) -> list[tuple[int, str]]:
    """Lines with their numbers; the last is what stands behind the last line break."""
    try:
        return [*enumerate(raw.decode().split("\n"), start=first)]
    except UnicodeDecodeError as error:
        line = first + raw.count(b"\n", 0, error.start)
        byte = raw[error.start]
        raise LogError(f"{path}: line {line} is not UTF-8 text (byte 0x{byte:02x}); save the file as UTF-8") from error
