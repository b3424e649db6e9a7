"""The files that every simulation writes, and settings that are out of range."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from trajhmm.cli.options.paths import CSV, LOG

if TYPE_CHECKING:
    import pandas as pd

Output = Annotated[Path, typer.Option("-o", "--output", metavar="LOGS.parquet", help="Run log to write."), LOG]
Truth = Annotated[
    Path | None, typer.Option("--truth", metavar="truth.csv", help="What is true of each run, to write."), CSV
]
Runs = Annotated[int, typer.Option("--runs", min=1, help="Number of runs, such as 20.")]

_Result = TypeVar("_Result")


def simulated(simulation: Callable[..., _Result], **settings: Any) -> _Result:
    """Simulate; a setting out of range is a wrong command."""
    try:
        return simulation(**settings)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def write_truth(table: pd.DataFrame, truth: Path) -> None:
    """Write what is true of each run."""
    from trajhmm.files import write_csv

    write_csv(table, truth)
