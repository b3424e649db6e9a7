"""Weights & Biases: offline runs that the library itself writes, and exports of its pages."""

import csv
import json
import math
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trajhmm import read_logs
from trajhmm.errors import LogError

from .records import HEAD, field, piece

BLOCK = 2**15

needs_wandb = pytest.mark.skipif(
    find_spec("wandb") is None,
    reason="needs wandb; pip install wandb",
)


def write_offline(folder, program):
    """Run lines of Python that log to Weights & Biases offline, in a process of their own."""
    environment = {
        **os.environ,
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(folder),
        "WANDB_DATA_DIR": str(folder),
        "WANDB_CACHE_DIR": str(folder / "cache"),
        "WANDB_CONFIG_DIR": str(folder / "config"),
    }
    done = subprocess.run(
        [sys.executable, "-c", f"import math, wandb\n{program}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return sorted(folder.glob("wandb/offline-run-*/*.wandb"))


@needs_wandb
@pytest.mark.once
def test_an_offline_run_is_read_as_it_was_logged(tmp_path):
    write_offline(
        tmp_path,
        """
run = wandb.init(project="p", name="brave sun", config={"lr": 0.1, "opt": {"name": "adam", "betas": [0.9, 0.99]}})
for step in range(40):
    row = {"train/loss": {10: math.nan, 11: math.inf, 12: -math.inf}.get(step, 2 / (step + 1))}
    if step % 8 == 0:
        row["eval"] = {"acc": step / 40, "deep": {"x": step}}
    if step == 3:
        row["weights"] = wandb.Histogram([1, 2, 3])
    wandb.log(row)
run.config.update({"later": 5})
run.summary["best"] = 0.05
run.finish()
""",
    )
    runs = read_logs(tmp_path)
    loss = 2 / (np.arange(40) + 1)
    loss[10:13] = [np.nan, np.inf, -np.inf]
    assert runs.runs == ("brave sun",)
    assert sorted(runs.metrics) == ["eval.acc", "eval.deep.x", "train/loss"]
    np.testing.assert_array_equal(runs.steps, np.arange(40))
    np.testing.assert_array_equal(runs.column("train/loss"), loss)
    evaluated = np.arange(40) % 8 == 0
    np.testing.assert_array_equal(runs.column("eval.acc")[evaluated], np.arange(0, 40, 8) / 40)
    np.testing.assert_array_equal(runs.logged[:, runs.metrics.index("eval.acc")], evaluated)
    assert runs.logged[:, runs.metrics.index("train/loss")].all()
    assert runs.attributes.loc["brave sun"].to_dict() == {"lr": 0.1, "opt.name": "adam", "later": 5}
    said = "\n".join(map(str, runs.notes))
    assert "weights (histogram)" in said
    assert "totals of the summary are no steps (best), left out" in said


@pytest.mark.sampled(1)
@needs_wandb
@pytest.mark.parametrize("same_second", [False, True])
@pytest.mark.once
def test_a_resumed_run_in_two_files_is_one_run_by_its_name(tmp_path, same_second):
    (first,) = write_offline(
        tmp_path,
        """
run = wandb.init(project="p", id="abc", name="first", resume="allow")
for step in range(10):
    wandb.log({"loss": 10.0 - step}, step=step)
run.finish()
""",
    )
    first.parent.rename(first.parent.with_name("offline-run-20260101_120000-abc"))
    write_offline(
        tmp_path,
        """
run = wandb.init(project="p", id="abc", resume="allow")
for step in range(6, 15):
    wandb.log({"loss": 100.0 - step}, step=step)
run.finish()
""",
    )
    if same_second:
        (second,) = (folder for folder in tmp_path.glob("wandb/offline-run-*") if "20260101" not in folder.name)
        second.rename(second.with_name("offline-run-20260101_120000-abc-1"))
    runs = read_logs(tmp_path)
    assert runs.runs == ("first",)
    np.testing.assert_array_equal(runs.steps, np.arange(15))
    np.testing.assert_array_equal(runs.column("loss"), [*(10.0 - np.arange(6)), *(100.0 - np.arange(6, 15))])
    assert any(note.kind == "resume" for note in runs.notes)


@needs_wandb
@pytest.mark.once
def test_records_across_blocks_torn_tails_and_damage(tmp_path):
    (path,) = write_offline(
        tmp_path,
        """
run = wandb.init(project="p", id="long", name="long")
for step in range(400):
    wandb.log({"loss": 1 / (step + 1), "x" * 700: float(step), **{f"m/{i}": step + i / 10 for i in range(9)}})
run.finish()
""",
    )
    whole = path.read_bytes()
    assert len(whole) > 6 * BLOCK
    runs = read_logs(path)
    np.testing.assert_array_equal(runs.column("loss"), 1 / (np.arange(400) + 1))
    np.testing.assert_array_equal(runs.column("m/3"), np.arange(400) + 3 / 10)
    for cut in (len(whole) // 2, 3 * BLOCK, 3 * BLOCK + 3, 4 * BLOCK - 5):
        path.write_bytes(whole[:cut])
        runs = read_logs(path)
        n = runs.n_rows
        assert 0 < n < 400
        np.testing.assert_array_equal(runs.column("loss"), 1 / (np.arange(n) + 1))
        torn = [note for note in runs.notes if note.kind == "torn"]
        assert not torn or "half-written" in torn[0].text
    broken = bytearray(whole)
    broken[2 * BLOCK + 500] ^= 0xFF
    path.write_bytes(broken)
    runs = read_logs(path)
    np.testing.assert_array_equal(runs.column("loss"), 1 / (runs.steps + 1))
    assert 250 < runs.n_rows < 400
    assert any("1 damaged blocks" in note.text for note in runs.notes)


@pytest.mark.once
@needs_wandb
def test_two_runs_of_one_name_are_called_by_their_ids(tmp_path):
    for run_id in ("aaa", "bbb"):
        write_offline(
            tmp_path,
            f"""
run = wandb.init(project="p", id="{run_id}", name="baseline")
for step in range(4):
    wandb.log({{"loss": 4.0 - step}})
run.finish()
""",
        )
    assert read_logs(tmp_path).runs == ("aaa", "bbb")


def row(step, **cells):
    items = b"".join(field(1, field(1, key) + value) for key, value in cells.items())
    return piece(field(2, items + field(2, field(1, step))))


def test_values_that_are_typed_or_spelled(tmp_path):
    records = [
        piece(field(17, field(1, "id7"))),
        row(
            0,
            loss=field(16, '"NaN"'),
            n=field(5, 7),
            up=field(4, 1),
            acc=field(6, 0.25),
            big=field(16, "1" + "0" * 400),
        ),
        row(
            1, loss=field(16, '"-Infinity"'), n=field(5, 6), up=field(4, 0), acc=field(6, math.inf), big=field(16, "2")
        ),
        row(3, loss=field(16, "Infinity"), n=field(8, "3"), acc=field(6, math.nan)),
    ]
    (tmp_path / "run-id7.wandb").write_bytes(HEAD + b"".join(records))
    runs = read_logs(tmp_path)
    assert runs.runs == ("id7",)
    np.testing.assert_array_equal(runs.steps, [0, 1, 3])
    np.testing.assert_array_equal(runs.column("loss"), [np.nan, -np.inf, np.inf])
    np.testing.assert_array_equal(runs.column("n"), [-4, 3, 3])
    np.testing.assert_array_equal(runs.column("up")[:2], [1, 0])
    np.testing.assert_array_equal(runs.column("acc"), [0.25, np.inf, np.nan])
    assert runs.column("big")[0] == np.inf


@pytest.mark.parametrize(
    "content",
    [
        b"",
        HEAD[:5],
        HEAD + b"\0" * 50,
        b":W&B\0\0\0" + b"x" * 90,
        HEAD + os.urandom(500),
        HEAD + piece(b"\xff" * 30),
        HEAD + piece(field(2, field(1, field(1, "loss") + field(16, "[" * 5000)))),
        HEAD + piece(field(2, field(1, field(1, "loss") + field(6, b"12")))),
    ],
)
def test_garbage_is_an_error_of_a_line_or_two(content, tmp_path):
    path = tmp_path / "run-x.wandb"
    path.write_bytes(content)
    with pytest.raises(LogError, match=r"run-x\.wandb") as caught:
        read_logs(path, format="wandb")
    assert len(str(caught.value)) < 400


def write_chart(path, runs, *, twins, axis="Step", spread=0.0, metric="train/loss"):
    """An export of a chart: ``runs`` by name, values by step, None where a run has no point."""
    ends = ("", "__MIN", "__MAX") if twins else ("",)
    n = max(map(len, runs.values()))
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, quoting=csv.QUOTE_ALL)
        writer.writerow([axis, *(f"{run} - {metric}{end}" for run in runs for end in ends)])
        for step in range(n):
            cells = []
            for values in runs.values():
                value = values[step] if step < len(values) else None
                cells += ["" if value is None else value + shift for shift in (0, -spread, spread)[: len(ends)]]
            writer.writerow([step, *cells])


@pytest.mark.parametrize("twins", [True, False])
@pytest.mark.parametrize("n_runs", [3, 120])
def test_a_chart_becomes_runs(twins, n_runs, tmp_path):
    rng = np.random.default_rng(0)
    written = {f"lr - {r}-sun": list(rng.normal(size=6 + r % 5)) for r in range(n_runs)}
    written["lr - 1-sun"][2:4] = [None, math.nan]
    write_chart(tmp_path / "wandb_export.csv", written, twins=twins)
    runs = read_logs(tmp_path)
    assert set(runs.runs) == set(written)
    assert runs.metrics == ("train/loss",)
    for run, rows in runs.slices():
        values = [(step, value) for step, value in enumerate(written[run]) if value is not None]
        np.testing.assert_array_equal(runs.steps[rows], [step for step, _ in values])
        np.testing.assert_array_equal(runs.column("train/loss")[rows], [value for _, value in values])
    assert not any(note.kind == "hidden" for note in runs.notes)


def test_what_a_chart_hides_is_said(tmp_path):
    write_chart(tmp_path / "a.csv", {"a": [1.0, 2, 4], "b": [3.0, 2, 1]}, twins=True, spread=0.1)
    (note,) = (note.text for note in read_logs(tmp_path / "a.csv").notes if note.kind == "hidden")
    assert "points averaged over steps (_MIN differs from _MAX in a and 1 more)" in note
    write_chart(tmp_path / "b.csv", {"a": list(np.linspace(2, 1, 500)), "b": [3.0, 2, 1]}, twins=True)
    (note,) = (note.text for note in read_logs(tmp_path / "b.csv").notes if note.kind == "hidden")
    assert "at most 500 sampled points, as many as a has" in note


def test_a_chart_over_another_axis_takes_the_steps_that_it_brings(tmp_path):
    lines = ["Relative Time (Process),a - loss,a - loss__MIN,a - loss__MAX,a - _step,a - _step__MIN,a - _step__MAX"]
    lines += [f"{0.5 * row},{5 - row},{5 - row},{5 - row},{10 * row},{10 * row},{10 * row}" for row in range(4)]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    runs = read_logs(tmp_path)
    assert runs.runs == ("a",)
    np.testing.assert_array_equal(runs.steps, [0, 10, 20, 30])
    np.testing.assert_array_equal(runs.column("loss"), [5, 4, 3, 2])


@pytest.mark.parametrize(
    "header", ["step,a - b,c", "step,loss - train,accuracy - eval", "step,loss", "run - x,run - y", "step,a - b"]
)
def test_a_dash_in_a_name_makes_no_chart(header, tmp_path):
    columns = header.split(",")
    rows = [",".join(str(row * (place + 1)) for place in range(len(columns))) for row in range(3)]
    (tmp_path / "plain.csv").write_text("\n".join([header, *rows]))
    step = None if columns[0] == "step" else columns[0]
    assert read_logs(tmp_path, step=step).metrics == tuple(columns[1:])


@pytest.mark.parametrize("every", [1, 7])
def test_a_history_of_500_rows_may_be_sampled(every, tmp_path):
    lines = ["_step,_runtime,_timestamp,loss"]
    lines += [f"{every * row},{row},{1.7e9 + row},{1 / (row + 1)}" for row in range(500)]
    (tmp_path / "history.csv").write_text("\n".join(lines))
    runs = read_logs(tmp_path)
    np.testing.assert_array_equal(runs.column("loss"), 1 / (np.arange(500) + 1))
    assert any("a history has that was sampled" in note.text for note in runs.notes) == (every == 7)


def test_a_history_in_json_lines_and_parquet_is_read_by_its_step(tmp_path):

    records = [{"_step": 2 * row, "_runtime": row, "loss": 1 / (row + 1)} for row in range(5)]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, records)))
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "b.parquet")
    runs = read_logs(tmp_path)
    np.testing.assert_array_equal(runs.steps, [0, 2, 4, 6, 8] * 2)
