"""What stands in a log that a `RunLogger` wrote: after an end, a kill, a resume, a full disk."""

import signal
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pyarrow.parquet as pq
import pytest

from trajhmm.errors import LogError, TrajHMMError, TrajHMMWarning
from trajhmm.logs import read_logs
from trajhmm.metrics import RunLogger


def parts(folder):
    return sorted(path.name for path in folder.rglob("*.parquet"))


def test_a_log_reads_back_as_it_was_written(tmp_path):
    with RunLogger(tmp_path, "a", attributes={"seed": 3, "condition": "ln"}, rows=4) as logger:
        for step in range(0, 50, 5):
            accuracy = {"eval_accuracy": step / 100} if step % 10 == 0 else {}
            logger.log(step, accuracy, train_loss=1 / (step + 1), **{"weight_l2/fc": step})
    runs = read_logs(tmp_path)
    assert runs.runs == ("a",)
    np.testing.assert_array_equal(runs.steps, np.arange(0, 50, 5))
    np.testing.assert_array_equal(runs.column("train_loss"), 1 / (runs.steps + 1))
    np.testing.assert_array_equal(runs.column("weight_l2/fc"), runs.steps)
    logged = runs.logged[:, runs.metrics.index("eval_accuracy")]
    np.testing.assert_array_equal(logged, runs.steps % 10 == 0)
    assert runs.attributes.loc["a", "seed"] == 3
    assert runs.attributes.loc["a", "condition"] == "ln"
    assert parts(tmp_path) == [f"part-{number:06d}.parquet" for number in range(3)]


def test_a_loss_that_is_still_a_tensor_is_its_number(tmp_path):
    torch = pytest.importorskip("torch")
    with RunLogger(tmp_path, "a") as logger:
        logger.log(0, loss=2 * torch.tensor(1.5, requires_grad=True), other=np.float32(2))
    assert read_logs(tmp_path).values.tolist() == [[3.0, 2.0]]


def test_a_value_that_is_not_finite_is_kept_and_none_is_blank(tmp_path):
    with RunLogger(tmp_path, "a") as logger:
        logger.log(0, loss=1.0, other=2.0)
        logger.log(1, loss=float("nan"), other=None)
        logger.log(2, loss=float("inf"), other=3.0)
    table = pq.read_table(tmp_path / "a")
    assert table["other"].to_pylist() == [2.0, None, 3.0]
    assert table["loss"].null_count == 0
    np.testing.assert_array_equal(table["loss"].to_numpy(), [1.0, np.nan, np.inf])


def test_rows_of_one_step_are_one_row(tmp_path):
    with RunLogger(tmp_path, "a", rows=1) as logger:
        for step in range(3):
            logger.log(step, loss=step)
            logger.log(step, accuracy=-step)
    runs = read_logs(tmp_path)
    np.testing.assert_array_equal(runs.steps, [0, 1, 2])
    np.testing.assert_array_equal(runs.column("loss"), [0, 1, 2])
    np.testing.assert_array_equal(runs.column("accuracy"), [0, -1, -2])


@pytest.mark.parametrize(("resumed_at", "then_until"), [(40, 60), (25, 30), (25, 60), (3, 7), (0, 2)], ids=str)
def test_a_resumed_run_replaces_what_it_takes_again(tmp_path, resumed_at, then_until):
    with RunLogger(tmp_path, "a", attributes={"seed": 1}, rows=7) as logger:
        for step in range(40):
            logger.log(step, loss=step)
    with RunLogger(tmp_path, "a", attributes={"seed": 1}, rows=7) as logger:
        assert logger.last_step == 39
        for step in range(resumed_at, then_until):
            logger.log(step, loss=1000 + step)
    runs = read_logs(tmp_path)
    np.testing.assert_array_equal(runs.steps, np.arange(then_until))
    before = min(resumed_at, 40)
    expected = [*range(before), *(1000 + step for step in range(before, then_until))]
    np.testing.assert_array_equal(runs.column("loss"), expected)


def test_a_run_that_changed_is_another_run(tmp_path):
    with RunLogger(tmp_path, "a", attributes={"seed": 1}) as logger:
        logger.log(0, loss=1.0)
    with pytest.raises(LogError, match=r"run 'a' was logged with attributes \{\"seed\": 1\}, now \{\"seed\": 2\}"):
        RunLogger(tmp_path, "a", attributes={"seed": 2})


def test_names_that_are_paths_stay_inside_the_folder(tmp_path):
    for name in ("lr/0.1", "../up", "ünïcode", "a b=c", "_x", ".."):
        with RunLogger(tmp_path / "logs", name) as logger:
            logger.log(0, loss=1.0)
    assert [path.name for path in tmp_path.iterdir()] == ["logs"]
    runs = read_logs(tmp_path / "logs")
    assert runs.attributes.empty
    assert set(runs.runs) == {"lr/0.1", "../up", "ünïcode", "a b=c", "_x", ".."}


def test_wrong_calls_are_told_at_once(tmp_path):
    logger = RunLogger(tmp_path, "a", attributes={"seed": 1})
    with pytest.raises(TypeError):
        logger.log(1.5, loss=1.0)
    with pytest.raises(ValueError, match="'seed' has the name of an attribute"):
        logger.log(1, seed=2)
    with pytest.raises(LogError, match="'step' is the name of a column"):
        RunLogger(tmp_path, "a", attributes={"step": 1})
    with pytest.raises(LogError, match="expected at least 1 row"):
        RunLogger(tmp_path, "a", rows=0)


def test_a_killed_job_loses_no_more_than_a_part(tmp_path):
    script = textwrap.dedent("""
        import sys, time
        from trajhmm.metrics import RunLogger
        logger = RunLogger(sys.argv[1], "a", rows=10)
        for step in range(10**6):
            logger.log(step, loss=step)
            print(step, flush=True)
    """)
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as job:
        last = -1
        while last < 137:
            last = int(job.stdout.readline())
        job.send_signal(signal.SIGKILL)
        rest = job.stdout.read().split("\n")[:-1]  # what was cut off is no whole line
    last = int(rest[-1]) if rest else last
    steps = read_logs(tmp_path).steps
    np.testing.assert_array_equal(steps, np.arange(len(steps)))
    assert last - 10 <= steps[-1] <= last


@pytest.mark.slow
def test_a_reader_beside_the_job_never_sees_a_torn_file(tmp_path):
    stop = threading.Event()

    def write():
        with RunLogger(tmp_path, "a", rows=1) as logger:
            logger.log(0, loss=0.0)
            logger.flush()
            ready.set()
            step = 1
            while not stop.is_set():
                logger.log(step, loss=float(step))
                step += 1

    ready = threading.Event()
    thread = threading.Thread(target=write)
    thread.start()
    ready.wait()
    seen = [read_logs(tmp_path).n_rows for _ in range(20)]
    stop.set()
    thread.join()
    assert seen == sorted(seen)
    assert seen[0] < seen[-1]


def test_a_slow_run_is_written_by_the_clock(tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("trajhmm.metrics.runlogger.time.monotonic", lambda: now[0])
    logger = RunLogger(tmp_path, "a", rows=1000, seconds=30)
    for step in range(6):
        logger.log(step, loss=step)
        now[0] += 12
    assert logger.last_step == 2  # the row of step 0 was 36 seconds old when the row of step 3 came


def test_a_full_disk_does_not_end_the_training(tmp_path, monkeypatch):
    logger = RunLogger(tmp_path, "a", rows=5)

    def full(*_):
        raise TrajHMMError("disk: cannot be written (No space left on device)")

    with monkeypatch.context() as patch:
        patch.setattr("trajhmm.metrics.runlogger.write_parquet", full)
        for step in range(5):
            logger.log(step, loss=step)
        with pytest.warns(TrajHMMWarning, match="No space left on device.*5 rows of run 'a' are kept"):
            logger.log(5, loss=5)
        with pytest.raises(TrajHMMError):
            logger.close()
    logger.close()
    np.testing.assert_array_equal(read_logs(tmp_path).steps, np.arange(6))


def test_what_waits_is_written_when_training_fails(tmp_path):
    def train():
        with RunLogger(tmp_path, "a") as logger:
            logger.log(0, loss=1.0)
            logger.log(1, loss=1 / 0)

    with pytest.raises(ZeroDivisionError):
        train()
    np.testing.assert_array_equal(read_logs(tmp_path).steps, [0])


AT_END = {
    "the program ends": "logger = run()",
    "it fails": "logger = run(); raise RuntimeError",
    "sys.exit": "logger = run(); sys.exit(3)",
    "a function ends": "run(); os._exit(0)",  # what is written at the end of the program is not written here
    "the program ends, one cycle": "logger = run(); logger.listeners.append(logger.log)",
    "a child that was forked ends first": "logger = run()\nif os.fork() == 0: sys.exit()\nos.wait()",
}


@pytest.mark.parametrize("end", AT_END)
def test_a_logger_that_nobody_closed_is_written_when_it_goes(end, tmp_path):
    program = textwrap.dedent(
        """
        import os, sys
        from trajhmm.metrics import RunLogger

        def run():
            logger = RunLogger("logs", "a")
            for step in range(130):
                logger.log(step, loss=1 / (step + 1))
            return logger

        """
    )
    subprocess.run([sys.executable, "-c", program + AT_END[end]], cwd=tmp_path, check=False, stderr=subprocess.DEVNULL)
    assert parts(tmp_path) == ["part-000000.parquet", "part-000001.parquet"]
    np.testing.assert_array_equal(read_logs(tmp_path).steps, np.arange(130))


def test_rows_of_a_logger_that_another_took_over_from_are_not_written(tmp_path):
    """Written when it goes, they would be the later ones, and cut off the run that went on."""
    left = RunLogger(tmp_path, "a")
    for step in range(480):
        left.log(step, loss=1 + step / 1e4)
    with RunLogger(tmp_path, "a") as logger:
        for step in range(1000):
            logger.log(step, loss=2 + step / 1e4)
    with pytest.warns(TrajHMMWarning, match="80 rows of run 'a' are not written: another logger went on with it"):
        left._end()
    del left
    runs = read_logs(tmp_path)
    np.testing.assert_array_equal(runs.steps, np.arange(1000))
    np.testing.assert_allclose(runs.column("loss"), 2 + np.arange(1000) / 1e4)
