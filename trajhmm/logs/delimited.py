"""CSV and TSV files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from trajhmm.errors import LogError
from trajhmm.logs.table import Table, table_from_arrow

_BLANK_WORDS = {"", "none", "null", "na", "n/a", "-"}


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
            convert_options=pacsv.ConvertOptions(null_values=[""], strings_can_be_null=True),
        )
    except (pa.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0].removeprefix("CSV parse error: ")
        raise LogError(f"{path}: not a table with a header and rows of one width ({reason[:110]})") from error
    duplicated = sorted({column for column in arrow.column_names if arrow.column_names.count(column) > 1})
    if duplicated:
        raise LogError(f"{path}: two columns are called {duplicated[0]!r}; rename one")
    table = table_from_arrow(arrow, path=path, name=name)
    for column in list(table.texts):
        table = _with_numbers(table, column)
    return table


def _with_numbers(table: Table, column: str) -> Table:
    """Turn a text column into numbers if it was meant as such: words such as ``None`` made it text."""
    cells = table.texts[column].cells()
    numbers = np.full(table.n, np.nan)
    present = np.zeros(table.n, dtype=bool)
    bad: list[int] = []
    for row, cell in enumerate(cells):
        if cell is None or cell.strip().lower() in _BLANK_WORDS:
            continue
        try:
            numbers[row] = float(cell)
            present[row] = True
        except ValueError:
            bad.append(row)
    if len(bad) > present.sum():
        return table
    if bad:
        raise LogError(
            f"{table.path}: line {bad[0] + 2}, column {column!r}: expected a number, found {cells[bad[0]]!r}; "
            "mend the cell or leave it empty"
        )
    texts = {key: value for key, value in table.texts.items() if key != column}
    return replace(
        table, texts=texts, numbers={**table.numbers, column: numbers}, present={**table.present, column: present}
    )
