"""``trajhmm decode``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trajhmm.cli.options.common import Logs, ModelFile, Reading, Rename, RunBy, Step, TableName, Where, say_left_out
from trajhmm.cli.options.paths import STATES
from trajhmm.cli.output.terminal import counted, say, say_notes

# What a map takes from each run, known once it is over.
_OWN = {"mixed": "shift", "per-run": "mean and spread"}


def decode(
    logs: Logs,
    model: ModelFile,
    output: Annotated[
        Path,
        typer.Option("-o", "--output", metavar="states.parquet", help="States file to write, Parquet or CSV."),
        STATES,
    ],
    filtered: Annotated[
        bool,
        typer.Option(
            "--filtered",
            help="Filter: each row's state by it and the rows before; a run's shift is still that of all its rows.",
        ),
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
    if filtered and fitted.scaling in ("mixed", "per-run"):
        say(
            f"--filtered: states by the rows so far, but each run's own {_OWN[fitted.scaling]} by all of its rows; of "
            "a run under way the state is told by 'trajhmm warn', with a reference that knows the map ('fit --map')"
        )
    say_left_out(runs.notes)
    counts = (len(decoded.runs), "run"), (len(decoded.steps), "row"), (fitted.n_states, "state")
    say(f"{output}: {', '.join(counted(n, what) for n, what in counts)}")
