"""CSV and TSV files."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from trajhmm.errors import LogError
from trajhmm.logs.formats.format import Format, Growth
from trajhmm.logs.formats.lines import Lines
from trajhmm.logs.formats.table import RUN_NAME, Table, numbers_among, table_from_arrow


def read_csv(path: Path, name: str) -> Table:
    """Read one comma-separated file with a header; see `read_delimited`."""
    return read_delimited(path, name, ",")


def read_tsv(path: Path, name: str) -> Table:
    """Read one tab-separated file with a header; see `read_delimited`."""
    return read_delimited(path, name, "\t")


def read_some_csv(lines: Lines, path: Path, name: str) -> Table:
    """Read some lines of a file as `read_csv` reads all."""
    return _read_some(lines, path, name, ",")


def read_some_tsv(lines: Lines, path: Path, name: str) -> Table:
    """Read some lines of a file as `read_tsv` reads all."""
    return _read_some(lines, path, name, "\t")


def read_delimited(path: Path, name: str, delimiter: str) -> Table:
    """Read one delimited file with a header line.

    An empty cell is blank; ``nan`` and ``inf`` in any spelling are non-finite values that were logged.

    Raises
    ------
    LogError
        No header, a row of the wrong width, or words among the numbers of a column.
    """
    return _table(path, path, name, delimiter)


def _read_some(lines: Lines, path: Path, name: str, delimiter: str) -> Table:
    heading = lines.header.decode("utf-8-sig", errors="replace").strip("\r\n").split(delimiter)
    return _table(
        pa.BufferReader(lines.header + lines.raw),
        path,
        name,
        delimiter,
        first=lines.first,
        texts={column for column in heading if column.strip() in lines.texts},
    )


def _table(
    source: Path | pa.BufferReader,
    path: Path,
    name: str,
    delimiter: str,
    *,
    first: int = 2,
    texts: Collection[str] = (),
) -> Table:
    """Read a header and rows, the first of which is line ``first`` of the file; columns in ``texts`` are text."""
    # Names such as 007 or 2024-05-01 are no numbers and no dates.
    as_text = dict.fromkeys((RUN_NAME, *texts), pa.string())
    try:
        arrow = pacsv.read_csv(
            source,
            parse_options=pacsv.ParseOptions(delimiter=delimiter),
            convert_options=pacsv.ConvertOptions(null_values=[""], strings_can_be_null=True, column_types=as_text),
        )
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("CSV parse error: ")
        where = f"{path} from line {first} on" if first > 2 else str(path)
        raise LogError(f"{where}: not a table with a header and rows of one width ({reason[:110]})") from error
    known = {RUN_NAME, *(column.strip() for column in texts)}
    arrow = arrow.rename_columns([column.strip() for column in arrow.column_names])
    table = table_from_arrow(arrow, path=path, name=name)
    for column in table.texts:
        if column not in known:
            table = _with_numbers(table, column, first)
    return table


def _with_numbers(table: Table, column: str, first: int) -> Table:
    """Turn a text column into numbers if it was meant as such: words such as ``None`` made it text."""
    lines = range(first, table.n + first)
    parsed = numbers_among(table.texts[column].cells(), column=column, path=table.path, lines=lines)
    if parsed is None:
        return table
    numbers, present = parsed
    texts = {key: value for key, value in table.texts.items() if key != column}
    return replace(
        table, texts=texts, numbers={**table.numbers, column: numbers}, present={**table.present, column: present}
    )


CSV = Format(
    name="csv",
    title="CSV",
    names=r"\.csv(\.gz)?",
    read=read_csv,
    growth=Growth(read=read_some_csv, header=True),
)
TSV = Format(
    name="tsv",
    title="TSV",
    names=r"\.tsv(\.gz)?",
    read=read_tsv,
    growth=Growth(read=read_some_tsv, header=True),
)
