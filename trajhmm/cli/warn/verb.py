"""``trajhmm warn``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trajhmm.cli.options.common import Logs, Reading, Rename, RunBy, Step, TableName, WarningModel, Where, say_left_out
from trajhmm.cli.options.kinds import For, options_of_kinds
from trajhmm.cli.options.paths import SCORES, STATE
from trajhmm.cli.output.terminal import echo, in_json, say, say_notes
from trajhmm.cli.warn.commands import AlarmCommands
from trajhmm.cli.warn.following import follow as follow_logs
from trajhmm.cli.warn.objects import object_of, write_scores
from trajhmm.cli.warn.remarks import (
    begins_ahead,
    is_beyond,
    is_rarer,
    say_ahead,
    say_alone,
    say_beyond,
    say_many,
    say_misfit,
    say_never_logged,
    say_not_healed,
    say_rarer,
    say_unknown_losses,
    say_where_to_look,
    unknown_loss,
)

if TYPE_CHECKING:
    from trajhmm.hmm import Model
    from trajhmm.warning.tracking import Scored, Tracker

INPUT_WRONG, ALARM_RAISED = 1, 3
# Rows after an alarm at which the risk tells most.
_RISK_TELLS = 20


@options_of_kinds(dict.fromkeys(("state", "interval", "silent_after"), For(beside="follow")))
def warn(
    logs: Logs,
    model: WarningModel = None,
    follow: Annotated[bool, typer.Option("--follow", help="Keep watching while jobs write; Ctrl-C ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each run.")] = False,
    scores: Annotated[
        Path | None,
        typer.Option("--scores", metavar="scores.parquet", help="Write the score of every row: .parquet or .csv."),
        SCORES,
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="FILE", help="Carry on from here after a restart."),
        STATE,
    ] = None,
    interval: Annotated[float, typer.Option("--interval", min=0.05, max=1e6, help="Seconds between polls.")] = 2.0,
    silent_after: Annotated[
        int,
        typer.Option(
            "--silent-after",
            min=1,
            metavar="ROWS",
            help="Say which run stands still, once the others have gained so many rows in the median.",
        ),
    ] = 20,
    command: Annotated[
        str | None,
        typer.Option(
            "--exec",
            metavar="CMD",
            help="Shell command to run when a run first alarms, with the object of --json on standard input.",
        ),
    ] = None,
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
    table: TableName = None,
) -> None:
    """Say which runs have left what healthy runs do, before they collapse.

    With --follow each run is told when it first alarms, and a terminal shows a live table of all. Commands of --exec
    run beside the watch, at most eight at once; what they print goes to standard error when they end. Without --follow
    they are waited for, until none has ended for a minute.

    Without --model each run is judged by its own past, within limits that healthy runs of other tasks set.

    Exit code 3 if a run alarmed, 1 if --follow ends with a file that it could not read.

    Example: trajhmm warn running/ --model reference.json --follow
    """
    from trajhmm.hmm import load_model

    if scores is not None and follow:
        raise typer.BadParameter("--scores does not go with --follow")
    fitted = None if model is None else load_model(model)
    reading = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table)
    if follow:
        raised, whole = follow_logs(
            logs,
            fitted,
            reading,
            model_file=model,
            state=state,
            interval=interval,
            as_json=as_json,
            command=command,
            silent_after=silent_after,
        )
    else:
        raised = _once(logs, fitted, reading, model_file=model, scores=scores, as_json=as_json, command=command)
        whole = True
    if raised:
        raise typer.Exit(ALARM_RAISED)
    if not whole:
        raise typer.Exit(INPUT_WRONG)


def _once(
    logs: list[Path],
    model: Model | None,
    reading: Reading,
    *,
    model_file: Path | None,
    scores: Path | None,
    as_json: bool,
    command: str | None,
) -> bool:
    from trajhmm.warning.monitor import Monitor

    monitor, commands = Monitor(model), AlarmCommands(command)
    runs = reading.read(logs)
    say_notes(runs.notes)
    scored = monitor.score(runs)
    trackers = [monitor.trackers[run] for run in runs.runs]
    if model is None:
        say_alone(monitor)
    else:
        say_never_logged(monitor, runs.runs)
    say_ahead([run for run in runs.runs if begins_ahead(run, monitor)], monitor)
    say_beyond([run for run in runs.runs if is_beyond(run, monitor)], monitor)
    say_unknown_losses([run for run in runs.runs if unknown_loss(run, monitor)], monitor)
    say_rarer([run for run in runs.runs if is_rarer(run, monitor)], monitor)
    if not say_misfit(monitor):
        say_many(monitor)
    for tracker in trackers:
        told = in_json(object_of(tracker, monitor))
        if as_json:
            echo(told)
        if tracker.alarm is not None:
            commands.start(tracker.run, told)
            if not as_json:
                echo(f"alarm: {tracker.alarm}{_later(scored[tracker.run], monitor.threshold)}")
    if not as_json:
        echo(_summary(trackers, {run: len(part.steps) for run, part in scored.items()}, monitor.threshold))
        alarmed = [tracker.run for tracker in trackers if tracker.alarm is not None]
        if alarmed:
            say_not_healed(alarmed, [run for run in alarmed if scored[run].score[-1] > monitor.threshold])
            say_where_to_look(max(alarmed, key=partial(_urgency, scored, monitor.threshold)), logs, model_file, reading)
    if scores is not None:
        write_scores(scored, monitor, scores)
        say(f"{scores}: written")
    say_left_out(runs.notes)
    commands.finish(leave_running=False)
    return any(tracker.alarm is not None for tracker in trackers)


def _urgency(scored: Mapping[str, Scored], threshold: float, run: str) -> tuple[bool, float, float]:
    """What a run that alarmed is to be looked at first by: not healed, at a high risk, with a high score."""
    last, risk = float(scored[run].score[-1]), float(scored[run].risk[-1])
    healed = last <= threshold
    return not healed, -1.0 if math.isnan(risk) else risk, 0.0 if healed else last


def _later(scored: Scored, threshold: float) -> str:
    """What the risk came to where it tells most, some rows after the alarm, or at the last row if that is before."""
    alarm = int((scored.score > threshold).argmax())
    row = min(alarm + _RISK_TELLS, len(scored.steps) - 1)
    if row <= alarm or math.isnan(scored.risk[row]):
        return ""
    when = "at its last row" if row < alarm + _RISK_TELLS else f"{_RISK_TELLS} rows on"
    return f"; {scored.risk[row]:.0%} {when}, step {scored.steps[row]}"


def _summary(trackers: list[Tracker], rows: Mapping[str, int], threshold: float) -> str:
    """How many runs are quiet, and how near an alarm the nearest of them came."""
    quiet = [tracker for tracker in trackers if tracker.alarm is None]
    if not quiet:
        return "every run raised an alarm" if len(trackers) > 1 else f"the only run, {rows[trackers[0].run]:,} rows"
    nearest = max(quiet, key=lambda tracker: tracker.largest)
    score = f"largest score {nearest.largest:.4g} (threshold {threshold:.4g})"
    if len(trackers) == 1:
        return f"no alarm: run {nearest.run}, {rows[nearest.run]:,} rows up to step {nearest.last_step}, {score}"
    number = f"{len(trackers)} runs" if len(quiet) == len(trackers) else f"{len(quiet)} of {len(trackers)} runs"
    return f"no alarm: {number}; {score}, run {nearest.run}"
