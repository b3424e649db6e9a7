"""``trajhmm audit`` on attributes as people write them: no traceback, no warning, an answer or an error."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajhmm.dynamics.stability.audit.deviation import STATES

_SPEC = importlib.util.spec_from_file_location(
    "audits_made", Path(__file__).parents[1] / "dynamics" / "stability" / "audit" / "audits_made.py"
)
made = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = made  # where its dataclass looks for the module that it is in
_SPEC.loader.exec_module(made)
Fate, made_audit = made.Fate, made.made_audit

ASKED = ["--performance", "eval_accuracy", "--baseline", 'condition == "baseline"', "--collapse", "eval_accuracy < 0.5"]
FATES = {("data", 1.0): [Fate(), Fate(collapse=40, deviates=15), Fate(deviates=10)] * 2}


@pytest.fixture(scope="module")
def frame():
    return made_audit(np.random.default_rng(0), FATES, buffered=FATES, baselines=8).frame()


def audited(frame, folder, *options):
    """An audit of a file, by a process of its own that shows every warning."""
    frame.to_parquet(folder / "logs.parquet")
    command = [
        sys.executable,
        "-W",
        "always::RuntimeWarning",
        "-m",
        "trajhmm",
        "audit",
        folder / "logs.parquet",
        *ASKED,
    ]
    command += [*options, "--states", "2", "-o", folder / "out"]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_blank_seeds_late_onsets_and_a_flag_for_a_buffer_are_answered(frame, tmp_path):
    flagged = frame["buffer"] != "none"
    odd = frame.drop(columns="buffer").assign(
        dropout=flagged,
        seed=frame["seed"].astype(float).mask(frame["seed"] == 1),
        strength=frame["strength"].mask((frame["onset"] < 0) | (frame["seed"] == 2)),
        onset=frame["onset"].mask((frame["onset"] >= 0) & (frame["seed"] == 3), 5000),
        eval_accuracy=frame["eval_accuracy"].mask(frame["run"] == "baseline_5"),
    )
    ended = audited(odd, tmp_path, "--buffer", "dropout")
    assert ended.returncode == 0, ended.stderr
    assert "Warning" not in ended.stderr
    claims = json.loads((tmp_path / "out" / "claims.json").read_text(encoding="utf-8"))
    # Of six seeds one is blank, and one perturbed after the end of its log.
    assert claims["buffering"]["n"] == 4
    assert "as far as dropout goes" in claims["buffering"]["sentence"]
    profile = pd.read_csv(tmp_path / "out" / "profile.csv")
    assert profile[["strength", "n_runs"]].to_numpy().tolist() == [["1.0", 4], ["blank", 1]]
    text = " ".join(ended.stdout.split())
    for told in ("Runs without seed: 3 of 20", "onset: 2 (", "Runs that never log eval_accuracy: 1 of 20 (baseline_5)"):
        assert told in text


def test_what_is_no_onset_is_an_error_of_two_lines(frame, tmp_path):
    ended = audited(frame.assign(onset=frame["onset"].astype(float).replace(500.0, 1e300)), tmp_path)
    assert ended.returncode == 1
    assert "expected the step at which it was perturbed" in " ".join(ended.stderr.split())
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_the_help_says_the_states_that_are_tried(trajhmm):
    assert f"by default {STATES[0]}:{STATES[-1]}." in " ".join(trajhmm("audit", "--help").out.replace("│", " ").split())
