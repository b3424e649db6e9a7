"""What stands before the rows of a table of text: comments, and the line that names columns."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from trajhmm.errors import LogError
from trajhmm.logs.formats.encodings import without_mark
from trajhmm.logs.formats.table import check_columns, unique_names

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_BLANK = b" \t\r\n\0"
# Around a name that is written again: blanks, and the mark of UTF-8 before the first.
_AROUND = " \t\r\n\0\ufeff"
# Lines that may stand before the names of columns.
_MOST_COMMENTS = 10_000
# A comment, or the line by which spreadsheets say what separates cells.
_COMMENT = re.compile(rb"[ \t\0]*(#|sep=.\r?\n)")


def heading_end(data: bytes | bytearray, ended: bool) -> int:  # noqa: ARG001, FBT001 (as `Cut` says)
    """How many bytes at the beginning of a text go before its first row; 0 while the line of names is not whole."""
    comment = b""
    for start, end in _lines(data):
        line = without_mark(data[start:end]) if not start else bytes(data[start:end])
        if not line.strip(_BLANK):
            continue
        if not _COMMENT.match(line):
            return start if _names_in_comment(comment, line) else end
        comment = line
    return 0


@dataclass(frozen=True, kw_only=True)
class Heading:
    """The line that names columns, and what stands before it.

    Attributes
    ----------
    cells : the names as they stand there.
    names : the same without spaces around them, the second of two alike called ``NAME.1``.
    copies : of names that were alike, the later one to the first.
    delimiter : what separates cells.
    comments : what stands before the names, a line each.
    n_lines : lines up to the first row.
    """

    cells: tuple[str, ...]
    names: tuple[str, ...]
    copies: dict[str, str]
    delimiter: str
    comments: tuple[str, ...]
    n_lines: int

    @classmethod
    def of(cls, raw: bytes, usual: str, path: Path) -> Self:
        """Take it from what `heading_end` cut off.

        Parameters
        ----------
        raw : the bytes, UTF-8.
        usual : what separates cells unless the names say otherwise.
        path : of the file, for messages.

        Raises
        ------
        LogError
            The line is no text, holds numbers or too many names, or leaves open what separates cells.
        """
        try:
            text = without_mark(raw).decode()
        except UnicodeDecodeError as error:
            raise LogError(f"{path}: the line of names is not UTF-8 text ({error}); save it as UTF-8") from error
        lines = [line for line in text.split("\n") if line.strip(_BLANK.decode())]
        names = lines.pop() if lines else ""
        # Names stand in a comment where rows follow it at once.
        line = names.strip("\r\0").lstrip("# \t") if _COMMENT.match(f"{names}\n".encode()) else names.strip("\r\0")
        delimiter = _delimiter(line, usual, path)
        cells = tuple(_split(line, delimiter))
        stripped = [cell.strip() for cell in cells]
        if all(map(is_number, stripped)):
            raise LogError(f"{path}: the first line holds numbers ({line.strip()[:40]}); add a line of names before it")
        check_columns(len(cells), path)
        unique, copies = unique_names(stripped)
        return cls(
            cells=cells,
            names=tuple(unique),
            copies=copies,
            delimiter=delimiter,
            comments=tuple(lines),
            n_lines=raw.count(b"\n"),
        )

    def is_repeated_by(self, cells: list[str]) -> bool:
        """Whether a row is the line of names again."""
        return len(cells) == len(self.cells) and [c.strip(_AROUND) for c in cells] == [c.strip() for c in self.cells]

    def is_reordered_by(self, cells: list[str]) -> bool:
        """Whether a row names the same columns, or more, otherwise than the line of names does."""
        names, own = {cell.strip(_AROUND) for cell in cells}, {cell.strip() for cell in self.cells}
        return len(own) > 1 and own <= names and not self.is_repeated_by(cells)


def split_cells(line: str, delimiter: str) -> list[str]:
    """Cells of a line."""
    return line.split(delimiter) if '"' not in line else _split(line, delimiter)


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [""])
    except csv.Error:
        return line.split(delimiter)


def _lines(data: bytes | bytearray) -> list[tuple[int, int]]:
    """Start and end of each line with its line break, up to the first that may name columns."""
    found: list[tuple[int, int]] = []
    start = 0
    while (end := data.find(b"\n", start) + 1) > 0 and len(found) < _MOST_COMMENTS:
        found.append((start, end))
        line = without_mark(data[start:end]) if not start else data[start:end]
        if line.strip(_BLANK) and not _COMMENT.match(line):
            break
        start = end
    return found


def _names_in_comment(comment: bytes, row: bytes) -> bool:
    """Whether a comment names the columns of the row of numbers behind it, as ``numpy.savetxt`` writes it."""
    names = comment.decode(errors="replace").strip().lstrip("# \t")
    cells = row.decode(errors="replace").strip()
    if not names:
        return False
    for delimiter in DELIMITERS:
        words, numbers = _split(names, delimiter), _split(cells, delimiter)
        if len(words) == len(numbers) > 1:
            return all(map(is_number, numbers)) and not any(map(is_number, words))
    return False


def _delimiter(line: str, usual: str, path: Path) -> str:
    """What separates the names of columns: the usual one if it stands there at all, else the only other that does."""
    if len(split_cells(line, usual)) > 1:
        return usual
    others = [delimiter for delimiter in DELIMITERS if len(split_cells(line, delimiter)) > 1]
    if len(others) > 1:
        found = " and ".join(DELIMITERS[other] for other in others)
        raise LogError(f"{path}: {found} stand in the line of names; expected one of them to separate cells")
    return others[0] if others else usual


def is_number(cell: str) -> bool:
    """Whether a cell spells a number, one that is not finite too."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
