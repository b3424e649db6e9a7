"""``trajhmm simulate rank-one|scalar-net|two-valley``: options, columns, truth, and what is refused."""

import pandas as pd
import pytest

from trajhmm.logs import read_logs
from trajhmm.simulate import rank_one, scalar_net, two_valley

CASES = {
    "rank-one": (
        ["--learning-rates", "0.3,3", "--runs", "3", "--steps", "40", "--every", "2"],
        lambda: rank_one(learning_rates=[0.3, 3], n_runs=3, n_steps=40, every=2, seed=5),
        ["learning_rate", "log_distance"],
    ),
    "scalar-net": (
        ["--mu", "0.1,1", "--learning-rates", "0.05,0.5", "--runs", "2", "--steps", "30"],
        lambda: scalar_net(mus=[0.1, 1], learning_rates=[0.05, 0.5], n_runs=2, n_steps=30, seed=5),
        ["mu", "learning_rate", "log_plus", "log_minus"],
    ),
    "two-valley": (
        ["--eta", "0.01,0.1", "--sigma", "0.1", "--runs", "4", "--steps", "300", "--every", "50"],
        lambda: two_valley(etas=[0.01, 0.1], sigmas=[0.1], n_runs=4, n_steps=300, every=50, seed=5),
        ["eta", "sigma", "x", "y", "train_loss"],
    ),
}


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.once
def test_the_command_writes_what_python_simulates(kind, tmp_path, trajhmm, trajhmm_process, assert_same_logs):
    options, simulation, columns = CASES[kind]
    expected = simulation()
    files = ["-o", tmp_path / "logs.parquet", "--truth", tmp_path / "truth.csv"]
    run = trajhmm_process if kind == "two-valley" else trajhmm
    done = run("simulate", kind, *options, "--seed", "5", *files)
    assert (done.code, done.out) == (0, ""), done.err
    assert f"logs.parquet: {expected.logs.n_runs} runs, {expected.logs.n_rows:,} rows" in done.err
    assert pd.read_parquet(tmp_path / "logs.parquet").columns.tolist() == ["run", "step", *columns]
    assert_same_logs(read_logs(tmp_path / "logs.parquet"), expected.logs)
    # Sixteen digits are all that is written of an exponent.
    pd.testing.assert_frame_equal(
        pd.read_csv(tmp_path / "truth.csv"), expected.truth_table(), check_dtype=False, rtol=1e-14
    )


def test_truth_of_two_valleys_has_the_columns_of_the_contract(tmp_path, trajhmm):
    done = trajhmm("simulate", "two-valley", "-o", tmp_path / "l.parquet", "--truth", tmp_path / "t.csv", "--runs", 6)
    truth = pd.read_csv(tmp_path / "t.csv")
    assert truth.columns.tolist() == ["run", "freezing_step", "valley"]
    assert truth["valley"].tolist() == ["flat", "sharp"] * 3  # in the cold corner none hops
    assert "3 runs of 6 end in the flat valley; 0 changed valleys at all" in done.err
    logs = read_logs(tmp_path / "l.parquet")
    assert (logs.lengths == 1001).all()  # 20,000 steps by default, every 20


@pytest.mark.parametrize(
    ("line", "option", "message"),
    [
        (["rank-one", "--learning-rates", "0.3,x"], "--learning-rates", "'0.3,x': expected numbers separated by comma"),
        (["rank-one", "--learning-rates", "0.3,nan"], "--learning-rates", "expected numbers separated by commas"),
        (["rank-one", "--learning-rates", "1,1.0"], "--learning-rates", "a number is there twice; name each once"),
        (["rank-one", "--learning-rates", "1,0"], "--learning-rates", "1,0: expected numbers above 0"),
        (["rank-one", "--runs", "0"], "--runs", ""),
        (["rank-one", "--steps", "10", "--every", "11"], "--every", "11: expected no more than --steps 10"),
        (["scalar-net", "--mu", "0.1,2"], "--mu", "0.1,2: expected numbers from 0 to 1"),
        (["scalar-net", "--mu", "-0.1"], "--mu", "-0.1: expected numbers from 0 to 1"),
        (["two-valley", "--eta", "-0.1"], "--eta", "-0.1: expected numbers above 0"),
        (["two-valley", "--sigma", "0.1,-1"], "--sigma", "0.1,-1: expected numbers, 0 or more"),
        (["two-valley", "--every", "0"], "--every", ""),
    ],
)
def test_wrong_values_are_a_wrong_command_that_names_the_option(line, option, message, tmp_path, trajhmm):
    done = trajhmm("simulate", *line, "-o", tmp_path / "logs.parquet")
    assert done.code == 2
    assert f"Invalid value for '{option}'" in done.err
    assert message in done.err
    assert not (tmp_path / "logs.parquet").exists()


def test_a_sigma_of_nothing_is_no_noise(tmp_path, trajhmm):
    line = ["simulate", "two-valley", "--sigma", "0", "--runs", "2", "--steps", "10", "--every", "10"]
    assert trajhmm(*line, "-o", tmp_path / "logs.parquet").code == 0
    assert read_logs(tmp_path / "logs.parquet").attributes["sigma"].tolist() == [0.0, 0.0]
