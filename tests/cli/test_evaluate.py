"""``trajhmm evaluate`` with risks and baselines, and ``trajhmm fit --for warning`` told what became of runs."""

import json

import numpy as np
import pandas as pd
import pytest

from trajhmm.hmm import load_model
from trajhmm.warning.calibration import calibration_of
from trajhmm.warning.detectors import DETECTORS
from trajhmm.warning.risk import DEFAULT_RISK

ROWS, ONSET, COLLAPSE = 60, 20, 50


def frame_of(run, kind, seed):
    """A run whose gradient grows from the onset on, ever more if it collapses; steps are 10 apart."""
    rng = np.random.default_rng(seed)
    t = np.arange(ROWS)
    most = {"healthy": 0, "shaken": 4, "doomed": ROWS}[kind]
    grown = 0.1 * np.clip(t - ONSET, 0, most)
    gradient = 1 + np.exp(-t / 20) + grown + rng.normal(0, 0.05, ROWS)
    loss = 2 * np.exp(-t / 30) + 0.5 + rng.normal(0, 0.05, ROWS)
    return pd.DataFrame(
        {
            "run": run,
            "step": 10 * t,
            "seed": seed % 10,
            "onset": -1 if kind == "healthy" else 10 * ONSET,
            "train_loss": loss,
            "grad_norm": gradient,
            "accuracy": np.where((kind == "doomed") & (t >= COLLAPSE), 0.1, 0.9),
        }
    )


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """30 healthy runs of ten seeds; ten that collapse and ten that are shaken and live, of the same seeds."""
    path = tmp_path_factory.mktemp("logs") / "logs.parquet"
    kinds = ["healthy"] * 30 + ["shaken"] * 10 + ["doomed"] * 10
    pd.concat([frame_of(f"{kind}_{i}", kind, i) for i, kind in enumerate(kinds)]).to_parquet(path)
    return path


@pytest.fixture(scope="module")
def told(logs, tmp_path_factory):
    """A model that was told which runs collapsed."""
    import subprocess
    import sys

    path = tmp_path_factory.mktemp("model") / "reference.json"
    asked = ["fit", logs, "--for", "warning", "--collapse", "accuracy < 0.5", "--restarts", "1", "-o", path]
    done = subprocess.run(
        [sys.executable, "-m", "trajhmm", *map(str, asked)], capture_output=True, text=True, check=True
    )
    return path, done.stderr


def test_fit_leaves_out_what_collapsed_or_was_perturbed_and_learns_from_it(told, logs, trajhmm, tmp_path):
    path, said = told
    model = load_model(path)
    assert model.n_runs == 30
    assert (calibration_of(model).risk.collapsed, calibration_of(model).risk.survived) == (10, 10)
    assert "risk learnt from 10 runs that collapsed and 10 that lived" in said
    plain = trajhmm("fit", logs, "--where", "onset < 0", "--for", "warning", "--restarts", "1", "-o", tmp_path / "m")
    assert plain.code == 0
    assert calibration_of(load_model(tmp_path / "m")).risk == DEFAULT_RISK
    assert calibration_of(load_model(tmp_path / "m")).threshold == calibration_of(model).threshold


def test_a_map_is_not_told_what_became_of_runs(logs, trajhmm, tmp_path):
    ended = trajhmm("fit", logs, "--collapse", "accuracy < 0.5", "-o", tmp_path / "map.json")
    assert ended.code == 2
    assert "--truth and --collapse are for warning" in ended.err


def test_the_risk_is_ranked_at_moments_between_onset_and_collapse(told, logs, trajhmm):
    """Collapse comes 300 steps after the onset: risks are looked at 75, 150 and 225 steps after it."""
    asked = ["evaluate", logs, "--model", told[0], "--collapse", "accuracy < 0.5"]
    ended = trajhmm(*asked, "--json")
    found = json.loads(ended.out)
    assert [at["after"] for at in found["risk"]] == [75, 150, 225]
    known = [(at["collapsed"] + at["survived"], at["untold"]) for at in found["risk"]]
    assert [sum(runs) for runs in known] == [20] * 3
    assert known[0] == (0, 20)  # less than ten rows after any alarm
    assert known[2] == (20, 0)
    assert found["risk"][0]["auroc"]["value"] is None
    assert found["risk"][-1]["auroc"]["value"] > 0.95
    text = trajhmm(*asked).out
    assert "rank of risk 225 steps after onset" in text
    assert "10 will collapse, 10 will not)" in text
    assert "0 will collapse, 0 will not; too early to tell of 20)" in text


@pytest.mark.slow
def test_baselines_stand_beside_the_model(told, logs, trajhmm):
    asked = ["evaluate", logs, "--model", told[0], "--collapse", "accuracy < 0.5", "--group", "seed"]
    ended = trajhmm(*asked, "--baselines", "--budget", "0.2")
    assert ended.code == 0
    rows = [line.split() for line in ended.out.split("\ndetector ")[1].splitlines()[1:]]
    assert {row[0] for row in rows} == set(DETECTORS)
    ours = next(row for row in rows if row[:2] == ["hmm", "20%"])
    assert ours[2] == "1.00"
    assert next(row for row in rows if row[:2] == ["nonfinite", "20%"])[2] == "0.00"


@pytest.mark.slow
def test_tables_and_figures_are_written(told, logs, trajhmm, tmp_path):
    asked = ["evaluate", logs, "--model", told[0], "--collapse", "accuracy < 0.5", "--group", "seed"]
    ended = trajhmm(*asked, "--baselines", "--budget", "0.2", "-o", tmp_path / "out")
    assert ended.code == 0
    names = {path.name for path in (tmp_path / "out").iterdir()}
    drawn = {f"{name}.{suffix}" for name in ("timeline", "drivers", "recall", "leads") for suffix in ("pdf", "png")}
    assert names == drawn | {"outcomes.csv", "detectors.csv"}
    outcomes = pd.read_csv(tmp_path / "out" / "outcomes.csv").set_index("run")
    assert set(outcomes[outcomes["kind"] == "collapsed"].index) == {f"doomed_{i}" for i in range(40, 50)}
    assert set(pd.read_csv(tmp_path / "out" / "detectors.csv")["detector"]) == set(DETECTORS)


@pytest.mark.parametrize("suffix", ["pdf", "svg", "png"])
@pytest.mark.parametrize("kind", ["timeline", "drivers"])
@pytest.mark.sampled(2)
def test_figures_of_a_run_come_out_the_same_every_time(told, logs, trajhmm, tmp_path, kind, suffix):
    asked = ["figure", kind, logs, "--model", told[0], "--run", "doomed_42", "--collapse", "accuracy < 0.5"]
    for name in ("one", "other"):
        assert trajhmm(*asked, "-o", tmp_path / f"{name}.{suffix}", "--style", "nature").code == 0
    assert (tmp_path / f"one.{suffix}").read_bytes() == (tmp_path / f"other.{suffix}").read_bytes()


def test_figures_that_lack_something_say_what(told, logs, trajhmm, tmp_path):
    asked = ["figure", "timeline", logs, "--model", told[0], "-o", tmp_path / "t.pdf"]
    ended = trajhmm(*asked)
    assert ended.code == 2
    assert "figure timeline needs a run: --run NAME" in ended.err
    ended = trajhmm(*asked, "--run", "nobody")
    assert ended.code == 1
    assert "no run 'nobody' in these logs" in ended.err
    ended = trajhmm("figure", "leads", logs, "--model", told[0], "-o", tmp_path / "t.pdf")
    assert ended.code == 2
    assert "needs to know what became of the runs" in ended.err
