"""CSV and TSV files, as trainers and spreadsheets write them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from trajhmm.errors import LogError
from trajhmm.logs.formats.encodings import opened, utf8, utf16_of, whole_text
from trajhmm.logs.formats.format import Format, Growth, itself_or_folder
from trajhmm.logs.formats.headings import DELIMITERS, Heading, heading_end, is_number
from trajhmm.logs.formats.lines import LONGEST_HEADER, Lines
from trajhmm.logs.formats.repairs import counted, looks_separated_by, mostly_torn, note_of_skipped, repaired
from trajhmm.logs.formats.table import (
    RUN_NAME,
    Table,
    Text,
    means_blank,
    numbers_among,
    table_from_arrow,
    without_copies,
)
from trajhmm.logs.runset import Note
from trajhmm.naming import is_text

_HEAD = 2**14
# Bytes that Arrow parses at a time, and how many of them for each column.
_BLOCK, _CELL = 2**20, 2**7
_NO_NAMES = "no table, or not written to its end; expected a line that names columns"
# Thousands parted by commas, which they are where other numbers of the file have decimal points.
_THOUSANDS = re.compile(r"\s*[-+]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?\s*")
# A number with a point, in a cell of its own.
_POINT = re.compile(rb"(?:^|[;\t|\n])[ ]*[-+]?\d*\.\d+(?:[eE][-+]?\d+)?[ ]*(?=[;\t|\r\n]|$)")
# What `Table.carry` says: that such a number was there; of a column, that its commas are decimal.
_POINTS, _DECIMAL = "points", "decimal "
_DIGITS = re.compile(r"\s*[-+]?[\d.,]+([eE][-+]?\d+)?\s*")


def read_csv(path: Path, name: str) -> Table:
    """Read one comma-separated file with a header; see `read_delimited`."""
    return read_delimited(path, name, ",")


def read_tsv(path: Path, name: str) -> Table:
    """Read one tab-separated file with a header; see `read_delimited`."""
    return read_delimited(path, name, "\t")


def read_some_csv(lines: Lines, path: Path, name: str) -> Table:
    """Read some lines of a file as `read_csv` reads all."""
    return read_some_delimited(lines, path, name, ",")


def read_some_tsv(lines: Lines, path: Path, name: str) -> Table:
    """Read some lines of a file as `read_tsv` reads all."""
    return read_some_delimited(lines, path, name, "\t")


def read_delimited(path: Path, name: str, usual: str, *, note_comments: bool = True) -> Table:
    """Read one delimited file with a line of names, before which comments may stand.

    An empty cell is blank; ``nan`` and ``inf`` in any spelling are non-finite values that were logged. UTF-16, another
    delimiter than the usual one and, with that, decimal commas are understood and noted. Of two columns of one name
    the second is called ``NAME.1``, or left out if it is the same. Lines that are no rows (torn, NUL bytes, the line of
    names again) are left out with a note, as are comments unless ``note_comments`` is False.

    Raises
    ------
    LogError
        Half of the lines or more are no rows of one width, the text is not UTF-8, or words stand among the numbers of a
        column.
    """
    notes: list[Note] = []
    whole: bytes | None = None
    with opened(path) as stream:
        head = stream.read(_HEAD)
        if encoding := utf16_of(head):
            whole = utf8(whole_text(path), encoding)
            notes.append(Note(kind="layout", text=f"{path}: read as UTF-16"))
        elif b"\r" in head and b"\n" not in head:
            whole = whole_text(path).replace(b"\r", b"\n")
        elif path.suffix.lower() == ".gz" or not is_text(path):
            # What is compressed is unpacked once; names that are no text Arrow does not take.
            whole = whole_text(path)
        ended = whole is not None or len(head) < _HEAD
        head = head if whole is None else whole
        while not (end := heading_end(head, ended)) and not ended:
            more = stream.read(len(head))
            ended = len(more) < len(head)
            head += more
            if len(head) > LONGEST_HEADER:
                raise LogError(f"{path}: no line of names in {len(head) >> 20} MiB; {_NO_NAMES}")
    if not end:
        # A line of names without a line break; or nothing at all.
        head += b"\n"
        end = heading_end(head, ended)
    if not end:
        return Table(path=path, name=name, n=0, numbers={}, present={}, texts={}, notes=tuple(notes))
    heading = Heading.of(head[:end], usual, path)
    if ended and not head[end:].strip():
        return _table_without_rows(heading, path, name)

    def raw() -> bytes:
        return (whole_text(path) if whole is None else whole)[end:]

    source = path if whole is None else pa.BufferReader(whole)
    table = _rows(source, raw, heading, path, name, skip=heading.n_lines, first=heading.n_lines + 1)
    table = without_copies(table, heading.copies)
    return replace(
        table,
        notes=(
            *notes,
            *_notes_on(heading if note_comments else replace(heading, comments=()), usual, path),
            *table.notes,
        ),
    )


def read_some_delimited(lines: Lines, path: Path, name: str, usual: str) -> Table:
    """Read some lines of a file as `read_delimited` reads all; columns that are alike are all kept."""
    header, raw = lines.header, lines.raw
    if encoding := utf16_of(header):
        header, raw = utf8(header, encoding), utf8(raw, encoding)
    heading = Heading.of(header, usual, path)
    return _rows(
        pa.BufferReader(raw),
        lambda: raw,
        heading,
        path,
        name,
        skip=0,
        first=lines.first,
        texts=lines.texts,
        carry=lines.carry,
    )


def _rows(
    source: Path | pa.BufferReader,
    raw: Callable[[], bytes],
    heading: Heading,
    path: Path,
    name: str,
    *,
    skip: int,
    first: int,
    texts: Collection[str] = (),
    carry: Mapping[str, float] | None = None,
) -> Table:
    """Read rows, the first of which is line ``first`` of the file.

    Parameters
    ----------
    source, skip : what holds them, behind so many lines.
    raw : the bytes of the rows alone; called if they have to be repaired.
    heading : names of their columns.
    texts : columns that are text whatever they hold.
    carry : what is known of the rows before.
    """
    where = f"{path} from line {first} on" if carry is not None and first > heading.n_lines + 1 else str(path)
    known = {RUN_NAME, *texts}
    carry = carry or {}
    reason = "cells that cannot be read"
    try:
        arrow = _parsed(source, heading, known, skip)
        if not _need_repair(arrow, heading):
            meant = _Commas(carry, raw)
            table = _table(arrow, range(first, first + arrow.num_rows), known, heading, path, name, meant)
            return replace(table, carry={**counted(carry, rows=table.n, torn=0), **meant.told})
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("CSV parse error: ")[:110]
    except LogError:
        # A word among numbers: the exact line is known once blank lines and torn ones are.
        pass
    rest = raw()
    mended = repaired(rest, heading, first, path)
    carry = counted(carry, rows=len(mended.lines), torn=len(mended.torn))
    if mostly_torn(carry) and mended.torn:
        worst = mended.torn[0]
        raise LogError(
            f"{where}: not a table with a header and rows of one width (line {worst.line} {worst.why}"
            f"{looks_separated_by(heading, rest)})"
        )
    notes = note_of_skipped(path, mended.skipped)
    if not mended.lines:
        return replace(_table_without_rows(heading, path, name), notes=notes, carry=carry)
    try:
        arrow = _parsed(pa.BufferReader(mended.raw), heading, known, 0)
    except (pa.ArrowException, OSError) as error:
        raise LogError(f"{where}: not a table with a header and rows of one width ({reason})") from error
    meant = _Commas(carry, lambda: mended.raw)
    table = _table(arrow, mended.lines, known, heading, path, name, meant)
    return replace(table, notes=(*notes, *table.notes), carry={**carry, **meant.told})


class _Commas:
    """What commas in the numbers of a file stand for: decimal points, or between thousands.

    Parameters
    ----------
    carry : what the rows before told.
    raw : the bytes of the rows; asked for where that is open.
    """

    def __init__(self, carry: Mapping[str, float], raw: Callable[[], bytes]) -> None:
        self.told = {name: value for name, value in carry.items() if name == _POINTS or name.startswith(_DECIMAL)}
        self._raw = raw

    @property
    def pointed(self) -> bool:
        """Whether some number has a point, so that commas in others do not stand for one."""
        if _POINTS not in self.told and _POINT.search(self._raw()) is not None:
            self.told[_POINTS] = 1.0
        return _POINTS in self.told

    def part_thousands(self, column: str, words: Sequence[str]) -> bool:
        """Whether they do in a column; once one did not, none does."""
        if not all(map(_THOUSANDS.fullmatch, words)):
            self.told[_DECIMAL + column] = 1.0
        return _DECIMAL + column not in self.told and (any("." in word for word in words) or self.pointed)


def _parsed(source: Path | pa.BufferReader, heading: Heading, texts: Collection[str], skip: int) -> pa.Table:
    # Names such as 007 or 2024-05-01 are no numbers and no dates. A row has to fit in a block.
    return pacsv.read_csv(
        source,
        read_options=pacsv.ReadOptions(
            column_names=heading.names, skip_rows=skip, block_size=max(_BLOCK, _CELL * len(heading.names))
        ),
        parse_options=pacsv.ParseOptions(delimiter=heading.delimiter),
        convert_options=pacsv.ConvertOptions(
            null_values=[""], strings_can_be_null=True, column_types=dict.fromkeys(texts, pa.string())
        ),
    )


def _need_repair(arrow: pa.Table, heading: Heading) -> bool:
    """Whether some line of a table whose rows have one width is no row all the same."""
    again, anew = True, False
    names = pa.array([name for name in heading.names if name], pa.string())
    for cell, column in zip(heading.cells, arrow.columns, strict=True):
        if pa.types.is_binary(column.type):
            return True
        if not pa.types.is_string(column.type):
            again = again and not cell.strip()
            continue
        if pc.any(pc.match_substring_regex(column, "[\\x00\\r\\n]")).as_py():
            return True
        again = again and (not cell.strip() or pc.index(column, cell).as_py() >= 0)
        anew = anew or pc.any(pc.is_in(column, value_set=names)).as_py()
    return again or anew


def _table(
    arrow: pa.Table,
    lines: Sequence[int],
    known: Collection[str],
    heading: Heading,
    path: Path,
    name: str,
    meant: _Commas,
) -> Table:
    """Make a table; columns that words such as ``None`` made text become numbers if they were meant as such."""
    table = table_from_arrow(arrow, path=path, name=name)
    texts, numbers, present = dict(table.texts), dict(table.numbers), dict(table.present)
    commas = []
    for column, text in table.texts.items():
        if column in known:
            texts[column] = _stripped(text)
            continue
        words = text.words
        with_commas = [word for word in words if "," in word]
        if with_commas and heading.delimiter != ",":  # else they stand between quotes, and may be anything
            grouped = meant.part_thousands(column, with_commas)
            words = tuple(word.replace(",", "") for word in words) if grouped else _with_points(words, column, path)
            commas += [column] if words is not text.words and not grouped else []
        if not any(map(is_number, words)):
            texts[column] = _stripped(text)
            continue
        cells = replace(text, words=words).cells()
        parsed = numbers_among(cells, column=column, path=path, lines=lines)
        if parsed is not None:
            numbers[column], valid = parsed
            present |= {} if valid.all() else {column: valid}
            del texts[column]
    notes = table.notes
    if commas:
        notes = (*notes, Note(kind="layout", text=f"{path}: decimal commas read in {', '.join(commas)}"))
    elif _are_separated_by_spaces(heading, texts):
        raise LogError(f"{path}: looks separated by spaces; expected commas, semicolons or tabs between cells")
    return replace(table, texts=texts, numbers=numbers, present=present, notes=notes)


def _are_separated_by_spaces(heading: Heading, texts: Mapping[str, Text]) -> bool:
    (column, *others) = heading.names
    words = [word.split() for word in texts[column].words[:1]] if column in texts and not others else []
    return any(len(column.split()) == len(cells) > 1 for cells in words)


def _stripped(text: Text) -> Text:
    """The same words without spaces around them."""
    words = tuple(word.strip() for word in text.words)
    return text if words == text.words else Text.joined([replace(text, words=words)])


def _with_points(words: tuple[str, ...], column: str, path: Path) -> tuple[str, ...]:
    """Numbers with decimal points for such with commas; the words themselves if some of them are no numbers.

    Raises
    ------
    LogError
        Some numbers have points, so that it is open what a comma means.
    """
    spelled = [word for word in words if not means_blank(word)]
    if not all(map(_DIGITS.fullmatch, spelled)):
        return words if not any(map(_has_decimal_comma, spelled)) else tuple(map(_with_point, words))
    if mixed := next((word for word in spelled if "." in word), None):
        raise LogError(
            f"{path}: column {column!r} has points and commas in its numbers ({mixed!r}); write them with points alone"
        )
    return tuple(map(_with_point, words))


def _with_point(word: str) -> str:
    return word.replace(",", ".") if _has_decimal_comma(word) else word


def _has_decimal_comma(word: str) -> bool:
    if word.count(",") != 1:
        return False
    try:
        float(word.replace(",", "."))
    except ValueError:
        return False
    return True


def _table_without_rows(heading: Heading, path: Path, name: str) -> Table:
    numbers = {column: np.empty(0) for column in heading.names if column}
    return Table(path=path, name=name, n=0, numbers=numbers, present={}, texts={})


def _notes_on(heading: Heading, usual: str, path: Path) -> list[Note]:
    notes = []
    if heading.comments:
        lines = "1 line" if len(heading.comments) == 1 else f"{len(heading.comments)} lines"
        text = f"{path}: {lines} of comments before the names of columns left out ({heading.comments[0].strip()[:60]})"
        notes.append(Note(kind="left-out", text=text))
    if heading.delimiter != usual:
        notes.append(Note(kind="layout", text=f"{path}: cells are separated by {DELIMITERS[heading.delimiter]}"))
    return notes


def _is_csv(path: Path, head: bytes) -> bool:
    """Whether a file is CSV: by its suffix; or, as Keras calls its ``training.log``, by names that commas separate."""
    if not path.name.lower().removesuffix(".gz").endswith(".log"):
        return True
    first, _, second = head.partition(b"\n")
    names = [name.strip().lower() for name in first.split(b",")]
    counts = {b"epoch", b"step", b"global_step", b"iteration", b"iter", b"_step"} & set(names)
    return bool(counts) and second.partition(b"\n")[0].count(b",") == len(names) - 1 > 0


CSV = Format(
    name="csv",
    title="CSV",
    names=r"\.(csv|log)(\.gz)?",
    read=read_csv,
    takes=_is_csv,
    growth=Growth(read=read_some_csv, header=heading_end),
    home=itself_or_folder,
)
TSV = Format(
    name="tsv",
    title="TSV",
    names=r"\.tsv(\.gz)?",
    read=read_tsv,
    growth=Growth(read=read_some_tsv, header=heading_end),
    home=itself_or_folder,
)
