"""Logs, state files, truths and checkpoints that anybody may have written: an error in a line, or what is there.

The quick part runs with the other tests; ``pytest -m fuzz tests/fuzz/test_readers.py -s`` tries 100,000 of each, or
``TRAJHMM_FUZZ`` of them, others each time (:mod:`.tally` adds up).
"""

import json
import os
import random
import sqlite3
import time

import numpy as np
import pandas as pd
import pytest

from trajhmm.errors import TrajHMMError
from trajhmm.logs import read_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.settings import Settings
from trajhmm.metrics.checkpoints.weightfiles import stored_tensors
from trajhmm.naming import shown
from trajhmm.warning.evaluation import read_truth
from trajhmm.warning.monitor import Watch

from .mutate import mutated, other_cells, scrambled
from .tally import mebibytes, tell

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)
FEW, MANY = 40, int(os.environ.get("TRAJHMM_FUZZ", "100000"))
LONGEST_LINE = 1500
# Seconds on an idle machine, and MiB; the quick part does not look at them.
LONGEST, MOST = 5.0, 1024


def frame(rows=12):
    t = np.arange(rows)
    return pd.DataFrame({"step": t, "loss": 1 / (1 + t), "norm": 2.0 + t % 3, "run": "a"})


def objects():
    return frame().to_dict("records")


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def database(path):
    with sqlite3.connect(path) as connection:
        frame().to_sql("logs", connection, index=False)
    connection.close()


def parquet(path):
    frame().to_parquet(path)


TEXT = {
    "a.csv": frame().to_csv(index=False).encode(),
    "a.tsv": frame().to_csv(index=False, sep="\t").encode(),
    "semicolons.csv": frame().to_csv(index=False, sep=";", decimal=",").encode(),
    "wide.csv": frame().to_csv(index=False).encode("utf-16"),
    "training.csv": frame().rename(columns={"step": "epoch"}).drop(columns="run").to_csv(index=False).encode(),
    "progress.csv": frame().rename(columns={"step": "time/total_timesteps"}).to_csv(index=False).encode(),
    "monitor.csv": b'#{"t_start": 1.0, "env_id": "x"}\nr,l,t\n1.0,5,0.1\n2.0,6,0.2\n3.0,7,0.3\n',
    "a.jsonl": lines(objects()),
    "metrics.json": lines({"iteration": row["step"], "loss": row["loss"]} for row in objects()),
    "result.json": lines({"training_iteration": row["step"], "loss": row["loss"]} for row in objects()),
    "a.json": json.dumps(objects()).encode(),
    "trainer_state.json": json.dumps({"global_step": 12, "log_history": objects()}).encode(),
}
BINARY = {"a.parquet": parquet, "a.db": database}


def spoilt(raw, name, rng):
    """The content of a log with a few changes that suit it, or any."""
    if rng.randrange(3) == 0:
        return scrambled(raw, rng)
    if name.endswith(("csv", "tsv")) and name != "wide.csv":
        separator = "\t" if name.endswith("tsv") else ";" if name.startswith("semi") else ","
        changed = other_cells(raw.decode().split("\n"), rng, separator=separator)
        return "\n".join(changed).encode("utf-8", "surrogatepass")
    if name.endswith("jsonl") or name in ("metrics.json", "result.json"):
        rows = raw.decode().splitlines()
        place = rng.randrange(len(rows))
        rows[place] = json.dumps(mutated(json.loads(rows[place]), rng))
        return "\n".join([*rows, ""]).encode()
    if name.endswith("json"):
        return json.dumps(mutated(json.loads(raw), rng)).encode()
    return scrambled(raw, rng)


def whole(path):
    """What a file holds, if anything: finite rows of text and numbers."""
    runs = read_logs(path)
    assert runs.values.shape == (len(runs.steps), len(runs.metrics))
    assert len(set(runs.runs)) == len(runs.runs)


def followed(path):
    follower = Follower([path.parent], ("loss", "norm"), HOW)
    for rows in follower.poll():
        assert rows.values.shape == (len(rows.steps), 2)
    assert all(len(why) < LONGEST_LINE for why in follower.torn.values())


def tried(use, path):
    """Whether a use of a file ends in an error of this library, of which verbs make a line; others go through."""
    told = ""
    try:
        use(path)
    except TrajHMMError as error:
        told = shown(error)
    assert len(told) < LONGEST_LINE
    return bool(told)


def tries(path, spoil, uses, n, seed):
    """How many spoilt versions of a file are refused by the first use of it, and seconds that the slowest took."""
    raw, refused, slowest = path.read_bytes(), 0, 0.0
    rng = random.Random(seed)  # noqa: S311 (no secret)
    for _ in range(n):
        path.write_bytes(spoil(raw, rng))
        started = time.monotonic()
        first, *_ = [tried(use, path) for use in uses]
        refused += first
        slowest = max(slowest, time.monotonic() - started)
    return refused, slowest


def a_log(name, folder):
    """A good log of a format, how it is spoilt, and how it is read."""
    folder.mkdir()
    path = folder / name
    if name in BINARY:
        BINARY[name](path)
    else:
        path.write_bytes(TEXT[name])
    return path, lambda raw, rng: spoilt(raw, name, rng), (whole, followed)


def very_many(name, path, spoil, uses):
    """As many as are asked for, others each time."""
    before = mebibytes()
    refused, slowest = tries(path, spoil, uses, MANY, time.time_ns())
    grown = mebibytes() - before
    tell(name, inputs=MANY, refused=refused, slowest=slowest, grown=grown)
    assert 0 < refused < MANY
    assert slowest < LONGEST
    assert grown < MOST


@pytest.mark.parametrize("name", [*TEXT, *BINARY])
@pytest.mark.sampled(4)
def test_a_log_that_anybody_may_have_written_is_read_or_refused_in_a_line(name, tmp_path):
    refused, _ = tries(*a_log(name, tmp_path / "logs"), FEW, 1)
    assert 0 < refused < FEW


@pytest.mark.fuzz
@pytest.mark.parametrize("name", [*TEXT, *BINARY])
def test_a_hundred_thousand_logs(name, tmp_path):
    very_many(name, *a_log(name, tmp_path / "logs"))


TRUTH = b"run,onset,collapse_step\na,10,20\nb,-1,-1\nc,5,-1\n"


def loaders(folder):
    """What else is loaded, by name: a good file, how it is spoilt, and how it is used."""
    truth, weights, state = folder / "truth.csv", folder / "w.npz", folder / "state.db"
    truth.write_bytes(TRUTH)
    np.savez(weights, a=np.eye(3), b=np.arange(4.0))
    (folder / "logs").mkdir()
    (folder / "logs" / "a.csv").write_bytes(TEXT["a.csv"])

    def watch(path):
        return Watch(None, [folder / "logs"], HOW, state=path, metrics=["loss", "norm"])

    list(watch(state).poll())

    def resume(path):
        for beside in ("-journal", "-wal", "-shm"):
            path.with_name(f"{path.name}{beside}").unlink(missing_ok=True)
        list(watch(path).poll())

    def tensors(path):
        with stored_tensors(path) as stored:
            for tensor in stored.values():
                tensor.load()

    def cells(raw, rng):
        if rng.randrange(2):
            return scrambled(raw, rng)
        return "\n".join(other_cells(raw.decode().split("\n"), rng)).encode("utf-8", "surrogatepass")

    return {
        "truth": (truth, cells, [read_truth]),
        "npz": (weights, scrambled, [tensors]),
        "state": (state, scrambled, [resume]),
    }


LOADED = ("truth", "npz", "state")


@pytest.mark.parametrize("name", LOADED)
def test_what_else_is_loaded_does_or_is_refused_in_a_line(name, tmp_path):
    path, spoil, uses = loaders(tmp_path)[name]
    assert not tried(uses[0], path)
    refused, _ = tries(path, spoil, uses, FEW, FEW)
    assert refused > 0


@pytest.mark.fuzz
@pytest.mark.parametrize("name", LOADED)
def test_a_hundred_thousand_of_what_else_is_loaded(name, tmp_path):
    very_many(name, *loaders(tmp_path)[name])
