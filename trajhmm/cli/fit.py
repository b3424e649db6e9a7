"""``trajhmm fit``."""

from __future__ import annotations

import math
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trajhmm.cli.options.common import (
    ALL_CORES,
    Jobs,
    Logs,
    Reading,
    Rename,
    RunBy,
    Seed,
    Step,
    TableName,
    Where,
    say_left_out,
    split,
    states_of,
)
from trajhmm.cli.options.kinds import For, options_of_kinds
from trajhmm.cli.options.paths import MODEL, READS
from trajhmm.cli.options.truth import Collapse, Onset, Sustained, Truth, TruthFile
from trajhmm.cli.output.terminal import counted, progress_bar, say, say_lost, say_notes, shell_line

if TYPE_CHECKING:
    from trajhmm.hmm import Model


# Kinds of notes of a reference that are told in sentences of their own.
_TOLD = frozenset({"threshold", "situation", "map", "phases", "alone"})


class Purpose(StrEnum):
    """What the model is for."""

    MAP = "map"
    WARNING = "warning"


class Covariance(StrEnum):
    """Covariance of a state's metrics."""

    DIAG = "diag"
    FULL = "full"
    TIED = "tied"
    SPHERICAL = "spherical"


class Topology(StrEnum):
    """Which transitions there may be."""

    FREE = "free"
    LEFT_RIGHT = "left-right"


class Criterion(StrEnum):
    """What chooses the number of states."""

    REPRODUCIBLE = "reproducible"
    BIC = "bic"
    AIC = "aic"
    ICL = "icl"
    HELDOUT = "heldout"


class Scaling(StrEnum):
    """How metrics are scaled for a map."""

    MIXED = "mixed"
    OWN_START = "own-start"
    SHARED = "shared"
    PER_RUN = "per-run"


class Emissions(StrEnum):
    """What a map takes rows for."""

    GAUSSIAN = "gaussian"
    AR = "ar"


class Engine(StrEnum):
    """What runs EM."""

    NATIVE = "native"
    HMMLEARN = "hmmlearn"


@options_of_kinds(
    {"false_alarm": For(("warning",))} | dict.fromkeys(("sustained", "onset"), For(("warning",), beside="collapse")),
    of="purpose",
)
def fit(
    logs: Logs,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="MODEL.json", help="Model file to write."), MODEL],
    purpose: Annotated[Purpose, typer.Option("--for", help="What the model is for.")] = Purpose.MAP,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            metavar="NAME",
            help="Metrics to fit, by default all but outcomes; repeat or separate by commas.",
        ),
    ] = None,
    states: Annotated[
        str | None, typer.Option("--states", metavar="K|A:B", help="Number of states, or those to choose from: 1:8.")
    ] = None,
    covariance: Annotated[
        Covariance | None, typer.Option("--covariance", help="Of a state's metrics; by default diag.")
    ] = None,
    topology: Annotated[
        Topology, typer.Option("--topology", help="From a state to any, or to the same and later ones only.")
    ] = Topology.FREE,
    criterion: Annotated[
        Criterion | None,
        typer.Option("--criterion", help="What chooses the number of a map's states; by default reproducible."),
    ] = None,
    scaling: Annotated[
        Scaling | None,
        typer.Option("--scaling", help="Of a map's metrics; by default mixed, a shift for each run that is learnt."),
    ] = None,
    emissions: Annotated[
        Emissions | None,
        typer.Option(
            "--emissions", help="For a map: rows of a state are independent, or remember the one before (ar)."
        ),
    ] = None,
    halves: Annotated[
        int | None,
        typer.Option(
            "--halves", min=0, help="Splits of the runs into halves whose maps are compared; 5 for a map, 0 for none."
        ),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option("--restarts", min=1, help="Starts of EM for each number of states: 5 for a map, 4 for warning."),
    ] = None,
    iterations: Annotated[
        int | None,
        typer.Option("--iterations", min=1, help="Most iterations of each start: 200 for a map, 100 for warning."),
    ] = None,
    seed: Seed = 0,
    jobs: Jobs = ALL_CORES,
    engine: Annotated[Engine, typer.Option("--engine", help="What runs EM.")] = Engine.NATIVE,
    shrinkage: Annotated[
        float | None,
        typer.Option(
            "--shrinkage",
            min=0,
            help="Rows of the data's variances given to each state, 0 for a map; for warning runs a metric, 1.",
        ),
    ] = None,
    false_alarm: Annotated[
        float, typer.Option("--false-alarm", min=0, max=1, help="Share of healthy runs that may alarm.")
    ] = 0.05,
    on_map: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="MAP.json",
            help="For warning: a map of such runs, whose states are shown beside scores and alarms.",
        ),
        READS,
    ] = None,
    truth: TruthFile = None,
    collapse: Collapse = None,
    sustained: Sustained = 5,
    onset: Onset = None,
    stream: Annotated[
        bool, typer.Option("--stream", help="Read the rows from disk in each iteration: for logs larger than memory.")
    ] = False,
    dask: Annotated[
        str | None, typer.Option("--dask", metavar="ADDRESS", help="Fit on the Dask cluster of this scheduler.")
    ] = None,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
) -> None:
    """Fit a hidden Markov model to the logs of many runs.

    Example: trajhmm fit logs/ -o model.json --states 1:8 --covariance full
    """
    tried = states_of(states)
    wanted = split(metrics) or None
    if metrics and wanted is None:
        raise typer.BadParameter("--metrics names no metric")

    of_maps = stream or engine is not Engine.NATIVE or topology is not Topology.FREE
    if purpose is Purpose.WARNING and (
        of_maps or any(given is not None for given in (dask, criterion, scaling, emissions, halves))
    ):
        raise typer.BadParameter(
            "--stream, --dask, --engine, --topology, --criterion, --scaling, --emissions and --halves are for maps"
        )
    if engine is Engine.HMMLEARN and scaling is Scaling.MIXED:
        raise typer.BadParameter("--engine hmmlearn knows no shifts of runs: --scaling own-start, shared or per-run")

    if not 0.0 < false_alarm < 1.0:
        raise typer.BadParameter(f"--false-alarm {false_alarm:g}: expected a share above 0 and below 1, such as 0.05")
    ends = Truth(file=truth, collapse=collapse, sustained=sustained, onset=onset)
    if ends.known and purpose is Purpose.MAP:
        raise typer.BadParameter("--truth and --collapse are for warning")

    if on_map is not None and purpose is Purpose.MAP:
        raise typer.BadParameter("--map is for warning")
    read_map = None if on_map is None else _map_of(on_map)

    reading = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table)
    runs: Any = reading.scan(logs) if stream or dask is not None else reading.read(logs)
    say_notes(runs.notes)
    if engine is Engine.HMMLEARN and scaling is None:
        say("engine hmmlearn knows no shifts of runs: scaling per-run, z-scores within each run")
    shared: dict[str, Any] = {
        "metrics": wanted,
        "states": tried,
        "seed": seed,
        "jobs": jobs,
        # What is not given is as in Python, so that there is one default.
        **({} if restarts is None else {"restarts": restarts}),
        **({} if iterations is None else {"iterations": iterations}),
        **({} if covariance is None else {"covariance": covariance.value}),
        **({} if shrinkage is None else {"shrinkage": shrinkage}),
    }
    of_map: dict[str, Any] = {
        **({} if criterion is None else {"criterion": criterion.value}),
        **({} if scaling is None else {"scaling": scaling.value}),
        **({} if emissions is None else {"emissions": emissions.value}),
        **({} if halves is None else {"halves": halves}),
    }
    with progress_bar("fitting") as progress:
        if purpose is Purpose.WARNING:
            from trajhmm.warning.reference import fit_warning

            became = ends.of(runs) if ends.known else None
            model = fit_warning(runs, **shared, false_alarm=false_alarm, truth=became, map=read_map, progress=progress)
        else:
            from trajhmm.hmm import fit as fit_map

            model = fit_map(
                runs,
                **shared,
                topology=topology.value,
                **of_map,
                engine=engine.value,
                dask=dask,
                progress=progress,
            )
    say_notes((note for note in model.notes if note not in runs.notes and note.kind not in _TOLD), more="for the fit")
    model.save(output)
    report(model)
    say(f"{output}: written")
    say_left_out(runs.notes)
    say_lost(model.notes, len(runs.runs))
    if purpose is Purpose.WARNING:
        say(f"next: {shell_line(['trajhmm', 'warn', 'RUNNING/', '--model', str(output), '--follow'])}")
    elif not stream and dask is None:  # a report holds the logs in memory
        words = [*map(str, logs), "--model", str(output), *reading.as_options()]
        say("next, to see the map, or what delays runs until they meet a condition such as 'accuracy > 0.9':")
        say(f"  {shell_line(['trajhmm', 'report', *words, '-o', 'report.html'])}")
        say(f"  {shell_line(['trajhmm', 'analyze', *words, '--converged', 'CONDITION', '-o', 'analysis/'])}")


def _map_of(path: Path) -> Model:
    from trajhmm.hmm import load_model

    return load_model(path)


def report(model: Model) -> None:
    """Say how far a map is to be believed and how the fit ended, on standard error."""
    from trajhmm.dynamics.maps.verdict import chosen_by, describe_certificate, span

    if model.purpose == "map":
        say(describe_certificate(model))
    tried = [point.states for point in model.curve]
    chosen = f", chosen by {chosen_by(model)}, from {span(tried)}" if len(tried) > 1 else ""
    say(
        f"{counted(model.n_states, 'state')}{chosen}; {counted(model.n_runs, 'run')}, {counted(model.n_rows, 'row')}, "
        f"{counted(len(model.metrics), 'metric')}: {', '.join(model.metrics)}"
    )
    if model.parameters.scale_variance is not None:
        say("each run has a scale of its own, learnt with the states: no map came back without")
    outcomes = model.status.outcomes
    degenerate = sum(outcome == "degenerate" for outcome in outcomes)
    ending = f"{model.status.outcome}; {counted(len(outcomes), 'start')} climbed to the end" + (
        f", {degenerate} degenerate" if degenerate else ""
    )
    say(f"EM: {ending}, log-likelihood {model.status.log_likelihoods[model.status.chosen][-1]:.6g}")
    others = [a for restart, a in enumerate(model.status.agreement) if a is not None and restart != model.status.chosen]
    # The second best of a search may well be another map; what other seeds find best says more, where it is known.
    if others and model.certificate is None:
        agreement = "…".join(dict.fromkeys(f"{end:.2f}" for end in (min(others), max(others))))
        say(
            f"{model.status.reached_best} of these {len(outcomes)} reached this optimum; the states of the others "
            f"agree with it to {agreement} (adjusted Rand index)"
        )
    skipped = [str(point.states) for point in model.curve if point.outcome == "degenerate"]
    if skipped:
        say(f"warning: every restart degenerated at {', '.join(skipped)} states")
    if model.status.outcome == "max_iterations":
        say("warning: not converged; raise --iterations")
    if model.purpose == "warning":
        _report_calibration(model)


def _report_calibration(model: Model) -> None:
    from trajhmm.warning.calibration import calibration_of

    calibration = calibration_of(model)
    if calibration is not None:
        promised, budget, learnt = calibration.attainable, calibration.budget, calibration.risk
        say(
            f"threshold {calibration.threshold:.4g}: at most {promised:.1%} of healthy runs alarm, "
            f"calibrated on {calibration.n_runs}"
            + "".join(f"; {note}" for note in model.notes if note.kind == "threshold")
        )
        for note in model.notes:
            if note.kind in {"situation", "map", "phases"}:
                say(note.text)
            elif note.kind == "alone":
                say(f"warning: {note}")
        if learnt.collapsed or learnt.survived:
            say(f"risk learnt from {learnt.collapsed} runs that collapsed and {learnt.survived} that lived")
        if promised > budget:
            say(f"warning: so few healthy runs cannot promise {budget:.1%}; {math.ceil(1 / budget - 1)} could")
