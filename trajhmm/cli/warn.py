"""``trajhmm warn``."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trajhmm.cli.commands import AlarmCommands
from trajhmm.cli.options import Logs, Reading, Rename, RunBy, Step, TableName, WarningModel, Where
from trajhmm.cli.silence import Silence
from trajhmm.cli.table import live_table
from trajhmm.cli.terminal import counted, say, say_notes

if TYPE_CHECKING:
    from trajhmm.hmm import Model
    from trajhmm.warning.monitor import Monitor, Watch
    from trajhmm.warning.tracking import Scored, Tracker

ALARM_RAISED = 3
# Of the first runs of a watch, so many are asked which metrics they lack.
_RUNS_LOOKED_AT = 100
# Of files that cannot be read, so many are named in a poll.
_FILES_NAMED = 3
# So many runs that alarm almost at once are no chance.
_MISFITS = 3


def warn(
    logs: Logs,
    model: WarningModel = None,
    follow: Annotated[bool, typer.Option("--follow", help="Keep watching while jobs write; Ctrl-C ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line for each run.")] = False,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="scores.parquet", help="Write the score of every row.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="FILE", help="With --follow: carry on from here after a restart.")
    ] = None,
    interval: Annotated[
        float, typer.Option("--interval", min=0.05, help="With --follow: seconds between polls.")
    ] = 2.0,
    silent_after: Annotated[
        int,
        typer.Option(
            "--silent-after",
            min=1,
            metavar="ROWS",
            help="With --follow: say which run stands still, once the others have gained so many rows in the median.",
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

    Without --model each run is judged by its own past, and by how healthy runs of other tasks move.

    Exit code 3 if a run alarmed. Example: trajhmm warn running/ --model reference.json --follow
    """
    from trajhmm.hmm import load_model

    if state is not None and not follow:
        raise typer.BadParameter("--state goes with --follow")
    if scores is not None and follow:
        raise typer.BadParameter("--scores does not go with --follow")
    fitted = None if model is None else load_model(model)
    reading = Reading(run_by=run_by, rename=rename, where=where, step=step, table=table)
    if follow:
        raised = _follow(
            logs,
            fitted,
            reading,
            state=state,
            interval=interval,
            as_json=as_json,
            command=command,
            silent_after=silent_after,
        )
    else:
        raised = _once(logs, fitted, reading, scores=scores, as_json=as_json, command=command)
    if raised:
        raise typer.Exit(ALARM_RAISED)


def _once(
    logs: list[Path], model: Model | None, reading: Reading, *, scores: Path | None, as_json: bool, command: str | None
) -> bool:
    from trajhmm.warning.monitor import Monitor

    monitor, commands = Monitor(model), AlarmCommands(command)
    runs = reading.read(logs)
    say_notes(runs.notes)
    scored = monitor.score(runs)
    trackers = [monitor.trackers[run] for run in runs.runs]
    if model is None:
        say(f"no --model: each run is judged by its own past; watched: {', '.join(monitor.metrics)}")
    else:
        _say_never_logged(monitor, runs.runs)
    _say_beyond([run for run in runs.runs if _is_beyond(run, monitor)], monitor)
    _say_rarer([run for run in runs.runs if monitor.trackers[run].rarer is not None], monitor)
    _say_misfit(monitor)
    for tracker in trackers:
        told = json.dumps(_object(tracker, monitor))
        if as_json:
            typer.echo(told)
        if tracker.alarm is not None:
            commands.start(tracker.run, told)
            if not as_json:
                typer.echo(f"alarm: {tracker.alarm}{_by_now(tracker)}")
    if not as_json:
        typer.echo(_summary(trackers, {run: len(part.steps) for run, part in scored.items()}, monitor.threshold))
    if scores is not None:
        _write_scores(scored, monitor.threshold, scores)
        say(f"{scores}: written")
    commands.finish(leave_running=False)
    return any(tracker.alarm is not None for tracker in trackers)


def _by_now(tracker: Tracker) -> str:
    """What the risk has come to at the last row, if it is known."""
    last = tracker.last
    if last is None or math.isnan(last.risk[-1]) or last.steps[-1] == tracker.alarm_step:
        return ""
    return f"; {last.risk[-1]:.0%} at its last row, step {last.steps[-1]}"


def _say_never_logged(monitor: Monitor, runs: Sequence[str]) -> None:
    """Name the runs that never logged a finite value of a metric that the model watches."""
    lacking = [(run, metrics) for run in runs if (metrics := monitor.unlogged(run))]
    for run, metrics in lacking[:_FILES_NAMED]:
        say(f"warning: run {run} has no finite value of {', '.join(metrics)}, which the model watches")
    if len(lacking) > _FILES_NAMED:
        say(f"warning: nor have {len(lacking) - _FILES_NAMED} other runs of all that it watches")


def _summary(trackers: list[Tracker], rows: Mapping[str, int], threshold: float) -> str:
    """How many runs are quiet, and how near an alarm the nearest of them came."""
    quiet = [tracker for tracker in trackers if tracker.alarm is None]
    if not quiet:
        return "every run raised an alarm"
    nearest = max(quiet, key=lambda tracker: tracker.largest)
    score = f"largest score {nearest.largest:.4g} (threshold {threshold:.4g})"
    if len(trackers) == 1:
        return f"no alarm: run {nearest.run}, {rows[nearest.run]:,} rows up to step {nearest.last_step}, {score}"
    number = f"{len(trackers)} runs" if len(quiet) == len(trackers) else f"{len(quiet)} of {len(trackers)} runs"
    return f"no alarm: {number}; {score}, run {nearest.run}"


def _follow(
    logs: list[Path],
    model: Model | None,
    reading: Reading,
    *,
    state: Path | None,
    interval: float,
    as_json: bool,
    command: str | None,
    silent_after: int,
) -> bool:
    from trajhmm.warning.monitor import Watch

    say(f"watching {', '.join(map(str, logs))}; Ctrl-C ends")
    metrics = None
    if model is None:
        metrics = _metrics_to_watch(logs, reading, interval)
        if metrics is None:
            say("stopped; no rows seen")
            return False
    watch = Watch(model, logs, reading.settings(), state=state, metrics=metrics)
    if model is None:
        say(f"no --model: each run is judged by its own past; watched: {', '.join(watch.monitor.metrics)}")
    trackers = watch.monitor.trackers
    raised = any(tracker.alarm_step is not None for tracker in trackers.values())
    with nullcontext() if as_json else live_table(watch.monitor.threshold) as table:
        commands = AlarmCommands(command)
        remarks = _Remarks(watch, logs, silent_after)
        try:
            while True:
                for tracker, alarm in watch.poll():
                    raised = True
                    told = json.dumps(_object(tracker, watch.monitor))
                    commands.start(tracker.run, told)  # first: whoever reads the line may end the watch at once
                    (typer.echo if table is None else table.above)(told if as_json else f"alarm: {alarm}")
                remarks.say()
                if table is not None:
                    table.show(trackers.values(), torn=len(watch.follower.torn))
                commands.sleep(interval)
        except KeyboardInterrupt:
            pass
    alarmed = sum(tracker.alarm_step is not None for tracker in trackers.values())
    say(f"stopped; {counted(len(trackers), 'run')} seen, {alarmed} alarmed")
    commands.finish(leave_running=True)
    return raised


def _metrics_to_watch(logs: list[Path], reading: Reading, interval: float) -> tuple[str, ...] | None:
    """The metrics of the first rows that there are, waited for; None if the user ends the wait."""
    from trajhmm.errors import LogError
    from trajhmm.features.choose import dynamics

    said = False
    try:
        while True:
            try:
                metrics = reading.read(logs).metrics
                return dynamics(metrics) or metrics
            except LogError as error:
                if not said:
                    say(f"waiting for rows: {error}")
                said = True
            time.sleep(interval)
    except KeyboardInterrupt:
        return None


class _Remarks:
    """What a watch has to say besides alarms, each once.

    That nothing is there, metrics that are missing or came later, torn files, the risk of a run that alarmed as soon as
    it is known, runs that stand still, go on beyond the reference or log more rarely, most runs that alarmed at once.
    """

    def __init__(self, watch: Watch, logs: list[Path], silent_after: int) -> None:
        self._watch, self._logs = watch, logs
        self._silence = Silence(silent_after)
        self._misfit = False
        self._metrics = set(watch.monitor.metrics)
        self._beyond: set[str] = set()
        self._rarer: set[str] = set()
        self._risks: set[str] = set()
        self._torn: set[Path] = set()
        self._empty = self._unlogged = False

    def say(self) -> None:
        """Say what is new."""
        new = {path: reason for path, reason in self._watch.follower.torn.items() if path not in self._torn}
        self._torn |= new.keys()
        for reason in islice(new.values(), _FILES_NAMED):
            say(f"warning: {reason}; tried again as long as it stays so")
        if len(new) > _FILES_NAMED:
            say(f"warning: so are {len(new) - _FILES_NAMED:,} other files; is an option mistyped?")
        monitor = self._watch.monitor
        if more := [metric for metric in monitor.metrics if metric not in self._metrics]:
            self._metrics.update(more)
            say(f"watched as well from here on: {', '.join(more)}")
        self._say_risks(monitor)
        self._say_silent(monitor)
        beyond = [run for run in self._watch.gained if run not in self._beyond and _is_beyond(run, monitor)]
        self._beyond.update(beyond)
        _say_beyond(beyond, monitor)
        rarer = [
            run for run in self._watch.gained if run not in self._rarer and monitor.trackers[run].rarer is not None
        ]
        self._rarer.update(rarer)
        _say_rarer(rarer, monitor)
        if not self._misfit and self._watch.gained:
            self._misfit = _say_misfit(monitor)
        if monitor.trackers and not self._unlogged:
            self._unlogged = True
            self._say_unlogged(monitor)
        elif not monitor.trackers and not self._empty:
            self._empty = True
            missing = ", ".join(str(path) for path in self._logs if not path.exists())
            say(f"no such file or folder yet: {missing}" if missing else "no runs yet")

    def _say_risks(self, monitor: Monitor) -> None:
        for run in self._watch.gained:
            tracker = monitor.trackers[run]
            last = tracker.last
            if run in self._risks or tracker.alarm_step is None or last is None or math.isnan(last.risk[-1]):
                continue
            self._risks.add(run)
            if tracker.alarm is None or tracker.alarm.risk is None:
                say(
                    f"run {run}, alarmed at step {tracker.alarm_step}: at step {last.steps[-1]} the risk that it ends "
                    f"in collapse is {last.risk[-1]:.0%}"
                )

    def _say_silent(self, monitor: Monitor) -> None:
        silent = self._silence.after(self._watch.gained)
        for run in silent[:_FILES_NAMED]:
            step = monitor.trackers[run].last_step
            say(f"run {run} is silent since step {step}, while the others go on: has it ended, or does it hang?")
        if len(silent) > _FILES_NAMED:
            say(f"so are {len(silent) - _FILES_NAMED:,} other runs")

    def _say_unlogged(self, monitor: Monitor) -> None:
        lacking = [set(monitor.unlogged(run)) for run in islice(monitor.trackers, _RUNS_LOOKED_AT)]
        metrics = [metric for metric in monitor.metrics if all(metric in lacks for lacks in lacking)]
        say(f"{counted(len(monitor.trackers), 'run')} so far")
        if metrics:
            say(
                f"warning: no run has logged {', '.join(metrics)} so far, which the model watches "
                "(map names with --rename OLD=NEW)"
            )


def _is_beyond(run: str, monitor: Monitor) -> bool:
    step = monitor.trackers[run].last_step
    return monitor.last_step is not None and step is not None and step > monitor.last_step


def _say_beyond(runs: Sequence[str], monitor: Monitor) -> None:
    """Name runs that are longer than healthy ones were, where nothing is promised."""
    if runs:
        say(
            f"warning: {_named(runs)} {'go' if len(runs) > 1 else 'goes'} on beyond step {monitor.last_step}, the last "
            "of the reference: from there on no share of false alarms is promised"
        )


def _say_rarer(runs: Sequence[str], monitor: Monitor) -> None:
    """Name runs whose rows are farther apart than the reference's, where nothing is promised."""
    if runs:
        times = monitor.trackers[runs[0]].rarer
        say(
            f"warning: {_named(runs)} {'log' if len(runs) > 1 else 'logs'} more rarely than the reference, rows "
            f"{times:.3g} times as far apart: no share of false alarms is promised"
        )


def _named(runs: Sequence[str]) -> str:
    """The first of some runs, and how many others there are."""
    return f"run {runs[0]}" + (f" and {counted(len(runs) - 1, 'other')}" if len(runs) > 1 else "")


def _say_misfit(monitor: Monitor) -> bool:
    """Say that most runs alarmed soon after the first row that is judged, if so; whether it was said."""
    alarmed = [tracker for tracker in monitor.trackers.values() if tracker.alarmed_early]
    if monitor.situation == "alone" or len(alarmed) < _MISFITS or 2 * len(alarmed) < len(monitor.trackers):
        return False
    say(
        f"warning: {len(alarmed)} of {len(monitor.trackers)} runs alarmed almost at once: are they trained, and "
        "logged, like the reference?"
    )
    return True


def _object(tracker: Tracker, monitor: Monitor) -> dict[str, Any]:
    """What ``--json`` prints of a run."""
    alarm, last = tracker.alarm, tracker.last
    now: dict[str, Any] = dict.fromkeys(("score", "risk", "state"))
    if last is not None:
        state = int(last.state[-1])
        now = {
            "score": _finite(last.score[-1]),
            "risk": _finite(last.risk[-1]),
            "state": None if state < 0 else state,
        }
    return {
        "run": tracker.run,
        "alarm": tracker.alarm_step is not None,
        "step": tracker.alarm_step,
        "score": now["score"],
        "threshold": monitor.threshold,
        "risk": now["risk"],
        "last_step": tracker.last_step,
        "state": now["state"],
        "at_alarm": None
        if alarm is None
        else {"step": alarm.step, "score": _finite(alarm.score), "risk": alarm.risk, "state": alarm.state},
        "drivers": [
            {**asdict(driver), "contribution": _finite(driver.contribution)}
            for driver in (alarm.drivers if alarm is not None else ())
        ],
        "situation": monitor.situation,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _write_scores(scored: dict[str, Scored], threshold: float, path: Path) -> None:
    import numpy as np
    import pyarrow as pa

    from trajhmm.files import write_parquet

    runs, parts = list(scored), list(scored.values())
    lengths = [len(part.steps) for part in parts]
    table = pa.table(
        {
            "run": np.repeat(np.array(runs, dtype=object), lengths),
            "step": np.concatenate([part.steps for part in parts]),
            "score": np.concatenate([part.score for part in parts]),
            "threshold": np.full(sum(lengths), threshold),
            "risk": pa.array(np.concatenate([part.risk for part in parts]), from_pandas=True),
            "state": np.concatenate([part.state for part in parts]),
        }
    )
    write_parquet(table, path)
