"""Names of any text in logs, through verbs in this process: an exit code, no traceback, nothing that a terminal obeys.

The quick part runs with the other tests; ``pytest -m fuzz tests/fuzz/test_command_line.py`` tries more, and with
``--hypothesis-profile search`` others each time.
"""

import json
import re
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trajhmm import fit, read_logs
from trajhmm.errors import TrajHMMError

# What a terminal would obey: controls but the end of a line, and what turns the direction of text around.
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
QUICK, LONG = 5, 1_000
SETTINGS = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
}

# Any text, halves of characters too, and what is known to have gone wrong, in pieces.
PIECES = (
    "$",
    "^",
    "_",
    "{",
    "\\",
    "=",
    "@",
    "'",
    '"',
    "\n",
    "\r",
    "\x1b[31m",
    "\u202e",
    "/",
    "run",
    "step",
    "loss",
    "%",
)
NAMES = st.text(max_size=20) | st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


def rows(run, metrics, attribute, seed):
    """The lines of a log of twelve rows."""
    rng = np.random.default_rng(seed)
    level = np.repeat([3.0, 1.0], 6)
    columns = [level + 0.1 * rng.normal(size=12) for _ in metrics]
    for step in range(12):
        values = {metric: float(column[step]) for metric, column in zip(metrics, columns, strict=True)}
        yield json.dumps({**dict([attribute]), **values, "run": run, "step": 10 * step})


def logs(folder, runs, metrics, attribute):
    """A file of JSON lines, which may hold any name."""
    path = Path(folder, "logs.jsonl")
    lines = [line for seed, run in enumerate(runs) for line in rows(run, metrics, attribute, seed)]
    path.write_text("\n".join(lines) + "\n")
    return path


def check(trajhmm, runs, metrics, attribute, drawn):
    with tempfile.TemporaryDirectory() as folder:
        path, model = logs(folder, runs, metrics, attribute), Path(folder, "model.json")
        lines = [["inspect", path], ["inspect", path, "--json"], ["warn", path]]
        try:
            fit(read_logs(path), states=2, restarts=1, halves=0, iterations=5, seed=0).save(model)
        except TrajHMMError:
            lines += [["fit", path, "-o", model]]
        else:
            lines += [
                ["decode", path, "--model", model, "-o", Path(folder, "states.parquet")],
                ["table", "states", path, "--model", model, "-o", Path(folder, "states.tex")],
                ["table", "states", path, "--model", model, "-o", Path(folder, "states.csv")],
                ["figure", drawn, path, "--model", model, "-o", Path(folder, "figure.svg")],
                ["convert", path, "-o", Path(folder, "again.csv")],
                ["inspect", path, "--run-by", runs[0], "--rename", f"{metrics[0]}={runs[-1]}"],
            ]
        for line in lines:
            ended = trajhmm(*line)
            assert ended.code in (0, 1, 2, 3), line
            assert "Traceback" not in ended.err
            for text in (ended.out, ended.err):
                assert not OBEYED.search(text), (line, OBEYED.search(text))
            assert len(ended.error) == (ended.code == 1) or ended.code == 2, (line, ended.err)
            if "--json" in line and ended.code == 0:
                json.loads(ended.out, parse_constant=pytest.fail)
        assert not [one for one in Path(folder).iterdir() if one.name.startswith(".")]


CASE = {
    "runs": st.lists(NAMES, min_size=3, max_size=4, unique=True),
    "metrics": st.lists(NAMES, min_size=2, max_size=3, unique=True),
    "attribute": st.tuples(NAMES, NAMES),
    "drawn": st.sampled_from(["raster", "profile", "map", "curves"]),
}


@pytest.mark.slow
@settings(max_examples=QUICK, **SETTINGS)
@given(**CASE)
def test_any_names_in_logs_are_borne(trajhmm, runs, metrics, attribute, drawn):
    check(trajhmm, runs, metrics, attribute, drawn)


@pytest.mark.fuzz
@settings(max_examples=LONG, **SETTINGS)
@given(**CASE)
def test_very_many_names_in_logs_are_borne(trajhmm, runs, metrics, attribute, drawn):
    check(trajhmm, runs, metrics, attribute, drawn)


WORDS = NAMES.filter(
    lambda word: (
        "\0" not in word
        and not any("\ud800" <= letter < "\udc80" or (letter > "\udcff" and letter < "\ue000") for letter in word)
    )
)


@settings(max_examples=25, **SETTINGS)
@given(verb=st.sampled_from(["inspect", "fit", "figure", "warn"]), words=st.lists(WORDS, max_size=4))
@pytest.mark.once
def test_any_words_on_the_command_line_are_borne(trajhmm, tmp_path, monkeypatch, verb, words):
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    monkeypatch.chdir(tmp_path)
    ended = trajhmm(verb, *words)
    assert ended.code in (0, 1, 2)
    assert not OBEYED.search(ended.out + ended.err)
    assert list(tmp_path.iterdir()) == []
