"""How `trajhmm warn --follow` ends: its last line and exit code say what was not read."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

LINE = [sys.executable, "-m", "trajhmm", "warn"]


def rows(begin, end, jump=None):
    rng = np.random.default_rng([begin, end])
    for t in range(begin, end):
        loss = 1 + rng.normal(0, 0.02) + (0 if jump is None or t < jump else t - jump + 1)
        yield f"{t},{loss},{1 + rng.normal(0, 0.02)}\n"


def watched(folder, done, *options):
    """Standard error, alarms and exit code of a watch without a model that is ended when ``done(said)``."""
    command = [*LINE, str(folder), "--follow", "--interval", "0.05", *options]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        said = []
        try:
            while not said or not done(said[-1]):
                said.append(process.stderr.readline())
                assert said[-1], "".join(said)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    return "".join(said) + err, out, process.returncode


@pytest.fixture
def logs(tmp_path):
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.csv").write_text("step,loss,norm\n" + "".join(rows(0, 60)))
    return folder


@pytest.mark.once
def test_all_was_read(logs):
    said, out, code = watched(logs, lambda line: "1 run so far" in line)
    assert (said.splitlines()[-1], out, code) == ("stopped; 1 run seen, 0 alarmed", "", 0)


@pytest.mark.once
def test_a_file_that_cannot_be_read_is_named_at_the_end_and_the_code_is_1(logs):
    (logs / "b.parquet").write_bytes(b"PAR1 half")
    (logs / "c.csv").write_bytes("step,loss,gr\xf6\xdfe\n1,2,3\n".encode("latin-1"))
    said, _, code = watched(logs, lambda line: "1 run so far" in line)
    last = said.splitlines()[-1]
    assert (last, code) == (
        f"stopped; 1 run seen, 0 alarmed; not read to the end: {logs / 'b.parquet'}, {logs / 'c.csv'}",
        1,
    )


@pytest.mark.once
def test_an_alarm_counts_for_more_than_a_file_that_cannot_be_read(logs):
    (logs / "b.parquet").write_bytes(b"PAR1 half")
    with (logs / "a.csv").open("a") as file:
        file.writelines(rows(60, 90, jump=70))
    said, out, code = watched(logs, lambda line: "1 run so far" in line)
    assert "not read to the end" in said
    assert (out.count("alarm: run a at step"), code) == (1, 3)


@pytest.mark.once
def test_lines_that_were_passed_over_are_told_and_counted_at_the_end(logs):
    with (logs / "a.csv").open("a") as file:
        file.writelines(["60,1\n", "61,1,1,1,1\n"])
    said, _, code = watched(logs, lambda line: "1 run so far" in line)
    assert f"warning: {logs / 'a.csv'}: 2 lines were passed over so far: 2 lines are no rows, left out: line 62" in said
    last = f"stopped; 1 run seen, 0 alarmed; 2 lines passed over in {logs / 'a.csv'}"
    assert (said.splitlines()[-1], code) == (last, 0)


@pytest.mark.once
def test_a_last_line_that_has_no_end_yet_is_told_at_the_end(logs):
    with (logs / "a.csv").open("a") as file:
        file.write("60,1.")
    said, _, code = watched(logs, lambda line: "1 run so far" in line)
    last = f"stopped; 1 run seen, 0 alarmed; unfinished, not read: the end of {logs / 'a.csv'}"
    assert (said.splitlines()[-1], code) == (last, 0)


def test_a_file_that_healed_and_is_torn_again_is_told_again():
    from trajhmm.cli.warn.remarks import _AGAIN, _Standing

    standing = _Standing()
    assert standing.to_say({"a": "torn"}) == ["torn"]
    assert standing.to_say({"a": "torn"}) == []
    assert standing.to_say({}) == []
    assert standing.to_say({"a": "torn", "b": "too"}) == ["torn", "too"]
    standing._told = {name: when - _AGAIN for name, when in standing._told.items()}
    assert standing.to_say({"a": "torn still"}) == ["torn still"]


@pytest.mark.once
def test_a_watch_outlives_its_terminal(logs, tmp_path):
    pty = pytest.importorskip("pty")
    terminal, screen = pty.openpty()
    alarmed, errors = tmp_path / "alarmed", tmp_path / "errors"
    # Started in a shell that was left: in a session of its own, so that no signal tells it of the end.
    command = [*LINE, str(logs), "--follow", "--interval", "0.05", "--exec", f"cat >> {alarmed}"]
    with errors.open("w") as err, subprocess.Popen(
        command, stdout=screen, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True,
        env=os.environ | {"TERM": "xterm"},
    ) as process:  # fmt: skip
        try:
            os.close(screen)
            until(lambda: b"1 run" in os.read(terminal, 10_000))
            os.close(terminal)
            time.sleep(1.5)  # the table is brought up to date once a second
            with (logs / "a.csv").open("a") as file:
                file.writelines(rows(60, 90, jump=70))
            until(lambda: alarmed.exists() and alarmed.read_text().endswith("\n"))
            process.send_signal(signal.SIGINT)
            code = process.wait(timeout=60)
        finally:
            process.kill()
    said = errors.read_text()
    assert '"run": "a"' in alarmed.read_text()
    assert said.splitlines()[-1] == (
        "stopped; 1 run seen, 1 alarmed; not all was shown: the terminal: Input/output error"
    )
    assert (said.count("Traceback"), code) == (0, 3)


def until(done):
    """Wait for it, a minute at most."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
