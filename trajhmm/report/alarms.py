"""What a model for warning says of runs: its calibration, the alarms, and how the scores of runs that alarmed went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from trajhmm.errors import ModelFileError
from trajhmm.hmm import Model
from trajhmm.logs import RunSet
from trajhmm.report.tables import Cell, Column, Row, Table, fixed, share, short, whole, words
from trajhmm.warning.calibration import Calibration, calibration_of
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.tracking import Alarm, Scored, Tracker

WIDTH, HEIGHT = 240.0, 72.0
# Points of a curve, at most: as many as its chart has pixels on a screen.
_POINTS = 240
# A score this many times as far above the lowest as the threshold is runs along the top.
_TALLEST = 8.0
# Metrics named beside an alarm.
_MOST_DRIVERS = 3
SHOWN = 12
"""So many charts are open from the start."""


@dataclass(frozen=True, kw_only=True)
class ScoreChart:
    """The score of one run over its steps; lines in units of the chart, from the upper left corner."""

    run: str
    curve: str
    threshold: float
    alarm: float
    first_step: str
    last_step: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """Everything that a model for warning says of runs."""

    facts: tuple[tuple[str, str], ...]
    alarmed: int
    table: Table
    quiet: Table
    charts: tuple[ScoreChart, ...]


def alarms(runs: RunSet, model: Model) -> Alarms:
    """Score runs and lay out what there is to warn of.

    Raises
    ------
    ModelFileError
        The logs lack a metric that the model watches, or the model is a map.
    """
    calibration = calibration_of(model)
    if calibration is None:
        raise ModelFileError(f"the model was fitted for a {model.purpose}, which cannot warn")
    monitor = Monitor(model)
    scored = monitor.score(runs)
    trackers = [monitor.trackers[run] for run in runs.runs]
    raised = [(tracker, tracker.alarm) for tracker in trackers if tracker.alarm is not None]
    quiet = [tracker for tracker in trackers if tracker.alarm is None]
    return Alarms(
        facts=_facts(calibration, model),
        alarmed=len(raised),
        table=_alarm_table(raised),
        quiet=_quiet_table(quiet, calibration),
        charts=tuple(_chart(alarm, scored[tracker.run]) for tracker, alarm in raised),
    )


def _facts(calibration: Calibration, model: Model) -> tuple[tuple[str, str], ...]:
    risk = calibration.risk
    learnt = (
        f"{risk.collapsed} runs that collapsed and {risk.survived} that did not"
        if risk.collapsed + risk.survived
        else "comes with trajhmm, not learnt from runs of your own"
    )
    return (
        ("Alarm where the score is above", short(calibration.threshold)),
        ("Promise", f"of new healthy runs at most {calibration.attainable:.1%} ever alarm"),
        ("Asked for", f"{calibration.budget:.1%}"),
        ("Calibrated on", f"{calibration.n_runs} healthy runs"),
        ("Risk", learnt),
        ("Metrics watched", ", ".join(model.metrics)),
    )


def _alarm_table(raised: Iterable[tuple[Tracker, Alarm]]) -> Table:
    return Table(
        name="Runs that alarmed",
        columns=(
            Column(title="Run", number=False),
            Column(title="Alarm at step"),
            Column(title="Score then"),
            Column(title="Risk at the end"),
            Column(title="Last step"),
            Column(title="Driven by", number=False),
        ),
        rows=tuple(
            Row(
                cells=(
                    words(tracker.run),
                    whole(alarm.step),
                    fixed(alarm.score, 1),
                    _risk(tracker),
                    whole(tracker.last_step),
                    words(", ".join(driver.brief for driver in alarm.drivers[:_MOST_DRIVERS])),
                )
            )
            for tracker, alarm in raised
        ),
    )


def _risk(tracker: Tracker) -> Cell:
    """The risk at the last row, or that it is too early to tell."""
    last = tracker.last
    if last is None or np.isnan(last.risk[-1]):
        return Cell(text="too early to tell")
    return share(float(last.risk[-1]))


def _quiet_table(quiet: Iterable[Tracker], calibration: Calibration) -> Table:
    return Table(
        name="Runs that stayed quiet",
        columns=(
            Column(title="Run", number=False),
            Column(title="Largest score"),
            Column(title="Below the threshold by"),
            Column(title="Last step"),
        ),
        rows=tuple(
            Row(
                cells=(
                    words(tracker.run),
                    fixed(tracker.largest, 1),
                    fixed(calibration.threshold - tracker.largest, 1),
                    whole(tracker.last_step),
                )
            )
            for tracker in quiet
        ),
    )


def _chart(alarm: Alarm, scored: Scored) -> ScoreChart:
    """The largest score of each of at most 240 stretches; what is far above the threshold runs along the top."""
    finite = scored.score[np.isfinite(scored.score)]
    lowest = float(min(finite.min(initial=alarm.threshold), alarm.threshold - 1.0))
    top = lowest + _TALLEST * (alarm.threshold - lowest)
    top = min(top, max(float(finite.max(initial=alarm.threshold)), alarm.threshold + 0.2 * (alarm.threshold - lowest)))
    starts = np.unique(np.linspace(0, len(scored.steps), min(_POINTS, len(scored.steps)), endpoint=False).astype(int))
    scores = np.maximum.reduceat(np.minimum(scored.score, top), starts)
    first, last = int(scored.steps[0]), int(scored.steps[-1])
    to_x = WIDTH / max(last - first, 1)
    to_y = HEIGHT / (top - lowest)
    points = zip((scored.steps[starts] - first) * to_x, (top - scores) * to_y, strict=True)
    peak = float(scored.score.max())
    return ScoreChart(
        run=alarm.run,
        curve="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points),
        threshold=round((top - alarm.threshold) * to_y, 1),
        alarm=round((alarm.step - first) * to_x, 1),
        first_step=f"{first:,}",
        last_step=f"{last:,}",
        caption=f"alarm at step {alarm.step:,}, peak {short(peak)}" + (" (cut off above)" if peak > top else ""),
    )
