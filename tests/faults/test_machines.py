"""Machines that are unlike the one this was written on: old libraries, no network, no place for compiled code."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# A run of the main verbs in one process, after some lines that change what the machine can do.
VERBS = """
import sys
from trajhmm.cli import app
from trajhmm.simulate import planted
simulated = planted(seed=0, n_runs=6, n_rows=40)
simulated.logs.frame().to_parquet("logs.parquet")
for line in (
    "inspect logs.parquet",
    "fit logs.parquet -o map.json --states 2 --halves 0 --restarts 1",
    "fit logs.parquet -o reference.json --for warning --states 1 --restarts 1",
    "decode logs.parquet --model map.json -o states.parquet",
    "figure map logs.parquet --model map.json -o map.pdf",
    "report logs.parquet --model map.json -o page.html",
    "warn logs.parquet --model reference.json",
):
    try:
        app(line.split())
    except SystemExit as ended:
        assert ended.code in (0, 3), line
"""


def ended(code, folder):
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.once
def test_no_verb_reaches_the_network(tmp_path):
    no_network = """
import socket
def refused(*_, **__):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refused
"""
    done = ended(no_network + VERBS, tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.slow
def test_where_compiled_code_cannot_be_kept_it_is_compiled_anew(tmp_path):
    nowhere = """
from numba.core import caching
caching.CompileResultCacheImpl._locator_classes = []
"""
    code = """
import trajhmm as th
from trajhmm.simulate import planted
simulated = planted(seed=0, n_runs=4, n_rows=30)
print(th.fit(simulated.logs, states=1, halves=0, restarts=1).n_states)
"""
    done = ended(nowhere + code, tmp_path)
    assert (done.stdout, done.returncode) == ("1\n", 0), done.stderr


@pytest.mark.slow
def test_several_processes_may_compile_at_once(tmp_path):
    code = """
import trajhmm as th
from trajhmm.simulate import planted
simulated = planted(seed=0, n_runs=6, n_rows=60)
print(repr(th.fit(simulated.logs, states=3, halves=0, restarts=2).log_likelihood))
"""
    code = "import os; os.environ['NUMBA_CACHE_DIR'] = 'cache'\n" + code
    line = [sys.executable, "-c", code]
    several = [
        subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    told = [process.communicate() for process in several]
    assert [process.returncode for process in several] == [0] * 4, told
    assert len({out for out, _ in told}) == 1
    assert any((tmp_path / "cache").rglob("*.nbi"))


def test_the_lowest_versions_that_are_tested_are_the_bounds_that_are_told():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(one.split(">=") for one in project["dependencies"])
    lines = (ROOT / "tests" / "lowest.txt").read_text().splitlines()
    lowest = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert lowest.keys() >= bounds.keys()
    for name, least in bounds.items():
        assert re.fullmatch(rf"{re.escape(least)}(\.0)*", lowest[name]), name
