"""What the outcomes of many runs add up to: the table of one detector at one threshold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.evaluation.intervals import RESAMPLES, Estimate, percentile_interval, share
from trajhmm.warning.evaluation.protocol import Outcome, RunOutcome
from trajhmm.warning.runs import Kind

_RESAMPLED = (
    "while_healthy",
    "healthy_rows",
    "healthy_steps",
    "lead_steps",
    "lead_share",
    "rows_before",
    "rows_in_time",
)


@dataclass(frozen=True, kw_only=True)
class Report:
    """How well runs were warned of their collapse, and at what price.

    Attributes
    ----------
    healthy, survived, collapsed : number of runs of each kind.
    unwarnable : collapses of which nothing could warn in time; they count as missed.
    recall : share of collapsing runs with a true alarm.
    precision : share of true alarms among true and false ones. An alarm that came too late is neither.
    precision_apart : the same with alarms on deviations that healed left out.
    healthy_alarmed : share of healthy runs that alarmed.
    survived_alarmed : share of perturbed runs that lived on and alarmed from their onset on.
    early : number of perturbed runs that alarmed before their onset.
    false_per_1000_steps : alarms before anything was wrong, per 1,000 steps that were watched until then.
    lead_steps, lead_share : median over collapsing runs, a run without a true alarm counted as 0; steps, and share of
        onset to collapse.
    chance_recall : recall of alarms drawn at random at the same rate, see `chance_of_true_alarm`.

    Shares have Clopper–Pearson intervals, the rest a bootstrap over the runs of each kind.
    """

    healthy: int
    survived: int
    collapsed: int
    unwarnable: int
    early: int
    recall: Estimate
    precision: Estimate
    precision_apart: Estimate
    healthy_alarmed: Estimate
    survived_alarmed: Estimate
    false_per_1000_steps: Estimate
    lead_steps: Estimate
    lead_share: Estimate
    chance_recall: Estimate

    def to_dict(self) -> dict[str, object]:
        """For JSON: counts, and for each estimate its value and interval; None where not defined."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: found.to_dict() if isinstance(found, Estimate) else found for name, found in named.items()}

    def row(self) -> dict[str, float]:
        """For a table: counts, and for each estimate ``name``, ``name_low`` and ``name_high``."""
        row: dict[str, float] = {}
        for field in fields(self):
            found = getattr(self, field.name)
            if isinstance(found, Estimate):
                row |= found.row(field.name)
            else:
                row[field.name] = found
        return row


def report_on(outcomes: Sequence[RunOutcome], *, rng: np.random.Generator, resamples: int = RESAMPLES) -> Report:
    """Add up the outcomes of R runs."""
    of_kind = {kind: [outcome for outcome in outcomes if outcome.kind is kind] for kind in Kind}
    healthy, survived, collapsed = (of_kind[kind] for kind in (Kind.HEALTHY, Kind.SURVIVED, Kind.COLLAPSED))
    true = sum(outcome.outcome is Outcome.TRUE for outcome in collapsed)
    false = sum(outcome.outcome is Outcome.FALSE for outcome in outcomes)
    healed = sum(outcome.outcome is Outcome.FALSE and not outcome.while_healthy for outcome in survived)
    return Report(
        healthy=len(healthy),
        survived=len(survived),
        collapsed=len(collapsed),
        unwarnable=sum(outcome.rows_in_time == 0 for outcome in collapsed),
        early=sum(outcome.while_healthy for outcome in [*survived, *collapsed]),
        recall=share(true, len(collapsed)),
        precision=share(true, true + false),
        precision_apart=share(true, true + false - healed),
        healthy_alarmed=share(sum(outcome.while_healthy for outcome in healthy), len(healthy)),
        survived_alarmed=share(healed, len(survived)),
        **_resampled(of_kind, rng, resamples),
    )


def _resampled(of_kind: dict[Kind, list[RunOutcome]], rng: np.random.Generator, resamples: int) -> dict[str, Estimate]:
    """What is not a share of runs, with its bootstrap interval; runs are drawn within their kind."""
    columns = {kind: _columns(runs, _draws(len(runs), rng, resamples)) for kind, runs in of_kind.items()}
    collapsed = columns[Kind.COLLAPSED]

    def total(name: str) -> NDArray[np.float64]:
        return np.asarray(np.sum([drawn[name].sum(axis=1) for drawn in columns.values()], axis=0), dtype=np.float64)

    alarms = total("while_healthy")
    rate = _divided(alarms, total("healthy_rows"))
    chances = chance_of_true_alarm(rate[:, np.newaxis], collapsed["rows_before"], collapsed["rows_in_time"])
    found = {
        "false_per_1000_steps": 1000 * _divided(alarms, total("healthy_steps")),
        "lead_steps": _over_runs(np.median, collapsed["lead_steps"]),
        "lead_share": _over_runs(np.median, collapsed["lead_share"]),
        "chance_recall": _over_runs(np.mean, chances),
    }
    return {name: percentile_interval(float(values[0]), values[1:]) for name, values in found.items()}


def _draws(n: int, rng: np.random.Generator, resamples: int) -> NDArray[np.int64]:
    """(B + 1, n) indices: all as they are, then B draws with replacement."""
    drawn = rng.integers(0, n, size=(resamples, n)) if n else np.empty((resamples, 0), dtype=np.int64)
    return np.vstack([np.arange(n), drawn])


def _columns(outcomes: list[RunOutcome], drawn: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """What runs are resampled on, each (B + 1, n)."""
    return {name: np.array([getattr(outcome, name) for outcome in outcomes], dtype=float)[drawn] for name in _RESAMPLED}


def _divided(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    quotient: NDArray[np.float64] = np.full(len(numerator), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


def _over_runs(average: Callable[..., Any], values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not values.shape[1]:
        return np.full(len(values), np.nan)
    averaged: NDArray[np.float64] = average(values, axis=1)
    return averaged


def chance_of_true_alarm(
    rate: NDArray[np.float64], rows_before: NDArray[np.float64], rows_in_time: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Probability that the first alarm is in time if each row alarms by itself with probability ``rate``.

    (1 − p)^b (1 − (1 − p)^m) with b rows before an alarm could be true and m rows in time. The rate of a detector is
    the number of its alarms while runs were healthy over the rows that it watched until then: the maximum-likelihood
    estimate of a constant hazard when the first alarm ends the watch.

    Parameters
    ----------
    rate, rows_before, rows_in_time : of shapes that broadcast.
    """
    quiet = 1.0 - rate
    chance: NDArray[np.float64] = quiet**rows_before * (1.0 - quiet**rows_in_time)
    return chance
