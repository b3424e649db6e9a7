"""How much memory something takes."""

import os
from contextlib import contextmanager
from pathlib import Path

import pytest

# What a small file may take, beside what Python and libraries take without one; and addresses, which threads and
# libraries take without using them: beyond these a test fails before the machine does.
ROOM, ADDRESSES = 2**30, 2**33
# Seconds after which something hangs, on a machine that is slow and busy.
LONG = 60.0


@contextmanager
def little_room():
    """Fail if more than `ROOM` is taken meanwhile."""
    resource = pytest.importorskip("resource")
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("needs /proc, where the system says how much memory was taken")
    held = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (held + ADDRESSES, before[1]))
    Path("/proc/self/clear_refs").write_text("5")  # what was taken at most so far is forgotten
    base = _taken("VmRSS")
    try:
        yield
        most = _taken("VmHWM")
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
    assert most - base < ROOM


def _taken(what):
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{what}:")]
    return int(line.split()[1]) * 1024
