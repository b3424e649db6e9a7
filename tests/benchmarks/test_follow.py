"""Following 10,000 runs at once: seconds a poll and memory, by what is new and by how the logs are laid out.

``pytest tests/benchmarks/test_follow.py -s --override-ini addopts=``: each layout in a process of its own, which writes
logs of 14 metrics, watches them with a state file, and lets some or all of the runs grow by 10 rows between polls. The
first poll reads 100 rows of each run; a poll with nothing new looks at all files. "Rows/s" are of a poll in which all
runs grew.
"""

import os

for _library in ("OPENBLAS", "OMP", "MKL"):
    os.environ.setdefault(f"{_library}_NUM_THREADS", "1")

import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trajhmm import RunLogger, RunSet
from trajhmm.logs.settings import Settings
from trajhmm.warning.monitor import Watch
from trajhmm.warning.reference import fit_warning

METRICS = tuple(f"metric_{d}" for d in range(14))
RUNS, FIRST, MORE, VARIANTS = 10_000, 100, 10, 20
POLLS = 5
ANY = Settings.of(run_by=(), rename=None, where=None, step=None)


def made_values(n_rows=1000):
    """(20, n, 14) values of runs that differ, of which all others are copies."""
    rng = np.random.default_rng(0)
    curve = np.exp(-np.arange(n_rows)[:, np.newaxis] / 200) + np.arange(len(METRICS))
    return curve + 0.1 * rng.normal(size=(VARIANTS, n_rows, len(METRICS)))


VALUES = made_values()


def reference():
    """A model for warning, of four states."""
    frames = [pd.DataFrame(values, columns=list(METRICS)) for values in VALUES]
    for number, frame in enumerate(frames):
        frame.insert(0, "step", np.arange(len(frame)))
        frame.insert(0, "run", f"healthy {number}")
    return fit_warning(RunSet.from_frame(pd.concat(frames)), states=4, restarts=1, iterations=5)


def csv_lines(run, rows):
    yield from (f"{run},{t},{','.join(map(repr, VALUES[run % VARIANTS, t].tolist()))}\n" for t in rows)


def json_lines(run, rows):
    for t in rows:
        values = dict(zip(METRICS, VALUES[run % VARIANTS, t].tolist(), strict=True))
        yield json.dumps({"run": str(run), "step": t} | values) + "\n"


def add_csv(path, lines):
    with path.open("a") as file:
        if not file.tell():
            file.write(",".join(("run", "step", *METRICS)) + "\n")
        file.writelines(lines)


def add_json(path, lines):
    with path.open("a") as file:
        file.writelines(lines)


def a_csv_each(folder, runs, rows):
    for run in runs:
        add_csv(folder / f"{run}.csv", csv_lines(run, rows))


def a_json_each(folder, runs, rows):
    for run in runs:
        add_json(folder / f"{run}.jsonl", json_lines(run, rows))


def ten_csv(folder, runs, rows):
    for number in {run % 10 for run in runs}:
        lines = (line for run in runs if run % 10 == number for line in csv_lines(run, rows))
        add_csv(folder / f"{number}.csv", lines)


def ten_json(folder, runs, rows):
    for number in {run % 10 for run in runs}:
        lines = (line for run in runs if run % 10 == number for line in json_lines(run, rows))
        add_json(folder / f"{number}.jsonl", lines)


def ten_parquet(folder, runs, rows):
    """Written again in full, sorted by run."""
    for number in {run % 10 for run in runs}:
        path = folder / f"{number}.parquet"
        frames = [pd.read_parquet(path)] if path.exists() else []
        for run in (run for run in runs if run % 10 == number):
            frame = pd.DataFrame(VALUES[run % VARIANTS, rows.start : rows.stop], columns=list(METRICS))
            frames.append(frame.assign(run=str(run), step=rows))
        pd.concat(frames).sort_values(["run", "step"]).to_parquet(folder / ".new")
        (folder / ".new").rename(path)


def parts_of_run_loggers(folder, runs, rows):
    for run in runs:
        with RunLogger(folder, str(run), rows=len(rows)) as logger:
            for t in rows:
                logger.log(t, dict(zip(METRICS, VALUES[run % VARIANTS, t].tolist(), strict=True)))


LAYOUTS = {
    "10,000 CSV files": a_csv_each,
    "10,000 files of JSON lines": a_json_each,
    "10 CSV files of 1,000 runs": ten_csv,
    "10 files of JSON lines of 1,000 runs": ten_json,
    "10 Parquet files of 1,000 runs, written again": ten_parquet,
    "10,000 folders of RunLogger": parts_of_run_loggers,
}


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def memory(mark):
    """MB of this process: ``VmRSS`` now, or ``VmHWM`` at most."""
    return int(re.search(rf"{mark}:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def measured(layout, folder):
    """Figures of a watch of one layout."""
    write, logs, state = LAYOUTS[layout], folder / "logs", folder / "state.db"
    logs.mkdir()
    write(logs, range(RUNS), range(FIRST))
    model = reference()
    before = memory("VmRSS")
    watch = Watch(model, [logs], ANY, state=state)
    at = FIRST

    def poll(runs):
        nonlocal at
        rows = range(at, at + MORE)
        write(logs, runs, rows)
        at += MORE
        taken = seconds(lambda: list(watch.poll()))
        assert {watch.monitor.trackers[str(run)].last_step for run in runs} <= {rows[-1]}
        return taken

    figures = {"first": seconds(lambda: list(watch.poll()))}
    assert len(watch.monitor.trackers) == RUNS
    figures["nothing new"] = statistics.median(poll([]) for _ in range(POLLS))
    figures["10 grew"] = statistics.median(poll(range(0, RUNS, RUNS // 10 + 1)) for _ in range(POLLS))
    figures["all grew"] = poll(range(RUNS))
    figures["rows/s"] = RUNS * MORE / figures["all grew"]
    figures["state, MB"] = state.stat().st_size / 1e6
    figures["MiB before"], figures["MiB at most"] = before, memory("VmHWM")
    return figures


def carried_on(layout, folder):
    """Figures of a watch that begins with what another left."""
    watch = Watch(reference(), [folder / "logs"], ANY, state=folder / "state.db")
    return {"carry on": seconds(lambda: list(watch.poll())), "MiB to carry on": memory("VmHWM")}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_polls_of_10000_runs(layout, tmp_path):
    figures = {}
    for what in ("measured", "carried_on"):  # each in a process, whose memory is its own
        words = [sys.executable, __file__, what, layout, str(tmp_path)]
        figures |= json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
    print(f"\n{layout}: " + ", ".join(f"{name} {figure:,.3g}" for name, figure in figures.items()))
    assert max(figures["MiB at most"], figures["MiB to carry on"]) < 1024


if __name__ == "__main__":
    print(json.dumps({"measured": measured, "carried_on": carried_on}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))))
