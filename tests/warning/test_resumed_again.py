"""Runs that are resumed: from before their second half, twice in a row, and where nothing lies before the step."""

import numpy as np
import pytest

from trajhmm.warning.monitor import Monitor


def loss_of(seed):
    rng = np.random.default_rng(seed)
    return lambda step: 3 * np.exp(-step / 80) + 0.5 + 0.02 * rng.normal()


@pytest.mark.parametrize("first", [0, 100_000])
def test_where_the_first_step_is_does_not_change_how_long_a_resumed_run_is_not_judged(first):
    monitor, loss, alarms = Monitor(metrics=["train_loss"]), loss_of(0), []
    for step in range(1001):
        assert monitor.update("r", first + step, {"train_loss": loss(step)}) is None
    for step in range(100, 900):
        grown = loss(step) * np.exp(max(step - 300, 0) / 50)
        if monitor.update("r", first + step, {"train_loss": grown}) is not None:
            alarms.append(step)
    assert len(alarms) == 1
    assert 300 < alarms[0] < 400


def test_a_second_resume_does_not_bring_back_what_the_first_took_back():
    largest = {}
    for again in (165, 171):  # resumed a second time, or not
        monitor, loss = Monitor(metrics=["train_loss"]), loss_of(3)
        for step in range(201):  # a loss that dips, and is taken back
            monitor.update("r", step, {"train_loss": loss(step) - 0.7 * min(max(step - 149, 0) / 10, 1)})
        for step in (*range(150, 171), *range(again, 230)):
            assert monitor.update("r", step, {"train_loss": loss(step)}) is None
        largest[again] = monitor.trackers["r"].largest
    assert largest[165] == pytest.approx(largest[171], abs=0.1)
