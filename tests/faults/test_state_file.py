"""State files of watches: held, locked, full, damaged, or of other logs."""

import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager

import numpy as np
import pytest

from trajhmm.errors import TrajHMMError
from trajhmm.logs.settings import Settings
from trajhmm.warning import statefile
from trajhmm.warning.monitor import Watch

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


def watching(folder, state, *more):
    return Watch(None, [folder, *more], HOW, state=state, metrics=["loss", "norm"])


def grow(folder, begin, end, run="a", jump=None):
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng([begin, end])
    path = folder / f"{run}.csv"
    new = not path.exists()
    with path.open("a") as file:
        if new:
            file.write("step,loss,norm\n")
        for t in range(begin, end):
            loss = 1 + rng.normal(0, 0.02) + (0 if jump is None or t < jump else t - jump + 1)
            file.write(f"{t},{loss},{1 + rng.normal(0, 0.02)}\n")


def alarms(watch):
    return [alarm.step for _, alarm in watch.poll()]


@pytest.mark.once
def test_a_second_watch_on_one_state_file_is_refused_and_may_go_on_when_the_first_ends(tmp_path):
    state = tmp_path / "state.db"
    grow(tmp_path / "logs", 0, 5)
    program = f"""if True:
        import sys
        from pathlib import Path
        from trajhmm.logs.settings import Settings
        from trajhmm.warning.monitor import Watch
        how = Settings.of(run_by=(), rename=None, where=None, step=None)
        watch = Watch(None, [{str(tmp_path / "logs")!r}], how, state=Path({str(state)!r}), metrics=["loss", "norm"])
        list(watch.poll())
        print("up", flush=True)
        sys.stdin.read()
    """
    line = [sys.executable, "-c", program]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "up\n"
        with pytest.raises(TrajHMMError, match=r"state\.db: another watch keeps its state in it"):
            watching(tmp_path / "logs", state)
        other.kill()
    watch = watching(tmp_path / "logs", state)
    assert watch.monitor.trackers["a"].last_step == 4


def test_a_state_file_of_other_logs_is_refused_but_more_logs_may_come(tmp_path):
    state = tmp_path / "state.db"
    for name in ("one", "two"):
        grow(tmp_path / name, 0, 5, run=name)
    list(watching(tmp_path / "one", state).poll())
    with pytest.raises(TrajHMMError, match=r"belongs to a watch of .*one; watch that as well, name another file"):
        watching(tmp_path / "two", state)
    list(watching(tmp_path / "two", state, tmp_path / "one").poll())
    with pytest.raises(TrajHMMError, match=r"belongs to a watch of .*two"):
        watching(tmp_path / "one", state)


def test_a_state_file_that_is_locked_for_long_holds_up_no_alarm_and_is_written_later(tmp_path, monkeypatch):
    monkeypatch.setattr(statefile, "_PATIENCE", 0.05)
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    grow(logs, 0, 60)
    watch = watching(logs, state)
    assert alarms(watch) == []
    with closing(sqlite3.connect(state, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        grow(logs, 60, 90, jump=70)
        assert len(alarms(watch)) == 1
        assert "cannot be used as a state file (database is locked)" in watch.unsaved
        grow(logs, 90, 95)
        assert alarms(watch) == []
        other.execute("ROLLBACK")
    assert alarms(watch) == []  # nothing new, but what waited is written
    assert watch.unsaved is None
    again = watching(logs, state)
    assert alarms(again) == []
    assert again.monitor.trackers["a"].to_dict() == watch.monitor.trackers["a"].to_dict()


def test_on_a_full_disk_the_watch_goes_on_and_the_state_is_written_when_there_is_room(tmp_path):
    """In a process whose files may not grow; the alarm that was told and not kept is told again, not lost."""
    resource = pytest.importorskip("resource")
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    grow(logs, 0, 60)
    watch = watching(logs, state)
    assert alarms(watch) == []
    grow(logs, 60, 90, jump=70)
    for i in range(40):
        grow(logs, 0, 30, run=f"more {i}")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (state.stat().st_size, hard))
    try:
        told = alarms(watch)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(told) == 1
    assert "cannot be used as a state file" in watch.unsaved
    assert alarms(watching(logs, state)) == told  # one that was killed then
    assert alarms(watch) == []
    assert watch.unsaved is None
    assert alarms(watching(logs, state)) == []


@contextmanager
def suppress_told(said):
    """Take note of an error of this library."""
    try:
        yield
    except TrajHMMError as error:
        said.append(str(error))


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_state_file_is_refused_in_one_line_or_does(tmp_path, seed):
    """Bytes of its content are flipped, cut off, or zeros; 120 times each."""
    logs, state = tmp_path / "logs", tmp_path / "state.db"
    grow(logs, 0, 40)
    list(watching(logs, state).poll())
    whole = state.read_bytes()
    rng = np.random.default_rng(seed)
    content = np.flatnonzero(np.frombuffer(whole, dtype=np.uint8))
    refused = 0
    for _ in range(120):
        damaged = bytearray(whole)
        kind = int(rng.integers(4))
        if kind == 0:
            damaged = damaged[: int(rng.integers(len(whole)))]
        for at in rng.choice(content, int(rng.integers(1, 4))):
            if kind in (1, 2) and at < len(damaged):
                damaged[at] ^= 1 << int(rng.integers(8)) if kind == 1 else 0xFF
            elif kind == 3:
                damaged[at : at + 64] = bytes(len(damaged[at : at + 64]))
        state.write_bytes(damaged)
        for beside in ("-journal", "-wal", "-shm"):
            state.with_name(f"state.db{beside}").unlink(missing_ok=True)
        said = []
        with suppress_told(said):
            list(watching(logs, state).poll())
        assert all("\n" not in line for line in said)
        refused += len(said)
    assert refused > 30
