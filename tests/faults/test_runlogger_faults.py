"""`RunLogger` never ends a training: not over a folder, not over a disk, not over what it is given."""

import math
import resource
import shutil
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from trajhmm.errors import TrajHMMError, TrajHMMWarning
from trajhmm.integrations.naming import loggable
from trajhmm.logs import read_logs
from trajhmm.metrics import RunLogger
from trajhmm.metrics import runlogger as module


def in_a_process(script, *arguments, **settings):
    """Run a training of its own; what it printed, once it ended as trainings do."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **settings)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done


def log_rows(logger, rows):
    for step, row in rows:
        logger.log(step, row)


class NoText:
    def __str__(self):
        raise ZeroDivisionError


# What it is given.


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (Path("/data/train.bin"), "/data/train.bin"),
        ([1, "two", 3.0], '[1, "two", 3.0]'),
        ((32, 8), "[32, 8]"),
        ({"lr": 0.1, "at": Path("x")}, '{"lr": 0.1, "at": "x"}'),
        ({1, 2}, "{1, 2}"),
        (None, None),
        (math.nan, None),
        (np.float32("nan"), None),
        (math.inf, "inf"),
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9223372036854775809"),
        (10**5000, hex(10**5000)[:1000]),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        (np.array([7]), 7),
        (True, True),
        (b"raw", "b'raw'"),
        ("half \ud800", "half \\ud800"),
        (1 + 2j, "(1+2j)"),
        (NoText(), "NoText"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_any_attribute_is_kept_as_a_number_or_a_text(given, kept, tmp_path):
    with RunLogger(tmp_path, "a", attributes={"seed": 3, "odd": given}, rows=2) as logger:
        for step in range(5):
            logger.log(step, loss=1 / (step + 1))
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss",)
    assert runs.attributes.loc["a", "seed"] == 3
    found = runs.attributes.loc["a"].get("odd")
    assert found == kept or str(found).startswith(f"{kept}… ")
    again = RunLogger(tmp_path, "a", attributes={"seed": 3, "odd": given})
    assert again.last_step == 4


def test_a_list_that_holds_itself_and_a_text_without_end_are_attributes_that_tell_runs_apart(tmp_path):
    loop = []
    loop.append(loop)
    for run, config in (("a", "x" * 10**6 + "a"), ("b", "x" * 10**6 + "b")):
        with RunLogger(tmp_path, run, attributes={"loop": loop, "config": config}) as logger:
            for step in range(3):
                logger.log(step, loss=step)
    attributes = read_logs(tmp_path).attributes
    assert attributes["loop"].tolist() == ["[[...]]"] * 2
    assert attributes["config"].nunique() == 2
    assert attributes["config"].str.len().max() < 1100


@pytest.mark.parametrize("run", ["x" * 300, "ü" * 100, "a/b" * 100, "nul\0 and half \udce9", 3, "." * 250], ids=str)
def test_any_name_of_a_run_has_a_folder_and_comes_back(run, tmp_path):
    for first in (0, 2):
        with RunLogger(tmp_path, run, rows=1) as logger:
            for step in (first, first + 1):
                logger.log(step, loss=step)
    runs = read_logs(tmp_path)
    assert runs.runs == (str(run).replace("\udce9", "\\udce9"),)
    assert runs.steps.tolist() == [0, 1, 2, 3]
    assert len(list(tmp_path.iterdir())) == 1


def test_names_that_differ_behind_the_cut_have_folders_of_their_own(tmp_path):
    for end in "ab":
        with RunLogger(tmp_path, "ü" * 200 + end) as logger:
            logger.log(0, loss=1.0)
            logger.log(1, loss=2.0)
    assert read_logs(tmp_path).n_runs == 2


@pytest.mark.parametrize(
    "value",
    [[1, 2], {"a": 1}, "text", np.ones(2), object(), 1 + 2j, Path("x"), b"\xff", type("Odd", (), {"item": 3})()],
    ids=lambda value: type(value).__name__,
)
def test_a_value_that_is_no_number_is_left_out_with_a_warning_once(value, tmp_path):
    with RunLogger(tmp_path, "a") as logger:
        with pytest.warns(TrajHMMWarning, match=r"^metric 'odd' of run 'a' is no number and left out \(") as told:
            log_rows(logger, [(step, {"loss": step, "odd": value}) for step in range(3)])
        assert len(told) == 1
    assert read_logs(tmp_path).values.tolist() == [[0.0], [1.0], [2.0]]


def test_tensors_that_cannot_be_read_are_left_out(tmp_path):
    torch = pytest.importorskip("torch")
    first = {"loss": torch.tensor([2.0]), "none": torch.empty(1, device="meta"), "several": torch.ones(2)}
    second = {"loss": torch.tensor(1.0, dtype=torch.bfloat16), "small": 10**400}
    logger = RunLogger(tmp_path, "a")
    with pytest.warns(TrajHMMWarning, match="is no number") as told:
        log_rows(logger, [(0, first), (1, second)])
    logger.close()
    assert len(told) == 2
    table = pq.read_table(tmp_path / "a")
    assert table.column_names == ["run", "step", "loss", "small"]
    assert table["loss"].to_pylist() == [2.0, 1.0]
    assert table["small"].to_pylist() == [None, math.inf]


def test_a_step_that_no_log_can_hold_is_left_out_and_the_others_are_written(tmp_path):
    logger = RunLogger(tmp_path, "a")
    with pytest.warns(TrajHMMWarning, match=r"steps of 2\^53 and more") as told:
        log_steps(logger, (1, 2**53, 2**63, 10**30, -(2**70), 2))
    logger.close()
    assert len(told) == 1
    assert read_logs(tmp_path).steps.tolist() == [1, 2]


def test_names_of_metrics_may_be_anything(tmp_path):
    with RunLogger(tmp_path, "a", attributes={1: 2}) as logger:
        for step in range(2):
            logger.log(step, {0: step, "half \ud800": step, ("a", 1): step})
    runs = read_logs(tmp_path)
    assert set(runs.metrics) == {"0", "half \\ud800", "('a', 1)"}
    assert runs.attributes.loc["a", "1"] == 2


def test_what_a_framework_logs_beyond_all_floats_is_passed_over(tmp_path):
    assert loggable(RunLogger(tmp_path, "a"), {"loss": 1.0, "huge": 10**400}) == {"train_loss": 1.0}


# Where it writes.


def log_steps(logger, steps):
    for step in steps:
        logger.log(step, loss=float(step))


def test_a_file_in_the_place_of_the_folder_is_told_and_rows_come_through_when_it_is_gone(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    logger = RunLogger(tmp_path / "logs", "a", rows=5)
    with pytest.warns(
        TrajHMMWarning, match=r"logs/a.*: cannot be written \(Not a directory\); 5 rows of run 'a'"
    ) as told:
        log_steps(logger, range(8))
    assert len(told) == 1
    with pytest.raises(TrajHMMError, match=r"cannot be written \(Not a directory\)"):
        logger.close()
    (tmp_path / "logs").unlink()
    log_steps(logger, range(8, 30))
    assert read_logs(tmp_path / "logs").n_rows >= 10
    logger.close()
    np.testing.assert_array_equal(read_logs(tmp_path / "logs").steps, np.arange(30))


def test_a_folder_that_goes_away_is_made_again(tmp_path):
    with RunLogger(tmp_path / "logs", "a", rows=5) as logger:
        log_steps(logger, range(11))
        shutil.rmtree(tmp_path / "logs")
        log_steps(logger, range(11, 20))
    np.testing.assert_array_equal(read_logs(tmp_path / "logs").steps, np.arange(10, 20))


def test_leaving_a_block_whose_rows_cannot_be_written_warns_and_ends_nothing(tmp_path):
    (tmp_path / "logs").write_text("in the way")

    def train():
        with RunLogger(tmp_path / "logs", "a") as logger:
            log_steps(logger, range(3))
        return "the weights were saved"

    with pytest.warns(TrajHMMWarning, match=r"3 rows of run 'a' are kept"):
        assert train() == "the weights were saved"


def test_a_part_that_is_no_parquet_is_told_and_the_run_goes_on_behind_it(tmp_path):
    with RunLogger(tmp_path, "a", rows=1) as logger:
        log_steps(logger, range(3))
    whole = (tmp_path / "a" / "part-000002.parquet").read_bytes()
    for spoilt in (b"", whole[:100], b"\0" * len(whole)):
        (tmp_path / "a" / "part-000002.parquet").write_bytes(spoilt)
        with pytest.warns(TrajHMMWarning, match=r"part-000002.parquet: not a whole part of a log; run 'a' goes on"):
            again = RunLogger(tmp_path, "a")
        assert again.last_step is None
    log_steps(again, range(3, 5))
    again.close()
    assert pq.read_table(tmp_path / "a" / "part-000003.parquet")["step"].to_pylist() == [3, 4]
    assert (tmp_path / "a" / "part-000002.parquet").read_bytes() == spoilt


def test_a_folder_that_could_not_be_looked_at_keeps_the_parts_that_it_holds(tmp_path):
    with RunLogger(tmp_path / "logs", "a") as logger:
        log_steps(logger, range(3))
    (tmp_path / "logs").rename(tmp_path / "away")
    (tmp_path / "logs").write_text("in the way")
    again = RunLogger(tmp_path / "logs", "a")
    (tmp_path / "logs").unlink()
    (tmp_path / "away").rename(tmp_path / "logs")
    log_steps(again, range(3, 6))
    again.close()
    np.testing.assert_array_equal(read_logs(tmp_path / "logs").steps, np.arange(6))


def test_two_loggers_of_one_run_replace_nothing_of_each_other(tmp_path):
    one, two = RunLogger(tmp_path, "a"), RunLogger(tmp_path, "a")
    log_steps(one, range(3))
    log_steps(two, range(3, 6))
    one.close()
    two.close()
    np.testing.assert_array_equal(read_logs(tmp_path).steps, np.arange(6))


TRAINING = """
    import sys
    from trajhmm import RunLogger
    with RunLogger(sys.argv[1], "a", rows=3) as logger:
        for step in range(1000):
            logger.log(step, loss=1 / (step + 1))
    print("trained to the end")
"""


def test_a_folder_without_permission_is_told_and_the_training_ends_well(tmp_path):
    (tmp_path / "closed").mkdir(mode=0o500)
    # Who runs this may be root, whom nothing is forbidden.
    script = textwrap.dedent(TRAINING).replace("\nwith", "\nimport os\nif not os.geteuid(): os.seteuid(65534)\nwith", 1)
    done = in_a_process(script, tmp_path / "closed" / "logs")
    assert done.stdout == "trained to the end\n"
    assert done.stderr.count("Permission denied") == 2  # at first, and once more as it ended
    assert "rows of run 'a' are kept" in done.stderr
    assert not [*(tmp_path / "closed").iterdir()]


@pytest.mark.parametrize("options", [["-W", "error"], ["-W", "ignore"]])
def test_warnings_that_are_errors_end_no_training(options, tmp_path):
    (tmp_path / "logs").write_text("in the way")
    command = [sys.executable, *options, "-c", textwrap.dedent(TRAINING), str(tmp_path / "logs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "trained to the end\n"), done.stderr
    assert ("Not a directory" in done.stderr) == (options[1] == "error")


def test_a_standard_error_that_is_closed_ends_no_training(tmp_path):
    (tmp_path / "logs").write_text("in the way")
    for how in ("sys.stderr.close()", "sys.stderr = None", "import os; os.close(2)"):
        done = in_a_process(f"import sys\n{how}\n{textwrap.dedent(TRAINING)}", tmp_path / "logs")
        assert done.stdout == "trained to the end\n"


# A disk that is full.

FULL = """
    import resource, sys, time, warnings
    warnings.simplefilter("always")
    from trajhmm import RunLogger
    logger = RunLogger(sys.argv[1], "a", rows=500)
    for step in range(1250):
        logger.log(step, loss=1 / (step + 1))
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), limit[1]))
    started = time.monotonic()
    for step in range(1250, 20_000):
        logger.log(step, loss=1 / (step + 1))
    print(time.monotonic() - started)
    resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    for step in range(20_000, 40_001):
        logger.log(step, loss=1 / (step + 1))
    print(logger.last_step)
    logger.close()
"""


@pytest.mark.parametrize("room", [0, 300])
@pytest.mark.once
def test_rows_that_a_full_disk_kept_out_come_through_when_it_clears(room, tmp_path):
    done = in_a_process(FULL, tmp_path / "logs", room)
    seconds, last_step = done.stdout.split()
    assert float(seconds) < 10
    assert int(last_step) > 20_000
    assert done.stderr.count("TrajHMMWarning") == 1
    runs = read_logs(tmp_path / "logs")
    np.testing.assert_array_equal(runs.steps, np.arange(40_001))
    np.testing.assert_array_equal(runs.column("loss"), 1 / (np.arange(40_001) + 1))
    assert all(path.suffix == ".parquet" for path in (tmp_path / "logs" / "a").iterdir())


def test_a_full_file_system_keeps_the_parts_that_stand_and_leaves_no_other_file(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small file system takes rights that this user lacks")
    try:
        logger = RunLogger(disk / "logs", "a", rows=5)
        log_steps(logger, range(11))
        (disk / "filler").write_bytes(b"\0" * (shutil.disk_usage(disk).free & -4096))
        with pytest.warns(TrajHMMWarning, match="No space left on device") as told:
            log_steps(logger, range(11, 500))
        assert len(told) == 1
        assert sorted(path.name for path in (disk / "logs" / "a").iterdir()) == [
            "part-000000.parquet",
            "part-000001.parquet",
        ]
        (disk / "filler").unlink()
        logger.close()
        np.testing.assert_array_equal(read_logs(disk / "logs").steps, np.arange(500))
    finally:
        # Lazily: threads of Arrow may hold a file for a moment after it was read.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def full(monkeypatch):
    """A disk that takes nothing; counts the attempts, and the rows of each."""
    attempts = []

    def refuse(table, path):
        attempts.append(table.num_rows)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(module, "write_parquet", refuse)
    return attempts


def test_on_a_full_disk_the_work_grows_no_faster_than_the_rows(full, tmp_path):
    logger = RunLogger(tmp_path, "a", rows=1)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        log_steps(logger, range(30_000))
        for _ in range(3):
            logger.flush_or_warn()  # as callbacks do
    assert len(full) < 30
    assert sum(full) < 6 * 30_000
    assert [str(one.message) for one in told] == [
        f"{tmp_path / 'a'}: cannot be written (No space left on device); 1 rows of run 'a' are kept and tried again"
    ]


def test_a_disk_that_stays_full_is_told_again_but_rarely(full, tmp_path, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    logger = RunLogger(tmp_path, "a", rows=100, seconds=60)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for step in range(3600):
            logger.log(step, loss=step)
            now[0] += 1
    assert 5 <= len(told) <= 7
    assert len(full) <= 70
    monkeypatch.undo()
    logger.close()
    np.testing.assert_array_equal(read_logs(tmp_path).steps, np.arange(3600))


def test_what_waits_is_bounded_and_what_goes_is_counted(full, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_WAITING", 3000)
    logger = RunLogger(tmp_path, "a", rows=10)
    log_steps(logger, range(10_000))  # said on standard error, as warnings are errors here
    with pytest.warns(TrajHMMWarning) as told:
        logger.flush_or_warn(at_last=True)
    assert len(logger._waiting) <= 1500
    kept = [row["step"] for row in logger._waiting]
    assert kept == [*range(kept[0], 10_000)]
    assert f"; {kept[0]} older ones were too many to keep and are lost" in str(told[-1].message)
    monkeypatch.undo()
    logger.close()
    assert read_logs(tmp_path).steps.tolist() == kept


def test_half_a_million_numbers_wait_in_less_than_100_mb(full, tmp_path):
    resource_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    logger = RunLogger(tmp_path, "a", rows=1000)
    log_rows(logger, ((step, {f"metric_{i}": float(step + i) for i in range(30)}) for step in range(20_000)))
    assert len(logger._waiting) == 20_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resource_before < 100_000


def test_metrics_of_new_names_in_each_row_are_written_in_parts_of_bounded_size(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_MOST_IN_A_PART", 1000)
    with RunLogger(tmp_path, "a", rows=100) as logger:
        for step in range(100):
            logger.log(step, {f"metric_{step}": 1.0 + step, "loss": step})
    sizes = [pq.read_metadata(path) for path in (tmp_path / "a").iterdir()]
    assert max(size.num_rows * size.num_columns for size in sizes) <= 1100
    assert sum(size.num_rows for size in sizes) == 100


def test_weights_that_cannot_be_measured_end_no_training(tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    from trajhmm.integrations import loops

    model = torch.nn.Linear(3, 3)
    logger = RunLogger(tmp_path, "a")
    model_logger = loops.ModelLogger(logger, model)

    def fails(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 20 GiB")

    for name in ("weight_metrics", "gradient_metrics"):
        monkeypatch.setattr(loops, name, fails)

    def train():
        for step in range(3):
            model(torch.ones(2, 3)).sum().backward()
            model_logger.after_backward(step)
            model_logger.after_step(step, train_loss=1.0 / (step + 1))

    with pytest.warns(TrajHMMWarning, match=r"weights of run 'a' cannot be measured \(CUDA out of memory\.\)") as told:
        train()
    assert len(told) == 1
    logger.close()
    assert read_logs(tmp_path).column("train_loss").tolist() == [1.0, 1 / 2, 1 / 3]
