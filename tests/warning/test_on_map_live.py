"""Where on a map a run is, live: dealt out, restarted, killed or resumed from before, it is what a batch says."""

import json
import signal
import time

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import ModelFileError
from trajhmm.logs import RunSet, read_logs
from trajhmm.logs.following.follow import NewRows
from trajhmm.logs.settings import Settings
from trajhmm.warning.monitor import Monitor, Watch
from trajhmm.warning.reference import fit_warning

from .logs import drifting, frame_of, healthy_logs
from .made import KNOWN, METRICS
from .test_live_is_batch import LOGS, WRITERS
from .test_monitor import follow, known_runs, write_part

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)
HEALTHY = healthy_logs(10)
WAYS = {"mixed": {}, "own-start": {"scaling": "own-start"}, "ar": {"emissions": "ar"}}


@pytest.fixture(scope="module", params=WAYS)
def model(request):
    on_map = th.fit(HEALTHY, states=3, halves=0, restarts=2, iterations=50, **WAYS[request.param])
    return fit_warning(HEALTHY, states=2, restarts=1, iterations=20, map=on_map)


def rows_of(frame):
    values = frame[list(METRICS)].to_numpy()
    return NewRows(run=frame["run"].iloc[0], steps=frame["step"].to_numpy(), values=values, logged=~np.isnan(values))


def known(tracker):
    told = tracker.to_dict()
    return {name: told[name] for name in (*KNOWN, "on_map")}


@pytest.mark.sampled(1)
def test_however_rows_are_dealt_out_the_states_are_the_same(model):
    frame = frame_of(drifting(), "bad")
    frame.loc[:4, "weight_l2"] = np.nan  # logged later
    expected = Monitor(model).score(RunSet.from_frame(frame))["bad"]
    rng = np.random.default_rng(0)
    for _ in range(10):
        monitor, cuts = Monitor(model), np.unique(rng.integers(1, 100, size=rng.integers(0, 30))).tolist()
        parts = [
            monitor.advance(rows_of(frame[begin:end]))[0] for begin, end in zip([0, *cuts], [*cuts, 100], strict=True)
        ]
        for column in ("steps", "score", "state", "left", "phase"):
            found = np.concatenate([getattr(part, column) for part in parts])
            np.testing.assert_array_equal(found, getattr(expected, column))
    assert len(set(expected.state)) > 1


def test_nothing_of_the_future_is_in_a_state(model):
    frame = frame_of(drifting(), "bad")
    whole = Monitor(model).score(RunSet.from_frame(frame))["bad"]
    for n in (1, 2, 5, 30, 77):
        begun = Monitor(model).score(RunSet.from_frame(frame[:n]))["bad"]
        np.testing.assert_array_equal(begun.state, whole.state[:n])
        np.testing.assert_array_equal(begun.left, whole.left[:n])


@pytest.mark.sampled(8)
@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("what", LOGS)
@pytest.mark.parametrize("restarts", [False, True], ids=["one watch", "restarted"])
def test_live_is_batch(model, what, how, restarts, tmp_path):
    rng = np.random.default_rng([len(what), len(how)])
    path, state = tmp_path / "logs" / f"a.{how}", tmp_path / "state.db"
    path.parent.mkdir()
    watch = Watch(model, [path.parent], HOW, state=state)
    lines = list(WRITERS[how](LOGS[what](3)))
    while lines:
        n = int(rng.integers(1, 8))
        with path.open("a") as file:
            file.writelines(lines[:n])
        del lines[:n]
        list(watch.poll())
        if restarts and rng.random() < 0.3:
            watch = Watch(model, [path.parent], HOW, state=state)
    list(watch.poll())  # nothing more comes of the last step
    whole = Monitor(model)
    whole.score(read_logs(path))
    assert known(watch.monitor.trackers["a"]) == known(whole.trackers["a"])


def test_a_run_that_is_resumed_from_before_goes_on_from_what_was_known_there(model):
    """From a checkpoint: the states are those of a run that never was farther. From before all: any, and goes on."""
    frame = frame_of(drifting(), "a")
    monitor, short = Monitor(model), Monitor(model)
    monitor.advance(rows_of(frame[:60]))
    monitor.advance(rows_of(frame[40:70]))
    short.advance(rows_of(frame[:32]))  # the last checkpoint before row 40
    expected = short.advance(rows_of(frame[40:70]))[0]
    np.testing.assert_array_equal(monitor.trackers["a"].last.state, expected.state[-1:])
    assert monitor.trackers["a"].to_dict()["on_map"] == short.trackers["a"].to_dict()["on_map"]
    again = Monitor(model)
    again.advance(rows_of(frame[30:34]))
    again.advance(rows_of(frame[5:20]))
    assert again.trackers["a"].last.state[0] >= 0


@pytest.mark.once
def test_a_state_file_belongs_to_the_map(model, tmp_path):
    state = tmp_path / "state.db"
    frame_of(drifting(), "a").to_parquet(tmp_path / "a.parquet")
    list(Watch(model, [tmp_path / "a.parquet"], HOW, state=state).poll())
    other = th.fit(HEALTHY, states=2, halves=0, restarts=1, iterations=20)
    with pytest.raises(ModelFileError, match="belongs to another model"):
        Watch(
            fit_warning(HEALTHY, states=2, restarts=1, iterations=20, map=other),
            [tmp_path / "a.parquet"],
            HOW,
            state=state,
        )


def test_a_damaged_state_of_a_run_is_an_error_in_one_line(model):
    monitor = Monitor(model)
    monitor.advance(rows_of(frame_of(drifting(), "a")))
    stored = json.loads(json.dumps(monitor.trackers["a"].to_dict()))
    for wrong in ([], stored["on_map"][:-1], [*stored["on_map"], 0.0], ["x"]):
        with pytest.raises(ValueError, match=r"numbers of the map; expected|could not convert"):
            Monitor(model).resume({"a": {**stored, "on_map": wrong}})


@pytest.mark.sampled(1)
@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.slow)])
@pytest.mark.once
def test_killed_at_random_moments_it_knows_where_every_run_is(model, tmp_path, kills):
    rng = np.random.default_rng(kills)
    model.save(tmp_path / "reference.json")
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    logs.mkdir()
    frames = {f"bad {i}": frame_of(drifting(i), f"bad {i}") for i in range(3)}
    per_round = 100 // (kills + 1)
    for round_ in range(kills + 1):
        watching = follow(tmp_path / "reference.json", logs, state)
        rows = slice(per_round * round_, None if round_ == kills else per_round * (round_ + 1))
        for run, frame in frames.items():
            write_part(logs, run, frame[rows], round_)
        if round_ < kills:
            time.sleep(float(rng.uniform(0.5, 2.5)))
            watching.kill()
        else:
            end = time.monotonic() + 240
            while time.monotonic() < end:
                time.sleep(0.2)
                runs = known_runs(state)
                if len(runs) == 3 and all(one["last_step"] == 990 for one in runs.values()):
                    break
            watching.send_signal(signal.SIGINT)
        watching.communicate(timeout=240)
    expected, stored = Monitor(model), known_runs(state)
    expected.score(RunSet.from_frame(pd.concat(frames.values())))
    for run, tracker in expected.trackers.items():
        assert {name: stored[run][name] for name in known(tracker)} == known(tracker)
