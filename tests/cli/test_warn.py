"""``trajhmm fit --for warning`` and ``trajhmm warn``: what a user types, reads and gets."""

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from trajhmm.hmm import load_model
from trajhmm.logs import read_logs
from trajhmm.warning.monitor import Monitor

METRICS = ("train_loss", "grad_norm")


def frame_of(run, seed, *, rows=80, jump=None):
    rng = np.random.default_rng(seed)
    t = np.arange(rows)
    values = np.column_stack([2 * np.exp(-t / 30) + 0.5, 1 + np.exp(-t / 20)]) + rng.normal(0, 0.05, size=(rows, 2))
    if jump is not None:
        values[jump:, 1] += 3.0
    frame = pd.DataFrame(values, columns=list(METRICS))
    frame.insert(0, "run", run)
    frame.insert(1, "step", 10 * t)
    return frame


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    """A folder with healthy runs, running ones, and a reference that `trajhmm fit` made."""
    folder = tmp_path_factory.mktemp("shop")
    pd.concat([frame_of(f"h{i}", i) for i in range(8)]).to_parquet(folder / "healthy.parquet")
    pd.concat([frame_of("fine", 20), frame_of("ill", 21, jump=40)]).to_parquet(folder / "running.parquet")
    frame_of("fine", 20).to_parquet(folder / "fine.parquet")
    line = ["fit", "healthy.parquet", "--for", "warning", "-o", "reference.json", "--states", "2", "--restarts", "2"]
    done = subprocess.run(
        [sys.executable, "-m", "trajhmm", *line], cwd=folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    assert "at most 11.1% of healthy runs alarm, calibrated on 8" in done.stderr
    assert "so few healthy runs cannot promise 5.0%; 19 could" in done.stderr
    return folder


def test_one_alarm_and_one_quiet_run(shop, trajhmm):
    ended = trajhmm("warn", shop / "running.parquet", "--model", shop / "reference.json")
    assert ended.code == 3
    alarm, rest = ended.out.splitlines()
    assert alarm.startswith("alarm: run ill at step 400: score ")
    assert alarm.endswith(("; grad_norm, train_loss", "; grad_norm"))
    assert rest == "no alarm: 1 of 2 runs"


def test_no_alarm_is_said_in_words_and_exits_with_0(shop, trajhmm):
    ended = trajhmm("warn", shop / "fine.parquet", "--model", shop / "reference.json")
    assert (ended.code, ended.out) == (0, "no alarm: 1 of 1 runs\n")


def test_json_has_an_object_a_run_and_scores_a_row_a_row(shop, trajhmm, tmp_path):
    ended = trajhmm(
        "warn",
        shop / "running.parquet",
        "--model",
        shop / "reference.json",
        "--json",
        "--scores",
        tmp_path / "scores.parquet",
    )
    fine, ill = map(json.loads, ended.out.splitlines())
    keys = ["run", "alarm", "step", "score", "threshold", "risk", "last_step", "state", "drivers"]
    assert list(fine) == list(ill) == keys
    assert (fine["alarm"], fine["step"], fine["drivers"], fine["last_step"]) == (False, None, [], 790)
    assert (ill["alarm"], ill["step"], ill["drivers"][0]["metric"]) == (True, 400, "grad_norm")
    assert fine["score"] < fine["threshold"] == ill["threshold"] < ill["score"]
    scores = pd.read_parquet(tmp_path / "scores.parquet")
    assert list(scores) == ["run", "step", "score", "threshold", "risk", "state"]
    expected = Monitor(load_model(shop / "reference.json")).score(read_logs(shop / "running.parquet"))
    np.testing.assert_array_equal(scores.loc[scores["run"] == "ill", "score"], expected["ill"].score)


def test_a_map_cannot_warn_and_a_reference_makes_no_map(shop, trajhmm, tmp_path):
    assert trajhmm("fit", shop / "healthy.parquet", "-o", tmp_path / "map.json", "--states", 2).code == 0
    ended = trajhmm("warn", shop / "running.parquet", "--model", tmp_path / "map.json")
    assert ended.code == 1
    assert "sees whole runs and cannot warn" in ended.error[0]
    ended = trajhmm(
        "analyze",
        shop / "healthy.parquet",
        "--model",
        shop / "reference.json",
        "--converged",
        "train_loss < 1",
        "-o",
        tmp_path,
    )
    assert ended.code == 1
    assert "a map needs one of 'trajhmm fit' without --for" in " ".join(ended.error)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--state", "x.json"], "--state goes with --follow"),
        (["--follow", "--scores", "x.parquet"], "--scores does not go with --follow"),
    ],
)
def test_options_that_do_not_go_together_are_a_wrong_command(shop, trajhmm, options, says):
    ended = trajhmm("warn", shop / "running.parquet", "--model", shop / "reference.json", *options)
    assert ended.code == 2
    assert says in ended.err


def test_logs_without_a_metric_of_the_model_are_refused_by_name(shop, trajhmm, tmp_path):
    frame_of("a", 3).drop(columns="grad_norm").to_parquet(tmp_path / "a.parquet")
    ended = trajhmm("warn", tmp_path / "a.parquet", "--model", shop / "reference.json")
    assert ended.code == 1
    assert "these logs lack grad_norm" in ended.error[0]


def test_a_metric_that_happens_not_to_change_is_still_there(shop, trajhmm, tmp_path):
    frame_of("a", 3).assign(grad_norm=1.0).to_parquet(tmp_path / "a.parquet")
    ended = trajhmm("warn", tmp_path / "a.parquet", "--model", shop / "reference.json", "--json")
    assert json.loads(ended.out)["last_step"] == 790


def test_evaluate_by_a_condition_and_by_a_file_of_truth(shop, trajhmm, tmp_path):
    """The ill run jumps at step 400 and its accuracy falls from step 500 on; the fine one does not."""
    frames = []
    for run, jump in (("fine", None), ("ill", 40)):
        frame = frame_of(run, 20 + bool(jump), jump=jump)
        frames.append(frame.assign(accuracy=np.where((run == "ill") & (frame["step"] >= 500), 0.1, 0.9)))
    pd.concat(frames).to_parquet(tmp_path / "logs.parquet")
    asked = ["evaluate", tmp_path / "logs.parquet", "--model", shop / "reference.json"]
    ended = trajhmm(*asked, "--collapse", "accuracy < 0.5", "--json")
    assert ended.code == 0
    found = json.loads(ended.out)
    assert (found["report"]["collapsed"], found["report"]["healthy"]) == (1, 1)
    assert found["report"]["recall"]["value"] == 1.0
    assert found["report"]["lead_steps"]["value"] == 100
    ill = next(run for run in found["runs"] if run["run"] == "ill")
    assert (ill["outcome"], ill["alarm_step"]) == ("true", 400)
    (tmp_path / "truth.csv").write_text("run,onset,collapse_step\nfine,-1,-1\nill,450,500\n")
    ended = trajhmm(*asked, "--truth", tmp_path / "truth.csv")
    lines = ended.out.splitlines()
    assert lines[0] == "1 runs collapsed, 0 were perturbed and survived, 1 stayed healthy"
    assert lines[1].endswith("0 (0 to 0.975)")  # the alarm came before the perturbation
    assert "1 perturbed runs alarmed before their onset" in ended.out


def test_evaluate_needs_to_know_what_became_of_runs(shop, trajhmm, tmp_path):
    asked = ["evaluate", shop / "running.parquet", "--model", shop / "reference.json"]
    assert trajhmm(*asked).code == 2
    (tmp_path / "truth.csv").write_text("run,onset,collapse_step\nfine,-1,-1\n")
    ended = trajhmm(*asked, "--truth", tmp_path / "truth.csv")
    assert ended.code == 1
    assert "does not name run 'ill'" in ended.error[0]
