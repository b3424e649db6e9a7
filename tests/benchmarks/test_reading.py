"""Reading Parquet into a `RunSet`, beside reading the same files as an Arrow table.

``pytest tests/benchmarks/test_reading.py -s --override-ini addopts=``: speeds as shares of that of
``pyarrow.parquet.read_table``, measured in turns in one process; and the peak of memory, in a process of its own, as a
multiple of the values read. "Pieces" are those of `scan_logs`, of 20,000 rows, read one by one.
"""

import json
import statistics
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from trajhmm import RunLogger, RunSet, read_logs, scan_logs, write_logs

METRICS = 14
REPEATS = 9


def made_runs(n_runs, n_rows):
    """Runs of random metrics, with two attributes."""
    rng = np.random.default_rng(0)
    names = tuple(f"seed_{r}" for r in range(n_runs))
    values = rng.lognormal(size=(n_runs * n_rows, METRICS))
    return RunSet(
        runs=names,
        lengths=np.full(n_runs, n_rows),
        steps=np.tile(np.arange(n_rows), n_runs),
        values=values,
        logged=np.ones(values.shape, dtype=bool),
        metrics=tuple(f"metric_{d}" for d in range(METRICS)),
        attributes=pd.DataFrame(
            {"seed": np.arange(n_runs), "condition": ["ln", "bn"] * (n_runs // 2)}, index=pd.Index(names, name="run")
        ),
    )


def one_file(runs, folder):
    write_logs(runs, folder / "runs.parquet")


def a_file_for_each_run(runs, folder):
    for run in runs.runs:
        write_logs(runs.select_runs([run]), folder / f"{run}.parquet")


def parts_of_run_loggers(runs, folder):
    for run, rows in runs.slices():
        with RunLogger(folder, run, attributes=runs.attributes.loc[run].to_dict(), rows=100) as logger:
            for step, values in zip(runs.steps[rows].tolist(), runs.values[rows].tolist(), strict=True):
                logger.log(step, dict(zip(runs.metrics, values, strict=True)))


CASES = {
    "one file, 40 runs × 1000 rows": (one_file, 40, 1000),
    "one file, 400 runs × 2500 rows": (one_file, 400, 2500),
    "a file for each of 400 runs × 2500 rows": (a_file_for_each_run, 400, 2500),
    "parts of 100 rows by RunLogger, 40 runs × 1000 rows": (parts_of_run_loggers, 40, 1000),
}


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory):
    """Name of a case, the folder of its files, and the bytes of its values."""
    write, n_runs, n_rows = CASES[request.param]
    folder = tmp_path_factory.mktemp("logs")
    write(made_runs(n_runs, n_rows), folder)
    return request.param, folder, 8 * METRICS * n_runs * n_rows


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def test_speed_beside_read_table(case):
    name, folder, _ = case
    pieces = scan_logs(folder).pieces
    calls = {
        "read_table": lambda: pq.read_table(folder),
        "read_logs": lambda: read_logs(folder),
        "scan_logs": lambda: scan_logs(folder),
        f"its {len(pieces)} pieces": lambda: [piece.n_rows for piece in pieces if piece.read()],
    }
    taken = {called: [] for called in calls}
    for call in calls.values():
        call()
    for _ in range(REPEATS):
        for called, call in calls.items():
            taken[called].append(seconds(call))
    table = taken.pop("read_table")
    print(f"\n{name}: as shares of the speed of read_table ({1e3 * statistics.median(table):.0f} ms)")
    for called, times in taken.items():
        shares = sorted(one / other for one, other in zip(table, times, strict=True))
        print(f"    {called}: {statistics.median(shares):.2f}, from {shares[0]:.2f} to {shares[-1]:.2f} turn by turn")


# The high-water mark of /proc is of this program alone; what getrusage tells starts from that of the parent.
PEAK = """
import json, re, sys
from pathlib import Path
import numpy, pandas, pyarrow.parquet
from trajhmm.logs import read_logs, scan_logs
def pieces(folder):
    for piece in scan_logs(folder, max_rows=20_000).pieces:
        piece.read()
def peak():
    return 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
kept = {"read_table": pyarrow.parquet.read_table, "read_logs": read_logs, "pieces": pieces}[sys.argv[1]](sys.argv[2])
print(json.dumps(peak() - before))
"""


def test_peak_of_memory_beside_the_values(case):
    name, folder, size = case
    peaks = {}
    for reader in ("read_table", "read_logs", "pieces"):
        command = [sys.executable, "-c", PEAK, reader, str(folder)]
        peaks[reader] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    shares = (f"{reader} {peak / size:.1f} × ({peak / 1e6:.0f} MB)" for reader, peak in peaks.items())
    print(f"\n{name}: peak beside {size / 1e6:.0f} MB of values: {', '.join(shares)}")
