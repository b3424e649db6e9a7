"""On a terminal one sees how far a verb is; in a pipe nothing of that stands between what is said."""

import os
import pty
import subprocess
import sys

import pytest

import trajhmm as th
from trajhmm.logs import write_logs
from trajhmm.simulate import planted

CONVERGED = ("--converged", "eval_accuracy > 0.9")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("progress")
    logs = planted(n_runs=16, n_rows=80).logs
    write_logs(logs, folder / "logs.parquet")
    th.fit(logs, states=3, scaling="per-run", restarts=1, halves=0).save(folder / "model.json")
    return folder


def on_a_terminal(folder, *words):
    """What stands on a terminal of 200 columns to which standard error goes."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": "200", "TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-m", "trajhmm", *words], cwd=folder, stderr=theirs, stdout=subprocess.DEVNULL, env=environment
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:
            break
        if not part:
            break
        shown += part
    os.close(ours)
    assert process.wait(timeout=120) == 0, shown.decode()
    return shown.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "seen"),
    [
        (["analyze", "--refits", "2", "-o", "out"], ["refitting", "drawing", "5/5"]),
        pytest.param(["report", "--refits", "2", "-o", "r.html"], ["refitting"], marks=pytest.mark.slow),
        pytest.param(["figure", "map", "--refits", "2", "-o", "m.png"], ["refitting"], marks=pytest.mark.slow),
        pytest.param(["table", "detours", "--refits", "2", "-o", "t.csv"], ["refitting"], marks=pytest.mark.slow),
    ],
)
def test_long_work_is_seen_on_a_terminal_and_not_in_a_pipe(words, seen, folder, trajhmm_process):
    kind = 2 if words[0] in ("figure", "table") else 1
    line = [*words[:kind], "logs.parquet", "--model", "model.json", *CONVERGED, *words[kind:]]
    shown = on_a_terminal(folder, *line)
    for what in seen:
        assert what in shown
    assert "refitting" not in on_a_terminal(folder, *line, "--quiet")
    done = trajhmm_process(*line, cwd=folder)
    assert done.code == 0
    assert not any(what in done.err for what in ("refitting", "drawing", "\x1b", "━"))
