"""What a run's first alarm is worth: true, false, a miss, or nothing at all. Later alarms of the run do not count."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.runs import Kind, RunTruth


class Outcome(StrEnum):
    """What the first alarm of a run was."""

    TRUE = "true"  # in time: from the onset on, and ahead of the collapse by the lead asked for
    FALSE = "false"  # on a run that does not collapse, or before the onset
    MISS = "miss"  # too late, or none on a run that collapses
    QUIET = "quiet"  # none, and none was due


@dataclass(frozen=True, kw_only=True)
class RunOutcome:
    """One run judged.

    Attributes
    ----------
    run : name.
    group : what it shares with runs of the same group, such as a seed, so that their ends are not independent.
    kind, outcome : what became of the run, and what its first alarm was.
    alarm_step : step of the first alarm; None if there was none.
    while_healthy : whether the alarm came before anything was wrong: on a healthy run, or before the onset.
    lead_steps : steps from a true alarm to the collapse, else 0.
    lead_share : the same as a share of the steps from onset (without one, from the first row) to collapse.
    healthy_rows, healthy_steps : watched before anything was wrong, up to and with the first alarm; a row counts for as
        many steps as usually lie between two.
    rows_before : rows before an alarm could be true.
    rows_in_time : rows at which an alarm would be true; 0 for a collapse that cannot be warned of.
    """

    run: str
    group: str
    kind: Kind
    outcome: Outcome
    alarm_step: int | None
    while_healthy: bool
    lead_steps: int
    lead_share: float
    healthy_rows: int
    healthy_steps: float
    rows_before: int
    rows_in_time: int


def first_alarm(scores: NDArray[np.float64], threshold: float) -> int | None:
    """The first row whose score is above ``threshold``; None if there is none.

    Parameters
    ----------
    scores : (T,)
    """
    above = np.flatnonzero(scores > threshold)
    return int(above[0]) if len(above) else None


def judge(
    run: str,
    steps: NDArray[np.int64],
    truth: RunTruth,
    alarm_row: int | None,
    *,
    lead: int | None = None,
    group: str | None = None,
) -> RunOutcome:
    """Judge the first alarm of a run.

    An alarm at the onset is in time, and so is one at the last row that is ``lead`` steps ahead of the collapse. One at
    the collapse is not, whatever the lead. A collapse at the first row, or at the onset, cannot be warned of; it counts
    as a miss, with ``rows_in_time`` 0.

    Parameters
    ----------
    run : name.
    steps : (T,) rising, T at least 1.
    truth : what became of the run.
    alarm_row : row of its first alarm, None without one.
    lead : steps that an alarm must come ahead of the collapse; by default one logged row.
    group : of runs that hang together; by default the run is on its own.
    """
    kind = truth.kind
    onset_row = 0 if truth.onset is None else int(np.searchsorted(steps, truth.onset))
    stop = _first_row_too_late(steps, truth, lead)
    in_time = alarm_row is not None and onset_row <= alarm_row < stop
    healthy_rows = len(steps) if kind is Kind.HEALTHY else onset_row
    while_healthy = alarm_row is not None and alarm_row < healthy_rows
    if alarm_row is not None:
        healthy_rows = min(healthy_rows, alarm_row + 1)
    alarm_step = None if alarm_row is None else int(steps[alarm_row])
    lead_steps, lead_share = 0, 0.0
    if in_time and alarm_step is not None and truth.collapse_step is not None:
        start = int(steps[0]) if truth.onset is None else truth.onset
        lead_steps = truth.collapse_step - alarm_step
        lead_share = lead_steps / (truth.collapse_step - start)
    return RunOutcome(
        run=run,
        group=run if group is None else group,
        kind=kind,
        outcome=_outcome_of(kind, alarmed=alarm_row is not None, while_healthy=while_healthy, in_time=in_time),
        alarm_step=alarm_step,
        while_healthy=while_healthy,
        lead_steps=lead_steps,
        lead_share=lead_share,
        healthy_rows=healthy_rows,
        healthy_steps=healthy_rows * _usual_gap(steps),
        rows_before=onset_row,
        rows_in_time=max(stop - onset_row, 0),
    )


def _first_row_too_late(steps: NDArray[np.int64], truth: RunTruth, lead: int | None) -> int:
    """The row from which on no alarm is true; 0 for a run that does not collapse."""
    if truth.collapse_step is None:
        return 0
    collapse_row = int(np.searchsorted(steps, truth.collapse_step))
    if lead is None:
        return collapse_row
    return min(collapse_row, int(np.searchsorted(steps, truth.collapse_step - lead, side="right")))


def _outcome_of(kind: Kind, *, alarmed: bool, while_healthy: bool, in_time: bool) -> Outcome:
    if in_time:
        return Outcome.TRUE
    if while_healthy:
        return Outcome.FALSE
    if kind is Kind.COLLAPSED:
        return Outcome.MISS
    return Outcome.FALSE if alarmed else Outcome.QUIET


def _usual_gap(steps: NDArray[np.int64]) -> float:
    return float(np.median(np.diff(steps))) if len(steps) > 1 else 1.0
