"""Runs judged by their own past alone: false alarms and recall on whole sets, and what other limits would do.

Run with ``pytest tests/benchmarks/test_alone.py -s --override-ini addopts=``. The limits that trajhmm ships are those
of `limits_from` on all sets of data/; the table has each set by the limits that the others leave.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.stats import binomtest

from trajhmm.features import causal_runs
from trajhmm.features.choose import dynamics
from trajhmm.logs import read_logs
from trajhmm.warning.evaluation import first_alarm, judge
from trajhmm.warning.runs import RunTruth, Trial
from trajhmm.warning.views.alone import LIMITS, Alone
from trajhmm.warning.views.phases import BURN_IN

from .families import DATA, FAMILIES, audit, audit_logs, sweep, sweep_logs

# False alarms in 1,000 rows that limits are made for.
PROMISE = 0.2
GRID = np.arange(2.0, 8.01, 0.5)
# Its training loss spikes by orders of magnitude in every run that goes well: no limit that finds anything holds there.
SPIKY = "modular_addition"


@cache
def sets():
    """Name to trials; of the sets without perturbations all runs are healthy."""
    found = {}
    for family in FAMILIES:
        found[family] = audit(family, dynamics(audit_logs(family).metrics))
        found[f"{family}, sweep"], found[f"{family}, hard"] = sweep(family, dynamics(sweep_logs(family).metrics))
    for name in ("digits", "sparse_parities", SPIKY):
        logs = read_logs(DATA / name)
        runs = causal_runs(logs, dynamics(logs.metrics))
        found[name] = [Trial(run=run, truth=RunTruth(), condition="", group=run.run) for run in runs]
    return found


@cache
def views(name):
    """For each trial of a set the (2, T) scores of the two views."""
    scores = []
    for trial in sets()[name]:
        run, alone = trial.run, Alone(trial.run.metrics)
        memory = alone.start()
        rows, kept = alone.rows(run.steps, run.values, run.logged, memory)
        each = np.array([view.scores(rows, known) for view, known in zip(alone.views, memory.views, strict=True)])
        each[:, :BURN_IN] = 0.0
        scores.append(each[:, np.maximum(np.searchsorted(kept, np.arange(run.n_rows), side="right") - 1, 0)])
    return scores


def outcomes(name, limits):
    """What each run's first alarm was worth."""
    of = zip(sets()[name], views(name), strict=True)
    limits = np.array(limits)[:, np.newaxis]
    return [
        judge(
            t.run.run, t.run.steps, t.truth, first_alarm(np.where(t.run.events, np.inf, (each / limits).max(axis=0)), 1)
        )
        for t, each in of
    ]


def false_alarms(judged):
    """False alarms on healthy runs in 1,000 of their rows, and how many of how many rows."""
    healthy = [one for one in judged if one.kind.value == "healthy"]
    alarms, rows = sum(one.alarm_step is not None for one in healthy), sum(one.healthy_rows for one in healthy)
    return 1000 * alarms / rows, alarms, rows


def limits_from(names):
    """The least limits at which no set has more false alarms than promised: of movement half of them, then of both."""
    names = [name for name in names if name != SPIKY and not name.endswith("hard")]

    def worst(limits):
        return max(false_alarms(outcomes(name, limits))[0] for name in names)

    movement = next(limit for limit in GRID if worst((np.inf, limit)) <= PROMISE / 2)
    return next(limit for limit in GRID if worst((limit, movement)) <= PROMISE), movement


def test_the_limits_are_those_of_the_sets_of_data():
    assert limits_from(sets()) == tuple(LIMITS.values())


def test_false_alarms_and_recall_of_sets_left_out():
    print("\n| set left out | limits | false alarms in 1,000 rows (95%) | recall (95%) | lead |\n|---|---|---|---|---|")
    for name in sets():
        limits = limits_from([other for other in sets() if other.partition(",")[0] != name.partition(",")[0]])
        judged = outcomes(name, limits)
        rate, alarms, rows = false_alarms(judged)
        ends = 1000 * np.array(binomtest(alarms, rows).proportion_ci())
        collapsed = [one for one in judged if one.kind.value == "collapsed"]
        told = "| – | – |"
        if collapsed:
            named = sum(one.outcome.value == "true" for one in collapsed)
            low, high = binomtest(named, len(collapsed)).proportion_ci()
            lead = np.median([one.lead_share for one in collapsed])
            told = f"| {named / len(collapsed):.2f} ({low:.2f}–{high:.2f}) | {lead:.2f} |"
        print(f"| {name} | {limits[0]:g}, {limits[1]:g} | {rate:.2f} ({ends[0]:.2f}–{ends[1]:.2f}) {told}")
