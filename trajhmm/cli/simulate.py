"""``trajhmm simulate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from trajhmm.cli.options import Seed
from trajhmm.cli.terminal import say

app = typer.Typer(help="Simulate run logs with known truth.", no_args_is_help=True)


@app.callback()
def simulate() -> None:
    """Simulate run logs with known truth."""


@app.command("planted")
def planted(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="LOGS.parquet", help="Run log to write.")],
    truth: Annotated[
        Path | None, typer.Option("--truth", metavar="truth.csv", help="What is true of each run, to write.")
    ] = None,
    states: Annotated[
        Path | None, typer.Option("--states", metavar="states.parquet", help="True state of each row, to write.")
    ] = None,
    runs: Annotated[int, typer.Option("--runs", min=1, help="Number of runs.")] = 40,
    rows: Annotated[int, typer.Option("--rows", min=2, help="Rows of each run.")] = 120,
    detour: Annotated[bool, typer.Option("--detour/--no-detour", help="Whether some runs take a detour.")] = True,
    seed: Seed = 0,
) -> None:
    """Simulate logs of a hidden Markov model, with a detour that delays convergence and runs that never converge.

    Example: trajhmm simulate planted -o logs.parquet --truth truth.csv
    """
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    from trajhmm.files import replacing, write_parquet
    from trajhmm.logs import write_logs
    from trajhmm.simulate import planted as simulate_planted

    result = simulate_planted(n_runs=runs, n_rows=rows, detour=detour, seed=seed)
    logs = result.logs
    write_logs(logs, output)
    say(f"{output}: {logs.n_runs} runs, {logs.n_rows:,} rows; converged where eval_accuracy > 0.9")
    if truth is not None:
        frame = pd.DataFrame(
            {
                "run": list(logs.runs),
                "onset": -1,
                "collapse_step": -1,
                "convergence_step": result.convergence_steps,
                "took_detour": result.took_detour,
                "detour_state": -1 if result.detour is None else result.detour,
                "detour_delay": result.effect,
            }
        )
        with replacing(truth) as temporary:
            frame.to_csv(temporary, index=False, lineterminator="\n")
        say(f"{truth}: {int(result.took_detour.sum())} runs take the detour, delay {result.effect:g} steps")
    if states is not None:
        names = np.repeat(np.asarray(logs.runs, dtype=object), logs.lengths)
        write_parquet(pa.table({"run": names, "step": logs.steps, "state": result.states}), states)
