"""``trajhmm convert``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trajhmm.cli.options import Logs, Reading, Rename, RunBy, Step, TableName, Where
from trajhmm.cli.terminal import say, say_notes


def convert(
    sources: Logs,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="OUT.parquet", help="Run log to write.")],
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
    """Write any supported log as one Parquet run log.

    Example: trajhmm convert results/*.jsonl -o logs.parquet --rename wn_total=weight_l2
    """
    from trajhmm.logs import write_logs
    from trajhmm.logs.formats.registry import FORMATS

    known = [one.name for one in FORMATS]
    if format is not None and format not in known:
        raise typer.BadParameter(f"--from {format!r}: expected one of {', '.join(known)}")
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(sources, format=format)
    say_notes(runs.notes)
    write_logs(runs, output)
    say(f"{output}: {runs.n_runs} runs, {runs.n_rows:,} rows, {len(runs.metrics)} metrics")
