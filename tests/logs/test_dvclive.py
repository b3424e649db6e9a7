"""DVCLive: folders that the library itself writes."""

import math
import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from trajhmm import read_logs
from trajhmm.errors import LogError

LOSS = [1.0, 0.5, math.nan, math.inf, -math.inf, 0.1]

needs_dvclive = pytest.mark.skipif(
    find_spec("dvclive") is None,
    reason="needs dvclive; pip install dvclive",
)


def write(folder, program):
    """Run lines of Python that log with DVCLive, in a process of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = "import math\nfrom dvclive import Live\nnan, inf = math.nan, math.inf\n"
    options = "KEYS = dict(save_dvc_exp=False, dvcyaml=None)\n"
    done = subprocess.run(
        [sys.executable, "-c", lines + options + program],
        cwd=folder,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr


ONE_RUN = """
with Live({folder!r}, **KEYS) as live:
    live.log_params({{"lr": {lr}, "opt": {{"name": "adam", "amsgrad": True, "betas": [0.9, 0.99]}}, "none": None}})
    for step, loss in enumerate({loss}):
        live.log_metric("train/loss", loss)
        live.log_metric("constant", 3)
        if step % 3 == 0:
            live.log_metric("eval/loss", step / 10, timestamp=True)
        live.next_step()
"""


@needs_dvclive
def test_runs_are_read_as_they_were_logged(tmp_path):
    for run, lr in (("a", 0.1), ("b", 0.2)):
        write(tmp_path / run, ONE_RUN.format(folder="dvclive", lr=lr, loss=LOSS))
    write(tmp_path, ONE_RUN.format(folder="c", lr=0.3, loss=[3.0, 2.0, 1.0]))
    runs = read_logs(tmp_path)
    assert runs.runs == ("a", "b", "c")
    assert sorted(runs.metrics) == ["eval/loss", "train/loss"]
    rows = dict(runs.slices())
    np.testing.assert_array_equal(runs.steps[rows["a"]], np.arange(6))
    np.testing.assert_array_equal(runs.column("train/loss")[rows["a"]], LOSS)
    np.testing.assert_array_equal(runs.column("train/loss")[rows["c"]], [3, 2, 1])
    np.testing.assert_array_equal(runs.column("eval/loss")[rows["b"]], [0, np.nan, np.nan, 0.3, np.nan, np.nan])
    assert runs.logged[:, runs.metrics.index("eval/loss")].sum() == 5
    assert runs.attributes["lr"].tolist() == [0.1, 0.2, 0.3]
    assert runs.attributes["opt.name"].tolist() == ["adam"] * 3
    assert runs.attributes["opt.amsgrad"].tolist() == [1] * 3
    assert runs.attributes["constant"].tolist() == [3] * 3


@needs_dvclive
@pytest.mark.once
def test_later_values_win_where_a_run_was_resumed(tmp_path):
    write(tmp_path / "a", ONE_RUN.format(folder="dvclive", lr=0.1, loss=[9.0, 8.0, 7.0, 6.0, 5.0, 4.0]))
    write(
        tmp_path / "a",
        """
live = Live("dvclive", resume=True, **KEYS)
live.step = 3
for step in range(3, 9):
    live.log_metric("train/loss", 100.0 + step)
    if step % 3 == 0:
        live.log_metric("eval/loss", float(step), timestamp=True)
    live.next_step()
live.end()
""",
    )
    runs = read_logs(tmp_path)
    np.testing.assert_array_equal(runs.steps, np.arange(9))
    np.testing.assert_array_equal(runs.column("train/loss"), [9, 8, 7, *range(103, 109)])
    np.testing.assert_array_equal(runs.column("eval/loss")[::3], [0, 3, 6])
    resumed = [note.text for note in runs.notes if note.kind == "resume"]
    assert any(
        "loss.tsv: steps repeat or go back at step 3: resumed, 3 earlier values replaced" in text for text in resumed
    )


def a_metric(folder, name, text):
    path = folder / "live" / "plots" / "metrics" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text)
    return path


def test_the_header_names_the_metric(tmp_path):
    a_metric(tmp_path, "m1.tsv", b"step\tloss\n0\t2\n1\t1\n")
    a_metric(tmp_path, "train/m2.tsv", b"timestamp\tstep\taccuracy\n5\t0\t0.1\n6\t1\t0.2\n")
    assert read_logs(tmp_path).metrics == ("loss", "train/accuracy")


def test_a_half_written_line_words_and_blanks(tmp_path):
    a_metric(tmp_path, "loss.tsv", b"step\tloss\n0\t3\n1\t2\n2\t1.\n3\t0.")
    a_metric(tmp_path, "word.tsv", b"step\tword\n0\tx\n1\ty\n")
    a_metric(tmp_path, "eval.tsv", b"step\teval\n0\t\n1\t5\n2\t6\n")
    runs = read_logs(tmp_path)
    assert sorted(runs.metrics) == ["eval", "loss"]
    np.testing.assert_array_equal(runs.column("loss"), [3, 2, 1])
    np.testing.assert_array_equal(runs.column("eval"), [np.nan, 5, 6])
    said = [str(note) for note in runs.notes]
    assert any("loss.tsv: last line is half-written, left out" in text for text in said)
    assert any("word is text ('x'), left out" in text for text in said)


@pytest.mark.parametrize("line", [b"1\tx", b"x\t1", b"1", b"1.5\t2", b"\xff\xfe\t1", b"9" * 400 + b"\t1"])
def test_a_row_that_is_no_point_is_an_error_that_says_where(line, tmp_path):
    a_metric(tmp_path, "loss.tsv", b"step\tloss\n0\t3\n" + line + b"\n2\t1\n")
    with pytest.raises(LogError, match=r"loss\.tsv: line 3: expected a step and a number"):
        read_logs(tmp_path)


def test_parameters_that_are_plain(tmp_path):
    a_metric(tmp_path, "loss.tsv", b"step\tloss\n0\t2\n1\t1\n")
    net = "net:\n  depth: 3\n  'kind': \"res net\"\n  sizes:\n  - 1\n"
    text = f"lr: 1e-3 # rate\n{net}warm: false\nlist: [1, 2]\nno: null\nuser: me\n"
    (tmp_path / "live" / "params.yaml").write_text(text)
    found = read_logs(tmp_path).attributes.iloc[0].to_dict()
    assert found == {"lr": 0.001, "net.depth": 3, "net.kind": "res net", "warm": 0, "user": "me"}
