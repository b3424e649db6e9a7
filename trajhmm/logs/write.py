"""Writing run logs: as Parquet, or as text where the name of the file says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from trajhmm.files import BLANKS_ARE_BLANK, replacing, write_parquet
from trajhmm.logs.runset import RunSet
from trajhmm.naming import shown

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
LOG_ENDINGS = (".parquet", ".pq", *_DELIMITERS, *_JSON_LINES)
"""Of names of run logs that can be written."""
_AT_ONCE = 10_000


def write_logs(runs: RunSet, path: str | Path) -> None:
    """Write ``runs`` as one run log, whole or not at all: Parquet, zstd-compressed, unless the name ends otherwise.

    A name that ends in ``.csv``, ``.tsv`` or ``.jsonl`` (or ``.ndjson``) gets that. A blank cell is written as null, or
    left empty or out; a non-finite value stays what it is. In CSV and TSV, where a line is a row, names stand in one
    line (`trajhmm.naming.shown`), and those that are digits are not told from numbers. They are not guarded against
    spreadsheets: a log is data.
    """
    ending = Path(path).suffix.lower()
    if ending in _DELIMITERS:
        _write_delimited(_table(runs, shown), path, _DELIMITERS[ending])
    elif ending in _JSON_LINES:
        _write_json_lines(_table(runs), path)
    else:
        write_parquet(_table(runs).replace_schema_metadata(BLANKS_ARE_BLANK), path)


def _table(runs: RunSet, name: Callable[[str], str] = str) -> pa.Table:
    """All rows; ``name`` says how text stands there."""
    import numpy as np

    names = np.array([name(run) for run in runs.runs], dtype=object)
    columns: dict[str, pa.Array] = {
        "run": pa.array(np.repeat(names, runs.lengths), type=pa.string()),
        "step": pa.array(runs.steps),
    }
    for index, metric in enumerate(runs.metrics):
        columns[name(metric)] = pa.array(runs.values[:, index], mask=~runs.logged[:, index])
    for attribute in runs.attribute_names:
        per_run = runs.attributes[attribute].map(lambda value: name(value) if isinstance(value, str) else value)
        columns[name(attribute)] = pa.array(np.repeat(per_run.to_numpy(), runs.lengths), from_pandas=True)
    return pa.table(columns)


def _write_delimited(table: pa.Table, path: str | Path, delimiter: str) -> None:
    from pyarrow import csv

    with replacing(path) as temporary, temporary.open("wb") as stream:
        csv.write_csv(table, stream, csv.WriteOptions(delimiter=delimiter))


def _write_json_lines(table: pa.Table, path: str | Path) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        stream.writelines(_json_lines(table))


def _json_lines(table: pa.Table) -> Iterator[str]:
    for batch in table.to_batches(max_chunksize=_AT_ONCE):
        for row in batch.to_pylist():
            yield json.dumps({name: value for name, value in row.items() if value is not None}) + "\n"
