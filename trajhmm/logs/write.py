"""Writing run logs as Parquet."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from trajhmm.files import BLANKS_ARE_BLANK, write_parquet
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
