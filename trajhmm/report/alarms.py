"""What a model for warning says of runs: its calibration, the alarms, and how the scores of runs that alarmed went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trajhmm.dynamics import Trajectories
from trajhmm.errors import ModelFileError
from trajhmm.hmm import Model
from trajhmm.logs import RunSet
from trajhmm.report.tables import Cell, Column, Row, Table, fixed, share, short, whole, words
from trajhmm.warning.calibration import Calibration, calibration_of
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.runs import RunTruth
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
    collapse: float | None
    first_step: str
    last_step: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Alarms:
    """Everything that a model for warning says of runs.

    Attributes
    ----------
    headline : what was found and how sure it is.
    facts : of the calibration.
    alarmed : how many runs.
    collapse : condition of a collapse; empty if that was not asked for.
    table, quiet, charts : runs that alarmed, of the highest risk first; those that did not; scores of the former.
    trajectories : what was scored, with the score itself, beside states; −1 where these are not known.
    """

    headline: str
    facts: tuple[tuple[str, str], ...]
    alarmed: int
    collapse: str
    table: Table
    quiet: Table
    charts: tuple[ScoreChart, ...]
    trajectories: Trajectories


def alarms(runs: RunSet, model: Model, *, collapse: str = "", truths: Mapping[str, RunTruth] | None = None) -> Alarms:
    """Score runs and lay out what there is to warn of.

    Parameters
    ----------
    runs : the logs.
    model : for warning.
    collapse : condition of a collapse; empty if what became of the runs is not known.
    truths : what became of each run under that condition.

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
    # Of the highest risk first; of whom it is too early to tell last.
    raised.sort(key=lambda one: (-_risk_of(one[0]), one[1].step))
    quiet = [tracker for tracker in trackers if tracker.alarm is None]
    truths = truths or {}
    steps = {run: truth.collapse_step for run, truth in truths.items()}
    last = monitor.last_step
    promise = f"at most {calibration.attainable:.1%}" + ("" if last is None else f" up to step {last:,}")
    beyond = [t.run for t in trackers if last is not None and t.last_step is not None and t.last_step > last]
    return Alarms(
        headline=_headline(raised, runs.n_runs, promise, len(beyond), collapse, truths),
        facts=_facts(calibration, model, promise),
        alarmed=len(raised),
        collapse=collapse,
        table=_alarm_table(raised, truths if collapse else None),
        quiet=_quiet_table(quiet, calibration, steps if collapse else None),
        charts=tuple(_chart(alarm, scored[tracker.run], steps.get(tracker.run)) for tracker, alarm in raised),
        trajectories=_trajectories(runs, scored),
    )


def _risk_of(tracker: Tracker) -> float:
    """Risk at the last row; −1 where it is too early to tell."""
    last = tracker.last
    return -1.0 if last is None or np.isnan(last.risk[-1]) else float(last.risk[-1])


def _headline(
    raised: Sequence[tuple[Tracker, Alarm]],
    n_runs: int,
    promise: str,
    beyond: int,
    collapse: str,
    truths: Mapping[str, RunTruth],
) -> str:
    promise = f"Of new healthy runs {promise} would alarm."
    if beyond:
        promise += (
            f" {beyond} of the {n_runs} runs {'goes' if beyond == 1 else 'go'} on beyond that, without a promise."
        )
    if not raised:
        found = f"None of {n_runs} runs has left what healthy runs do."
    else:
        first, alarm = raised[0]
        risk = _risk_of(first)
        found = f"{len(raised)} of {n_runs} runs {'has' if len(raised) == 1 else 'have'} left what healthy runs do. "
        found += "Of the highest risk" if risk >= 0 else "The first"
        found += f" is {first.run}" + (f" ({risk:.0%})" if risk >= 0 else "") + f", alarm at step {alarm.step:,}."
    if not collapse:
        return f"{found} {promise}"
    at = {tracker.run: alarm.step for tracker, alarm in raised}
    collapsed = {run: truth.collapse_step for run, truth in truths.items() if truth.collapse_step is not None}
    ahead = [step - at[run] for run, step in collapsed.items() if run in at and _in_time(at[run], truths[run])]
    early = sum(run in at and _too_early(at[run], truths[run]) for run in collapsed)
    told = f"{len(collapsed)} runs collapse by '{collapse}'"
    if collapsed:
        told += f"; {len(ahead)} of them alarmed before"
        told += f", {np.median(ahead):,.0f} steps ahead in the median" if ahead else ""
        told += f"; {early} alarmed before anything was wrong" if early else ""
    others = sum(run not in collapsed for run in at)
    return f"{found} {told}; {others} of the {n_runs - len(collapsed)} others alarmed. {promise}"


def _too_early(alarm: int, truth: RunTruth) -> bool:
    """Whether an alarm came before the run was perturbed."""
    return truth.onset is not None and alarm < truth.onset


def _in_time(alarm: int, truth: RunTruth) -> bool:
    """Whether an alarm came ahead of the collapse, and once something was wrong; see `trajhmm.warning.evaluation`."""
    return truth.collapse_step is not None and alarm < truth.collapse_step and not _too_early(alarm, truth)


def _trajectories(runs: RunSet, scored: Mapping[str, Scored]) -> Trajectories:
    """Metrics as logged at the rows that were scored, and the score."""
    names, lengths, steps, values, path = [], [], [], [], []
    for run, rows in runs.slices():
        found = scored.get(run)
        if found is None or not len(found.steps):
            continue
        at = np.searchsorted(runs.steps[rows], found.steps)
        names.append(run)
        lengths.append(len(found.steps))
        steps.append(found.steps)
        values.append(np.column_stack([found.score, runs.values[rows][np.minimum(at, rows.stop - rows.start - 1)]]))
        path.append(found.state)
    return Trajectories(
        runs=tuple(names),
        lengths=np.array(lengths, dtype=np.int64),
        steps=np.concatenate([np.empty(0, dtype=np.int64), *steps]),
        metrics=("score", *runs.metrics),
        values=np.concatenate([np.empty((0, 1 + len(runs.metrics))), *values]),
        path=np.concatenate([np.empty(0, dtype=np.int64), *path]).astype(np.int64),
    )


def _facts(calibration: Calibration, model: Model, promise: str) -> tuple[tuple[str, str], ...]:
    risk = calibration.risk
    learnt = (
        f"{risk.collapsed} runs that collapsed and {risk.survived} that did not"
        if risk.collapsed + risk.survived
        else "comes with trajhmm, not learnt from runs of your own"
    )
    return (
        ("Alarm where the score is above", short(calibration.threshold)),
        ("Promise", f"of new healthy runs {promise} alarm"),
        ("Asked for", f"{calibration.budget:.1%}"),
        ("Calibrated on", f"{calibration.n_runs} healthy runs"),
        ("Risk", learnt),
        ("Metrics watched", ", ".join(model.metrics)),
    )


def _alarm_table(raised: Iterable[tuple[Tracker, Alarm]], truths: Mapping[str, RunTruth] | None) -> Table:
    return Table(
        name="Runs that alarmed",
        columns=(
            Column(title="Run", number=False),
            Column(title="Alarm at step"),
            Column(title="Score then"),
            Column(title="Risk at the end", sorted="descending"),
            *_collapse_columns(truths, ahead=True),
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
                    *_ahead_cells(truths, tracker.run, alarm.step),
                    whole(tracker.last_step),
                    words(", ".join(driver.brief for driver in alarm.drivers[:_MOST_DRIVERS])),
                )
            )
            for tracker, alarm in raised
        ),
    )


def _collapse_columns(known: Mapping[str, object] | None, *, ahead: bool) -> tuple[Column, ...]:
    if known is None:
        return ()
    return (Column(title="Collapse at step"), *((Column(title="Steps ahead"),) if ahead else ()))


def _collapse_cells(steps: Mapping[str, int | None] | None, run: str) -> tuple[Cell, ...]:
    """When the run collapsed."""
    if steps is None:
        return ()
    at = steps.get(run)
    return (Cell(text="none") if at is None else whole(at),)


def _ahead_cells(truths: Mapping[str, RunTruth] | None, run: str, alarm: int) -> tuple[Cell, ...]:
    """When the run collapsed, and how far ahead of that its alarm came; or that it came before anything was wrong."""
    if truths is None:
        return ()
    truth = truths.get(run)
    at = None if truth is None else truth.collapse_step
    (collapse,) = _collapse_cells({run: at}, run)
    if truth is not None and at is not None and _too_early(alarm, truth):
        return collapse, Cell(text="before its onset")
    return collapse, whole(None if at is None else at - alarm)


def _risk(tracker: Tracker) -> Cell:
    """The risk at the last row, or that it is too early to tell."""
    risk = _risk_of(tracker)
    return Cell(text="too early to tell") if risk < 0 else share(risk)


def _quiet_table(quiet: Iterable[Tracker], calibration: Calibration, steps: Mapping[str, int | None] | None) -> Table:
    return Table(
        name="Runs that stayed quiet",
        columns=(
            Column(title="Run", number=False),
            Column(title="Largest score"),
            Column(title="Below the threshold by"),
            *_collapse_columns(steps, ahead=False),
            Column(title="Last step"),
        ),
        rows=tuple(
            Row(
                cells=(
                    words(tracker.run),
                    fixed(tracker.largest, 1),
                    fixed(calibration.threshold - tracker.largest, 1),
                    *_collapse_cells(steps, tracker.run),
                    whole(tracker.last_step),
                )
            )
            for tracker in quiet
        ),
    )


def _chart(alarm: Alarm, scored: Scored, collapse: int | None) -> ScoreChart:
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
        collapse=None if collapse is None else round((collapse - first) * to_x, 1),
        first_step=f"{first:,}",
        last_step=f"{last:,}",
        caption=f"alarm at step {alarm.step:,}, peak {short(peak)}"
        + (" (cut off above)" if peak > top else "")
        + ("" if collapse is None else f", collapse at step {collapse:,}"),
    )
