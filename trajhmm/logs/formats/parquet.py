"""Parquet files: the package's own run log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trajhmm.errors import LogError
from trajhmm.files import BLANKS_ARE_BLANK, PART
from trajhmm.logs.formats.format import Format
from trajhmm.logs.formats.table import Table, check_cells, table_from_arrow
from trajhmm.naming import is_text

# Rows of a Parquet file: (first, behind the last).
Range = tuple[int, int]

_BATCH_ROWS = 2**16
_READ_AHEAD_BYTES = 2**16
# Of fewer rows it is not worth while to decode columns side by side, or to ask which of them are text.
_MANY_ROWS = 2**13
# Bytes that a file may unpack to, and how many times its size; and of text, in all rows.
_MANY_BYTES, _TIMES_PACKED = 2**26, 200


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
        with ExitStack() as opened:
            # Arrow takes no names that are not UTF-8.
            source = path if is_text(path) else opened.enter_context(path.open("rb"))
            # Pages are read as they are needed, so that a file is never in memory beside what was read from it.
            with pq.ParquetFile(source, buffer_size=_READ_AHEAD_BYTES, pre_buffer=False) as file:
                _check_size(file, path)
                if not _is_large(file.metadata):
                    yield file
                    return
                texts = [field.name for field in file.schema_arrow if _is_text(field.type)]
                metadata = file.metadata
            source = path if is_text(path) else opened.enter_context(path.open("rb"))
            with pq.ParquetFile(
                source, buffer_size=_READ_AHEAD_BYTES, pre_buffer=False, metadata=metadata, read_dictionary=texts
            ) as file:
                yield file
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise LogError(
            f"{path}: not a whole Parquet file, torn or half-written ({reason[:90]}); write it again"
        ) from error


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_binary(kind))


def _is_large(metadata: pq.FileMetaData) -> bool:
    """Whether words should be kept once: rows are many, or words so long that one in each row would be too much."""
    n_rows: int = metadata.num_rows
    return n_rows >= _MANY_ROWS or n_rows * _bytes_of(metadata) > _MANY_BYTES


def _bytes_of(metadata: pq.FileMetaData) -> int:
    return sum(metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups))


def _check_size(file: pq.ParquetFile, path: Path) -> None:
    """Refuse a file that says it holds far more than its size allows: one value, repeated, takes but a few bytes."""
    metadata, size = file.metadata, path.stat().st_size
    n_values = metadata.num_rows * metadata.num_columns
    if any(pa.types.is_nested(field.type) for field in file.schema_arrow):
        groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
        n_values = max(n_values, sum(one.column(c).num_values for one in groups for c in range(one.num_columns)))
    check_cells(n_values // max(metadata.num_columns, 1), metadata.num_columns, size, path)
    if _bytes_of(metadata) > _MANY_BYTES + _TIMES_PACKED * size:
        raise LogError(f"{path}: unpacks to {_bytes_of(metadata) >> 20:,} MiB, far beyond its size; write it again")


PARQUET = Format(name="parquet", title="Parquet", names=r"\.(parquet|pq)", read=read_parquet)
