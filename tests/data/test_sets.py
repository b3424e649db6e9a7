"""The stored logs: what every set must hold, and that its generator makes the same rows again."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from trajhmm.logs import read_logs
from trajhmm.metrics import WEIGHT_METRICS

ROOT = Path(__file__).parents[2]
SETS = sorted(path.parent.name for path in (ROOT / "data").glob("*/runs.parquet"))
AUDITS = [name for name in SETS if name.startswith("audit_")]
SWEEPS = sorted(path.stem for path in (ROOT / "data" / "sweeps").glob("*.parquet"))
ARMS = [(name, "runs") for name in SETS] + [(name, "sweep") for name in SWEEPS]
NEED_TORCH = {
    name
    for name in SETS
    if re.search(r"^(import|from) torch", (ROOT / "data" / name / "generate.py").read_text(), re.MULTILINE)
}


def stored(name, arm):
    """The file of a set."""
    return ROOT / "data" / (f"{name}/runs.parquet" if arm == "runs" else f"sweeps/{name}.parquet")


@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_a_set_is_small_and_reads_without_repairs(name, arm):
    path = stored(name, arm)
    assert path.stat().st_size <= {"runs": 5e6, "sweep": 3e6}[arm]
    schema = pq.read_schema(path)
    assert {str(schema.field(metric).type) for metric in WEIGHT_METRICS} == {"float"}
    runs = read_logs(path)
    repairs = {note.kind for note in runs.notes} - {"blank", "constant", "non-finite"}
    assert not repairs
    # A run's entries and its L2 norm are two views of the same weights.
    loss = runs.column("train_loss")
    assert np.isfinite(loss).mean() > 0.95
    norm = runs.column("weight_l2")[np.cumsum(runs.lengths) - runs.lengths]
    assert (norm > 0).all()
    assert len(np.unique(norm)) == len(np.unique(runs.attributes["seed"])) or name != "sparse_parities"


# What the cards call a collapse, for five logged rows in a row after the onset; a value that is not finite is one.
COLLAPSED = {
    "audit_classifier": lambda run: run["eval_accuracy"] < 0.5,
    "audit_lm": lambda run: run["eval_accuracy"] < 0.6 * run["eval_accuracy"].cummax(),
    "audit_rl": lambda run: run["episode_return"] < 0.4 * run["episode_return"].cummax(),
}


@pytest.mark.parametrize("name", AUDITS)
def test_between_a_third_and_two_thirds_of_perturbed_runs_collapse_and_no_healthy_one(name):
    logs = pd.read_parquet(ROOT / "data" / name / "runs.parquet")
    collapsed = {}
    for run, rows in logs.groupby("run"):
        low = COLLAPSED[name](rows) | ~np.isfinite(rows["train_loss"])
        learnt = rows["step"] > max(rows["onset"].iloc[0], 0)
        collapsed[run] = ((low & learnt).rolling(5).sum() == 5).any()
    runs = logs.groupby("run")[["dimension", "strength", "onset"]].first().assign(collapsed=pd.Series(collapsed))
    healthy = runs["dimension"] == "none"
    assert (runs["onset"][healthy] == -1).all()
    assert 0.3 <= runs["collapsed"][~healthy].mean() <= 0.7
    assert runs["collapsed"][healthy & (runs.index.str.startswith("baseline"))].mean() <= 0.025
    strongest = runs[~healthy].groupby("dimension")["strength"].transform("max") == runs["strength"][~healthy]
    assert runs["collapsed"][~healthy][strongest].mean() > runs["collapsed"][~healthy][~strongest].mean()
    assert runs.groupby("dimension")["strength"].nunique().drop("none").min() >= 3


def read_sweep(name):
    logs = pd.read_parquet(stored(name, "sweep"))
    return logs, logs.groupby("run", sort=False).first()


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_holds_what_its_card_says(name):
    logs, runs = read_sweep(name)
    matched = pq.read_schema(ROOT / "data" / name / "runs.parquet").names
    assert set(matched) - set(logs.columns) == {"buffer"}
    assert set(logs.columns) - set(matched) == {
        *("kind", "configuration", "warm_up", "width", "optimizer", "ramp", "event_step")
    }
    of_kind = runs.groupby("kind")
    assert of_kind.size()["healthy"] >= 48
    assert logs.groupby("run").size().min() >= 160
    healthy = of_kind.get_group("healthy")
    assert healthy["configuration"].nunique() >= 24
    assert healthy[["learning_rate", "warm_up", "batch_size", "width", "optimizer"]].nunique().min() >= 3
    assert (healthy.groupby("configuration")["seed"].nunique() == 2).all()
    assert ((runs["onset"] > 0) == (runs["kind"] == "perturbed")).all()
    assert ((runs["event_step"] > 0) == (runs["kind"] == "hard_negative")).all()
    assert of_kind.get_group("perturbed").groupby("dimension")["ramp"].nunique().eq(3).all()
    # Whatever happens to a run, it has configuration and seed of a healthy one.
    known = set(zip(healthy["configuration"], healthy["seed"], strict=True))
    for kind, some in of_kind:
        pairs = set(zip(some["configuration"], some["seed"], strict=True))
        assert pairs.isdisjoint(known) if kind == "spontaneous" else pairs <= known


@pytest.mark.parametrize("name", SWEEPS)
def test_no_healthy_run_of_a_sweep_collapses_and_about_half_of_the_perturbed_do(name):
    logs, runs = read_sweep(name)
    collapsed = {}
    for run, rows in logs.groupby("run"):
        low = COLLAPSED[name](rows) | ~np.isfinite(rows["train_loss"])
        learnt = (~low).cummax() & (rows["step"] > rows["onset"])
        collapsed[run] = ((low & learnt).rolling(5).sum() == 5).any()
    share = pd.Series(collapsed).groupby(runs["kind"]).mean()
    assert share["healthy"] == share["hard_negative"] == 0
    assert 0.3 <= share["perturbed"] <= 0.7
    assert share["spontaneous"] >= 0.5


@pytest.mark.parametrize("name", SWEEPS)
def test_a_run_of_a_sweep_is_its_healthy_one_until_something_happens(name):
    logs, runs = read_sweep(name)
    attributes = [*runs.columns[: list(runs.columns).index("event_step") + 1], "run"]
    metrics = [column for column in logs.columns if column not in {*attributes, "step"}]
    rows = dict(iter(logs.groupby("run", sort=False)))
    otherwise_from_the_start = {"abrupt_warm_up", "cosine_restarts"}
    for run, row in runs[runs["kind"].isin(["perturbed", "hard_negative"])].iterrows():
        if row["condition"] in otherwise_from_the_start:
            continue
        own, healthy = rows[run], rows[f"healthy_{row['configuration']}_seed_{row['seed']}"]
        before = (own["step"] < max(row["event_step"], row["onset"])).to_numpy()
        assert before.any()
        np.testing.assert_array_equal(own.loc[before, metrics], healthy.loc[before, metrics])
        assert not np.array_equal(own.loc[~before, metrics], healthy.loc[~before, metrics])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "arm"), ARMS)
def test_the_generator_makes_the_stored_rows_again(name, arm, tmp_path):
    if name in NEED_TORCH:
        pytest.importorskip("torch", reason="its generator trains with PyTorch: pip install 'trajhmm[torch]'")
    output = tmp_path / "again.parquet"
    command = [sys.executable, ROOT / "data" / name / "generate.py", "--seeds", "1", "--steps", "50", "-o", output]
    command += ["--arm", arm]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    again = pd.read_parquet(output).set_index(["run", "step"])
    kept = pd.read_parquet(stored(name, arm)).set_index(["run", "step"])
    assert len(again) > len(again.index.unique("run"))
    assert set(again.columns) == set(kept.columns)
    for metric in again.columns:
        found, expected = again[metric].to_numpy(), kept.loc[again.index, metric].to_numpy()
        if found.dtype.kind == "f":
            # Another processor rounds otherwise, which a training at a high rate makes large in a few rows.
            spread = np.nanstd(expected.astype(float))
            alike = np.isclose(found, expected, rtol=1e-3, atol=1e-6 * spread, equal_nan=True)
            assert alike.mean() > 0.5, metric
            np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.25 * spread, err_msg=metric)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=metric)
