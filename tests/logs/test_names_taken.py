"""A run that is followed goes by its name; then another run of the same name comes, and a batch calls both by ids."""

import json
import sqlite3
from contextlib import closing

import pytest

from trajhmm.logs import read_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.settings import Settings

from .records import HEAD, field, piece

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


class Mlflow:
    """A folder a run, as the library lays it out."""

    def __init__(self, folder):
        self.folder = folder / "mlruns" / "0"

    def log(self, run, steps, loss):
        folder = self.folder / (run * 32)
        (folder / "metrics").mkdir(parents=True, exist_ok=True)
        (folder / "meta.yaml").write_text("lifecycle_stage: active\nrun_name: same\n")
        with (folder / "metrics" / "loss").open("a") as file:
            file.writelines(f"{step} {loss(step)} {step}\n" for step in steps)


class Trackio:
    """A database of all runs."""

    def __init__(self, folder):
        self.path = folder / "p.db"
        with closing(sqlite3.connect(self.path)) as database, database:
            database.execute(
                "CREATE TABLE metrics (id INTEGER PRIMARY KEY, run_id TEXT, timestamp TEXT, run_name TEXT, step INT,"
                " metrics TEXT)"
            )

    def log(self, run, steps, loss):
        with closing(sqlite3.connect(self.path)) as database, database:
            rows = [(run * 32, step, json.dumps({"loss": loss(step)})) for step in steps]
            database.executemany("INSERT INTO metrics VALUES (NULL, ?, '2026', 'same', ?, ?)", rows)


class Wandb:
    """A file a run, of records."""

    def __init__(self, folder):
        self.folder = folder

    def log(self, run, steps, loss):
        folder = self.folder / f"offline-run-20260101_00000{int(run, 16) % 10}-{run * 32}"
        folder.mkdir(exist_ok=True)
        path = folder / f"run-{run * 32}.wandb"
        if not path.exists():
            path.write_bytes(HEAD + piece(field(17, field(1, run * 32) + field(8, "same"))))
        rows = [
            piece(field(2, field(1, field(1, "loss") + field(6, loss(step))) + field(2, field(1, step))))
            for step in steps
        ]
        with path.open("ab") as file:
            file.writelines(rows)


def told(follower):
    found = {}
    for rows in follower.poll():
        found.setdefault(rows.run, []).extend(rows.steps.tolist())
    return found


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("seed", ["another", "the same"])
@pytest.mark.parametrize("tracker", [Mlflow, Trackio, Wandb])
def test_a_run_keeps_the_name_that_it_was_first_seen_by(tracker, seed, restart, tmp_path):
    """Called by its id it would be told again from its start, or from its middle on as if it began there."""
    first, second = (lambda step: 1.0 + step), (lambda step: (1.0 if seed == "the same" else 2.0) + step)
    log = tracker(tmp_path)
    follower = Follower([tmp_path], ["loss"], HOW)
    log.log("a", range(5), first)
    assert told(follower) == {"same": [0, 1, 2, 3, 4]}
    if restart:
        seen = {found.real: found.seen for found in follower._listing.there.values()}
        follower = Follower([tmp_path], ["loss"], HOW)
        follower.resume(seen)
    log.log("b", range(3), second)
    assert told(follower) == {"b" * 32: [0, 1, 2]}
    log.log("a", [5, 6], first)
    log.log("b", [3], second)
    assert told(follower) == {"same": [5, 6], "b" * 32: [3]}
    assert read_logs(tmp_path).runs == ("a" * 32, "b" * 32)


@pytest.mark.parametrize("how", ["its own name", "renamed", "in some lines alone"])
def test_a_second_run_of_a_file_is_not_taken_for_the_first(how, tmp_path):
    """A file with a column of runs may hold one of them at first."""
    column = "exp" if how == "renamed" else "run"
    settings = Settings.of(run_by=(), rename={"exp": "run"} if how == "renamed" else None, where=None, step=None)
    follower = Follower([tmp_path], ["loss"], settings)
    path = tmp_path / "log.jsonl"

    def add(run, steps):
        with path.open("a") as file:
            for step in steps:
                file.write(
                    json.dumps({column: run, "step": step, "loss": 1.0 + step} if run else {"step": step, "loss": 2.0})
                )
                file.write("\n")

    add("A", range(5))
    assert told(follower) == {"A": [0, 1, 2, 3, 4]}
    second = "" if how == "in some lines alone" else "B"
    add(second, range(5))
    assert told(follower) == {second or "log": [0, 1, 2, 3, 4]}
