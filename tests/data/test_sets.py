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
NEED_TORCH = {
    name
    for name in SETS
    if re.search(r"^(import|from) torch", (ROOT / "data" / name / "generate.py").read_text(), re.MULTILINE)
}


@pytest.mark.parametrize("name", SETS)
def test_a_set_is_small_and_reads_without_repairs(name):
    path = ROOT / "data" / name / "runs.parquet"
    assert path.stat().st_size <= 5e6
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


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_the_generator_makes_the_stored_rows_again(name, tmp_path):
    if name in NEED_TORCH:
        pytest.importorskip("torch", reason="its generator trains with PyTorch: pip install 'trajhmm[torch]'")
    output = tmp_path / "again.parquet"
    command = [sys.executable, ROOT / "data" / name / "generate.py", "--seeds", "1", "--steps", "50", "-o", output]
    subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    again = pd.read_parquet(output).set_index(["run", "step"])
    stored = pd.read_parquet(ROOT / "data" / name / "runs.parquet").set_index(["run", "step"])
    assert len(again) > len(again.index.unique("run"))
    assert set(again.columns) == set(stored.columns)
    for metric in again.columns:
        found, expected = again[metric].to_numpy(), stored.loc[again.index, metric].to_numpy()
        if found.dtype.kind == "f":
            floor = 1e-6 * np.nanstd(stored[metric].to_numpy(dtype=float))
            np.testing.assert_allclose(found, expected, rtol=1e-3, atol=floor, err_msg=metric)
        else:
            np.testing.assert_array_equal(found, expected, err_msg=metric)
