"""Rows dealt out at random, with restarts in between, give what the finished log gives, to the last bit."""

import json
import math

import numpy as np
import pytest

from trajhmm.logs import read_logs
from trajhmm.logs.settings import Settings
from trajhmm.warning.monitor import Monitor, Watch
from trajhmm.warning.reference import fit_warning

from .logs import healthy_logs
from .made import KNOWN, METRICS, training

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)
CLOCK = 1.7e9


@pytest.fixture(scope="module")
def model():
    return fit_warning(healthy_logs(10), states=3, restarts=2, iterations=30)


def rows_of(seed, n=60, first=0):
    """(step, metrics) of a healthy run, with an epoch, a time and a learning rate."""
    values = training(np.random.default_rng(seed), n)
    for row, cells in enumerate(values):
        told = dict(zip(METRICS, cells.tolist(), strict=True))
        yield 10 * row, {"epoch": row // 10, "time": CLOCK + 7 * row, "lr": 1e-3 * (1 - row / 99), **told}


def plain(seed):
    return [{"step": step, **cells} for step, cells in rows_of(seed)]


def evaluations(seed):
    """After every tenth row one that holds an epoch, a time and an evaluation; three more at the end."""
    rows = plain(seed)
    evals = [
        {"step": step, "epoch": step // 100, "time": CLOCK, "val_loss": 1.0 + step} for step in range(90, 600, 100)
    ]
    more = [{"step": 600 + i, "epoch": 6, "time": CLOCK, "val_loss": 5.0 + i} for i in range(3)]
    return sorted([*rows, *evals, *more], key=lambda row: row["step"])


def in_pieces(seed):
    """Each step in two rows, and some of them three times with other values."""
    rows = []
    for row in plain(seed):
        loss = {"step": row["step"], "train_loss": row.pop("train_loss")}
        rows += [row, loss]
        if row["step"] % 70 == 0:
            rows += [{**loss, "train_loss": loss["train_loss"] * factor} for factor in (1.01, 0.98)]
    return rows


def lost(seed, spelled):
    """The loss and the gradient norm are gone from row 40 on."""
    gone = {"train_loss": spelled, "grad_norm": spelled}
    return [row if row["step"] < 400 else {**row, **gone} for row in plain(seed)]


def healed(seed):
    """A gradient norm that is infinite twice, a loss that is blank twice."""
    rows = plain(seed)
    for row in rows[20:22]:
        row["grad_norm"] = math.inf
    for row in rows[30:32]:
        row["train_loss"] = None
    return rows


def summed_up(seed):
    return [*plain(seed), {"step": 600, "epoch": 6, "train_runtime": 99.0, "total": 3.0}]


def within_epochs(seed):
    """Steps that begin again with each epoch, which ten rows make."""
    return [{**row, "step": row["step"] % 100} for row in plain(seed)]


def unevenly_within_epochs(seed):
    """The same, the last row of each epoch nearer, and the second epoch shorter."""
    rows = [{**row, "step": 83 if row["step"] == 90 else row["step"]} for row in within_epochs(seed)]
    return rows[:16] + rows[20:]


def evaluated_epochs(seed):
    """The same, and beside the last row of each epoch one that holds an evaluation."""
    rows = []
    for row in within_epochs(seed):
        rows.append(row)
        if row["step"] == 90:
            rows.append({"step": 90, "epoch": row["epoch"], "time": CLOCK, "val_loss": 1.0 + row["epoch"]})
    return rows


LOGS = {
    "evaluated epochs": evaluated_epochs,
    "within epochs": within_epochs,
    "unevenly within epochs": unevenly_within_epochs,
    "plain": plain,
    "evaluations": evaluations,
    "in pieces": in_pieces,
    "blank": lambda seed: lost(seed, None),
    "NaN": lambda seed: lost(seed, math.nan),
    "healed": healed,
    "summed up": summed_up,
}
ALARMS = {"blank": 420, "NaN": 400}


def csv_lines(rows):
    names = list(dict.fromkeys(name for row in rows for name in row))
    yield ",".join(names) + "\n"
    for row in rows:
        yield ",".join("" if row.get(name) is None else repr(row[name]) for name in names) + "\n"


def json_lines(rows):
    for row in rows:
        yield json.dumps(row) + "\n"


WRITERS = {"csv": csv_lines, "jsonl": json_lines}


@pytest.mark.sampled(8)
@pytest.mark.parametrize("how", WRITERS)
@pytest.mark.parametrize("what", LOGS)
@pytest.mark.parametrize("restarts", [False, True], ids=["one watch", "restarted"])
@pytest.mark.parametrize("most", [1, 5], ids=["row by row", "a few rows a poll"])
def test_live_is_batch(model, what, how, most, restarts, tmp_path):
    rng = np.random.default_rng([len(what), len(how)])
    path, state = tmp_path / "logs" / f"a.{how}", tmp_path / "state.db"
    path.parent.mkdir()
    watch = Watch(model, [path.parent], HOW, state=state)
    alarms = []
    lines = list(WRITERS[how](LOGS[what](3)))
    while lines:
        n = int(rng.integers(1, most + 1))
        with path.open("a") as file:
            file.writelines(lines[:n])
        del lines[:n]
        alarms += [alarm for _, alarm in watch.poll()]
        if restarts and rng.random() < 0.3:
            watch = Watch(model, [path.parent], HOW, state=state)
    alarms += [alarm for _, alarm in watch.poll()]  # nothing more comes of the last step
    whole = Monitor(model)
    whole.score(read_logs(path))
    live, batch = watch.monitor.trackers["a"].to_dict(), whole.trackers["a"].to_dict()
    assert {name: live[name] for name in KNOWN} == {name: batch[name] for name in KNOWN}
    assert [alarm.step for alarm in alarms] == ([ALARMS[what]] if what in ALARMS else [])
    assert not watch.follower.torn
