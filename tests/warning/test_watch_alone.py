"""A watch without a model: metrics that runs begin to log later are watched from their first value on."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs import read_logs
from trajhmm.logs.settings import Settings
from trajhmm.warning.monitor import Monitor, Watch
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.views import alone

from .logs import frame_of, healthy_logs
from .made import training

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)
KEPT = ("rows", "last_step", "values", "memory", "largest", "since", "alarm_step")


def rows_of(seed, *, late=40, attributes=True, stands=None):
    """A loss that explodes at row 150, a norm that is logged from row ``late`` on, evaluations at every tenth row.

    A share of clipped steps is 0 up to row ``stands``, and logged if that is given.
    """
    rng = np.random.default_rng(seed)
    for t in range(160):
        loss = (2 * np.exp(-t / 60) + 0.3) * np.exp(rng.normal(0, 0.03)) * (np.exp(0.4 * (t - 150)) if t > 150 else 1)
        row = {"step": t, "loss": loss, **({"seed": seed, "width": 64} if attributes else {})}
        if t >= late:
            row["grad_norm"] = rng.lognormal(0, 0.1)
        if t % 10 == 5:
            row |= {"val_loss": 0.5 + rng.lognormal(0, 0.1), "accuracy": rng.random()}
        if stands is not None:
            row["clipped"] = 0.0 if t <= stands else rng.random()
        yield row


def grown(folder, runs, rng, most, watch, restarted=None):
    """Alarms, as lines are added in random numbers."""
    alarms, left = [], {run: [json.dumps(row) + "\n" for row in rows] for run, rows in runs.items()}
    while any(left.values()):
        for run, lines in left.items():
            with (folder / f"{run}.jsonl").open("a") as file:
                n = int(rng.integers(1, most + 1))
                file.writelines(lines[:n])
                del lines[:n]
        alarms += [alarm for _, alarm in watch.poll()]
        if restarted is not None and rng.random() < 0.2:
            watch = restarted()
    alarms += [alarm for _, alarm in watch.poll()]
    return watch, alarms


LATE = {"a": {"stands": 70}, "b": {"late": 90, "stands": 110}, "c": {}}


@pytest.mark.parametrize("restarts", [False, True], ids=["one watch", "restarted"])
@pytest.mark.parametrize("most", [1, 30], ids=["row by row", "some rows a poll"])
@pytest.mark.sampled(1)
def test_what_begins_later_counts_as_in_a_finished_log(most, restarts, tmp_path):
    folder, state = tmp_path / "logs", tmp_path / "state.db"
    folder.mkdir()
    watch = Watch(None, [folder], HOW, state=state, metrics=["loss"])
    runs = {name: list(rows_of(seed, **how)) for seed, (name, how) in enumerate(LATE.items())}
    restarted = (lambda: Watch(None, [folder], HOW, state=state, metrics=["loss"])) if restarts else None
    watch, alarms = grown(folder, runs, np.random.default_rng(most), most, watch, restarted)
    whole = Monitor()
    whole.score(read_logs(folder))
    assert watch.monitor.metrics == whole.metrics == ("clipped", "grad_norm", "loss", "val_loss")
    for run in runs:
        live, batch = watch.monitor.trackers[run].to_dict(), whole.trackers[run].to_dict()
        assert {name: live[name] for name in KEPT} == {name: batch[name] for name in KEPT}
    assert [alarm.step for alarm in alarms] == [tracker.alarm.step for tracker in whole.trackers.values()]
    assert all(alarm.step > 150 for alarm in alarms)


def test_what_never_changes_within_a_run_is_an_attribute_and_what_comes_to_change_is_none(tmp_path):
    def rows(until, change):
        for t in range(until):
            yield {"step": t, "loss": 1.0 + 0.01 * (t % 3), "seed": 7, "norm": 2.0 if t < change else 3.0 + t}

    log = tmp_path / "a.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows(30, 100)))
    watch = Watch(None, [tmp_path], HOW, metrics=["loss"])
    list(watch.poll())
    assert watch.monitor.metrics == ("loss",)
    log.write_text("".join(json.dumps(row) + "\n" for row in rows(30, 100)))  # written again, nothing new
    list(watch.poll())
    assert (watch.monitor.metrics, watch.gained) == (("loss",), {})
    log.write_text("".join(json.dumps(row) + "\n" for row in rows(60, 40)))
    list(watch.poll())
    assert (watch.monitor.metrics, watch.gained) == (("loss", "norm"), {"a": 30})
    other = tmp_path / "b.jsonl"  # of another seed
    other.write_text(log.read_text().replace('"seed": 7', '"seed": 8'))
    list(watch.poll())
    assert watch.monitor.metrics == ("loss", "norm")


def test_a_file_that_is_read_whole_again_is_known_again_after_a_metric_came(tmp_path):
    """By the metrics of the first rows alone: those that came later stood in no fingerprint."""

    log, state = tmp_path / "logs" / "a.parquet", tmp_path / "state.db"
    log.parent.mkdir()
    frame = pd.DataFrame(rows_of(0, late=0))
    frame["grad_norm"] = np.where(frame["step"] < 50, 1.0, frame["grad_norm"])
    for n in (20, 60, 120):
        frame[:n].to_parquet(log)
        watch = Watch(None, [log.parent], HOW, state=state, metrics=["loss"])
        list(watch.poll())
    assert watch.monitor.metrics == ("grad_norm", "loss", "val_loss")
    assert (watch.gained, watch.monitor.trackers["a"].to_dict()["rows"]) == ({"a": 60}, 119)


def test_a_blank_counts_though_a_metric_came_just_before(tmp_path):
    path = tmp_path / "a.csv"
    rng = np.random.default_rng(0)
    lines = ["step,train_loss,grad_norm,weight_norm\n"]
    for step in range(60):
        loss = "" if step >= 53 else f"{2 + 0.01 * rng.normal():.4f}"
        norm = f"{2 + 0.01 * rng.normal():.4f}" if step >= 51 else ""
        lines.append(f"{step},{loss},{1 + 0.05 * rng.normal():.4f},{norm}\n")
    path.write_text("".join(lines[:40]))
    watch = Watch(None, [path], HOW, metrics=["train_loss", "grad_norm"])
    live = [alarm for _, alarm in watch.poll()]
    for line in (*lines[40:], ""):
        with path.open("a") as file:
            file.write(line)
        live += [alarm for _, alarm in watch.poll()]
    whole = Monitor()
    whole.score(read_logs([path]))
    assert whole.metrics == watch.monitor.metrics == ("grad_norm", "train_loss", "weight_norm")
    assert [str(alarm) for alarm in live] == [str(whole.trackers["a"].alarm)]
    assert live[0].step == 55
    assert whole.trackers["a"].to_dict()["missing"] is not None


def test_logs_of_outcomes_alone_are_judged_by_these(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{step},{0.9 + 0.01 * rng.normal() - 0.5 * (step > 150):.4f}\n" for step in range(200)]
    (tmp_path / "a.csv").write_text("step,accuracy\n" + "".join(lines))
    monitor = Monitor()
    monitor.score(read_logs([tmp_path / "a.csv"]))
    assert monitor.metrics == ("accuracy",)
    assert 150 < monitor.trackers["a"].alarm.step < 160


def test_a_row_that_is_held_back_has_logged_what_it_has(tmp_path):
    (tmp_path / "a.csv").write_text("step,train_loss,val_loss\n0,1.5,\n")
    watch = Watch(None, [tmp_path / "a.csv"], HOW, metrics=["train_loss", "val_loss"])
    assert not list(watch.poll())
    assert watch.monitor.trackers["a"].last_step is None  # more of its step may come
    assert watch.monitor.unlogged("a") == ("val_loss",)


def test_what_was_usual_is_told_of_before_the_row_that_alarms():
    monitor, rng = Monitor(metrics=["grad_norm"]), np.random.default_rng(0)
    for step in range(30):
        assert monitor.update("a", step, {"grad_norm": 1 + 0.05 * rng.normal()}) is None
    alarm, step = None, 30
    while alarm is None:
        tracker = monitor.trackers["a"]
        band = tracker._scorer.views.band(step, tracker._known.memory)[0]
        alarm = monitor.update("a", step, {"grad_norm": 3.0})
        step += 1
    driver = alarm.drivers[0]
    assert (driver.healthy_low, driver.healthy_high) == pytest.approx(tuple(band), rel=1e-12)


def test_a_loss_that_drifts_up_is_held_against_where_it_was():
    monitor, rng, alarm, step = Monitor(metrics=["train_loss"]), np.random.default_rng(3), None, 0
    while alarm is None:
        level = 0.4 + 2.0 * np.exp(-step / 60) + 0.004 * max(step - 300, 0)
        alarm = monitor.update("a", step, {"train_loss": level + 0.03 * rng.normal()})
        step += 1
    (driver,) = alarm.drivers
    assert driver.direction == "up"
    # What adds to the sum is above what does not.
    assert 0.4 < driver.healthy_low < driver.healthy_high < driver.value < 1.0
    assert driver.view == "short loss sum"
    assert "): it keeps going up; score" in str(alarm)


def test_a_loss_that_leaves_its_level_is_above_where_it_was_for_200_rows():
    monitor, rng, alarm, step = Monitor(metrics=["train_loss"]), np.random.default_rng(4), None, 0
    logged = []
    while alarm is None:
        logged.append(1.0 + 0.05 * rng.normal() + (0.11 if step > 400 else 0.0))
        alarm = monitor.update("a", step, {"train_loss": logged[-1]})
        step += 1
    (driver,) = alarm.drivers
    assert driver.view == "long loss sum"
    past = np.array(logged[-201:-1])
    spread = max(
        1.4826 * np.median(np.abs(past - np.median(past))), np.sort(past)[180] / 1.2816 - np.median(past) / 1.2816
    )
    centre = (driver.healthy_low + driver.healthy_high) / 2
    assert centre == pytest.approx(np.median(past), rel=1e-6)
    assert driver.healthy_high - centre == pytest.approx(spread + 1e-3 * np.abs(past).max(), rel=1e-6)
    assert driver.value > driver.healthy_high


def test_a_loss_of_which_a_sum_is_left_over_from_before_drives_no_alarm():
    rng, monitor, alarm, step = np.random.default_rng(19), Monitor(metrics=["train_loss", "nll"]), None, 0
    while alarm is None:
        values = {"train_loss": 1 + 0.05 * rng.normal() + 0.08 * (step > 400), "nll": 2 + 0.1 * rng.normal()}
        alarm = monitor.update("a", step, values)
        step += 1
    assert values["nll"] < 1.9
    assert [driver.metric for driver in alarm.drivers] == ["train_loss"]


def test_a_loss_that_was_never_below_zero_is_not_said_to_be_usual_there():
    monitor, rng, alarm, step = Monitor(metrics=["train_loss"]), np.random.default_rng(5), None, 0
    while alarm is None:
        loss = 0.02 + 2.0 * np.exp(-step / 20) + 0.02 * abs(rng.normal()) + 3.0 * (step > 150)
        alarm = monitor.update("a", step, {"train_loss": loss})
        step += 1
    driver = next(one for one in alarm.drivers if one.metric == "train_loss")
    assert driver.view == "loss rise"
    assert 0.0 <= driver.healthy_low < driver.healthy_high < driver.value


def test_what_is_as_large_as_can_be_has_a_band_as_well():
    monitor = Monitor(metrics=["train_loss"])
    for step in range(40):
        monitor.update("a", step, {"train_loss": 1e300 if step % 2 else 1e-300})
    tracker = monitor.trackers["a"]
    low, high = tracker._scorer.views.band(40, tracker._known.memory)[0]
    assert -1e100 <= low < high <= 1e100


def test_what_was_known_under_other_losses_is_begun_anew(monkeypatch):
    """What counts as a loss may change with a version; a watch that goes on is not damaged by that."""
    monitor = Monitor(metrics=["train_loss", "norm"])
    for step in range(30):
        monitor.update("r", step, {"train_loss": 1.0 + 0.01 * (step % 3), "norm": 1.0 + 0.01 * (step % 5)})
    stored = json.loads(json.dumps(monitor.trackers["r"].to_dict()))
    monkeypatch.setattr(alone, "is_loss", lambda _: False)
    other = Monitor(metrics=["train_loss", "norm"])
    other.resume({"r": stored})
    assert other.trackers["r"].last_step == 29
    assert other.update("r", 30, {"train_loss": 1.0, "norm": 1.0}) is None


def test_a_run_is_judged_alike_alone_beside_others_and_cut():
    """Whether a column is a metric or an attribute hangs on all runs that are read; the score of a row must not."""
    frames = {run: pd.DataFrame(list(rows_of(seed, **how))) for seed, (run, how) in enumerate(LATE.items())}

    def scores(frames):
        together = pd.concat([frame.assign(run=run) for run, frame in frames.items()], ignore_index=True)
        return Monitor().score(read_logs(together))

    beside = scores(frames)
    for run, frame in frames.items():
        np.testing.assert_array_equal(scores({run: frame})[run].score, beside[run].score)
        for rows in (65, 95, 120):
            np.testing.assert_array_equal(scores({run: frame[:rows]})[run].score, beside[run].score[:rows])


def test_a_best_value_that_begins_infinite_is_not_known_yet(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["step,train_loss,best\n"]
    for t in range(80):
        best = "inf" if t < 20 else 3.0 if t < 40 else 3.0 - 0.01 * rng.random()
        lines.append(f"{t},{2 * np.exp(-t / 60) + 0.02 * rng.random():.5f},{best}\n")
    watch = Watch(None, [tmp_path], HOW, metrics=["train_loss"])
    for first, stop in ((0, 11), (11, 31), (31, 46), (46, 81)):
        with (tmp_path / "a.csv").open("a") as file:
            file.writelines(lines[first:stop])
        assert not list(watch.poll())
    whole = Monitor()
    whole.score(read_logs(tmp_path))
    live, batch = watch.monitor.trackers["a"].to_dict(), whole.trackers["a"].to_dict()
    assert {name: live[name] for name in KEPT} == {name: batch[name] for name in KEPT}


def _before_sums(memory):
    return replace(memory, spaced=np.delete(memory.spaced, [2, 3, 4]), views=memory.views[:2])


@pytest.mark.parametrize("with_model", [False, True])
def test_what_was_kept_of_a_run_by_the_version_before_is_gone_on_from(with_model):
    """It did not keep since when metrics are known; nor, without a model, sums of losses, which begin there."""
    model = fit_warning(healthy_logs(8), states=2, restarts=1) if with_model else None
    frame = frame_of(training(np.random.default_rng(1), 120), "a")
    runs = read_logs(frame)
    whole, first = Monitor(model), Monitor(model)
    whole.score(runs)
    first.score(read_logs(frame[:60]))
    kept = first.trackers["a"].to_dict()
    tracker = first.trackers["a"]
    memory = tracker._known.memory
    old = replace(memory, moved=memory.moved[:, :5]) if with_model else _before_sums(memory)
    again = Monitor(model, metrics=None if with_model else whole.metrics)
    again.resume({"a": {**kept, "memory": old.to_list(), "before": None, "last_rows": None}})
    rows, columns = slice(60, 120), [runs.metrics.index(metric) for metric in again.metrics]
    scored = again.trackers["a"].advance(runs.steps[rows], runs.values[rows][:, columns], runs.logged[rows][:, columns])
    if with_model:
        np.testing.assert_array_equal(scored.score, Monitor(model).score(runs)["a"].score[rows])
    else:
        for now, then in zip(
            again.trackers["a"]._known.memory.views[:2], whole.trackers["a"]._known.memory.views[:2], strict=True
        ):
            np.testing.assert_array_equal(now, then)
        assert again.trackers["a"]._known.memory.views[3][0] == 60
