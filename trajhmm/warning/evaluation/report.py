"""What the outcomes of many runs add up to: the table of one detector at one threshold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from trajhmm.warning.evaluation.intervals import (
    RESAMPLES,
    Estimate,
    group_counts,
    median_interval,
    percentile_interval,
    rate_interval,
    share,
    weighted_median,
)
from trajhmm.warning.evaluation.protocol import Outcome, RunOutcome
from trajhmm.warning.runs import Kind


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

    Shares have Clopper–Pearson intervals, the rest a bootstrap over groups of runs (over runs, where each is its own
    group). The rate of false alarms has that or the interval of a Poisson count, whichever is wider; a median of fewer
    than six groups has none.
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
        **_resampled(outcomes, collapsed, rng, resamples),
    )


def _resampled(
    outcomes: Sequence[RunOutcome], collapsed: Sequence[RunOutcome], rng: np.random.Generator, resamples: int
) -> dict[str, Estimate]:
    """What is not a share of runs, with its interval; runs of a group are drawn together."""
    drawn = np.vstack(
        [np.ones(len(outcomes), dtype=np.int64), group_counts([one.group for one in outcomes], resamples, rng)]
    )
    alarms = drawn @ _column(outcomes, "while_healthy")
    of_collapsed = drawn[:, [one.kind is Kind.COLLAPSED for one in outcomes]]
    groups = len({one.group for one in collapsed})
    found = {
        name: median_interval(float(values[0]), values[1:], groups)
        for name in ("lead_steps", "lead_share")
        for values in [weighted_median(_column(collapsed, name), of_collapsed)]
    }
    a_step, a_row = (_divided(alarms, drawn @ _column(outcomes, unit)) for unit in ("healthy_steps", "healthy_rows"))
    alarmed = len({one.group for one in outcomes if one.while_healthy})
    found["false_per_1000_steps"] = rate_interval(a_step, alarmed, _watched(outcomes, "healthy_steps")).times(1000)
    chances = _chances(a_row, collapsed, of_collapsed)
    found["chance_recall"] = percentile_interval(float(chances[0]), chances[1:])
    if collapsed and a_row[0] == 0.0:  # what no run showed may yet be: as much chance as a rate within its interval has
        rates = np.linspace(0, rate_interval(a_row, alarmed, _watched(outcomes, "healthy_rows")).high, 101)
        most = float(np.max(_chances(rates, collapsed, np.ones_like(of_collapsed[:1]))))
        found["chance_recall"] = Estimate(value=0.0, low=0.0, high=most)
    return found


def _column(outcomes: Sequence[RunOutcome], name: str) -> NDArray[np.float64]:
    return np.array([getattr(one, name) for one in outcomes], dtype=np.float64)


def _watched(outcomes: Sequence[RunOutcome], unit: str) -> float:
    """How long groups were watched, each as long as its run that was watched longest."""
    longest: dict[str, float] = {}
    for one in outcomes:
        longest[one.group] = max(longest.get(one.group, 0.0), getattr(one, unit))
    return sum(longest.values())


def _chances(
    rate: NDArray[np.float64], collapsed: Sequence[RunOutcome], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(B,) mean chance of a true alarm over the runs that collapse, by (B,) rates and how often each run was drawn."""
    before, in_time = (_column(collapsed, name) for name in ("rows_before", "rows_in_time"))
    chances = chance_of_true_alarm(rate[:, np.newaxis], before, in_time)
    return _divided((counts * chances).sum(axis=1), np.broadcast_to(counts.sum(axis=1), rate.shape))


def _divided(numerator: NDArray[np.float64], denominator: NDArray[np.float64]) -> NDArray[np.float64]:
    quotient: NDArray[np.float64] = np.full(len(numerator), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


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
