"""``trajhmm warn``."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trajhmm.cli.options import Logs, ModelFile, Reading, Rename, RunBy, Step, Where
from trajhmm.cli.terminal import say, say_notes

if TYPE_CHECKING:
    from trajhmm.hmm import Model
    from trajhmm.warning.tracking import Scored, Tracker

ALARM_RAISED = 3


def warn(
    logs: Logs,
    model: ModelFile,
    follow: Annotated[bool, typer.Option("--follow", help="Keep watching while jobs write; stop with Ctrl-C.")] = False,
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
    run_by: RunBy = None,
    rename: Rename = None,
    where: Where = None,
    step: Step = None,
) -> None:
    """Say which runs have left what healthy runs do, before they collapse.

    Exit code 3 if a run alarmed. Example: trajhmm warn running/ --model reference.json --follow
    """
    from trajhmm.hmm import load_model

    if state is not None and not follow:
        raise typer.BadParameter("--state goes with --follow")
    if scores is not None and follow:
        raise typer.BadParameter("--scores does not go with --follow")
    fitted = load_model(model)
    reading = Reading(run_by=run_by, rename=rename, where=where, step=step)
    if follow:
        raised = _follow(logs, fitted, reading, state=state, interval=interval, as_json=as_json)
    else:
        raised = _once(logs, fitted, reading, scores=scores, as_json=as_json)
    if raised:
        raise typer.Exit(ALARM_RAISED)


def _once(logs: list[Path], model: Model, reading: Reading, *, scores: Path | None, as_json: bool) -> bool:
    from trajhmm.warning.monitor import Monitor

    monitor = Monitor(model)
    runs = reading.read(logs)
    say_notes(runs.notes)
    scored = monitor.score(runs)
    for run in runs.runs:
        if as_json:
            typer.echo(json.dumps(_object(monitor.trackers[run], model)))
        elif (alarm := monitor.trackers[run].alarm) is not None:
            typer.echo(f"alarm: {alarm}")
    raised = [run for run in runs.runs if monitor.trackers[run].alarm is not None]
    if not as_json:
        quiet = len(runs.runs) - len(raised)
        typer.echo(f"no alarm: {quiet} of {len(runs.runs)} runs" if quiet else "every run raised an alarm")
    if scores is not None:
        _write_scores(scored, model, scores)
        say(f"{scores}: written")
    return bool(raised)


def _follow(
    logs: list[Path], model: Model, reading: Reading, *, state: Path | None, interval: float, as_json: bool
) -> bool:
    from trajhmm.warning.monitor import Watch

    watch = Watch(model, logs, reading.settings(), state=state)
    raised = any(tracker.alarm_step is not None for tracker in watch.monitor.trackers.values())
    told: set[Path] = set()
    say(f"watching {', '.join(map(str, logs))}; Ctrl-C ends")
    try:
        while True:
            for tracker, alarm in watch.poll():
                raised = True
                typer.echo(json.dumps(_object(tracker, model)) if as_json else f"alarm: {alarm}")
            for path, reason in watch.follower.torn.items():
                if path not in told:
                    told.add(path)
                    say(f"warning: {reason}; tried again as long as it stays so")
            time.sleep(interval)
    except KeyboardInterrupt:
        say(f"stopped; {len(watch.monitor.trackers)} runs seen")
    return raised


def _object(tracker: Tracker, model: Model) -> dict[str, Any]:
    """What ``--json`` prints of a run."""
    alarm, last = tracker.alarm, tracker.last
    score = alarm.score if alarm is not None else tracker.largest
    return {
        "run": tracker.run,
        "alarm": tracker.alarm_step is not None,
        "step": tracker.alarm_step,
        "score": score if math.isfinite(score) else None,
        "threshold": None if model.calibration is None else model.calibration.threshold,
        "risk": None if last is None else float(last.risk[-1]),
        "last_step": tracker.last_step,
        "state": None if last is None else int(last.state[-1]),
        "drivers": [
            {"metric": d.metric, "contribution": d.contribution if math.isfinite(d.contribution) else None}
            for d in (alarm.drivers if alarm is not None else ())
        ],
    }


def _write_scores(scored: dict[str, Scored], model: Model, path: Path) -> None:
    import numpy as np
    import pyarrow as pa

    from trajhmm.files import write_parquet

    runs, parts = list(scored), list(scored.values())
    lengths = [len(part.steps) for part in parts]
    threshold = model.calibration.threshold if model.calibration is not None else math.nan
    table = pa.table(
        {
            "run": np.repeat(np.array(runs, dtype=object), lengths),
            "step": np.concatenate([part.steps for part in parts]),
            "score": np.concatenate([part.score for part in parts]),
            "threshold": np.full(sum(lengths), threshold),
            "risk": np.concatenate([part.risk for part in parts]),
            "state": np.concatenate([part.state for part in parts]),
        }
    )
    write_parquet(table, path)
