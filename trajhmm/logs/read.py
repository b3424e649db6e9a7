"""`read_logs`: any supported logs, one `RunSet`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trajhmm.errors import LogError
from trajhmm.logs.assemble import assemble
from trajhmm.logs.formats import READERS
from trajhmm.logs.paths import find_log_files
from trajhmm.logs.runset import Note, RunSet
from trajhmm.logs.settings import Settings
from trajhmm.logs.sources import check_rename, no_logs, partitioned, why_left_out
from trajhmm.logs.table import Table, table_from_arrow

if TYPE_CHECKING:
    import pandas as pd


def read_logs(
    paths: str | Path | Iterable[str | Path],
    *,
    run_by: str | Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    where: str | None = None,
    step: str | None = None,
    format: str | None = None,
) -> RunSet:
    """Read training logs: Parquet (file, folder, hive-partitioned), CSV, TSV, JSON lines.

    Parameters
    ----------
    paths : files or folders.
    run_by : column or columns that tell runs apart; by default the column ``run``, else the file's name.
    rename : old to new column names, applied before all else.
    where : condition on the rows to keep, such as ``condition == "ln"``; see `trajhmm.logs.conditions`.
    step : column that counts steps; by default ``step``, ``global_step`` or ``epoch``.
    format : ``parquet``, ``csv``, ``tsv`` or ``jsonl``; by default told from each file's suffix.

    Returns
    -------
    RunSet
        Rows sorted by run and step; ``notes`` says what was repaired or left out.

    Raises
    ------
    LogError
        A path is missing, a file is torn, there is no step or no metric, or two runs have one name.
    ConditionError
        ``where`` does not parse.
    """
    settings = Settings.of(run_by=run_by, rename=rename, where=where, step=step)
    tables: list[Table] = []
    notes: list[Note] = []
    for file in find_log_files(paths, format=format):
        table = READERS[file.format](file.path, file.name)
        if note := why_left_out(file, table, table.n):
            notes.append(note)
        else:
            tables.append(partitioned(table, file))
    if not tables:
        raise no_logs(notes)
    check_rename(tables, settings.rename)
    tables[0] = replace(tables[0], notes=(*notes, *tables[0].notes))
    return assemble([table.renamed(settings.rename) for table in tables], settings)


def runset_from_frame(
    frame: pd.DataFrame, *, run_by: str | Sequence[str], step: str | None, where: str | None
) -> RunSet:
    """Build a `RunSet` from a DataFrame; see `RunSet.from_frame`."""
    import pyarrow as pa

    try:
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError) as error:
        raise LogError(f"DataFrame: not a table of numbers and text ({error})") from error
    table = table_from_arrow(arrow, path=Path("DataFrame"), name="run")
    return assemble([table], Settings.of(run_by=run_by, rename=None, step=step, where=where))
