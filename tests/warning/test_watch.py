"""A watch over many runs: what its state file costs and survives, what stays in memory, and runs that are resumed."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest

from trajhmm.errors import ModelFileError, TrajHMMError
from trajhmm.logs import RunSet
from trajhmm.logs.following.follow import NewRows
from trajhmm.logs.settings import Settings
from trajhmm.warning import tracking
from trajhmm.warning.calibration import calibration_of
from trajhmm.warning.monitor import Monitor, Watch
from trajhmm.warning.reference import fit_warning
from trajhmm.warning.statefile import _told

from .logs import drifting, frame_of, healthy_logs
from .made import KNOWN, METRICS, training

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


@pytest.fixture(scope="module")
def model():
    return fit_warning(healthy_logs(10), states=3, restarts=2, iterations=30)


def grow(path, frame, rows):
    """Add some rows of a run to a file of CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame[rows].to_csv(path, mode="a", header=not path.exists(), index=False)


def keys(state, query):
    with closing(sqlite3.connect(state)) as database:
        return sorted(key.decode() for (key,) in database.execute(query))


RUNS, COUNTED, FILES = "SELECT run FROM runs", "SELECT run FROM rows", "SELECT path FROM files"


def test_a_poll_writes_no_more_of_the_state_than_what_changed(model, tmp_path):
    """What was written of others is taken away, and is not there again after the poll."""
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    frames = {run: frame_of(training(np.random.default_rng(i), 40), run) for i, run in enumerate("abc")}
    for run, frame in frames.items():
        grow(logs / f"{run}.csv", frame, slice(0, 20))
    watch = Watch(model, [logs], HOW, state=state)
    list(watch.poll())
    assert keys(state, RUNS) == keys(state, COUNTED) == ["a", "b", "c"]
    with closing(sqlite3.connect(state)) as database, database:
        for query in ("DELETE FROM runs", "DELETE FROM rows", "DELETE FROM files"):
            database.execute(query)
    written = state.stat().st_mtime_ns
    list(watch.poll())
    assert state.stat().st_mtime_ns == written  # nothing new, nothing written
    grow(logs / "b.csv", frames["b"], slice(20, 40))
    list(watch.poll())
    assert keys(state, RUNS) == keys(state, COUNTED) == ["b"]
    assert keys(state, FILES) == [str((logs / "b.csv").resolve())]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_file_that_grows_is_read_on_after_a_restart(model, tmp_path, suffix):
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    logs.mkdir()
    frame, path = frame_of(drifting(), "bad"), logs / f"all.{suffix}"
    lines = (json.dumps(row) + "\n" for row in frame.to_dict("records"))
    whole = frame.to_csv(index=False) if suffix == "csv" else "".join(lines)
    cuts = [0, *np.random.default_rng(0).integers(1, len(whole), 9), len(whole)]
    told = []
    for begin, end in zip(sorted(cuts)[:-1], sorted(cuts)[1:], strict=True):
        with path.open("a") as file:
            file.write(whole[begin:end])
        watch = Watch(model, [logs], HOW, state=state)  # a new process each time
        told += [alarm for _, alarm in watch.poll()]
    expected = Monitor(model)
    scores = expected.score(RunSet.from_frame(frame))["bad"]
    assert [alarm.step for alarm in told] == [expected.trackers["bad"].alarm_step]
    assert watch.monitor.trackers["bad"].last.score[0] == scores.score[-1]


def test_an_alarm_is_handed_out_before_the_state_is_written(model, tmp_path):
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    for run in ("bad 0", "bad 1"):
        grow(logs / f"{run}.csv", frame_of(drifting(int(run[-1])), run), slice(None))
    first = next(Watch(model, [logs], HOW, state=state).poll())[1]  # and no more: as if it were killed then
    told = [alarm for _, alarm in Watch(model, [logs], HOW, state=state).poll()]
    assert told[0] == first
    assert [alarm.run for alarm in told] == ["bad 0", "bad 1"]
    assert list(Watch(model, [logs], HOW, state=state).poll()) == []


KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from trajhmm.hmm import load_model
from trajhmm.logs.following.follow import NewRows
from trajhmm.logs.settings import Settings
from trajhmm.warning.monitor import Watch

model, logs, state, at = load_model(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
connect, done = sqlite3.connect, 0

def count(statement):
    global done
    done += 1
    if done == at:
        os.kill(os.getpid(), signal.SIGKILL)

def traced(*arguments, **settings):
    database = connect(*arguments, **settings)
    database.set_trace_callback(count)
    return database

sqlite3.connect = traced
watch = Watch(model, [logs], Settings.of(run_by=(), rename=None, where=None, step=None), state=state)
for _, alarm in watch.poll():
    print(alarm.run, alarm.step, flush=True)
print(done)
"""


def killed_at(statement, *arguments):
    command = [sys.executable, "-c", KILLED, *map(str, arguments), str(statement)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("step", [61, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_at_each_statement_that_writes_the_state_no_alarm_is_lost(model, tmp_path, step):
    """From making the file to the last commit; each time the watch is started again and carries on."""
    model.save(tmp_path / "model.json")
    frames = {run: frame_of(drifting(i), run) for i, run in enumerate(("bad 0", "bad 1"))}
    expected = Monitor(model)
    for frame in frames.values():
        expected.score(RunSet.from_frame(frame))
    at, ended = 1, 0
    while not ended:
        logs, state = tmp_path / f"logs {at}", tmp_path / f"state {at}.db"
        for run, frame in frames.items():
            grow(logs / f"{run}.csv", frame, slice(0, 30))
        first = killed_at(at, tmp_path / "model.json", logs, state)
        ended = first.returncode == 0
        assert ended or first.returncode == -signal.SIGKILL
        for run, frame in frames.items():
            grow(logs / f"{run}.csv", frame, slice(30, 100))
        told = []
        for _ in range(2):
            second = killed_at(at, tmp_path / "model.json", logs, state)
            told += [line for line in second.stdout.splitlines() if line.startswith("bad")]
        last = killed_at(0, tmp_path / "model.json", logs, state)
        told += [line for line in last.stdout.splitlines() if line.startswith("bad")]
        assert set(told) == {f"{run} {tracker.alarm_step}" for run, tracker in expected.trackers.items()}
        with closing(sqlite3.connect(state)) as database:
            found = {run.decode(): _told(known) for run, known in database.execute("SELECT run, known FROM runs")}
        for run, tracker in expected.trackers.items():  # to the last bit: no row was taken in twice, none left out
            own = tracker.to_dict()
            assert {name: found[run][name] for name in KNOWN} == {name: own[name] for name in KNOWN}
        at += step
    assert at > 10


@pytest.mark.parametrize(
    "content", ['{"schema": "trajhmm.warning.state"}', "x" * 5000, "SQLite format 3\0" + "y" * 5000]
)
def test_a_file_that_is_no_state_file_is_refused_and_left_as_it_is(model, tmp_path, content):
    state = tmp_path / "state.db"
    state.write_text(content)
    with pytest.raises(ModelFileError, match=r"state\.db: no state file of trajhmm .*; name another, or remove it$"):
        Watch(model, [tmp_path], HOW, state=state)
    assert state.read_text() == content


def test_the_database_of_another_program_is_refused(model, tmp_path):
    state = tmp_path / "state.db"
    with closing(sqlite3.connect(state)) as database, database:
        database.execute("CREATE TABLE model (fingerprint TEXT)")
    with pytest.raises(ModelFileError, match="another program's, or another version's, database"):
        Watch(model, [tmp_path], HOW, state=state)


def test_a_state_file_that_cannot_be_written_is_an_error_of_one_line(model, tmp_path):
    (tmp_path / "taken").write_text("")
    for state in (tmp_path, tmp_path / "taken" / "state.db"):
        with pytest.raises(TrajHMMError, match="cannot be used as a state file") as told:
            Watch(model, [tmp_path], HOW, state=state)
        assert "\n" not in str(told.value)


def test_the_folder_of_a_state_file_is_made_and_an_empty_file_will_do(model, tmp_path):
    (tmp_path / "empty.db").write_text("")
    for state in (tmp_path / "new" / "state.db", tmp_path / "empty.db"):
        list(Watch(model, [tmp_path / "logs"], HOW, state=state).poll())
        Watch(model, [tmp_path / "logs"], HOW, state=state)


def test_names_that_are_no_valid_text_are_kept(model, tmp_path):
    name = os.fsdecode(b"r\xff\xe9")
    frame = frame_of(training(np.random.default_rng(0), 20), "a").drop(columns="run")
    grow(tmp_path / f"{name}.csv", frame, slice(0, 10))
    list(Watch(model, [tmp_path], HOW, state=tmp_path / "state.db").poll())
    grow(tmp_path / f"{name}.csv", frame, slice(10, 20))
    watch = Watch(model, [tmp_path], HOW, state=tmp_path / "state.db")
    shown = r"r\udcff\udce9"  # by their numbers
    assert watch.monitor.trackers[shown].last_step == 90
    list(watch.poll())
    assert watch.monitor.trackers[shown].last_step == 190


def test_of_the_rows_of_a_run_nothing_stays_in_memory(model):
    monitor = Monitor(model)
    monitor.score(RunSet.from_frame(frame_of(drifting(), "a")))
    tracker = monitor.trackers["a"]
    watched = Monitor(model)
    frame = frame_of(drifting(), "a")
    rows = NewRows(
        run="a",
        steps=frame["step"].to_numpy(),
        values=frame[list(METRICS)].to_numpy(),
        logged=np.ones((len(frame), 3), dtype=bool),
    )
    watched.advance(rows)
    for one in (tracker, watched.trackers["a"]):
        kept = [value for part in (one._known, one._before, one.last) for value in vars(part).values()]
        kept += [] if one._last_rows is None else vars(one._last_rows).values()
        for memory in (one._known.memory, one._before.memory):
            kept += [memory.spaced, memory.moved, *memory.views, memory.last]
        arrays = [value for value in kept if isinstance(value, np.ndarray)]
        assert len(arrays) >= 18
        assert all(array.base is None and array.size <= 7 * len(METRICS) for array in arrays)


def resumed(values, *, at=80, back_to=30):
    """Rows and steps of a run that breaks down at row ``at`` and is resumed from the checkpoint at ``back_to``."""
    rows = [*range(at), *range(back_to, len(values))]
    return values[rows], 10 * np.array(rows)


def test_a_resume_alone_raises_no_alarm(model, tmp_path):
    """The run goes on from what was known of it before the step that it went back to."""
    runs = {f"run {i}": training(np.random.default_rng(100 + i), 100) for i in range(20)}
    through, stopped, blind = Monitor(model), Watch(model, [tmp_path], HOW), Monitor(model)
    for run, values in runs.items():
        through.score(RunSet.from_frame(frame_of(values, run)))
        again, steps = resumed(values)
        grow(tmp_path / run / "part-0.csv", frame_of(again[:80], run, steps[:80]), slice(None))
        grow(tmp_path / run / "part-1.csv", frame_of(again[80:], run, steps[80:]), slice(None))
        blind.score(RunSet.from_frame(frame_of(again, run)))
    told = {tracker.run for tracker, _ in stopped.poll()}
    assert told == {run for run, tracker in through.trackers.items() if tracker.alarm is not None}
    assert len(told) <= 5  # the model promises one in eleven
    # The same rows under steps that go on would have alarmed, every one.
    assert all(tracker.alarm is not None for tracker in blind.trackers.values())
    for run in runs:
        tracker = stopped.monitor.trackers[run]
        assert tracker.last_step == 990
        if run not in told:
            assert tracker.largest <= calibration_of(model).threshold


def test_a_run_that_goes_wrong_after_a_resume_alarms_at_the_step_resumed_to(model):
    values = training(np.random.default_rng(1), 100)
    again, steps = resumed(values)
    again[105:] += 3.0  # row 55 of the run; those up to 49 make up for what lies before the checkpoint
    monitor = Monitor(model)
    for step, row in zip(steps, again, strict=True):
        monitor.update("a", int(step), dict(zip(monitor.metrics, row, strict=True)))
    assert monitor.trackers["a"].alarm.step == 550


@pytest.mark.parametrize("stopped", [False, True], ids=["one watch", "stopped and started again"])
def test_a_resume_is_known_again_by_a_watch_that_was_stopped_itself(model, tmp_path, stopped):
    """What was known at some rows stands in the state file: the run is judged as if the watch had gone on."""
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    values = training(np.random.default_rng(1), 100)
    again, steps = resumed(values)
    again[105:] += 3.0
    watch = Watch(model, [logs], HOW, state=state)
    grow(logs / "a" / "part-0.csv", frame_of(again[:80], "a", steps[:80]), slice(None))
    assert list(watch.poll()) == []
    if stopped:
        watch = Watch(model, [logs], HOW, state=state)
    grow(logs / "a" / "part-1.csv", frame_of(again[80:], "a", steps[80:]), slice(None))
    assert [alarm.step for _, alarm in watch.poll()] == [550]


def test_a_state_file_of_before_without_checkpoints_will_do(model, tmp_path):
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    grow(logs / "a.csv", frame_of(drifting(), "a"), slice(20))
    list(Watch(model, [logs], HOW, state=state).poll())
    with closing(sqlite3.connect(state)) as database:
        for table in ("checkpoints", "watched"):
            database.execute(f"DROP TABLE {table}")
        database.commit()
    grow(logs / "a.csv", frame_of(drifting(), "a"), slice(20, None))
    assert [tracker.run for tracker, _ in Watch(model, [logs], HOW, state=state).poll()] == ["a"]


def test_an_arrow_says_on_which_side_of_healthy_rows_a_value_is():
    """A loss that falls from far above where healthy runs are is still too high."""
    assert tracking._direction(1.0, 0.04, 0.5, moved=-3.0) == "up"
    assert tracking._direction(0.01, 0.04, 0.5, moved=3.0) == "down"
    assert [tracking._direction(0.3, 0.04, 0.5, moved=moved) for moved in (-1.0, 0.0, 1.0)] == ["down", "up", "up"]
    assert tracking._direction(0.3, np.nan, np.nan, moved=-1.0) == "down"


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_job_that_is_started_again_into_its_log_is_not_watched_from_the_old_length_on_alone(
    model, suffix, restart, tmp_path
):
    """Of the same seed its first rows are the same; then it goes wrong, and ends before its old length."""
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    logs.mkdir()
    path = logs / f"a{suffix}"
    before = training(np.random.default_rng(7), 100)
    again = np.vstack([before[:40], drifting(rows=100, onset=45)[40:85]])

    def write(values):
        frame = frame_of(values, "a")
        frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path, index=False)

    write(before)
    watch = Watch(model, [logs], HOW, state=state)
    assert list(watch.poll()) == []
    alarms = []
    for n in range(10, 86, 5):
        write(again[:n])
        if restart:
            watch = Watch(model, [logs], HOW, state=state)
        alarms += [alarm.step for _, alarm in watch.poll()]
    assert len(alarms) == 1
    assert 450 <= alarms[0] < 700  # a run that is resumed is not judged at once


def test_a_last_row_that_is_written_over_does_not_blind_the_watch(tmp_path):
    """Rows told again from a mark far back, and not judged as of a resumed run, would hide all that comes."""
    model = fit_warning(healthy_logs(10, rows=600), states=3, restarts=2, iterations=30)
    logs, values, alarms = tmp_path / "logs", drifting(rows=600, onset=450), []
    logs.mkdir()
    watch = Watch(model, [logs], HOW)
    for n in range(430, 520):
        for part in (0.5, 1.0):
            so_far = values[:n].copy()
            so_far[-1] = so_far[-2] + part * (so_far[-1] - so_far[-2])
            frame_of(so_far, "a").to_csv(logs / "a.csv", index=False)
            alarms += [alarm.step for _, alarm in watch.poll()]
    batch = Monitor(model)
    batch.score(RunSet.from_frame(frame_of(values, "a")))
    assert alarms == pytest.approx([batch.trackers["a"].alarm.step], abs=20)
