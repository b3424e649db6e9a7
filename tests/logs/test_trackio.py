"""trackio: databases that the library itself writes."""

import json
import math
import os
import sqlite3
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from trajhmm import read_logs
from trajhmm.errors import LogError

LOSS = [1.0, 0.5, math.nan, math.inf, -math.inf, 0.1]

needs_trackio = pytest.mark.skipif(
    find_spec("trackio") is None,
    reason="needs trackio; pip install trackio",
)


def write(folder, program):
    """Run lines of Python that log with trackio, in a process of their own."""
    done = subprocess.run(
        [sys.executable, "-c", f"import math, trackio\nnan, inf = math.nan, math.inf\n{program}"],
        env={**os.environ, "TRACKIO_DIR": str(folder), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@needs_trackio
def test_runs_are_read_as_they_were_logged(tmp_path):
    write(
        tmp_path,
        f"""
for name, lr in (("a", 0.1), ("b", 0.2)):
    trackio.init(project="p", name=name, config={{"lr": lr, "opt": {{"name": "adam"}}, "layers": [1, 2]}})
    for step, loss in enumerate({LOSS}):
        row = {{"train/loss": loss}}
        if step % 3 == 0:
            row["eval"] = {{"acc": step / 10}}
        trackio.log(row)
    trackio.finish()
trackio.init(project="p", name="a", resume="must", config={{"lr": 0.1, "opt": {{"name": "adam"}}}})
for step in range(6, 9):
    trackio.log({{"train/loss": 1 / step}}, step=step)
trackio.finish()
""",
    )
    runs = read_logs(tmp_path)
    assert runs.runs == ("a", "b")
    assert sorted(runs.metrics) == ["eval/acc", "train/loss"]
    rows = dict(runs.slices())
    np.testing.assert_array_equal(runs.steps[rows["a"]], np.arange(9))
    np.testing.assert_array_equal(runs.column("train/loss")[rows["a"]], [*LOSS, 1 / 6, 1 / 7, 1 / 8])
    np.testing.assert_array_equal(runs.column("train/loss")[rows["b"]], LOSS)
    np.testing.assert_array_equal(runs.column("eval/acc")[rows["b"]], [0, np.nan, np.nan, 0.3, np.nan, np.nan])
    assert runs.logged[:, runs.metrics.index("eval/acc")].sum() == 4
    assert runs.attributes["lr"].tolist() == [0.1, 0.2]
    assert runs.attributes["opt/name"].tolist() == ["adam", "adam"]
    assert set(runs.attributes.columns) == {"lr", "opt/name"}


def a_database(path, rows, *, ids=True):
    """A database with the tables of trackio; early versions had no ids of runs."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    ids_of_runs = ["run_id TEXT"] * ids
    columns = ", ".join(
        ["id INTEGER PRIMARY KEY", *ids_of_runs, "timestamp TEXT, run_name TEXT, step INT, metrics TEXT"]
    )
    connection.execute(f"CREATE TABLE metrics ({columns})")
    with connection:
        for run_id, *row in rows:
            values = (None, *(run_id,) * ids, "2026", *row)
            connection.execute(f"INSERT INTO metrics VALUES ({','.join('?' * len(values))})", values)  # noqa: S608
    return connection


@pytest.mark.parametrize("ids", [True, False])
def test_rows_so_far_are_read_while_a_job_writes(ids, tmp_path):
    rows = [("1", "a", step, json.dumps({"loss": 4.0 - step, "acc": "Infinity"})) for step in range(4)]
    writer = a_database(tmp_path / "p.db", rows, ids=ids)
    writer.execute("UPDATE metrics SET metrics = 'x'")
    runs = read_logs(tmp_path)
    np.testing.assert_array_equal(runs.column("loss"), [4, 3, 2, 1])
    np.testing.assert_array_equal(runs.column("acc"), [np.inf] * 4)
    writer.close()


def test_runs_of_one_name_are_called_by_their_ids(tmp_path):
    rows = [(run, "a", step, json.dumps({"loss": 4.0 - step})) for run in ("x1", "x2") for step in range(4)]
    a_database(tmp_path / "p.db", rows).close()
    assert read_logs(tmp_path).runs == ("x1", "x2")


@pytest.mark.parametrize("cell", ["", "[1]", "{", "[" * 9000, None])
def test_a_row_that_is_no_object_is_an_error_that_says_where(cell, tmp_path):
    a_database(tmp_path / "p.db", [("1", "a", 0, '{"loss": 1}'), ("1", "a", 1, cell)]).close()
    with pytest.raises(LogError, match=r"p\.db: table metrics, row 2: expected a JSON object"):
        read_logs(tmp_path)


def test_words_and_pictures_are_left_out_and_said(tmp_path):
    cells = [{"loss": 1, "note": "x", "image": {"_type": "trackio.image"}}, {"loss": 0.5, "ids": [1]}, {"loss": "bad"}]
    a_database(tmp_path / "p.db", [("1", "a", step, json.dumps(cell)) for step, cell in enumerate(cells)]).close()
    runs = read_logs(tmp_path)
    assert runs.metrics == ("loss",)
    np.testing.assert_array_equal(runs.column("loss"), [1, 0.5, np.nan])
    (note,) = (note.text for note in runs.notes if "left out: image" in note.text)
    assert "image (trackio.image), ids (a list), loss (words among numbers, 'bad')" in note
