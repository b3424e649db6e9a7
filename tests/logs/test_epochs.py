"""Counters that begin again with each epoch, and several rows of one step."""

import json

import numpy as np
import pandas as pd
import pytest

import trajhmm as th
from trajhmm.errors import LogError
from trajhmm.logs.following.counting import StepCounter

LOSS = np.random.default_rng(0).lognormal(size=40)


def batches(first=0, every=1, epochs=4, rows=10):
    step = np.tile(first + every * np.arange(rows), epochs)
    return pd.DataFrame({"epoch": np.repeat(np.arange(epochs), rows), "step": step, "loss": LOSS[: epochs * rows]})


@pytest.mark.parametrize(("first", "every"), [(0, 1), (1, 1), (10, 10), (0, 5)])
def test_a_counter_that_begins_again_with_each_epoch_is_numbered_on(first, every, tmp_path):
    batches(first, every).to_csv(tmp_path / "a.csv", index=False)
    batches(first, every).assign(loss=LOSS[::-1]).to_csv(tmp_path / "b.csv", index=False)
    runs = th.read_logs(tmp_path)
    assert runs.steps.tolist() == [first + every * row for row in range(40)] * 2
    np.testing.assert_array_equal(runs.column("loss"), np.concatenate([LOSS, LOSS[::-1]]))
    said = [str(note) for note in runs.notes if note.kind == "epochs"]
    assert said == [
        f"run {run}: steps begin again with each epoch, 3 times: numbered on in the order of the rows" for run in "ab"
    ]
    assert not [note for note in runs.notes if note.kind == "resume"]


def test_epochs_of_other_lengths_and_of_one_row_are_numbered_on_too():
    frame = batches()
    kept = frame[(frame.epoch != 1) | (frame.step < 4)]
    assert th.RunSet.from_frame(kept).steps.tolist() == list(range(34))
    one = frame.groupby("epoch").head(1)
    assert th.RunSet.from_frame(one).steps.tolist() == [0, 1, 2, 3]


def test_steps_go_on_as_far_as_those_of_the_first_epoch_are_usually_apart():
    """Rows after the first epoch are not asked: a log of which half is written is numbered as the whole one is."""
    step = [0, 50, 100, 120, 0, 5, 10, 15, 20, 25, 0, 50]
    frame = pd.DataFrame({"epoch": [0] * 4 + [1] * 6 + [2] * 2, "step": step, "loss": LOSS[:12]})
    numbered = [0, 50, 100, 120, 170, 175, 180, 185, 190, 195, 245, 295]
    for rows in (12, 11, 7, 5):
        assert th.RunSet.from_frame(frame[:rows]).steps.tolist() == numbered[:rows]


@pytest.mark.parametrize(
    ("epoch", "step", "numbered"),
    [
        # An evaluation before training, at the first step of the first epoch.
        ([0, 1, 1, 1, 2, 2, 2], [0, 0, 10, 20, 0, 10, 20], [0, 1, 11, 21, 31, 41, 51]),
        # A first epoch of one row says nothing of how far rows are apart.
        ([0, 1, 1, 1, 2, 2, 2], [1, 0, 10, 20, 0, 10, 20], [1, 2, 12, 22, 32, 42, 52]),
        # Evaluations beside a row of their epoch.
        ([0, 0, 0, 1, 1, 1, 2, 2], [0, 10, 10, 0, 10, 10, 0, 10], [0, 10, 10, 20, 30, 30, 40, 50]),
    ],
)
def test_rows_are_numbered_as_they_come_as_when_all_are_there(epoch, step, numbered):
    frame = pd.DataFrame({"epoch": epoch, "step": step, "loss": LOSS[: len(step)]})
    for rows in range(2, len(step) + 1):
        found = th.RunSet.from_frame(frame[:rows]).steps.tolist()
        assert found == sorted(set(numbered[:rows]))
    for again in (False, True):  # with a state file that is read before each row
        counter, told = StepCounter(), []
        for one, of_epoch in zip(step, epoch, strict=True):
            counter = StepCounter.of(json.loads(json.dumps(counter.to_list()))) if again else counter
            told += counter.take(np.array([one]), np.array([of_epoch], dtype=float)).tolist()
        assert told == numbered


@pytest.mark.parametrize("seed", range(40))
def test_whatever_a_counter_within_epochs_does_live_is_batch(seed):
    """Epochs of other lengths and spacings, begun twice, evaluated at their last row; told a few rows at a time."""
    rng = np.random.default_rng(seed)
    first, epochs, steps = int(rng.choice([0, 1, 5])), [], []
    for epoch in range(int(rng.integers(2, 6))):
        apart = rng.choice([1, 2, 5, 10], size=int(rng.integers(0, 7)))
        own = first + np.concatenate(([0], np.cumsum(apart)))
        own = np.append(own, own[-1:] if rng.random() < 0.3 else [])
        own = np.insert(own, 0, own[0]) if rng.random() < 0.1 else own
        steps += own.astype(int).tolist()
        epochs += [epoch] * len(own)
    counter, told = StepCounter(), []
    for some in np.split(np.arange(len(steps)), np.sort(rng.integers(0, len(steps), 5))):
        if len(some):
            told += counter.take(np.array(steps)[some], np.array(epochs, dtype=float)[some]).tolist()
    runs = th.RunSet.from_frame(pd.DataFrame({"epoch": epochs, "step": steps, "loss": rng.random(len(steps))}))
    assert sorted(set(told)) == runs.steps.tolist()
    assert len(set(told)) >= len(set(zip(epochs, steps, strict=True)))


def test_a_state_file_of_before_learns_how_far_steps_are_apart():
    counter = StepCounter.of([0, 0, 0.0, 0, 1])
    steps, epochs = [10, 20, 30, 0, 10, 20, 30, 0, 10], [0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert counter.take(np.array(steps), np.array(epochs, dtype=float)).tolist() == list(range(10, 91, 10))[:9]


def test_a_run_that_was_resumed_takes_its_epoch_back_and_is_no_such_counter():
    first = pd.DataFrame({"step": range(20), "epoch": np.arange(20) // 5, "loss": LOSS[:20]})
    again = pd.DataFrame({"step": range(10, 30), "epoch": np.arange(10, 30) // 5, "loss": LOSS[20:40]})
    runs = th.RunSet.from_frame(pd.concat([first, again]))
    assert runs.steps.tolist() == list(range(30))
    np.testing.assert_array_equal(runs.column("loss"), [*LOSS[:10], *LOSS[20:40]])
    begun_anew = th.RunSet.from_frame(pd.concat([first, first.assign(loss=LOSS[20:40])]))
    np.testing.assert_array_equal(begun_anew.column("loss"), LOSS[20:40])


def test_without_an_epoch_such_a_counter_is_refused(tmp_path):
    batches().drop(columns="epoch").to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(LogError, match=r"steps begin again at 0 after every 10 rows, 3 times.*column 'epoch'.*--step"):
        th.read_logs(tmp_path)


def test_rows_of_one_step_in_a_row_are_their_mean():
    frame = pd.DataFrame(
        {"step": [0, 0, 0, 1, 2, 2], "loss": [3.0, 4.0, 8.0, 2.0, 1.0, np.nan], "norm": [1.0, 1, 1, 2, 3, 5]}
    )
    runs = th.RunSet.from_frame(frame)
    assert runs.steps.tolist() == [0, 1, 2]
    assert runs.column("loss").tolist() == [5.0, 2.0, 1.0]
    assert runs.column("norm").tolist() == [1.0, 2.0, 4.0]
    (note,) = [note for note in runs.notes if note.kind == "duplicate"]
    assert "2 steps were logged several times with different values, their mean was taken" in note.text


def test_a_step_that_another_file_logs_again_is_a_resumed_run(tmp_path):
    columns = {"loss": [3.0, 4.0, 5.0], "norm": [1.0, 2.0, 4.0]}
    pd.DataFrame({"run": "a", "step": [0, 1, 2], **columns}).to_csv(tmp_path / "0.csv", index=False)
    again = {name: [9 * value for value in values] for name, values in columns.items()}
    pd.DataFrame({"run": "a", "step": [2, 3, 4], **again}).to_csv(tmp_path / "1.csv", index=False)
    runs = th.read_logs(tmp_path)
    assert runs.column("loss").tolist() == [3.0, 4.0, 27.0, 36.0, 45.0]
    assert [note.kind for note in runs.notes] == ["resume"]


@pytest.mark.parametrize("at", ["last", "first"])
def test_evaluations_beside_a_row_of_their_epoch_do_not_matter(at):
    rows = []
    for epoch in range(4):
        for batch in range(10):
            rows.append({"epoch": epoch, "step": batch, "loss": LOSS[10 * epoch + batch]})
            if batch == {"first": 0, "last": 9}[at]:
                rows.append({"epoch": epoch, "step": batch, "val_loss": LOSS[epoch] + 1})
    runs = th.RunSet.from_frame(pd.DataFrame(rows))
    assert runs.steps.tolist() == list(range(40))
    np.testing.assert_array_equal(runs.column("loss"), LOSS)
    assert np.isfinite(runs.column("val_loss")).sum() == 4
    assert not [note for note in runs.notes if note.kind == "resume"]


def test_files_that_round_otherwise_tell_of_one_run(tmp_path):
    frame = batches(epochs=1).drop(columns="epoch").assign(run="a")
    frame.to_csv(tmp_path / "0.csv", index=False)
    rounded = frame.assign(loss=frame.loss.astype(np.float32).astype(float), norm=np.arange(10) ** 2.0)
    rounded.to_csv(tmp_path / "1.csv", index=False)
    runs = th.read_logs(tmp_path)
    assert (runs.runs, runs.steps.tolist()) == (("a",), list(range(10)))
    np.testing.assert_allclose(runs.column("loss"), frame.loss, rtol=1e-7)
    assert runs.column("norm").tolist() == [n * n for n in range(10)]
    assert not [note for note in runs.notes if note.kind == "resume"]
