"""What stopping runs saves, against counts by hand."""

import numpy as np
import pytest

from trajhmm.warning.evaluation import decide
from trajhmm.warning.runs import RunTruth, Trial

from .made import made_run


def trial(name, collapse=None, rows=11):
    """A run of steps 0, 1, … that collapses or not."""
    return Trial(
        run=made_run(np.zeros((rows, 3)), run=name), truth=RunTruth(collapse_step=collapse), condition="", group=name
    )


def risk_of(*told, rows=11):
    """NaN, but for ``told`` pairs of row and risk, each from its row on."""
    risk = np.full(rows, np.nan)
    for row, value in told:
        risk[row:] = value
    return risk


TRIALS = [trial("doomed", 8), trial("late", 5), trial("fine"), trial("shaken")]
ALARMS = {"doomed": 2, "late": 7, "fine": None, "shaken": 3}
RISKS = {"doomed": risk_of((4, 0.6), (6, 0.95)), "late": risk_of((5, 0.99)), "fine": risk_of(),
         "shaken": risk_of((5, 0.4), (8, 0.2))}  # fmt: skip


def test_steps_saved_and_thrown_away():
    found = {one.rule: one for one in decide(TRIALS, ALARMS, RISKS, rng=np.random.default_rng(0))}
    counts = {rule: (one.collapsed, one.others, one.saved, one.wasted) for rule, one in found.items()}
    assert counts == {
        "first alarm": (1, 1, 8, 3),  # the late one is stopped after its collapse, which saves nothing
        "risk > 0.3": (1, 1, 6, 5),
        "risk > 0.5": (1, 0, 6, 0),
        "risk > 0.7": (1, 0, 4, 0),
        "risk > 0.9": (1, 0, 4, 0),
    }
    assert found["first alarm"].net.value == pytest.approx(5 / 40)
    assert found["risk > 0.5"].net.value == pytest.approx(6 / 40)


def test_a_stop_before_anything_is_wrong_saves_nothing():
    known = Trial(
        run=made_run(np.zeros((11, 3)), run="a"), truth=RunTruth(onset=4, collapse_step=8), condition="", group="a"
    )
    for stop, saved, wasted in ((0, 0, 0), (3, 0, 3), (4, 6, 0), (5, 5, 0), (7, 3, 0), (8, 0, 0)):
        found = decide([known], {"a": stop}, {"a": risk_of()}, rng=np.random.default_rng(0))[0]
        assert (found.saved, found.wasted, found.collapsed) == (saved, wasted, int(saved > 0)), stop


def test_the_interval_is_over_runs():
    """Of n alike runs each way the net share is a mean: its standard error is known."""
    trials = [trial(str(i), 10 if i % 2 else None) for i in range(200)]
    alarms = {str(i): 2 for i in range(200)}
    net = decide(trials, alarms, {str(i): risk_of() for i in range(200)}, rng=np.random.default_rng(1))[0].net
    assert net.value == pytest.approx((8 - 2) / 20)
    spread = 1.96 * np.sqrt(((0.8 - 0.3) ** 2 + (-0.2 - 0.3) ** 2) / 2 / 200)
    assert net.high - net.value == pytest.approx(spread, rel=0.1)
    assert net.value - net.low == pytest.approx(spread, rel=0.1)


def test_where_nobody_is_stopped_nothing_is_known_of_stopping():
    found = decide(TRIALS, dict.fromkeys(ALARMS), {run: risk_of() for run in ALARMS}, rng=np.random.default_rng(0))
    assert [one.net.value for one in found] == [0.0] * 5
    assert np.isnan([[one.net.low, one.net.high] for one in found]).all()
