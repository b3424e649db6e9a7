"""The states file: ``run, step, state, probability, p_0 … p_{K-1}``, one row for each row decoded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from trajhmm.files import write_csv, write_parquet
from trajhmm.hmm.results import Filtered, Smoothed


def states_table(decoded: Filtered | Smoothed) -> pa.Table:
    """The states file as an Arrow table.

    ``state`` is the Viterbi path of a `Smoothed` and the likeliest state of a `Filtered`; ``probability`` is that
    state's smoothed or filtered probability.
    """
    state = decoded.path if isinstance(decoded, Smoothed) else decoded.probs.argmax(axis=1)
    names = np.repeat(np.asarray(decoded.runs, dtype=object), decoded.lengths)
    columns: dict[str, pa.Array] = {
        "run": pa.array(names, type=pa.string()),
        "step": pa.array(decoded.steps),
        "state": pa.array(np.asarray(state, dtype=np.int64)),
        "probability": pa.array(np.take_along_axis(decoded.probs, state[:, np.newaxis], axis=1)[:, 0]),
    }
    for k in range(decoded.probs.shape[1]):
        columns[f"p_{k}"] = pa.array(np.ascontiguousarray(decoded.probs[:, k]))
    return pa.table(columns)


def write_states(decoded: Filtered | Smoothed, path: str | Path) -> None:
    """Write the states file, whole or not at all: Parquet, or CSV where its name ends so."""
    table = states_table(decoded)
    if Path(path).suffix.lower() == ".csv":
        write_csv(table.to_pandas(), path)
    else:
        write_parquet(table, path)
