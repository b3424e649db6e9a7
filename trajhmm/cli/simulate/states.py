"""Logs of runs that pass through known states, or through none, on their way to convergence."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.common import Seed
from trajhmm.cli.options.paths import PARQUET
from trajhmm.cli.output.terminal import say
from trajhmm.cli.simulate.files import Output, Runs, Truth, simulated, write_truth

if TYPE_CHECKING:
    from trajhmm.simulate import Simulated, SimulatedStates

States = Annotated[
    Path | None, typer.Option("--states", metavar="states.parquet", help="True state of each row, to write."), PARQUET
]
Rows = Annotated[int, typer.Option("--rows", min=2, help="Rows of each run, such as 400.")]


class Layout(StrEnum):
    """Where the means of planted states lie."""

    RING = "ring"
    SPREAD = "spread"


class Variant(StrEnum):
    """Why skipping a state changes nothing."""

    HAZARD = "hazard"
    SHARED = "shared"


def planted(
    output: Output,
    truth: Truth = None,
    states: States = None,
    runs: Runs = 40,
    rows: Rows = 120,
    stays: Annotated[
        tuple[float, float, float],
        typer.Option("--stays", help="Mean rows in early, plateau and late, 8 or more each, such as 64 56 48."),
    ] = (16.0, 14.0, 12.0),
    dwell_sd: Annotated[
        float,
        typer.Option(
            "--dwell-sd", min=0, help="Log standard deviation, over runs, of the time in each state, such as 0.5."
        ),
    ] = 0.0,
    detour: Annotated[bool, typer.Option("--detour/--no-detour", help="Whether some runs take a detour.")] = True,
    detour_share: Annotated[
        float, typer.Option("--detour-share", min=0, max=1, help="Share of runs that take the detour, such as 0.4.")
    ] = 0.4,
    detour_stay: Annotated[
        float, typer.Option("--detour-stay", min=8, help="Mean rows in the detour, all of them delay, such as 12.")
    ] = 36.0,
    bystander: Annotated[
        bool, typer.Option("--bystander/--no-bystander", help="Whether some runs pass a state that costs no time.")
    ] = False,
    bystander_share: Annotated[
        float,
        typer.Option("--bystander-share", min=0, max=1, help="Share of runs that pass the bystander, such as 0.4."),
    ] = 0.4,
    never: Annotated[
        float, typer.Option("--never", min=0, max=1, help="Share of runs that never converge, such as 0.3.")
    ] = 0.05,
    layout: Annotated[
        Layout, typer.Option("--layout", help="Means of the states: in a ring, or spread, all equally far apart.")
    ] = Layout.RING,
    metrics: Annotated[
        int | None, typer.Option("--metrics", min=1, help="Number of metrics, such as 8.  [default: ring 14, spread 8]")
    ] = None,
    separation: Annotated[
        float | None,
        typer.Option(
            "--separation",
            min=0,
            help="Euclidean distance between means, in the unit of --noise, such as 2.5.  "
            "[default: ring 2.65, spread 2.5]",
        ),
    ] = None,
    noise: Annotated[
        float | None,
        typer.Option(
            "--noise",
            min=0,
            help="Standard deviation of a metric around the mean of its state, such as 0.35.  "
            "[default: ring 1, spread 0.35]",
        ),
    ] = None,
    ar: Annotated[
        float,
        typer.Option("--ar", min=0, max=1, help="Autoregression of the noise from row to row, below 1, such as 0.5."),
    ] = 0.0,
    tails: Annotated[
        float | None,
        typer.Option(
            "--tails",
            min=2,
            help="Degrees of freedom of Student's t for the noise, above 2, such as 3.  [default: normal]",
        ),
    ] = None,
    growth: Annotated[
        float,
        typer.Option(
            "--growth", help="Rise of each metric over the log, in its pooled standard deviations, such as 1."
        ),
    ] = 0.0,
    offset_sd: Annotated[
        float | None,
        typer.Option(
            "--offset-sd",
            min=0,
            help="Standard deviation of each run's offset, in pooled standard deviations of the metric, such as 3.  "
            "[default: ring one standard deviation of the noise, spread 0]",
        ),
    ] = None,
    scale_sd: Annotated[
        float | None,
        typer.Option(
            "--scale-sd",
            min=0,
            help="Log standard deviation of each run's scale, such as 0.3.  [default: ring 0.3, spread 0]",
        ),
    ] = None,
    seed: Seed = 0,
) -> None:
    """Simulate logs of a hidden Markov model, with a detour that delays convergence and runs that never converge.

    Runs can differ in offset, scale and dwell times, noise can be autocorrelated or have heavy tails.

    Example: trajhmm simulate planted -o logs.parquet --truth truth.csv --layout spread --rows 400 --stays 64 56 48
    """
    from trajhmm.simulate import planted as simulate_planted

    result = simulated(
        simulate_planted,
        n_runs=runs,
        n_rows=rows,
        stays=stays,
        dwell_sd=dwell_sd,
        detour=detour,
        detour_share=detour_share,
        detour_stay=detour_stay,
        bystander=bystander,
        bystander_share=bystander_share,
        never=never,
        layout=layout.value,
        n_metrics=metrics,
        separation=separation,
        noise=noise,
        ar=ar,
        tails=tails,
        growth=growth,
        offset_sd=offset_sd,
        scale_sd=scale_sd,
        seed=seed,
    )
    _write(result, output, truth)
    say(f"{int(result.took_detour.sum())} runs take the detour, delay {result.effect:g} steps")
    if bystander:
        say(f"{int(result.took_bystander.sum())} runs pass the bystander, no delay")
    _write_states(result, states)


def drift(
    output: Output,
    truth: Truth = None,
    runs: Runs = 40,
    rows: Rows = 200,
    speed_sd: Annotated[
        float, typer.Option("--speed-sd", min=0, help="Log standard deviation of the speed over runs, such as 0.8.")
    ] = 0.8,
    metrics: Annotated[
        int, typer.Option("--metrics", min=1, help="Number of metrics, half of them positive, such as 8.")
    ] = 8,
    noise: Annotated[
        float,
        typer.Option(
            "--noise",
            min=0,
            help="Standard deviation around the road, where metrics (half of them by their logarithm) "
            "range from -1 to 1, such as 0.03.",
        ),
    ] = 0.03,
    seed: Seed = 0,
) -> None:
    """Simulate runs that go down one smooth road and differ only in speed: no states, no detours.

    Example: trajhmm simulate drift --runs 40 --speed-sd 0.8 -o logs.parquet --truth truth.csv
    """
    from trajhmm.simulate import drift as simulate_drift

    result = simulated(
        simulate_drift, n_runs=runs, n_rows=rows, speed_sd=speed_sd, n_metrics=metrics, noise=noise, seed=seed
    )
    _write(result, output, truth)


def skips(
    output: Output,
    truth: Truth = None,
    states: States = None,
    runs: Runs = 40,
    rows: Rows = 200,
    variant: Annotated[
        Variant,
        typer.Option(
            "--variant",
            help="hazard: every row before convergence is as likely to be the last; "
            "shared: what is spent in the first state is saved in the second.",
        ),
    ] = Variant.HAZARD,
    skip_share: Annotated[
        float, typer.Option("--skip-share", min=0, max=1, help="Share of runs that skip the first state, such as 0.5.")
    ] = 0.5,
    seed: Seed = 0,
) -> None:
    """Simulate runs of which some skip a state, to no effect on convergence: a null for detours.

    Example: trajhmm simulate skips --variant shared --runs 40 -o logs.parquet --truth truth.csv
    """
    from trajhmm.simulate import skips as simulate_skips

    result = simulated(
        simulate_skips, variant=variant.value, n_runs=runs, n_rows=rows, skip_share=skip_share, seed=seed
    )
    _write(result, output, truth)
    _write_states(result, states)


def doors(
    output: Output,
    truth: Truth = None,
    states: States = None,
    runs: Runs = 40,
    rows: Rows = 200,
    doors: Annotated[int, typer.Option("--doors", min=1, help="Number of parallel states, such as 4.")] = 4,
    seed: Seed = 0,
) -> None:
    """Simulate runs that leave a plateau by one of many doors, all as long: a null for detours.

    Example: trajhmm simulate doors --doors 4 --runs 40 -o logs.parquet --truth truth.csv
    """
    from trajhmm.simulate import doors as simulate_doors

    result = simulated(simulate_doors, n_doors=doors, n_runs=runs, n_rows=rows, seed=seed)
    _write(result, output, truth)
    _write_states(result, states)


def excursions(
    output: Output,
    truth: Truth = None,
    states: States = None,
    runs: Runs = 40,
    rows: Rows = 200,
    spike_stay: Annotated[float, typer.Option("--spike-stay", min=1, help="Mean rows in a spike, such as 4.")] = 4.0,
    seed: Seed = 0,
) -> None:
    """Simulate runs that spike again and again, to no effect on convergence: a null for detours.

    Example: trajhmm simulate excursions --runs 40 -o logs.parquet --truth truth.csv
    """
    from trajhmm.simulate import excursions as simulate_excursions

    result = simulated(simulate_excursions, n_runs=runs, n_rows=rows, spike_stay=spike_stay, seed=seed)
    _write(result, output, truth)
    _write_states(result, states)


def _write(result: Simulated, output: Path, truth: Path | None) -> None:
    from trajhmm.logs import write_logs

    logs = result.logs
    write_logs(logs, output)
    say(f"{output}: {logs.n_runs} runs, {logs.n_rows:,} rows; converged where eval_accuracy > 0.9")
    if truth is not None:
        write_truth(result.truth_table(), truth)
        converged = int((result.convergence_steps >= 0).sum())
        say(f"{truth}: {converged} of {logs.n_runs} runs converge")


def _write_states(result: SimulatedStates, states: Path | None) -> None:
    if states is None:
        return
    import numpy as np
    import pyarrow as pa

    from trajhmm.files import write_parquet

    logs = result.logs
    runs = np.repeat(np.asarray(logs.runs, dtype=object), logs.lengths)
    write_parquet(pa.table({"run": runs, "step": logs.steps, "state": result.states}), states)
    say(f"{states}: " + ", ".join(f"{state} {name}" for state, name in enumerate(result.state_names)))
