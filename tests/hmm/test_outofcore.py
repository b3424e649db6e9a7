"""Fits of logs that are read piece by piece, from disk or on a cluster: the same model as from memory."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import FitError, LogError
from trajhmm.features import SCALINGS, map_sequences
from trajhmm.hmm import GaussianHMM
from trajhmm.hmm.learning.selection import select_states
from trajhmm.hmm.rows.outofcore import rows_on_disk
from trajhmm.hmm.rows.source import InMemory
from trajhmm.simulate import planted

# Sums of the same terms in another order, through as many iterations as it takes.
SAME = 1e-9


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Run logs with what pieces may see otherwise than the whole.

    A metric that is logged less often, save in one run, where another is; one that changes only between its rows; a
    constant one; a run that diverges and one that never starts.
    """
    path = tmp_path_factory.mktemp("logs") / "runs.parquet"
    frame = planted(n_runs=12, seed=1).logs.frame()
    names = frame["run"].unique()
    row = frame.groupby("run").cumcount()
    third, first = row % 3 == 0, frame["run"] == names[0]
    frame = frame.assign(
        constant=3.0,
        rare=frame["trace"].where(third | first),
        other=frame["singular_mean"].where(row % np.where(first, 6, 2) == 0),
        between=(~third & ~first).astype(float),
    )
    frame.loc[(frame["run"] == names[2]) & (frame["step"] >= frame["step"].median()), "weight_l2"] = np.inf
    frame.loc[frame["run"] == names[5], "weight_l2"] = np.nan
    frame.to_parquet(path, row_group_size=200)
    return path


METRICS = ("between", "weight_l2", "weight_mean", "other", "rare", "constant")


def fitted(runs, **settings):
    """A fit as in the paper, runs z-scored each by itself, and BIC chooses: what halves add is tested below."""
    usual = {"states": range(1, 5), "restarts": 2, "scaling": "per-run", "criterion": "bic", "halves": 0}
    return th.fit(runs, metrics=METRICS, seed=3, **{"iterations": 20, **usual, **settings})


def assert_same_numbers(found, expected):
    """Compare what a model file holds, number by number."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key, value in expected.items():
            assert_same_numbers(found[key], value)
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_numbers(one, other)
    else:
        assert found == (pytest.approx(expected, rel=SAME, abs=SAME) if isinstance(expected, float) else expected)


def without_notes_of(runs, model):
    """What the file says is noted by the scan's pieces, and there by the set."""
    return replace(model, notes=tuple(note for note in model.notes if note not in runs.notes))


def assert_same_model(found, expected):
    assert found.metrics == expected.metrics
    assert (found.n_runs, found.n_rows) == (expected.n_runs, expected.n_rows)
    for name in ("startprob_", "transmat_", "means_", "covars_", "shift_variance_", "scale_variance_"):
        one, other = getattr(found.hmm, name), getattr(expected.hmm, name)
        if other is None:
            assert one is None
        else:
            np.testing.assert_allclose(one, other, rtol=SAME, atol=SAME, err_msg=name)
    assert_same_numbers(found.scaler.to_dict(), expected.scaler.to_dict())
    if expected.certificate is None:
        assert found.certificate is None
    else:
        assert_same_numbers(found.certificate.to_dict(), expected.certificate.to_dict())
    for one, other in zip(found.curve, expected.curve, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=SAME)
        assert one.bic == pytest.approx(other.bic, rel=SAME)
        assert one.heldout == (None if other.heldout is None else pytest.approx(other.heldout, rel=SAME))
    assert sorted(map(str, found.notes)) == sorted(map(str, expected.notes))


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "choice", [{"criterion": "bic"}, {"criterion": "heldout", "states": [1, 3], "restarts": 1}], ids=["bic", "heldout"]
)
@pytest.mark.once
def test_a_fit_from_disk_is_the_fit_from_memory(logs, choice):
    scan = th.scan_logs(logs, max_rows=300)
    assert len(scan.pieces) > 3
    runs = th.read_logs(logs)
    expected = fitted(runs, **choice)
    found = fitted(scan, **choice, jobs=2)
    assert_same_model(without_notes_of(runs, found), expected)


@pytest.mark.sampled(1)
@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.slow
def test_whatever_the_scaling_a_fit_from_disk_is_the_fit_from_memory(logs, scaling):
    runs = th.read_logs(logs)
    # With halves, and seeds beside them; and with scales of the runs where no map comes back without.
    settings = {
        "scaling": scaling,
        "criterion": "reproducible",
        "halves": 1,
        "states": 2,
        "restarts": 1,
        "iterations": 10,
    }
    expected = fitted(runs, **settings)
    found = fitted(th.scan_logs(logs, max_rows=300), **settings)
    assert found.scaling == scaling
    assert found.certificate is not None
    assert_same_model(without_notes_of(runs, found), expected)


@pytest.mark.slow
@pytest.mark.parametrize("criterion", ["icl", "heldout"])
def test_runs_with_shifts_and_scales_are_the_same_from_disk(logs, criterion):
    runs = th.read_logs(logs)
    choice = {"states": [2], "criterion": criterion, "n_splits": 0}
    settings = GaussianHMM(shifts=True, scales=True, search="wide", n_restarts=1, n_iter=20).settings
    sequences = map_sequences(runs, METRICS, scaling="mixed")
    expected = select_states(InMemory.of(sequences.values, sequences.offsets), settings, **choice)
    with rows_on_disk(th.scan_logs(logs, max_rows=300), METRICS, "mixed") as rows:
        found = select_states(rows.source, settings, **choice)
    for one, other in zip(found.curve, expected.curve, strict=True):
        for name in ("log_likelihood", "icl", "heldout"):
            assert_same_numbers(getattr(one, name), getattr(other, name))
    for name in ("means", "covars", "shift_variance", "scale_variance"):
        one, other = getattr(found.fit.parameters, name), getattr(expected.fit.parameters, name)
        np.testing.assert_allclose(one, other, rtol=SAME, atol=SAME, err_msg=name)


def test_rows_that_lie_by_run_are_shifted_alike_however_they_are_cut(logs):
    """Runs of very different length in one piece, and each in its own."""
    frame = th.read_logs(logs).frame()
    names = list(dict.fromkeys(frame["run"]))
    short = frame[frame["run"] != names[0]].groupby("run").head(7)
    runs = th.RunSet.from_frame(pd.concat([frame[frame["run"] == names[0]], short]))
    usual = {"states": 2, "restarts": 1, "iterations": 10, "halves": 0}
    model = th.fit(runs, metrics=("weight_mean", "trace", "singular_mean"), **usual)
    together = model.sequences(runs)
    for run, rows in together.slices():
        alone = model.sequences(one_run(runs, run))
        np.testing.assert_allclose(alone.values, together.values[rows], rtol=SAME, atol=SAME)


def one_run(runs, name):
    frame = runs.frame()
    return th.RunSet.from_frame(frame[frame["run"] == name])


def test_default_metrics_of_a_scan_are_those_of_the_set(logs):
    scan = th.scan_logs(logs, max_rows=300)
    quick = {"states": 2, "restarts": 1, "iterations": 2, "halves": 0}
    assert th.fit(scan, **quick).metrics == th.fit(th.read_logs(logs), **quick).metrics


def test_logs_with_nothing_to_fit_say_so(logs, tmp_path):
    frame = th.read_logs(logs).frame()
    frame["weight_l2"] = np.inf
    frame.to_parquet(tmp_path / "runs.parquet")
    with pytest.raises(LogError, match="no run has a row with finite values of weight_l2"):
        th.fit(th.scan_logs(tmp_path / "runs.parquet", max_rows=300), metrics=["weight_l2", "weight_mean"])
    with pytest.raises(LogError, match="did you mean 'weight_l2'"):
        th.fit(th.scan_logs(logs), metrics=["weight_l22"])
    with pytest.raises(FitError, match="hmmlearn needs all rows in memory"):
        fitted(th.scan_logs(logs), engine="hmmlearn")


def test_a_cluster_that_is_not_there_is_named(logs):
    pytest.importorskip("distributed", reason="Dask is not installed: pip install 'trajhmm[dask]'")
    with pytest.raises(FitError, match="give fit what scan_logs says"):
        th.fit(th.read_logs(logs), dask="tcp://127.0.0.1:1")
    for nobody in ("nowhere", "tcp://127.0.0.1:1"):
        with pytest.raises(FitError, match=f"no Dask scheduler answers at {nobody}"):
            th.fit(th.scan_logs(logs), dask=nobody)


# Of ports, and of workers that are killed.
on_cluster = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def cluster():
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'trajhmm[dask]'")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as running:
        yield running


@on_cluster
@pytest.mark.parametrize("scaling", ["mixed", "own-start"])
@pytest.mark.slow
def test_whatever_the_scaling_a_fit_on_a_cluster_is_the_fit_from_memory(logs, cluster, scaling):
    # Halves are more fits of the same kind, and tested from disk: here each pass takes its time.
    settings = {"scaling": scaling, "states": 2, "restarts": 1, "iterations": 5}
    expected = fitted(th.read_logs(logs), **settings)
    found = fitted(th.scan_logs(logs, max_rows=300), dask=cluster.scheduler_address, **settings)
    assert_same_model(without_notes_of(th.read_logs(logs), found), expected)


@pytest.mark.once
@on_cluster
def test_a_fit_on_a_cluster_is_the_fit_from_memory_though_a_worker_is_killed(logs, cluster):
    expected = fitted(th.read_logs(logs))
    scan = th.scan_logs(logs, max_rows=300)
    killed = []

    def kill(done, total):
        if done and not killed:
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
            killed.append((done, total))

    found = fitted(scan, dask=cluster.scheduler_address, progress=kill)
    assert killed[0][0] < killed[0][1]
    assert_same_model(without_notes_of(th.read_logs(logs), found), expected)


STREAMED = """
import re
import sys
from pathlib import Path

import trajhmm as th

def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])

def fit(path):
    scan = th.scan_logs(path, max_rows=20_000)
    return th.fit(scan, states=3, restarts=2, iterations=3)

fit(sys.argv[1])  # imports, and compiles
before = peak()
model = fit(sys.argv[2])
print(peak() - before, 8 * model.n_rows * len(model.metrics))
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="peak memory is read from /proc")
def test_memory_stays_flat_while_logs_grow_to_ten_times_the_cap(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    sizes = {"small": 10, "large": 2000}
    for name, runs in sizes.items():
        path = tmp_path / f"{name}.parquet"
        columns = {f"m{d}": pa.float64() for d in range(14)}
        schema = pa.schema([("run", pa.string()), ("step", pa.int64()), *columns.items()])
        with pq.ParquetWriter(path, schema) as writer:
            for run in range(runs):
                values = rng.normal(size=(2000, 14)) + np.sort(rng.integers(3, size=2000))[:, np.newaxis]
                rows = {"run": [f"r{run}"] * 2000, "step": np.arange(2000), **dict(zip(columns, values.T, strict=True))}
                writer.write_table(pa.table(rows, schema=schema))
    command = [sys.executable, "-c", STREAMED, str(tmp_path / "small.parquet"), str(tmp_path / "large.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    grown, data = map(int, done.stdout.split())
    assert data > 400e6
    assert grown < data / 10
