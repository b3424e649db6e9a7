"""`read_logs`: any supported logs, one `RunSet`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trajhmm.errors import LogError
from trajhmm.logs.assemble import assemble
from trajhmm.logs.formats import READERS
from trajhmm.logs.paths import find_log_files
from trajhmm.logs.products import product_of
from trajhmm.logs.runset import Note, RunSet
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
    if isinstance(paths, (str, Path)):
        paths = [paths]
    if format is not None and format not in READERS:
        raise LogError(f"no reader called {format!r}; known are {', '.join(READERS)}")
    tables: list[Table] = []
    notes: list[Note] = []
    for file in find_log_files(paths, format=format):
        table = READERS[file.format](file.path, file.name)
        if file.searched and (product := product_of(table.columns)):
            notes.append(Note(kind="left-out", text=f"{file.path}: {product} that trajhmm wrote, no log, left out"))
            continue
        if not table.n:
            notes.append(Note(kind="left-out", text=f"{file.path}: holds no rows, left out"))
            continue
        tables.append(replace(table, attributes={**table.attributes, **file.partition}))
    if not tables:
        raise LogError(notes[0].text.removesuffix(", left out"))
    tables[0] = replace(tables[0], notes=(*notes, *tables[0].notes))
    if rename:
        _check_rename(tables, rename)
        tables = [table.renamed(dict(rename)) for table in tables]
    return assemble(tables, run_by=_listed(run_by), step=step, where=where)


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
    return assemble([table], run_by=_listed(run_by), step=step, where=where)


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _check_rename(tables: Sequence[Table], rename: Mapping[str, str]) -> None:
    for old, new in rename.items():
        if not any(old in table.columns for table in tables):
            found = ", ".join(tables[0].columns[:12])
            raise LogError(f"--rename {old}={new}: no column {old!r} (found: {found})")
    for table in tables:
        names = Counter(rename.get(column, column) for column in dict.fromkeys(table.columns))
        for name, count in names.items():
            if count > 1:
                raise LogError(f"{table.path}: --rename gives {count} columns the name {name!r}; rename the other too")
