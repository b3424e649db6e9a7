"""``trajhmm stability`` through a real process, on logs whose stability is known."""

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from trajhmm.cli import app


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Logs of the three solvable models, small."""
    folder = tmp_path_factory.mktemp("stability")
    asked = {
        "rank": ["rank-one", "--learning-rates", "0.3,3", "--runs", "30", "--steps", "300"],
        "net": ["scalar-net", "--mu", "0.1,1", "--learning-rates", "0.1,2", "--runs", "10", "--steps", "500"],
        "valley": ["two-valley", "--eta", "0.05", "--sigma", "0.1", "--runs", "20", "--steps", "3000", "--every", "5",
                   "--truth", str(folder / "valley.csv")],
    }  # fmt: skip
    for name, kind in asked.items():
        ended = CliRunner().invoke(app, ["simulate", *kind, "-o", str(folder / f"{name}.parquet")])
        assert ended.exit_code == 0, ended.output
    return folder


@pytest.mark.slow
def test_exponents_and_both_kinds_of_stability(made, trajhmm_process, tmp_path):
    ended = trajhmm_process("stability", made / "rank.parquet", "--by", "learning_rate", "-o", tmp_path)
    assert ended.code == 0
    found = pd.read_csv(tmp_path / "lyapunov.csv")
    columns = "learning_rate quantity exponent ci_low ci_high n_runs l2_stable probability_stable"
    assert list(found) == columns.split()
    assert found["quantity"].tolist() == ["log_distance"] * 2
    assert found["n_runs"].tolist() == [30, 30]
    np.testing.assert_allclose(found["exponent"], [-0.395, 0.144], atol=0.04)
    assert ((found["ci_low"] < found["exponent"]) & (found["exponent"] < found["ci_high"])).all()
    assert found["l2_stable"].tolist() == [True, False]
    assert found["probability_stable"].tolist() == [True, False]
    summary = (tmp_path / "summary.txt").read_text()
    assert ended.out == summary
    assert "learning_rate 3.0: log_distance +0.1" in summary
    assert "no freezing and no hazard: no states are known" in summary
    assert (tmp_path / "convergence.png").stat().st_size > 10_000


@pytest.mark.once
def test_phases_of_learning(made, trajhmm, tmp_path):
    ended = trajhmm("stability", made / "net.parquet", "--by", "mu,learning_rate", "-o", tmp_path)
    assert ended.code == 0
    found = pd.read_csv(tmp_path / "phases.csv")
    assert list(found) == ["mu", "learning_rate", "exponent_plus", "exponent_minus", "phase"]
    assert found["phase"].tolist() == ["saddle", "unstable", "correct", "unstable"]
    assert (tmp_path / "phases.png").stat().st_size > 5_000


@pytest.mark.once
def test_freezing_is_the_last_change_of_sign_to_a_logged_row(made, trajhmm, tmp_path):
    ended = trajhmm("stability", made / "valley.parquet", "--by", "eta,sigma", "-o", tmp_path)
    assert ended.code == 0
    found = pd.read_csv(tmp_path / "freezing.csv").set_index("run")
    truth = pd.read_csv(made / "valley.csv").set_index("run")
    assert list(found) == ["eta", "sigma", "freezing_step", "censored"]
    late = found["freezing_step"] - truth["freezing_step"]
    assert (late[truth["freezing_step"] > 0].between(0, 4) | (late < 0)).all()  # two changes between rows cancel out
    assert late.between(0, 4).mean() > 0.5
    hazard = pd.read_csv(tmp_path / "hazard.csv")
    assert list(hazard) == ["eta", "sigma", "step", "hazard", "ci_low", "ci_high"]
    spikes = pd.read_csv(tmp_path / "spikes.csv")
    assert list(spikes) == ["run", "metric", "start", "peak", "recovery_steps", "censored", "net_effect", "verdict"]


def test_what_is_asked_for_and_not_there_is_an_error(made, trajhmm, tmp_path):
    ended = trajhmm("stability", made / "rank.parquet", "--by", "batch_size", "-o", tmp_path)
    assert ended.code == 1
    assert "'batch_size' is no column; expected a column that is constant within each run (found: " in ended.err
    assert len(ended.err.splitlines()) <= 3
    ended = trajhmm("stability", made / "rank.parquet", "--bound", "0", "-o", tmp_path)
    assert (ended.code, ended.err.splitlines()[-1]) == (
        1,
        "error: bound 0: expected a distance above 0, below which a run counts as close",
    )
    (tmp_path / "file").write_text("")
    ended = trajhmm("stability", made / "rank.parquet", "-o", tmp_path / "file")
    assert (ended.code, (tmp_path / "file").read_text()) == (1, "")


@pytest.mark.once
def test_figures_and_tables_of_what_was_written(made, trajhmm, tmp_path):
    """From the folder or the file, without a model; numbers as in the file."""
    for name, by in (("rank", "learning_rate"), ("net", "mu,learning_rate")):
        assert trajhmm("stability", made / f"{name}.parquet", "--by", by, "-o", tmp_path / name).code == 0
    assert trajhmm("figure", "phases", tmp_path / "net", "-o", tmp_path / "phases.svg").code == 0
    assert "learning rate" in (tmp_path / "phases.svg").read_text()
    asked = ["figure", "probability", tmp_path / "rank" / "convergence.csv", "-o", tmp_path / "shares.svg"]
    assert trajhmm(*asked).code == 0
    assert trajhmm("table", "lyapunov", tmp_path / "rank", "-o", tmp_path / "table.csv").code == 0
    found, told = (pd.read_csv(tmp_path / name) for name in ("table.csv", "rank/lyapunov.csv"))
    np.testing.assert_allclose(found["exponent"], told["exponent"])
    ended = trajhmm("figure", "phases", tmp_path / "rank", "-o", tmp_path / "none.svg")
    assert ended.code == 1
    assert "expected the phases.csv of 'trajhmm stability'" in ended.err
    ended = trajhmm("figure", "map", made / "rank.parquet", "-o", tmp_path / "none.svg")
    assert ended.code == 2
    assert "figure map needs a model: --model MODEL.json" in ended.err


def test_a_profile_for_print(trajhmm, tmp_path):
    profile = pd.DataFrame({"dimension": ["noise"] * 2, "strength": [1.0, 2.0], "n_runs": [6, 6], "n_censored": [0, 6]})
    for name, bound in (("collapsed", "collapsed"), ("recovery_steps", "recovery"), ("area_ratio", "area"),
                        ("deviation", "deviation"), ("lead_share", "lead")):  # fmt: skip
        profile[name] = [0.25, np.inf if name == "recovery_steps" else np.nan]
        profile[f"{bound}_low"], profile[f"{bound}_high"] = [0.125, np.nan], [0.5, np.inf]
    profile.to_csv(tmp_path / "profile.csv", index=False)
    for kind, suffix in (("figure", "svg"), ("table", "tex")):
        ended = trajhmm(kind, "stability", tmp_path, "-o", tmp_path / f"profile.{suffix}")
        assert (ended.code, ended.err.splitlines()[-1]) == (0, f"{tmp_path / f'profile.{suffix}'}: written")
    rows = [line for line in (tmp_path / "profile.tex").read_text().splitlines() if line.startswith("noise")]
    assert "0.250 (0.125 to 0.500)" in rows[0]
    assert r"$\infty$" in rows[1]
