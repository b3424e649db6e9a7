"""`RunMonitor`: the same verdicts as on the finished log, whatever pieces rows come in."""

import json
import math
import warnings

import numpy as np
import pytest

import trajhmm as th
from trajhmm.errors import TrajHMMWarning
from trajhmm.integrations.loops import RunMonitor

from .logs import drifting, healthy_logs
from .made import KNOWN, METRICS, training


@pytest.fixture(scope="module")
def model():
    return th.fit_warning(healthy_logs(10), states=3, restarts=2, iterations=30)


@pytest.fixture
def alarms():
    return []


def rows_of(values):
    return [(10 * t, dict(zip(METRICS, row, strict=True))) for t, row in enumerate(values)]


def expected_alarm(model, rows):
    monitor = th.Monitor(model)
    found = [monitor.update("run", step, row) for step, row in rows]
    return next(alarm for alarm in found if alarm is not None), monitor.trackers["run"].to_dict()


def test_the_alarm_is_returned_kept_and_told_once_at_the_step_that_raises_it(model, alarms):
    rows = rows_of(drifting())
    expected, known = expected_alarm(model, rows)
    monitor = RunMonitor(model, on_alarm=alarms.append)
    returned = [monitor.log(step, row, learning_rate=0.1, note=None) for step, row in rows]
    assert [alarm for alarm in returned if alarm is not None] == alarms == [monitor.alarm] == [expected]
    assert rows[returned.index(expected)][0] == expected.step
    assert monitor.state_dict()["tracker"] == known


def test_rows_that_come_in_pieces_are_judged_as_one(model, alarms):
    rows = rows_of(drifting())
    expected, known = expected_alarm(model, rows)
    monitor = RunMonitor(model, on_alarm=alarms.append)
    for step, row in rows:
        before = len(alarms)
        monitor.log(step, weight_l2=row["weight_l2"])
        assert monitor.log(step, other=1.0) is None
        assert len(alarms) == before, "half a row is no row"
        monitor.log(step, train_loss=row["train_loss"], grad_norm=row["grad_norm"])
        monitor.log(step, eval_loss=3.0)
    assert alarms == [expected]
    assert monitor.state_dict()["tracker"] == known


def test_a_row_that_lacks_a_metric_is_judged_when_the_next_begins_or_at_the_end(model, alarms):
    monitor = RunMonitor(model, on_alarm=alarms.append)
    rows = rows_of(training(np.random.default_rng(5), 12))
    for step, row in rows:
        monitor.log(step, row)
    monitor.log(120, train_loss=1e6)
    assert alarms == []
    monitor.log(130, train_loss=1e6)
    assert [alarm.step for alarm in alarms] == [120]
    last = RunMonitor(model, on_alarm=alarms.append)
    for step, row in rows:
        last.log(step, row)
    assert last.log(120, train_loss=1e6, weight_l2=5) is None
    assert last.close().step == 120


def test_a_metric_that_never_came_is_named_at_the_end(model):
    monitor = RunMonitor(model, on_alarm=[].append)
    monitor.log(0, train_loss=1e6, weight_l2=5)
    with pytest.warns(TrajHMMWarning, match="has not logged grad_norm so far"):
        assert monitor.close() is None  # a run of one row is not judged


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_an_alarm_at_once_though_the_row_is_not_whole(model, value):
    monitor = RunMonitor(model, on_alarm=[].append)
    (step, row), *_ = rows_of(training(np.random.default_rng(5), 1))
    monitor.log(step, row)
    alarm = monitor.log(10, train_loss=value)
    assert math.isinf(alarm.score)
    assert [driver.metric for driver in alarm.drivers] == ["train_loss"]


def test_a_tensor_counts_as_its_number_and_a_text_is_refused_only_where_it_matters(model):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'trajhmm[torch]'")
    monitor = RunMonitor(model, on_alarm=[].append)
    monitor.log(0, train_loss=torch.tensor(1.0))
    assert monitor.log(1, train_loss=2 * torch.tensor(math.nan, requires_grad=True), note="text") is not None
    with pytest.raises(ValueError, match="could not convert"):
        monitor.log(2, train_loss="text")


def test_without_on_alarm_an_alarm_is_a_warning(model):
    monitor = RunMonitor(model, "seed_3")
    monitor.log(0, train_loss=2.5)
    with pytest.warns(TrajHMMWarning, match="alarm: run seed_3 at step 1: .*a value that is not finite"):
        monitor.log(1, train_loss=math.nan)


def test_a_metric_that_never_comes_is_named_once(model):
    monitor = RunMonitor(model, "seed_3", on_alarm=[].append)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        for step, row in rows_of(training(np.random.default_rng(5), 30)):
            monitor.log(step, train_loss=row["train_loss"], gnorm=row["grad_norm"])
        monitor.close()
    assert [str(warning.message).split(", which")[0] for warning in said] == [
        "run 'seed_3' has not logged grad_norm, weight_l2 so far"
    ]


def test_names_are_mapped_and_a_wrong_target_is_refused(model, alarms):
    rows = rows_of(drifting())
    expected, _ = expected_alarm(model, rows)
    monitor = RunMonitor(model, rename={"loss/total": "train_loss"}, on_alarm=alarms.append)
    for step, row in rows:
        monitor.log(step, {"loss/total": row.pop("train_loss")}, **row)
    assert alarms == [expected]
    with pytest.raises(ValueError, match=r"rename 'loss': the model watches train_loss, .*, not 'trainloss'"):
        RunMonitor(model, rename={"loss": "trainloss"})


def test_what_a_run_logger_logs_is_judged_as_its_finished_log_is(model, alarms, tmp_path):
    with th.RunLogger(tmp_path, "seed_3", rows=7) as logger:
        monitor = RunMonitor(model, logger, on_alarm=alarms.append)
        for step, row in rows_of(drifting()):
            logger.log(step, weight_l2=row["weight_l2"], bias_mean=0.0)
            logger.log(step, train_loss=row["train_loss"], grad_norm=row["grad_norm"])
    finished = th.Monitor(model)
    finished.score(th.read_logs(tmp_path))
    assert monitor.run == "seed_3"
    assert alarms == [finished.trackers["seed_3"].alarm]
    ours, whole = monitor.state_dict()["tracker"], finished.trackers["seed_3"].to_dict()
    assert {name: ours[name] for name in KNOWN} == {name: whole[name] for name in KNOWN}


def test_what_on_alarm_raises_ends_the_training_and_loses_no_row(model, tmp_path):
    def stop(alarm):
        raise StopIteration

    with th.RunLogger(tmp_path, "a") as logger:
        RunMonitor(model, logger, on_alarm=stop)
        logger.log(0, train_loss=1.0)
        with pytest.raises(StopIteration):
            logger.log(1, train_loss=math.nan)
    assert th.read_logs(tmp_path).steps.tolist() == [0, 1]


@pytest.mark.parametrize("cut", [3, 40, 99])
def test_a_monitor_that_is_carried_on_goes_on_to_the_last_bit(model, alarms, cut):
    rows = rows_of(drifting())
    expected, known = expected_alarm(model, rows)
    before, after = RunMonitor(model, on_alarm=alarms.append), RunMonitor(model, on_alarm=alarms.append)
    for step, row in rows[:cut]:
        before.log(step, row)
    before.log(rows[cut][0], weight_l2=rows[cut][1]["weight_l2"])  # cut within a row
    after.load_state_dict(json.loads(json.dumps(before.state_dict())))
    for step, row in rows[cut:]:
        after.log(step, {name: value for name, value in row.items() if step != rows[cut][0] or name != "weight_l2"})
    assert after.state_dict()["tracker"] == known
    assert alarms == [expected], "an alarm is raised once, before the cut or after it"


def test_a_state_of_another_model_is_said_and_left(model):
    other = th.fit_warning(healthy_logs(5, seed=9), states=2, restarts=1, iterations=10)
    monitor = RunMonitor(model)
    with pytest.warns(TrajHMMWarning, match="watched with another model before"):
        monitor.load_state_dict(RunMonitor(other).state_dict())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monitor.load_state_dict(RunMonitor(model).state_dict())


def test_without_a_model_the_run_is_judged_by_its_own_past(alarms):
    """The same as a monitor of whole rows, one row later; whatever is no number is passed over."""
    rows = rows_of(drifting())
    for at, (_, row) in enumerate(rows[120:]):
        row["train_loss"] = row["train_loss"] * math.exp(0.1 * at)
    whole, expected = th.Monitor(), None
    for step, row in rows:
        expected = expected or whole.update("x", step, row)
    assert expected is not None
    monitor = RunMonitor(None, "x", on_alarm=alarms.append)
    for at, (step, row) in enumerate(rows):
        if at == 60:  # a training that goes on from a checkpoint
            state = json.loads(json.dumps(monitor.state_dict()))
            monitor = RunMonitor(run="x", on_alarm=alarms.append)
            monitor.load_state_dict(state)
        half = {"train_loss": row["train_loss"]}
        monitor.log(step, half, epoch_name="first", picture=[1, 2])
        monitor.log(step, {name: value for name, value in row.items() if name not in half})
    monitor.close()
    assert alarms == [expected]


def test_without_a_model_a_loss_that_is_not_finite_is_an_alarm_at_once(alarms):
    monitor = RunMonitor(on_alarm=alarms.append)
    for step in range(3):
        assert monitor.log(step, loss=1.0 - 0.1 * step) is None
    assert monitor.log(3, loss=math.nan) is alarms[0]
    assert monitor.close() is None


def test_without_a_model_what_is_not_finite_does_not_end_a_row(alarms):
    """A best value that begins infinite, logged ahead of the losses; a status in words; a number beyond floats."""
    monitor = RunMonitor(on_alarm=alarms.append)
    for step in range(200):
        monitor.log(step, best_val=math.inf if step < 150 else 0.5, status="nan", huge=10**400)
        monitor.log(step, train_loss=(1.0 + 0.01 * (step % 7)) * math.exp(-step / 60) * (1e8 if step > 150 else 1))
    assert [151 <= alarm.step < 160 for alarm in alarms] == [True]


def test_a_loss_that_was_never_finite_is_told_and_no_alarm(model, alarms):
    for known in (model, None):
        monitor = RunMonitor(known, "x", on_alarm=alarms.append)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            for step in range(40):
                monitor.log(step, train_loss=math.nan)
                monitor.log(step, grad_norm=1.0 + 0.01 * (step % 5), weight_l2=5.0)
        (text,) = [str(one.message) for one in told]
        assert text.startswith("run 'x': train_loss not finite in any of the first 10 rows")
    assert alarms == []
