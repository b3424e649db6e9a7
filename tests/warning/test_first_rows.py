"""A few rows of one healthy run, far from all others: they hide no collapse, or it is said what to do."""

import re

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs import RunSet
from trajhmm.warning.monitor import Monitor
from trajhmm.warning.reference import fit_warning


def frame(name, seed, *, burst=(), wrong_from=None, rows=120):
    """A loss that falls and a gradient norm; for some rows both are a thousand times as large."""
    rng, t = np.random.default_rng(seed), np.arange(rows)
    loss = (2.3 * np.exp(-t / 15) + 0.1) * np.exp(0.05 * rng.normal(size=rows))
    norm = (1 + 2 * np.exp(-t / 10)) * np.exp(0.07 * rng.normal(size=rows))
    for row in burst:
        loss[row], norm[row] = 100.0 * (1 + row % 3), 50.0
    if wrong_from is not None:
        grown = 1 + 4 * np.clip((t - wrong_from) / 25, 0, 1)
        loss, norm = loss * grown, norm * grown
    return pd.DataFrame({"run": name, "step": 10 * t, "loss": loss, "grad_norm": norm})


def reference(burst, n=6, *, leave=None):
    logs = pd.concat([frame(f"seed{i}", i, burst=burst if i == 0 else ()) for i in range(n)])
    return fit_warning(RunSet.from_frame(logs if leave is None else logs.query(leave)))


def named(model):
    watched = pd.concat([frame(f"bad{i}", 50 + i, wrong_from=80) for i in range(4)])
    monitor = Monitor(model)
    monitor.score(RunSet.from_frame(watched))
    return [tracker.alarm is not None and tracker.alarm.step >= 800 for tracker in monitor.trackers.values()]


def said(model):
    return [str(note) for note in model.notes if note.kind == "alone"]


@pytest.mark.parametrize("burst", [(), (0,), (0, 1, 2), (3, 4)])
def test_first_rows_of_one_run_hide_no_collapse(burst):
    model = reference(burst)
    (situation,) = [note.text for note in model.notes if note.kind == "situation"]
    assert situation.startswith("matched: at the same step the healthy runs agree to 1.00")
    assert named(model) == [True] * 4
    assert said(model) == []


@pytest.mark.parametrize("burst", [range(8), range(14, 18), range(20, 24)])
def test_where_early_rows_set_the_threshold_it_is_said_what_to_leave_out(burst):
    model = reference(burst)
    assert not any(named(model))
    (text,) = said(model)
    assert re.match(r"run seed0: gets to [\d.e+]+, the next below it to [\d.]+: collapses in between are missed", text)
    leave = re.search("only its first rows do; .* leave these out: --where '(.*)'$", text)[1]
    assert 10 * burst[-1] <= int(leave.split()[-1]) < 400
    again = reference(burst, leave=leave)
    assert said(again) == []
    assert named(again) == [True] * 4


def test_where_the_budget_lets_one_run_alarm_the_next_sets_the_threshold():
    """Of 24 runs a tenth may alarm: those that stand far above the others do, and hide nothing."""
    logs = [frame(f"seed{i}", i, burst=range(90, 100) if i == 0 else ()) for i in range(24)]
    model = fit_warning(RunSet.from_frame(pd.concat(logs)), false_alarm=0.1)
    assert said(model) == []
    assert named(model) == [True] * 4


def test_a_run_that_goes_wrong_late_is_named_as_one_to_leave_out():
    model = reference(range(90, 100))
    (text,) = said(model)
    assert text.endswith("""if it is not healthy, leave it out: --where "run != 'seed0'\"""")
    again = reference(range(90, 100), leave="run != 'seed0'")
    assert named(again) == [True] * 4


def test_rows_ahead_of_the_reference_are_not_judged():
    """Its own first rows are no news to a run that begins before all healthy ones; from there on it is judged."""
    model = reference((), leave="step >= 300")
    assert Monitor(model).first_step == 300
    monitor = Monitor(model)
    scored = monitor.score(RunSet.from_frame(pd.concat([frame("whole", 70), frame("bad", 71, wrong_from=80)])))
    for one in scored.values():
        assert (one.score[:30] <= 0.0).all()
    assert monitor.trackers["whole"].alarm is None
    assert monitor.trackers["bad"].alarm.step >= 800


def test_agreement_is_not_told_by_a_few_rows_of_one_run():
    from trajhmm.features import causal_runs
    from trajhmm.features.samestep import agreement_of

    def agreement(burst, spread=0.0):
        logs = [frame(f"seed{i}", i, burst=burst if i == 0 else ()) for i in range(6)]
        for i, one in enumerate(logs):
            one[["loss", "grad_norm"]] *= np.exp(spread * i)
        return agreement_of(causal_runs(RunSet.from_frame(pd.concat(logs)), ["loss", "grad_norm"]), np.log)

    assert agreement(()) > 0.98
    assert agreement(range(12)) > 0.98
    assert agreement((), spread=1.0) < 0.5
    assert agreement(range(12), spread=1.0) < 0.5
