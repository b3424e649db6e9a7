"""`read_logs`: any supported logs, one `RunSet`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from trajhmm.errors import LogError
from trajhmm.logs.assembly.assemble import assemble
from trajhmm.logs.assembly.columns import ColumnsSeen
from trajhmm.logs.assembly.stack import Stack, stack_tables
from trajhmm.logs.assembly.steps import common_step, with_steps
from trajhmm.logs.formats.table import Table, table_from_arrow
from trajhmm.logs.runset import Note, RunSet
from trajhmm.logs.settings import Settings
from trajhmm.logs.sources.paths import LogFile, find_log_files
from trajhmm.logs.sources.reading import (
    check_rename,
    give_back_memory,
    no_logs,
    partitioned,
    side_by_side,
    why_left_out,
)

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
    return assemble(*_stacked(find_log_files(paths, format=format), settings), settings)


def _stacked(files: Sequence[LogFile], settings: Settings) -> tuple[Stack, ColumnsSeen]:
    """Read files and stack their rows; the tables are let go, so that no more than the stack is kept."""
    tables: list[Table] = []
    notes: list[Note] = []
    read = side_by_side(lambda file: file.format.read(file.path, file.name), files)
    for file, table in zip(files, read, strict=True):
        if note := why_left_out(file, table, table.n):
            notes.append(note)
        else:
            tables.append(partitioned(table, file))
    if not tables:
        raise no_logs(notes)
    check_rename(tables, settings.rename)
    tables[0] = replace(tables[0], notes=(*notes, *tables[0].notes))
    tables = [table.renamed(settings.rename) for table in tables]
    step = common_step(tables, settings.step)
    tables = [with_steps(table, step) for table in tables]
    seen = ColumnsSeen.in_tables(tables, range(len(tables)))
    stack = stack_tables(tables, seen.kinds())
    del read, tables
    give_back_memory()
    return stack, seen


def runset_from_frame(
    frame: pd.DataFrame, *, run_by: str | Sequence[str], step: str | None, where: str | None
) -> RunSet:
    """Build a `RunSet` from a DataFrame; see `RunSet.from_frame`."""
    try:
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError) as error:
        raise LogError(f"DataFrame: not a table of numbers and text ({error})") from error
    table = with_steps(table_from_arrow(arrow, path=Path("DataFrame"), name="run"), step)
    seen = ColumnsSeen.in_tables([table], [0])
    settings = Settings.of(run_by=run_by, rename=None, step=step, where=where)
    return assemble(stack_tables([table], seen.kinds()), seen, settings)
