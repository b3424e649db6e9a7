"""``trajhmm decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trajhmm.cli.options.common import Logs, ModelFile, Reading, Rename, RunBy, Step, TableName, Where, say_left_out
from trajhmm.cli.options.paths import STATES
from trajhmm.cli.output.terminal import say, say_notes


def decode(
    logs: Logs,
    model: ModelFile,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="states.parquet", help="States file to write, Parquet or CSV."),
        STATES,
    ],
    filtered: Annotated[
        bool, typer.Option("--filtered", help="Use each row and those before it only, not the whole run.")
    ] = False,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
) -> None:
    """Decode the state of each row.

    Example: trajhmm decode logs/ --model model.json -o states.parquet
    """
    from trajhmm.hmm import load_model
    from trajhmm.hmm.statesfile import write_states

    fitted = load_model(model)
    runs = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table).read(logs)
    sequences = fitted.sequences(runs)
    say_notes((*runs.notes, *sequences.notes))
    decoded = fitted.filter(sequences) if filtered else fitted.decode(sequences)
    write_states(decoded, output)
    say_left_out(runs.notes)
    say(f"{output}: {len(decoded.runs)} runs, {len(decoded.steps):,} rows, {fitted.n_states} states")
