"""``trajhmm convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trajhmm.cli.options.common import Logs, Reading, Rename, RunBy, Step, TableName, Where
from trajhmm.cli.options.paths import ANY
from trajhmm.cli.output.terminal import counted, say, say_notes


def convert(
    sources: Logs,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="OUT.parquet", help="Run log to write: .parquet, .csv, .tsv or .jsonl."),
        ANY,
    ],
    format: Annotated[
        str | None,
        typer.Option("--from", metavar="FORMAT", help="Such as csv or jsonl; else told by name and content."),
    ] = None,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
) -> None:
    """Write any supported log as one run log: Parquet, or what the name of the output ends in.

    Example: trajhmm convert results/*.jsonl -o logs.parquet --rename wn_total=weight_l2
    """
    from trajhmm.errors import LogError
    from trajhmm.files import is_stream
    from trajhmm.logs import write_logs
    from trajhmm.logs.formats.registry import FORMATS
    from trajhmm.logs.write import LOG_ENDINGS

    known = [one.name for one in FORMATS]
    if format is not None and format not in known:
        raise typer.BadParameter(f"--from {format!r}: expected one of {', '.join(known)}")
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(sources, format=format)
    if output.suffix.lower() not in LOG_ENDINGS and not is_stream(output):
        *most, last = LOG_ENDINGS
        raise LogError(f"{output}: expected a name that ends in {', '.join(most)} or {last}, found {output.name!r}")
    say_notes(runs.notes)
    write_logs(runs, output)
    counts = (runs.n_runs, "run"), (runs.n_rows, "row"), (len(runs.metrics), "metric")
    say(f"{output}: {', '.join(counted(n, what) for n, what in counts)}")
