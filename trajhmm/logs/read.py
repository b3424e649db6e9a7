"""`read_logs`: any supported logs, one `RunSet`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pyarrow as pa

from trajhmm.errors import LogError
from trajhmm.logs.assembly.assemble import assemble, naming_files
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
    side_by_side,
    why_left_out,
)

if TYPE_CHECKING:
    import pandas as pd


def read_logs(
    logs: str | Path | pd.DataFrame | Iterable[str | Path] | Mapping[str, pd.DataFrame],
    *,
    run_by: str | Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    where: str | None = None,
    step: str | None = None,
    format: str | None = None,
    table: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RunSet:
    """Read training logs: files in any format of `trajhmm.logs.formats.registry`, folders of them, or data frames.

    Parameters
    ----------
    logs : files or folders; or a DataFrame laid out as a run log, long by step, wide by metric; or several by run.
    run_by : column or columns that tell runs apart; by default the column ``run``, else the file's name.
    rename : old to new column names, applied before all else.
    where : condition on the rows to keep, such as ``condition == "ln"``; see `trajhmm.logs.conditions`.
    step : column that counts steps; by default ``step``, or one that is called like one.
    format : name of a format, such as ``csv``; by default told from each file's name and content.
    table : the table to read of a SQLite or DuckDB file that holds several.
    progress : called with (files read, files in all) where they are many.

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
    if isinstance(logs, (str, Path)) or not hasattr(logs, "items"):
        notes: list[Note] = []
        files = find_log_files(logs, format=format, table=table, notes=notes)
        tables, left_out = _read(files, progress)
        with naming_files([file.path for file in files]):
            return assemble(*_stacked(tables, [*notes, *left_out], settings), settings)
    if format is not None or table is not None:
        raise LogError("a DataFrame has neither a format nor tables: leave both out")
    frames = cast("Mapping[str, pd.DataFrame]", logs if isinstance(logs, Mapping) else {"run": logs})
    return assemble(*_stacked([_table(frame, str(name)) for name, frame in frames.items()], [], settings), settings)


def _read(files: Sequence[LogFile], progress: Callable[[int, int], None] | None) -> tuple[list[Table], list[Note]]:
    """The tables of files, and which files were left out."""
    tables: list[Table] = []
    notes: list[Note] = []
    for file, table in zip(files, side_by_side(LogFile.read, files, progress), strict=True):
        if note := why_left_out(file, table, table.n):
            notes.append(note)
        else:
            tables.append(table)
    if not tables:
        raise no_logs(notes)
    return tables, notes


def _stacked(tables: list[Table], notes: Sequence[Note], settings: Settings) -> tuple[Stack, ColumnsSeen]:
    """Stack the rows of tables, which are let go, so that no more than the stack is kept."""
    if not tables:
        raise LogError("no DataFrame was given")
    check_rename(tables, settings.rename)
    tables[0] = replace(tables[0], notes=(*notes, *tables[0].notes))
    renamed = [table.renamed(settings.rename) for table in tables]
    tables.clear()
    step = common_step(renamed, settings.step)
    renamed = [with_steps(table, step) for table in renamed]
    seen = ColumnsSeen.in_tables(renamed, range(len(renamed)))
    stack = stack_tables(renamed, seen.kinds())
    del renamed
    give_back_memory()
    return stack, seen


def _table(frame: pd.DataFrame, name: str) -> Table:
    if any(level is not None and level not in frame.columns for level in frame.index.names):
        frame = frame.reset_index()  # an index with a name, such as step, is data
    try:
        arrow = pa.Table.from_pandas(frame, preserve_index=False)
    except (pa.ArrowException, ValueError, TypeError, AttributeError) as error:
        raise LogError(f"DataFrame: not a table of numbers and text ({error})") from error
    return replace(table_from_arrow(arrow, path=Path("DataFrame"), name=name), format="DataFrame")
