"""MLflow: folders and databases that the library itself writes."""

import math
import os
import shutil
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from trajhmm import read_logs
from trajhmm.errors import LogError
from trajhmm.logs.formats.mlflow import read_mlflow

pytestmark = pytest.mark.skipif(
    find_spec("mlflow") is None, reason="needs mlflow; pip install mlflow-skinny sqlalchemy alembic"
)

LOSS = [1.0, 0.5, math.nan, math.inf, -math.inf, 0.1, 0.0625, 0.03]

PROGRAM = f"""
import math, sys, mlflow
from mlflow import start_run, log_metric, log_metrics, delete_run
nan, inf = math.nan, math.inf
mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("sweep")

def log(name, lr, losses):
    with start_run(run_name=name) as run:
        mlflow.log_params({{"lr": lr, "opt/name": "adam"}})
        for step, loss in enumerate(losses):
            log_metric("train/loss", loss, step=step)
            if step % 3 == 0:
                log_metrics({{"val acc": step / 10, "same": 2.0}}, step=step)
    return run.info.run_id

log("a", 0.1, {LOSS})
log("b", 0.2, [3.0, 2.0, 1.0])
log("twin", 0.1, [3.0, 2.0])
log("twin", 0.2, [3.0, 1.0])
delete_run(log("gone", 0.1, [3.0, 2.0]))
delete_run(log("kept", 0.1, [3.0, 2.0]))
log("kept", 0.1, [9.0, 8.0])

with start_run(run_name="resumed") as run:
    for step in range(10):
        log_metric("loss", 10.0 - step, step=step)
        log_metric("acc", step / 10, step=step)
with start_run(run_id=run.info.run_id):
    for step in range(6, 15):
        log_metric("loss", 100.0 - step, step=step)
        log_metric("acc", step / 100, step=step)

client = mlflow.MlflowClient()
with start_run(run_name="twice") as run:
    for step in range(8):
        log_metric("loss", 8.0 - step, step=step)
    for time, value in ((3000, 0.25), (1000, 0.75), (2000, 0.5)):
        client.log_metric(run.info.run_id, "acc", value, timestamp=time, step=4)
    client.log_metric(run.info.run_id, "acc", 0.125, timestamp=4000, step=6)

with start_run(run_name="stepless"):
    for step in range(5):
        log_metric("unstepped", 5.0 - step)
    log_metric("final", 3.0)
with start_run(run_name="partly"):
    for step in range(5):
        log_metric("loss", 5.0 - step, step=10 * step)
        log_metric("beside", 5.0 - step)
"""


@dataclass(frozen=True)
class Store:
    kind: str
    folder: Path

    def read(self, *names):
        wanted = " or ".join(f'run == "{name}"' for name in names)
        return read_logs(self.folder, where=wanted or None)


@pytest.fixture(scope="module", params=["folder", "database"])
def store(request, tmp_path_factory):
    """What the library wrote, in a process of its own."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "database":
        pytest.importorskip(
            "sqlalchemy", reason="needs mlflow's databases; pip install mlflow-skinny sqlalchemy alembic"
        )
    uri = f"file:{folder / 'mlruns'}" if request.param == "folder" else f"sqlite:///{folder / 'mlflow.db'}"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, uri],
        env={**os.environ, "MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_DISABLE_TELEMETRY": "true"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Store(request.param, folder)


@pytest.mark.sampled(1)
@pytest.mark.once
def test_runs_are_read_as_they_were_logged(store):
    runs = store.read("a", "b")
    assert runs.runs == ("a", "b")
    assert sorted(runs.metrics) == ["train/loss", "val acc"]
    rows = dict(runs.slices())
    np.testing.assert_array_equal(runs.steps[rows["a"]], np.arange(len(LOSS)))
    np.testing.assert_array_equal(runs.column("train/loss")[rows["a"]], LOSS)
    np.testing.assert_array_equal(runs.column("train/loss")[rows["b"]], [3, 2, 1])
    assert runs.logged[:, runs.metrics.index("train/loss")].all()
    accuracy = runs.column("val acc")[rows["a"]]
    np.testing.assert_array_equal(accuracy, [0, np.nan, np.nan, 0.3, np.nan, np.nan, 0.6, np.nan])
    np.testing.assert_array_equal(runs.logged[rows["a"], runs.metrics.index("val acc")], ~np.isnan(accuracy))
    assert runs.attributes["lr"].tolist() == [0.1, 0.2]
    assert runs.attributes["opt/name"].tolist() == ["adam", "adam"]
    assert runs.attributes["experiment"].tolist() == ["sweep", "sweep"]
    clipped = any("infinities as the largest float" in note.text for note in runs.notes if note.kind == "hidden")
    assert clipped == (store.kind == "database")


@pytest.mark.once
def test_runs_of_one_name_are_called_by_their_ids_and_deleted_ones_left_out(store):
    runs = store.read()
    named = [name for name in runs.runs if len(name) < 32]
    assert named == ["a", "b", "kept", "partly", "resumed", "stepless", "twice"]
    assert runs.n_runs == len(named) + 2
    assert store.read("kept").column("train/loss").tolist() == [9, 8]
    assert any("2 runs that were deleted in MLflow are left out (" in note.text for note in runs.notes)


@pytest.mark.once
def test_a_resumed_run_goes_on_from_the_step_resumed_at(store):
    runs = store.read("resumed")
    np.testing.assert_array_equal(runs.steps, np.arange(15))
    np.testing.assert_array_equal(runs.column("loss"), [*(10.0 - np.arange(6)), *(100.0 - np.arange(6, 15))])
    np.testing.assert_array_equal(runs.column("acc"), [*(np.arange(6) / 10), *(np.arange(6, 15) / 100)])
    assert any(note.kind == "resume" for note in runs.notes)


@pytest.mark.once
def test_points_of_one_step_stay_rows_in_the_order_of_their_times(store):
    if store.kind == "folder":
        ((path),) = (path for path in store.folder.rglob("acc") if path.read_text().startswith("3000"))
    else:
        path = store.folder / "mlflow.db"
    table = read_mlflow(path, "x")
    names = table.texts["run"].cells() if "run" in table.texts else np.full(table.n, "twice")
    rows = names == "twice"
    np.testing.assert_array_equal(table.numbers["step"][rows], [0, 1, 2, 3, 4, 4, 4, 5, 6, 7])
    np.testing.assert_array_equal(table.numbers["acc"][rows][4:9], [0.75, 0.5, 0.25, np.nan, 0.125])
    np.testing.assert_array_equal(table.numbers["loss"][rows][[0, 4, 7, 8, 9]], [8, 4, 3, 2, 1])


@pytest.mark.once
def test_metrics_without_steps_are_counted_or_left_out_and_said(store):
    runs = store.read("stepless", "partly")
    rows = dict(runs.slices())
    np.testing.assert_array_equal(runs.steps[rows["stepless"]], np.arange(5))
    np.testing.assert_array_equal(runs.column("unstepped")[rows["stepless"]], [5, 4, 3, 2, 1])
    np.testing.assert_array_equal(runs.steps[rows["partly"]], 10 * np.arange(5))
    assert "beside" not in (*runs.metrics, *runs.attribute_names)
    said = [note.text for note in runs.notes if "logged without steps, all points are at step 0" in note.text]
    assert any("unstepped; their order in time counts as steps" in text for text in said)
    assert any("beside, left out beside metrics with steps" in text for text in said)


@pytest.mark.once
def test_one_run_or_experiment_of_a_store_can_be_named(store):
    if store.kind == "database":
        assert "a" in read_logs(store.folder / "mlflow.db", format="mlflow").runs
        return
    (run_folder,) = (tag.parents[1] for tag in store.folder.rglob("mlflow.runName") if tag.read_text() == "b")
    assert read_logs(run_folder).runs == ("b",)
    assert "a" in read_logs(run_folder.parent).runs


def a_run(folder, lines, meta="lifecycle_stage: active\nrun_name: 'it''s a'\n"):
    """A run's folder as the library lays it out."""
    metrics = folder / "mlruns" / "0" / ("0" * 32) / "metrics"
    metrics.mkdir(parents=True)
    (metrics.parent / "meta.yaml").write_text(meta)
    (metrics / "loss").write_text(lines)
    return metrics


def test_lines_of_other_versions_and_half_written_ones(tmp_path):
    a_run(tmp_path, "1 2.0 0\n2 1.0 1 data digest\n3 nan 2\n4 0.")
    runs = read_logs(tmp_path)
    assert runs.runs == ("it's a",)
    np.testing.assert_array_equal(runs.column("loss"), [2, 1, np.nan])
    assert any(note.kind == "torn" and "half-written" in note.text for note in runs.notes)


@pytest.mark.parametrize("line", ["1 two 3", "1", "x 2 3", "1 2 3.5", "\udcff\udcfe 1 2"])
def test_a_line_that_is_no_point_is_an_error_that_says_where(line, tmp_path):
    metrics = a_run(tmp_path, "1 2.0 0\n")
    (metrics / "loss").write_bytes(b"1 2.0 0\n" + line.encode(errors="surrogateescape") + b"\n2 1.0 1\n")
    with pytest.raises(LogError, match=r"loss: line 2: expected time, value and step"):
        read_logs(tmp_path)


@pytest.mark.once
def test_rows_so_far_are_read_while_a_transaction_is_open(store, tmp_path):
    if store.kind == "folder":
        pytest.skip("folders have no transactions")
    shutil.copy(store.folder / "mlflow.db", tmp_path)
    writer = sqlite3.connect(tmp_path / "mlflow.db")
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("UPDATE metrics SET value = 0.75 WHERE key = 'train/loss' AND step = 1")
    writer.commit()
    writer.execute("UPDATE metrics SET value = 99 WHERE key = 'train/loss'")
    runs = read_logs(tmp_path, where='run == "a"')
    assert runs.column("train/loss")[:2].tolist() == [1.0, 0.75]
    writer.rollback()
    writer.close()
