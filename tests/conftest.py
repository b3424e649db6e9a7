"""What the tests of several rooms share."""

import os

# Threads of a matrix library on small matrices cost far more than they save, here and in every process that is started.
for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

# No test finds what another one worked out, and none writes into the home of whoever runs it.
os.environ["TRAJHMM_CACHE"] = "off"

import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]

# A script that runs the tests in its background has them ignore Ctrl-C, and with them every process that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The same examples each time, so that a change and not chance turns the suite red; with
# ``--hypothesis-profile search`` others are looked for.
settings.register_profile("same", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("same")


@pytest.hookimpl(tryfirst=True)  # before -m looks at marks
def pytest_collection_modifyitems(items):
    """Leave the cases of a test that is sampled to ``-m slow``, but for some that are evenly spread.

    What is slow is for ``-m slow`` alone, whatever else it is.
    """
    cases = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for of_one in cases.values():
        wanted = min(of_one[0].get_closest_marker("sampled").args[0], len(of_one))
        kept = {place * len(of_one) // wanted for place in range(wanted)}
        for place, item in enumerate(of_one):
            if place not in kept:
                item.add_marker("slow")
    for item in items:
        if item.get_closest_marker("slow"):
            item.own_markers = [mark for mark in item.own_markers if mark.name != "once"]


@pytest.fixture
def public_data():
    """Path of one of the public logs that ``data/SOURCES.md`` lists; skips where they are not at hand."""
    folder = Path(os.environ.get("TRAJHMM_PUBLIC_DATA", ROOT.parent / "shared" / "data"))

    def path_of(name):
        if not (folder / name).is_dir():
            pytest.skip(
                f"public logs {name} are not in {folder}; set TRAJHMM_PUBLIC_DATA to the folder that holds them"
            )
        return folder / name

    return path_of


@pytest.fixture
def data_folder():
    """The folder of the logs that this project trained."""
    return ROOT / "data"


@pytest.fixture
def assert_same_logs():
    """Compare two run sets: rows and blanks bit for bit, attributes cell by cell, whatever the order of columns."""

    def compare(found, expected, *, attributes=True):
        assert found.runs == expected.runs
        assert sorted(found.metrics) == sorted(expected.metrics)
        np.testing.assert_array_equal(found.lengths, expected.lengths)
        np.testing.assert_array_equal(found.steps, expected.steps)
        for metric in expected.metrics:
            logged = found.logged[:, found.metrics.index(metric)]
            np.testing.assert_array_equal(logged, expected.logged[:, expected.metrics.index(metric)], err_msg=metric)
            np.testing.assert_array_equal(found.column(metric), expected.column(metric), err_msg=metric)
        if attributes:
            pd.testing.assert_frame_equal(found.attributes, expected.attributes, check_like=True, check_dtype=False)

    return compare


@dataclass(frozen=True)
class Finished:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def error(self):
        """The lines of the error: those from ``error:`` on; notes may stand before."""
        lines = self.err.splitlines()
        start = next((i for i, line in enumerate(lines) if line.lower().startswith("error:")), len(lines))
        return lines[start:]


@pytest.fixture
def trajhmm(monkeypatch, capsys):
    """Run ``trajhmm`` with arguments within this process."""
    from trajhmm.cli import main

    # What nobody foresaw is told in a line; here it shall come out as it is.
    monkeypatch.setenv("TRAJHMM_TRACEBACK", "1")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["trajhmm", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Finished(code=ended.value.code or 0, out=printed.out, err=printed.err)

    return run


@pytest.fixture
def trajhmm_process():
    """Run ``python -m trajhmm`` with arguments in a process of its own."""

    def run(*arguments, **settings):
        command = [sys.executable, "-m", "trajhmm", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **settings)
        return Finished(code=done.returncode, out=done.stdout, err=done.stderr)

    return run
