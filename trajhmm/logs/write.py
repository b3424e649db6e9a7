"""Writing run logs, and the tables that belong to them, as Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trajhmm.files import replacing
from trajhmm.logs.parquet import BLANKS_ARE_BLANK
from trajhmm.logs.runset import RunSet


def write_logs(runs: RunSet, path: str | Path) -> None:
    """Write ``runs`` as one Parquet run log, zstd-compressed, whole or not at all.

    A blank cell is written as null; a non-finite value stays what it is.
    """
    import numpy as np

    columns: dict[str, pa.Array] = {
        "run": pa.array(np.repeat(np.asarray(runs.runs, dtype=object), runs.lengths), type=pa.string()),
        "step": pa.array(runs.steps),
    }
    for index, metric in enumerate(runs.metrics):
        columns[metric] = pa.array(runs.values[:, index], mask=~runs.logged[:, index])
    for name in runs.attributes.columns:
        per_run = runs.attributes[name].to_numpy()
        columns[name] = pa.array(np.repeat(per_run, runs.lengths), from_pandas=True)
    write_parquet(pa.table(columns).replace_schema_metadata(BLANKS_ARE_BLANK), path)


def write_parquet(table: pa.Table, path: str | Path) -> None:
    """Write an Arrow table as zstd-compressed Parquet, whole or not at all."""
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")
