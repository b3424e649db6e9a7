"""Parquet files: the package's own run log."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trajhmm.errors import LogError
from trajhmm.files import BLANKS_ARE_BLANK, PART
from trajhmm.logs.table import Table, table_from_arrow


def read_parquet(path: Path, name: str) -> Table:
    """Read one Parquet file.

    Raises
    ------
    LogError
        The file is torn, half-written or no Parquet at all.
    """
    try:
        # One file at a time: partition folders are read from the path, so that a torn file is known by its name.
        arrow = pq.ParquetFile(path).read()
        table = table_from_arrow(arrow, path=path, name=name)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise LogError(
            f"{path}: not a whole Parquet file, torn or half-written ({reason[:90]}); write it again"
        ) from error
    says = arrow.schema.metadata or {}
    return replace(table, blanks_are_blank=BLANKS_ARE_BLANK.items() <= says.items(), numbered=PART in says)
