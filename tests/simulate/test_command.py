"""``trajhmm simulate`` as a process: logs, truth and states go together."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs import read_logs
from trajhmm.simulate import doors, drift, excursions, planted, skips

HARD = {
    "--layout": "spread",
    "--rows": "60",
    "--runs": "12",
    "--dwell-sd": "0.5",
    "--offset-sd": "1",
    "--scale-sd": "0.1",
    "--ar": "0.5",
    "--tails": "3",
    "--growth": "1",
    "--noise": "0.3",
    "--separation": "3",
    "--metrics": "6",
    "--never": "0.3",
    "--detour-share": "0.5",
    "--detour-stay": "12",
    "--bystander-share": "0.5",
}
AS_HARD = {
    "layout": "spread",
    "n_rows": 60,
    "n_runs": 12,
    "dwell_sd": 0.5,
    "offset_sd": 1.0,
    "scale_sd": 0.1,
    "ar": 0.5,
    "tails": 3.0,
    "growth": 1.0,
    "noise": 0.3,
    "separation": 3.0,
    "n_metrics": 6,
    "never": 0.3,
    "detour_share": 0.5,
    "detour_stay": 12.0,
    "bystander_share": 0.5,
    "bystander": True,
    "stays": (9.0, 10.0, 11.0),
}
SMALL = {"n_runs": 6, "n_rows": 50}
CASES = {
    "planted": (
        [*(word for pair in HARD.items() for word in pair), "--bystander", "--stays", "9", "10", "11"],
        lambda: planted(**AS_HARD, seed=5),
    ),
    "drift": (
        ["--runs", "6", "--rows", "50", "--speed-sd", "0.4", "--metrics", "4", "--noise", "0.1"],
        lambda: drift(**SMALL, speed_sd=0.4, n_metrics=4, noise=0.1, seed=5),
    ),
    "skips": (
        ["--runs", "6", "--rows", "50", "--variant", "shared", "--skip-share", "0.3"],
        lambda: skips(**SMALL, variant="shared", skip_share=0.3, seed=5),
    ),
    "doors": (["--runs", "6", "--rows", "50", "--doors", "3"], lambda: doors(**SMALL, n_doors=3, seed=5)),
    "excursions": (
        ["--runs", "6", "--rows", "50", "--spike-stay", "2"],
        lambda: excursions(**SMALL, spike_stay=2.0, seed=5),
    ),
}


def run(folder, *line):
    return subprocess.run(
        [sys.executable, "-m", "trajhmm", "simulate", *line], cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.sampled(1)
def test_a_process_writes_what_python_simulates(kind, tmp_path, assert_same_logs):
    options, simulation = CASES[kind]
    expected = simulation()
    files = ["-o", "logs.parquet", "--truth", "truth.csv", *([] if kind == "drift" else ["--states", "states.parquet"])]
    done = run(tmp_path, kind, *options, "--seed", "5", *files)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert f"logs.parquet: {expected.logs.n_runs} runs" in done.stderr
    assert_same_logs(read_logs(tmp_path / "logs.parquet"), expected.logs)
    truth = pd.read_csv(tmp_path / "truth.csv")
    pd.testing.assert_frame_equal(truth, expected.truth_table(), check_dtype=False)
    if kind != "drift":
        states = pd.read_parquet(tmp_path / "states.parquet")
        np.testing.assert_array_equal(states["state"], expected.states)
        assert f"0 {expected.state_names[0]}, 1 {expected.state_names[1]}" in done.stderr


def test_settings_that_make_no_sense_together_are_a_wrong_command(tmp_path, trajhmm):
    done = trajhmm("simulate", "planted", "-o", tmp_path / "logs.parquet", "--metrics", "7")
    assert done.code == 2
    assert "n_metrics = 7: expected an even number" in done.err
    assert not (tmp_path / "logs.parquet").exists()
