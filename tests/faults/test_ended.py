"""Commands that a scheduler, a terminal that closes, or a person ends amid their work: nothing half-written is left."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

ROWS = "step,loss,norm\n" + "".join(f"{step},{1 / (step + 1)},{step % 7}\n" for step in range(200))
# A verb that is slow to write: it says so, and waits amid the file.
SLOW = """
import sys, time
import pyarrow.parquet as pq
from trajhmm.cli import program
write = pq.write_table
def slowly(table, where, **options):
    write(table, where, **options)
    print("writing", flush=True)
    time.sleep(60)
pq.write_table = slowly
sys.argv = ["trajhmm", *sys.argv[1:]]
program()
"""
ENDINGS = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT]


@pytest.fixture
def logs(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.csv").write_text(ROWS)
    return tmp_path / "logs"


@contextmanager
def started(*line, ignored=None):
    """A command that has begun to write, or to watch; it minds all endings but one that is ``ignored``.

    Whatever the tests themselves were started with: ``nohup`` ignores SIGHUP, and a shell SIGINT of what it starts
    beside itself, and children inherit that.
    """
    before = {ending: signal.getsignal(ending) for ending in ENDINGS}
    for ending in ENDINGS:
        signal.signal(ending, signal.SIG_IGN if ending == ignored else signal.SIG_DFL)
    try:
        process = subprocess.Popen(
            [sys.executable, *map(str, line)], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.once
def test_a_file_that_is_being_written_leaves_no_trace_and_the_old_one_stands(ending, logs, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "runs.parquet").write_bytes(b"old")
    with started("-c", SLOW, "convert", logs, "-o", out / "runs.parquet") as process:
        assert process.stdout.readline() == "writing\n"
        process.send_signal(ending)
        process.communicate(timeout=60)
    assert process.returncode == 128 + ending
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {"runs.parquet": b"old"}


def test_what_is_ignored_stays_so(logs, tmp_path):
    """As ``nohup`` starts a command."""
    with started(
        "-c", SLOW.replace("60", "1"), "convert", logs, "-o", tmp_path / "a.parquet", ignored=signal.SIGHUP
    ) as one:
        assert one.stdout.readline() == "writing\n"
        one.send_signal(signal.SIGHUP)
        one.communicate(timeout=60)
    assert one.returncode == 0
    assert (tmp_path / "a.parquet").exists()


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.once
def test_a_watch_says_at_its_end_what_it_saw(ending, logs):
    with started("-m", "trajhmm", "warn", logs, "--follow", "--interval", "0.05") as process:
        while "1 run so far" not in (line := process.stderr.readline()):
            assert line
        time.sleep(0.3)
        process.send_signal(ending)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1]) == (0, "stopped; 1 run seen, 0 alarmed")


def test_main_leaves_signals_as_they_were(logs, monkeypatch):
    from trajhmm.cli import main

    monkeypatch.setattr(sys, "argv", ["trajhmm", "inspect", str(logs)])
    before = [signal.getsignal(ending) for ending in ENDINGS]
    with pytest.raises(SystemExit):
        main()
    assert [signal.getsignal(ending) for ending in ENDINGS] == before


def test_threads_that_live_on_do_not_change_the_exit_code():
    """As those of Arrow do now and then, which abort a process whose interpreter is torn down meanwhile."""
    program = (
        "import sys, threading, time, atexit, trajhmm.cli as cli\n"
        "atexit.register(lambda: print('tidied', flush=True))\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "sys.argv = ['trajhmm', 'inspect', 'nowhere']\n"
        "cli.program()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "tidied\n", "error: nowhere: no such file or folder\n")
