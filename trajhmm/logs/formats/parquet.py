"""Parquet files: the package's own run log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trajhmm.errors import LogError
from trajhmm.files import BLANKS_ARE_BLANK, PART
from trajhmm.logs.formats.format import Format
from trajhmm.logs.formats.table import Table, table_from_arrow

# Rows of a Parquet file: (first, behind the last).
Range = tuple[int, int]

_BATCH_ROWS = 2**16
_READ_AHEAD_BYTES = 2**16
# Of fewer rows it is not worth while to decode columns side by side, or to ask which of them are text.
_MANY_ROWS = 2**13


def read_parquet(path: Path, name: str) -> Table:
    """Read one Parquet file.

    Raises
    ------
    LogError
        The file is torn, half-written or no Parquet at all.
    """
    # One file at a time: partition folders are read from the path, so that a torn file is known by its name.
    with _opened(path) as file:
        return _table(file.read(use_threads=file.metadata.num_rows >= _MANY_ROWS), path, name)


def read_parquet_rows(path: Path, name: str, ranges: Sequence[Range]) -> Table:
    """Read the rows in ``ranges`` of one Parquet file, and no row groups but theirs.

    Raises
    ------
    LogError
        As `read_parquet`.
    """
    with _opened(path) as file:
        kept: list[pa.RecordBatch] = []
        for start, batch in _batches(file, within=ranges):
            stop = start + batch.num_rows
            for first, behind in ranges:
                if first < stop and start < behind:
                    kept.append(batch.slice(max(first - start, 0), min(behind, stop) - max(first, start)))
        return _table(pa.Table.from_batches(kept, file.schema_arrow), path, name)


def parquet_heading(path: Path, name: str) -> tuple[Table, int]:
    """Tell the columns of a Parquet file, as a table without rows, and how many rows it has.

    Raises
    ------
    LogError
        As `read_parquet`.
    """
    with _opened(path) as file:
        return _table(file.schema_arrow.empty_table(), path, name), file.metadata.num_rows


def parquet_columns(path: Path, name: str, columns: Sequence[str]) -> Iterator[Table]:
    """Yield some columns of a Parquet file, some rows at a time.

    Raises
    ------
    LogError
        As `read_parquet`.
    """
    with _opened(path) as file:
        for _, batch in _batches(file, columns=columns):
            yield _table(pa.Table.from_batches([batch]), path, name)


def _batches(
    file: pq.ParquetFile, *, within: Sequence[Range] | None = None, columns: Sequence[str] | None = None
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield (row at which it starts, batch), only from row groups that reach into ``within``."""
    start = 0
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        last = stop if within is None else max((behind for first, behind in within if first < stop), default=0)
        if start < last:
            at = start
            for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
                yield at, batch
                at += batch.num_rows
                if at >= last:
                    break
        start = stop


def _table(arrow: pa.Table, path: Path, name: str) -> Table:
    says = arrow.schema.metadata or {}
    table = table_from_arrow(arrow, path=path, name=name)
    return replace(table, blanks_are_blank=BLANKS_ARE_BLANK.items() <= says.items(), numbered=PART in says)


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    try:
        # Pages are read as they are needed, so that a file is never in memory beside what was read from it.
        with pq.ParquetFile(path, buffer_size=_READ_AHEAD_BYTES, pre_buffer=False) as file:
            if file.metadata.num_rows < _MANY_ROWS:
                yield file
                return
            texts = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        with pq.ParquetFile(
            path, buffer_size=_READ_AHEAD_BYTES, pre_buffer=False, metadata=file.metadata, read_dictionary=texts
        ) as file:
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise LogError(
            f"{path}: not a whole Parquet file, torn or half-written ({reason[:90]}); write it again"
        ) from error


PARQUET = Format(name="parquet", title="Parquet", names=r"\.(parquet|pq)", read=read_parquet)
