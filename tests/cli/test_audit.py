"""``trajhmm audit`` as a user calls it."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs import write_logs

_SPEC = importlib.util.spec_from_file_location(
    "audits_made", Path(__file__).parents[1] / "dynamics" / "stability" / "audit" / "audits_made.py"
)
made = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = made  # where its dataclass looks for the module that it is in
_SPEC.loader.exec_module(made)
EVERY, FOLLOWED, Fate, made_audit = made.EVERY, made.FOLLOWED, made.Fate, made.made_audit

ASKED = ["--performance", "eval_accuracy", "--baseline", 'condition == "baseline"', "--collapse", "eval_accuracy < 0.5"]
FATES = {
    ("data", 1.0): [Fate()] * 6,
    ("data", 2.0): [Fate(collapse=40, deviates=15)] * 6,
    ("noise", 0.5): [Fate(back=20, deviates=15)] * 6,
    ("noise", 1.0): [Fate(collapse=30, deviates=15)] * 5 + [Fate(back=None, deviates=15)],
}
BUFFERED = {cell: [Fate()] * 6 for cell in FATES}
FILES = {
    *("profile.csv", "runs.csv", "buffering.csv", "claims.json", "summary.txt", "profile.pdf", "profile.png"),
}


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    path = tmp_path_factory.mktemp("logs") / "audit.parquet"
    write_logs(made_audit(np.random.default_rng(0), FATES, buffered=BUFFERED, baselines=20), path)
    return path


@pytest.fixture(scope="module")
def done(logs, tmp_path_factory):
    """Folder of an audit, made by a process of its own."""
    folder = tmp_path_factory.mktemp("done") / "audit"
    command = [sys.executable, "-m", "trajhmm", "audit", logs, *ASKED, "--states", "3", "-o", folder]
    ended = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return folder, ended


@pytest.mark.once
def test_a_process_leaves_tables_claims_words_and_figures(done):
    folder, ended = done
    assert ended.returncode == 0, ended.stderr
    assert {path.name for path in folder.iterdir()} == FILES
    assert ended.stdout == (folder / "summary.txt").read_text(encoding="utf-8")
    assert all(name in ended.stderr for name in FILES)
    profile = pd.read_csv(folder / "profile.csv").set_index(["dimension", "strength"])
    assert profile["collapsed"].to_dict() == pytest.approx(
        {("data", 1.0): 0, ("data", 2.0): 1, ("noise", 0.5): 0, ("noise", 1.0): 5 / 6}
    )
    assert profile["recovery_steps"].to_dict() == {
        ("data", 1.0): 0,
        ("data", 2.0): np.inf,
        ("noise", 0.5): 20 * EVERY,
        ("noise", 1.0): np.inf,
    }
    assert profile["recovery_low"].max() == FOLLOWED
    assert profile["lead_share"].dropna().tolist() == [1.0, 1.0]


@pytest.mark.once
def test_claims_are_answered_with_numbers_that_are_never_null(done):
    claims = json.loads((done[0] / "claims.json").read_text(encoding="utf-8"))
    assert {name: claim["n"] for name, claim in claims.items()} == {"decoupling": 13, "buffering": 24, "precedence": 11}
    assert claims["buffering"]["verdict"] == "yes"
    assert claims["buffering"]["effect"] == pytest.approx(11 / 24)
    assert claims["precedence"]["verdict"] == "yes"
    for claim in claims.values():
        assert claim["verdict"] in ("yes", "no", "depends")
        assert -1 <= claim["ci_low"] <= claim["effect"] <= claim["ci_high"] <= 1
        assert "would say" in claim["sentence"]


@pytest.mark.once
def test_the_same_command_gives_the_same_bytes(logs, done, trajhmm, tmp_path):
    ended = trajhmm("audit", logs, *ASKED, "--states", "3", "--jobs", "1", "-o", tmp_path / "again")
    assert ended.code == 0
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (done[0] / name).read_bytes(), name


@pytest.mark.once
def test_columns_of_other_names_give_the_same(logs, done, trajhmm, tmp_path):
    frame = pd.read_parquet(logs)
    names = {"dimension": "what", "strength": "amount", "onset": "begin", "seed": "twin", "buffer": "calm"}
    frame.rename(columns=names).to_parquet(tmp_path / "renamed.parquet")
    options = [
        "--dimension",
        "what",
        "--strength",
        "amount",
        "--onset",
        "begin",
        "--pair-by",
        "twin",
        "--buffer",
        "calm",
    ]
    ended = trajhmm("audit", tmp_path / "renamed.parquet", *ASKED, *options, "--states", "3", "-o", tmp_path / "out")
    assert ended.code == 0
    for name in ("profile.csv", "claims.json"):
        assert (tmp_path / "out" / name).read_text() == (done[0] / name).read_text()


@pytest.mark.parametrize(
    ("option", "name"),
    [("--dimension", "what"), ("--strength", "amount"), ("--onset", "begin"), ("--pair-by", "twin"), ("--buffer", "b")],
)
def test_a_missing_column_is_an_error_that_names_the_option(logs, trajhmm, tmp_path, option, name):
    ended = trajhmm("audit", logs, *ASKED, option, name, "-o", tmp_path / "out")
    assert ended.code == 1
    assert re.search(rf"no column '{name}'.*{option}", " ".join(ended.error))
    assert len(ended.error) <= 2
    assert not (tmp_path / "out").exists()


def test_a_condition_that_does_not_parse_is_a_wrong_command(logs, trajhmm, tmp_path):
    asked = [*ASKED[:-1], "eval_accuracy <"]
    ended = trajhmm("audit", logs, *asked, "-o", tmp_path / "out")
    assert ended.code == 2
    ended = trajhmm("audit", logs, *ASKED, "--states", "many", "-o", tmp_path / "out")
    assert ended.code == 2
    assert "--states 'many'" in ended.err


def test_where_keeps_to_some_seeds_and_a_buffer_is_not_needed(logs, trajhmm, tmp_path):
    where = "buffer == 'none' and (seed < 3 or seed > 5)"
    ended = trajhmm("audit", logs, *ASKED, "--where", where, "--states", "3", "-o", tmp_path / "out")
    assert ended.code == 0
    assert pd.read_csv(tmp_path / "out" / "profile.csv")["n_runs"].tolist() == [3] * 4
    claims = json.loads((tmp_path / "out" / "claims.json").read_text(encoding="utf-8"))
    buffering = claims["buffering"]
    assert [buffering[name] for name in ("verdict", "n", "effect", "ci_low", "ci_high")] == ["depends", 0, 0, -1, 1]
    assert not (tmp_path / "out" / "buffering.csv").exists()
