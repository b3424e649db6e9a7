"""Runs judged by their own past alone: false alarms and recall on whole sets, and what other limits would do.

Run with ``pytest tests/benchmarks/test_alone.py -s --override-ini addopts=``. The limits that trajhmm ships are those
of `limits_from` on all sets of data/; the table has each set by the limits that the others leave. Rules that need no
reference are held to the same promise in the same way: a rule's threshold is the least at which no set of another
family rings more often.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.stats import binomtest

from trajhmm.errors import FitError, LogError
from trajhmm.features import causal_runs
from trajhmm.features.choose import dynamics
from trajhmm.logs import read_logs
from trajhmm.warning.detectors import DETECTORS, make_detector
from trajhmm.warning.evaluation import first_alarm, judge
from trajhmm.warning.runs import RunTruth, Trial
from trajhmm.warning.views.alone import LIMITS, Alone
from trajhmm.warning.views.ownlosses import LongSum
from trajhmm.warning.views.phases import BURN_IN

from .families import DATA, FAMILIES, audit, audit_logs, sweep, sweep_logs

# False alarms in 1,000 rows that limits are made for.
PROMISE = 0.2
GRID = 1.05 ** np.arange(14, 100)
# No row is to ring the long sum by itself.
LEAST = {LongSum.name: 10.0}
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
    """For each trial of a set the (V, T) scores of the views, zero of a view that it has not."""
    scores = []
    for trial in sets()[name]:
        run, alone = trial.run, Alone(trial.run.metrics)
        memory = alone.start()
        rows, kept = alone.rows(run.steps, run.values, run.logged, memory)
        each = np.zeros((len(LIMITS), len(kept)))
        for view, known in zip(alone.views, memory.views, strict=True):
            each[list(LIMITS).index(view.name)] = view.scores(rows, known)
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


def limits_from(names, promise=PROMISE):
    """The least limits at which no set has more false alarms than promised: of each view alone, then all times one."""
    names = [name for name in names if name != SPIKY and not name.endswith("hard")]
    highest = {name: _highest(name) for name in names}

    def kept(limits):
        return all(
            1000 * (runs / limits > 1).any(axis=1).sum() / n_rows <= promise for runs, n_rows in highest.values()
        )

    alone = np.array(
        [
            next(
                limit
                for limit in GRID
                if limit >= LEAST.get(name, 0.0) and kept(np.where(np.arange(len(LIMITS)) == view, limit, np.inf))
            )
            for view, name in enumerate(LIMITS)
        ]
    )
    return next(alone * times for times in 1.05 ** np.arange(40) if kept(alone * times))


def _highest(name):
    """(H, V) the highest score of each view in each healthy run of a set, infinite where one broke; and their rows."""
    healthy = [
        (trial.run, each)
        for trial, each in zip(sets()[name], views(name), strict=True)
        if trial.truth.collapse_step is None and trial.truth.onset is None
    ]
    highest = np.array(
        [np.full(len(LIMITS), np.inf) if run.events.any() else each.max(axis=1) for run, each in healthy]
    )
    return highest.reshape(len(healthy), len(LIMITS)), sum(run.n_rows for run, _ in healthy)


def test_the_limits_are_those_of_the_sets_of_data():
    """For half of what is promised, rounded up."""
    exact = limits_from(sets(), PROMISE / 2)
    print(f"\n{exact}")
    shipped = np.array(list(LIMITS.values()))
    assert (shipped >= exact - 0.01).all()
    assert (shipped <= 1.2 * exact).all()


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
        limits = ", ".join(f"{limit:.3g}" for limit in limits)
        print(f"| {name} | {limits} | {rate:.2f} ({ends[0]:.2f}–{ends[1]:.2f}) {told}")
        if name not in (SPIKY, "rl, sweep") and not name.endswith("hard"):
            assert ends[0] <= PROMISE, name


def rules():
    """Name to rule, of those that say something of a run without having seen another."""
    shortest = sets()["classifier"][0].run.first_rows(40)
    found = {}
    for name in DETECTORS:
        rule = make_detector(name)
        try:
            rule.scores(shortest)
        except (FitError, LogError):  # learns from a reference, or its library is not installed
            continue
        found[name] = rule
    return found


def scores_of(rule):
    """Set to the scores of its runs; a set that lacks what the rule looks at is left out."""
    found = {}
    for name, trials in sets().items():
        try:
            found[name] = [rule.scores(trial.run) for trial in trials]
        except LogError:
            continue
    return found


def judged_at(name, scores, threshold):
    of = zip(sets()[name], scores, strict=True)
    return [judge(t.run.run, t.run.steps, t.truth, first_alarm(each, threshold)) for t, each in of]


def threshold_from(scores):
    """The least threshold at which no set rings more often than promised; infinite where there is none."""

    def kept(threshold):
        return all(false_alarms(judged_at(name, each, threshold))[0] <= PROMISE for name, each in scores.items())

    healthy = [
        float(each.max())
        for name, of in scores.items()
        for each, trial in zip(of, sets()[name], strict=True)
        if trial.truth.collapse_step is None and trial.truth.onset is None
    ]
    reached = np.unique(healthy)
    low, high = -1, len(reached) - 1
    if not len(reached) or not kept(reached[high]):
        return np.inf
    while high - low > 1:  # the rate falls as the threshold rises
        middle = (low + high) // 2
        low, high = (low, middle) if kept(reached[middle]) else (middle, high)
    return float(reached[high])


def test_rules_at_the_same_promise():
    """Recall and lead of a set at the threshold that the sets of other families leave: none beats the tool's by far."""
    tested = [name for name in sets() if any(t.truth.collapse_step is not None for t in sets()[name])]
    tested = [name for name in tested if not name.endswith("hard")]
    family = {name: name.partition(",")[0] for name in sets()}
    ours = {}
    for name in tested:
        judged = outcomes(name, limits_from([other for other in sets() if family[other] != family[name]]))
        ours[name] = told_of(judged)
    print(f"\n| | {' | '.join(tested)} |\n|{'---|' * (len(tested) + 1)}")
    print(f"| this tool | {' | '.join(cell(*ours[name]) for name in tested)} |")
    beaten = []
    for rule_name, rule in rules().items():
        scores = scores_of(rule)
        cells = []
        for name in tested:
            if name not in scores:
                cells.append("–")
                continue
            others = {
                other: each
                for other, each in scores.items()
                if family[other] != family[name] and other != SPIKY and not other.endswith("hard")
            }
            theirs = told_of(judged_at(name, scores[name], threshold_from(others)))
            cells.append(cell(*theirs))
            if rule_name != "own_past" and (theirs[0] > ours[name][0] + 0.05 or theirs[1] > ours[name][1] + 0.1):
                beaten.append((rule_name, name))
        print(f"| {rule_name} | {' | '.join(cells)} |", flush=True)
    print(f"ahead by more than .05 of recall or .1 of lead: {beaten}")
    assert set(beaten) <= {("cusum", "classifier, sweep")}  # which rings at the first row of a jump


def told_of(judged):
    """Recall, median lead as a share, and share of the healthy runs that rang."""
    collapsed = [one for one in judged if one.kind.value == "collapsed"]
    healthy = [one for one in judged if one.kind.value == "healthy"]
    recall = sum(one.outcome.value == "true" for one in collapsed) / len(collapsed)
    lead = float(np.median([one.lead_share for one in collapsed]))
    rang = sum(one.alarm_step is not None for one in healthy) / max(len(healthy), 1)
    return recall, lead, rang


def cell(recall, lead, rang):
    return f"{recall:.2f}, {lead:.2f}, {rang:.0%}"
