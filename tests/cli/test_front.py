"""What is common to all verbs: the version, completion, quiet."""

import importlib.metadata
import os
import subprocess
import sysconfig
from pathlib import Path

import pytest

import trajhmm as th


def test_there_is_one_version(trajhmm):
    told = trajhmm("--version")
    assert (told.code, told.out, told.err) == (0, f"trajhmm {th.__version__}\n", "")
    assert importlib.metadata.version("trajhmm") == th.__version__


@pytest.mark.parametrize(
    ("shell", "typed"),
    [
        ("bash", {"COMP_WORDS": "trajhmm ev", "COMP_CWORD": "1"}),
        ("zsh", {"_TYPER_COMPLETE_ARGS": "trajhmm ev"}),
        ("fish", {"_TYPER_COMPLETE_ARGS": "trajhmm ev", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}),
    ],
)
@pytest.mark.once
def test_shells_complete_verbs(shell, typed):
    program = Path(sysconfig.get_path("scripts")) / "trajhmm"
    asked = {**os.environ, "_TRAJHMM_COMPLETE": f"complete_{shell}", **typed}
    told = subprocess.run([program], env=asked, capture_output=True, text=True, check=False)
    assert "evaluate" in told.stdout
    assert "inspect" not in told.stdout


def test_quiet_says_nothing_but_what_is_wrong(trajhmm, tmp_path):
    line = ("simulate", "planted", "--runs", "4", "--rows", "20", "-o", tmp_path / "a.parquet")
    assert "a.parquet: 4 runs" in trajhmm(*line).err
    for quiet in ("-q", "--quiet"):
        told = trajhmm(*line, quiet)
        assert (told.code, told.out, told.err) == (0, "", "")
    assert "a.parquet: 4 runs" in trajhmm(*line).err  # for that one run alone
    told = trajhmm("inspect", tmp_path / "none", "-q")
    assert told.code == 1
    assert told.err.startswith("error: ")
    shown = trajhmm("inspect", tmp_path, "-q")
    assert shown.out == trajhmm("inspect", tmp_path).out != ""
