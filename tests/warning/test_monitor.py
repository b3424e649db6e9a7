"""Following runs: row by row or all at once the same bits; alarms with their reasons; logs that grow; kills."""

import json
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from trajhmm.errors import ModelFileError
from trajhmm.features import causal_runs
from trajhmm.hmm import load_model
from trajhmm.logs import RunSet
from trajhmm.logs.following.follow import Follower, NewRows
from trajhmm.logs.settings import Settings
from trajhmm.metrics import RunLogger
from trajhmm.warning.calibration import calibration_of, portfolio_of
from trajhmm.warning.monitor import Monitor, Watch
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.statefile import _told

from .logs import drifting, frame_of, healthy_logs
from .made import KNOWN, METRICS, training

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


@pytest.fixture(scope="module")
def model():
    return fit_warning(healthy_logs(10), states=3, restarts=2, iterations=30)


@pytest.fixture(scope="module")
def model_file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "reference.json"
    model.save(path)
    return path


def scores(model, frame):
    return Monitor(model).score(RunSet.from_frame(frame))


def test_however_rows_are_dealt_out_the_bits_are_the_same(model):
    values = drifting()
    values[:5, 1] = np.nan  # logged later
    values[40:43, 0] = np.nan
    whole = Monitor(model)
    logged = ~np.isnan(values)
    steps = 10 * np.arange(len(values))
    rng = np.random.default_rng(0)
    cuts = [0, *sorted(rng.choice(np.arange(1, len(values)), 12, replace=False)), len(values)]

    def advance(monitor, a, b):
        return monitor.advance(NewRows(run="a", steps=steps[a:b], values=values[a:b], logged=logged[a:b]))[0]

    expected = advance(whole, 0, len(values))
    pieces = Monitor(model)
    parts = [advance(pieces, a, b) for a, b in pairwise(cuts)]
    single = Monitor(model)
    for row in range(len(values)):
        named = {metric: v for metric, v, there in zip(METRICS, values[row], logged[row], strict=True) if there}
        single.update("a", int(steps[row]), named)
        assert single.trackers["a"].last.score[0] == expected.score[row]
        np.testing.assert_array_equal(single.trackers["a"].last.risk[0], expected.risk[row])
    for name in ("steps", "score", "risk", "state"):
        np.testing.assert_array_equal(np.concatenate([getattr(part, name) for part in parts]), getattr(expected, name))
    assert single.trackers["a"].alarm == whole.trackers["a"].alarm == pieces.trackers["a"].alarm


def test_none_counts_as_not_logged(model):
    told, untold = Monitor(model), Monitor(model)
    for step, row in enumerate(drifting()[:30]):
        values = dict(zip(METRICS, row.tolist(), strict=True))
        blank = METRICS[step % 2]
        told.update("a", step, {**values, blank: None})
        untold.update("a", step, {name: value for name, value in values.items() if name != blank})
    assert json.dumps(told.trackers["a"].to_dict()) == json.dumps(untold.trackers["a"].to_dict())


def surprise_of(model, logs):
    """Average surprise of the rows of a run: hmmlearn's likelihood of longer and longer pieces, pandas's average."""
    z = model.sequences(logs).values
    hmm = model.hmm.to_hmmlearn()
    total = [hmm.score(z[: t + 1]) for t in range(len(z))]
    return pd.Series(-np.diff([0.0, *total])).ewm(span=5, adjust=False).mean().to_numpy()


def test_the_phase_view_is_the_hmms_surprise_over_the_last_rows(model):
    logs = RunSet.from_frame(frame_of(drifting()[:30], "a"))
    portfolio, memory = portfolio_of(model), portfolio_of(model).start()
    (run,) = causal_runs(logs, model.metrics)
    rows, kept = portfolio.rows(run.steps, run.values, run.logged, memory)
    assert len(kept) == 30
    found = portfolio.surprise.scores(rows, memory.views[0])
    np.testing.assert_allclose(found, surprise_of(model, logs), rtol=1e-8)


def test_the_risk_is_its_curve_at_the_nats_above_what_is_usual_in_the_phase_and_the_rows_since_the_alarm(model):
    logs = RunSet.from_frame(frame_of(drifting()[:80], "a"))
    begins = portfolio_of(model).phases.begins
    assert (begins < 790).sum() >= 3
    usual = portfolio_of(model).rarity.centre[0, np.searchsorted(begins, logs.steps, side="right") - 1]
    above = surprise_of(model, logs) - usual
    level = np.log1p(np.maximum(above, 0) / (2 * len(METRICS)))
    level[:12] = 0  # not judged yet
    curve = calibration_of(model).risk
    monitor = Monitor(model)
    found = monitor.score(logs)["a"]
    since = (logs.steps - monitor.trackers["a"].alarm.step) / 10
    assert 20 <= since[-1] <= 30
    np.testing.assert_array_equal(np.isnan(found.risk), since < 10)
    told = since >= 10
    log_odds = curve.constant + curve.off * np.tanh(level) + curve.lasting * np.log(np.maximum(since, 10) / 10)
    np.testing.assert_allclose(found.risk[told], 1 / (1 + np.exp(-log_odds[told])), rtol=1e-8)


def test_an_alarm_says_when_and_why(model):
    values = training(np.random.default_rng(1), 100)
    values[60:, 2] += 3.0
    monitor = Monitor(model)
    scored = monitor.score(RunSet.from_frame(frame_of(values, "a")))["a"]
    alarm = monitor.trackers["a"].alarm
    row = alarm.step // 10
    assert 60 <= row <= 61  # the surprise is averaged over some rows
    assert alarm.score == scored.score[row] > alarm.threshold
    assert (scored.score[:row] <= alarm.threshold).all()
    assert alarm.drivers[0].metric == "weight_l2"
    assert alarm.drivers[0].contribution > 0.75 * sum(driver.contribution for driver in alarm.drivers)
    assert f"run a at step {alarm.step}" in str(alarm)
    assert "weight_l2" in str(alarm)


def test_risk_rises_as_the_run_goes_away_and_falls_when_it_comes_back():
    model = fit_warning(healthy_logs(10, rows=200), states=3, restarts=2, iterations=30)
    values = training(np.random.default_rng(2), 200)
    values[60:90] += [[1.0, 2.0, 1.0]]
    risk = scores(model, frame_of(values, "a"))["a"].risk
    assert np.isnan(risk[:70]).all()  # no alarm yet, or too early
    assert risk[85] > 0.5
    assert risk[199] < 0.05
    assert ((risk[72:] >= 0) & (risk[72:] <= 1)).all()


def test_a_value_that_is_not_finite_is_an_alarm_at_once(model):
    monitor = Monitor(model)
    values = dict(zip(METRICS, training(np.random.default_rng(3), 1)[0], strict=True))
    assert monitor.update("a", 0, values) is None
    alarm = monitor.update("a", 10, {**values, "train_loss": math.nan})
    assert math.isinf(alarm.score)
    assert alarm.risk == 1.0
    assert [driver.metric for driver in alarm.drivers] == ["train_loss"]
    assert monitor.update("a", 20, {**values, "train_loss": math.nan}) is None


def test_what_is_no_loss_alarms_at_the_third_row_in_succession(model):
    monitor = Monitor(model)
    values = dict(zip(METRICS, training(np.random.default_rng(3), 1)[0], strict=True))
    broken = {**values, "grad_norm": math.inf}
    told = [monitor.update("a", step, row) for step, row in enumerate([values, broken, broken, values, *[broken] * 3])]
    assert [alarm is not None for alarm in told] == [False] * 6 + [True]
    assert [driver.metric for driver in told[-1].drivers] == ["grad_norm"]


def test_what_is_not_known_yet_is_no_alarm(model):
    monitor = Monitor(model)
    values = dict(zip(METRICS, training(np.random.default_rng(3), 1)[0], strict=True))
    for step in range(30):
        assert monitor.update("a", step, {**values, "train_loss": math.nan, "grad_norm": math.nan}) is None
    assert monitor.trackers["a"].unknown_losses == {"train_loss": 30}
    assert monitor.update("a", 30, values) is None
    assert monitor.trackers["a"].unknown_losses == {}
    assert monitor.update("a", 31, {**values, "train_loss": math.nan}) is not None


def test_only_what_was_not_finite_drove_the_alarm(model):
    frame = frame_of(training(np.random.default_rng(4), 50), "a")
    frame.loc[frame["step"] % 20 == 10, "train_loss"] = np.nan  # blank: logged at every other row
    logs = RunSet.from_frame(frame)
    values, logged = logs.values.copy(), logs.logged.copy()
    logged[:, 0] = logs.steps % 20 == 0
    values[29:32, 2] = np.inf
    monitor = Monitor(model)
    monitor.score(replace(logs, values=values, logged=logged))
    assert monitor.trackers["a"].alarm.step == 310
    assert [driver.metric for driver in monitor.trackers["a"].alarm.drivers] == ["weight_l2"]


def write_part(folder, run, frame, part):
    path = folder / run / f"part-{part:06d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_parquet(path.with_suffix(".tmp"))
    path.with_suffix(".tmp").rename(path)


def test_a_watch_over_growing_logs_tells_each_run_once(model, tmp_path):
    logs = tmp_path / "logs"
    watch = Watch(model, [logs], HOW)
    assert list(watch.poll()) == []  # the folder is not there yet
    bad, good = frame_of(drifting(), "bad"), frame_of(training(np.random.default_rng(5), 100), "good")
    expected = Monitor(model)
    expected.score(RunSet.from_frame(bad))
    told = []
    for part in range(10):
        rows = slice(10 * part, 10 * part + 10)
        for run, frame in (("bad", bad), ("good", good)):
            write_part(logs, run, frame[rows], part)
        told += [alarm for _, alarm in watch.poll()]
    assert [alarm.run for alarm in told] == ["bad"]
    assert told[0] == expected.trackers["bad"].alarm
    assert watch.monitor.trackers["good"].last_step == 990


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_files_that_are_written_again_or_grow_are_not_read_twice(model, tmp_path, suffix):
    frame = frame_of(drifting(), "a")
    path = tmp_path / f"a.{suffix}"
    follower = Follower([tmp_path], METRICS, HOW)
    seen = []
    for rows in (10, 10, 35, 100):
        part = frame[:rows]
        if suffix == "parquet":
            part.to_parquet(path)
        elif suffix == "csv":
            part.to_csv(path, index=False)
        else:
            part.to_json(path, orient="records", lines=True)
        os.utime(path, ns=(0, rows * 10**9))
        seen += [rows.steps for rows in follower.poll()]
    assert [len(steps) for steps in seen] == [10, 25, 65]
    np.testing.assert_array_equal(np.concatenate(seen), frame["step"])


def test_a_torn_file_is_tried_again(model, tmp_path):
    frame = frame_of(drifting(), "a")
    frame.to_parquet(tmp_path / "whole.parquet")
    whole = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "whole.parquet").unlink()
    (tmp_path / "logs").mkdir()
    path = tmp_path / "logs" / "a.parquet"
    path.write_bytes(whole[:1000])
    follower = Follower([tmp_path / "logs"], METRICS, HOW)
    assert list(follower.poll()) == []
    assert "torn or half-written" in follower.torn[path]
    path.write_bytes(whole)
    (rows,) = follower.poll()
    assert len(rows.steps) == 100
    assert not follower.torn


def test_a_run_logger_may_be_followed_while_it_writes(model, tmp_path):
    logger = RunLogger(tmp_path / "logs", "a")
    watch = Watch(model, [tmp_path / "logs"], HOW)
    for step, row in enumerate(drifting()):
        logger.log(step * 10, **dict(zip(METRICS, row, strict=True)))
        if step % 20 == 19:
            logger.flush()
            list(watch.poll())
    assert watch.monitor.trackers["a"].last_step == 990
    assert watch.monitor.trackers["a"].alarm is not None


def test_a_state_file_of_another_model_or_none_is_refused(model, tmp_path):
    state = tmp_path / "state.db"
    frame_of(drifting(), "a").to_parquet(tmp_path / "a.parquet")
    list(Watch(model, [tmp_path / "a.parquet"], HOW, state=state).poll())
    other = fit_warning(healthy_logs(5, seed=9), states=2, restarts=1, iterations=10)
    with pytest.raises(ModelFileError, match="belongs to another model"):
        Watch(other, [tmp_path / "a.parquet"], HOW, state=state)
    state.write_text("{}")
    with pytest.raises(ModelFileError, match="no state file"):
        Watch(model, [tmp_path / "a.parquet"], HOW, state=state)


def test_a_watch_carries_on_with_the_same_bits_and_tells_no_alarm_again(model, tmp_path):
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    frame = frame_of(drifting(), "bad")
    told = []
    for part in range(10):
        write_part(logs, "bad", frame[10 * part : 10 * part + 10], part)
        watch = Watch(model, [logs], HOW, state=state)  # a new process each time
        told += [alarm for _, alarm in watch.poll()]
    whole = Monitor(model)
    expected = whole.score(RunSet.from_frame(frame))["bad"]
    assert [alarm.step for alarm in told] == [whole.trackers["bad"].alarm.step]
    assert watch.monitor.trackers["bad"].last.score[0] == expected.score[-1]
    assert watch.monitor.trackers["bad"].last.risk[0] == expected.risk[-1]


def known_runs(state):
    """What a state file says of runs."""
    if not state.exists():
        return {}
    with closing(sqlite3.connect(state)) as database:
        there = database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'runs'").fetchone()[0]
        found = database.execute("SELECT run, known FROM runs") if there else []
        return {run.decode(): _told(known) for run, known in found}


def follow(model_file, logs, state):
    command = [sys.executable, "-m", "trajhmm", "warn", str(logs), "--model", str(model_file), "--follow"]
    command += ["--json", "--state", str(state), "--interval", "0.05"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@pytest.mark.once
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments_every_alarm_is_told_at_least_once(model, model_file, tmp_path, kills):
    rng = np.random.default_rng(kills)
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    logs.mkdir()
    bad = {f"bad {i}": frame_of(drifting(i), f"bad {i}") for i in range(6)}
    told = []
    per_round = max(1, 100 // (kills + 1))
    for round_ in range(kills + 1):
        watching = follow(model_file, logs, state)
        rows = slice(per_round * round_, None if round_ == kills else per_round * (round_ + 1))
        for run, frame in bad.items():
            write_part(logs, run, frame[rows], round_)
        if round_ < kills:
            time.sleep(float(rng.uniform(0.5, 2.5)))
            watching.kill()
        else:
            end = time.monotonic() + 240  # kernels may have to be compiled first, beside other work
            while time.monotonic() < end:
                time.sleep(0.2)
                runs = known_runs(state)
                if len(runs) == 6 and all(known["last_step"] == 990 for known in runs.values()):
                    break
            watching.send_signal(signal.SIGINT)
        out, _ = watching.communicate(timeout=240)
        told += [json.loads(line) for line in out.splitlines() if line.endswith("}")]
    expected = Monitor(model)
    for frame in bad.values():
        expected.score(RunSet.from_frame(frame))
    assert {one["run"]: one["step"] for one in told} == {
        run: tracker.alarm.step for run, tracker in expected.trackers.items()
    }
    stored = known_runs(state)
    for run, tracker in expected.trackers.items():
        own = tracker.to_dict()  # equal to the last bit: no row was taken in twice
        assert {name: stored[run][name] for name in KNOWN} == {name: own[name] for name in KNOWN}


def test_a_model_that_was_loaded_warns_alike(model, model_file):
    frame = frame_of(drifting(), "a")
    np.testing.assert_array_equal(scores(model, frame)["a"].score, scores(load_model(model_file), frame)["a"].score)
    assert pd.unique(frame["run"]).tolist() == ["a"]
