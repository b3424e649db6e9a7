"""CSV and TSV files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv

from trajhmm.errors import LogError
from trajhmm.logs.table import RUN_NAME, Table, numbers_among, table_from_arrow

# Names such as 007 or 2024-05-01 are no numbers and no dates.
_AS_TEXT = {RUN_NAME: pa.string()}


def read_csv(path: Path, name: str) -> Table:
    """Read one comma-separated file with a header; see `read_delimited`."""
    return read_delimited(path, name, ",")


def read_tsv(path: Path, name: str) -> Table:
    """Read one tab-separated file with a header; see `read_delimited`."""
    return read_delimited(path, name, "\t")


def read_delimited(path: Path, name: str, delimiter: str) -> Table:
    """Read one delimited file with a header line.

    An empty cell is blank; ``nan`` and ``inf`` in any spelling are non-finite values that were logged.

    Raises
    ------
    LogError
        No header, a row of the wrong width, or words among the numbers of a column.
    """
    try:
        arrow = pacsv.read_csv(
            path,
            parse_options=pacsv.ParseOptions(delimiter=delimiter),
            convert_options=pacsv.ConvertOptions(null_values=[""], strings_can_be_null=True, column_types=_AS_TEXT),
        )
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("CSV parse error: ")
        raise LogError(f"{path}: not a table with a header and rows of one width ({reason[:110]})") from error
    arrow = arrow.rename_columns([column.strip() for column in arrow.column_names])
    table = table_from_arrow(arrow, path=path, name=name)
    for column in table.texts:
        if column != RUN_NAME:
            table = _with_numbers(table, column)
    return table


def _with_numbers(table: Table, column: str) -> Table:
    """Turn a text column into numbers if it was meant as such: words such as ``None`` made it text."""
    # The header is line 1.
    lines = range(2, table.n + 2)
    parsed = numbers_among(table.texts[column].cells(), column=column, path=table.path, lines=lines)
    if parsed is None:
        return table
    numbers, present = parsed
    texts = {key: value for key, value in table.texts.items() if key != column}
    return replace(
        table, texts=texts, numbers={**table.numbers, column: numbers}, present={**table.present, column: present}
    )
