"""Lines that make no sense in logs that are followed: they are passed over, counted and told, and the run goes on."""

import json

import numpy as np
import pytest

from trajhmm.errors import LogError
from trajhmm.logs import read_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.settings import Settings
from trajhmm.warning.statefile import StateFile


def following(folder, metrics=("loss", "norm"), where=None, step=None, run_by=()):
    return Follower([folder], metrics, Settings.of(run_by=run_by, rename=None, where=where, step=step))


def taken(follower):
    return [
        (rows.run, int(step), *row.tolist())
        for rows in follower.poll()
        for step, row in zip(rows.steps, rows.values, strict=True)
    ]


def lines(how, begin, end):
    rows = [{"step": t, "loss": t + 0.5, "norm": 2.0} for t in range(begin, end)]
    if how == "csv":
        return [f"{row['step']},{row['loss']},{row['norm']}\n" for row in rows]
    return [json.dumps(row) + "\n" for row in rows]


def add(path, more):
    with path.open("a") as file:
        file.writelines(more)


def begun(tmp_path, how, rows=10, header="step,loss,norm\n"):
    path = tmp_path / f"a.{how}"
    add(path, [*([header] if how == "csv" else []), *lines(how, 0, rows)])
    return path


BAD = {
    "csv": ["10,oops,2\n", "10,1,oops\n", "1.5,1,2\n", "oops,1,2\n", "1e300,1,2\n"],
    "jsonl": [
        '{"step": 10, "loss": "oops", "norm": 2}\n',
        '{"step": 10.5, "loss": 1, "norm": 2}\n',
        '{"step": "x", "loss": 1, "norm": 2}\n',
    ],
}


@pytest.mark.parametrize(("how", "bad"), [(how, bad) for how, several in BAD.items() for bad in several])
@pytest.mark.parametrize("place", [0, 3, 5])
def test_a_line_that_makes_no_sense_is_passed_over_and_counted_with_its_number(how, bad, place, tmp_path):
    path = begun(tmp_path, how)
    follower = following(tmp_path)
    assert len(taken(follower)) == 10
    more = lines(how, 11, 16)
    add(path, [*more[:place], bad, *more[place:]])
    assert taken(follower) == [("a", t, t + 0.5, 2.0) for t in range(11, 16)]
    ((told, skipped),) = follower.skipped.items()
    number = 10 + (how == "csv") + place + 1
    assert (told, skipped.n, f"line {number}" in skipped.why, str(path) in skipped.why) == (path, 1, True, True)
    assert not follower.torn
    add(path, [bad, *lines(how, 20, 22)])
    assert [row[1] for row in taken(follower)] == [20, 21]
    assert follower.skipped[path].n == 2
    with pytest.raises(LogError):  # a finished log is to be mended
        read_logs(path)


def test_a_file_of_which_most_new_lines_make_no_sense_is_told_and_no_row_is_taken_twice(tmp_path):
    path = begun(tmp_path, "csv")
    follower = following(tmp_path)
    taken(follower)
    add(path, [*lines("csv", 10, 12), *["12,oops,1\n"] * 150, *lines("csv", 13, 14)])
    first = taken(follower)
    assert "oops" in follower.torn[path]
    whole = "step,loss,norm\n" + "".join(lines("csv", 0, 16))
    path.write_text(whole)
    assert [row[1] for row in first + taken(follower)] == list(range(10, 16))
    assert not follower.torn
    assert not follower.skipped


def test_a_column_that_nobody_watches_may_turn_into_words(tmp_path):
    path = tmp_path / "a.csv"
    add(path, ["step,loss,norm,schedule\n", "0,1,2,0.1\n", "1,1,2,0.2\n"])
    follower = following(tmp_path)
    assert len(taken(follower)) == 2
    add(path, ["2,1,2,cosine\n", "3,1,2,0.1\n"])
    assert [row[1] for row in taken(follower)] == [2, 3]
    assert not follower.skipped


@pytest.mark.parametrize("again", [1, 2])
def test_a_log_that_was_emptied_goes_on_with_or_without_its_line_of_names(again, tmp_path):
    path, state = begun(tmp_path, "csv"), tmp_path / "state.db"
    follower = following(tmp_path)
    rows = taken(follower)
    for turn in range(again):
        begin = 10 * (turn + 1)
        path.write_text("")
        if turn:
            assert taken(follower) == []
        path.write_text("".join(lines("csv", begin, begin + 1)))
        rows += taken(follower)
        assert rows[-1][1] == begin  # a single row is no line of names
        add(path, lines("csv", begin + 1, begin + 4))
        rows += taken(follower)
        kept = StateFile(state, "m")
        kept.save(list(follower.unsaved()), [])
        follower = following(tmp_path)  # a new process
        follower.resume(StateFile(state, "m").load()[0])
        add(path, lines("csv", begin + 4, begin + 10))
        rows += taken(follower)
    assert [row[1] for row in rows] == list(range(10 * (again + 1)))
    assert not follower.torn
    path.write_text("step,norm,loss\n500,1,9\n")  # columns in another order
    assert taken(follower) == [("a", 500, 9.0, 1.0)]


def named(run, begin, end, *, add=0.0, columns=("loss", "norm")):
    rows = [{"run": run, "step": t, "loss": t + 0.5 + add, "norm": 2.0} for t in range(begin, end)]
    return [json.dumps({key: row[key] for key in ("run", "step", *columns)}) + "\n" for row in rows]


def test_another_run_of_the_same_name_is_refused_and_does_not_mix(tmp_path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    add(one, named("x", 0, 5))
    follower = following(tmp_path)
    assert len(taken(follower)) == 5
    add(other, named("x", 0, 8, add=1.0))
    add(one, named("x", 5, 6))
    assert [row[2] for row in taken(follower)] == [5.5]
    assert f"run 'x' is in {one} and in {other}, with other values at step 0" in follower.torn[other]
    one.unlink()  # it was moved there
    add(other, named("x", 8, 9, add=1.0))
    assert len(taken(follower)) == 9


def test_a_copy_adds_nothing_but_what_goes_on_behind_it(tmp_path):
    add(tmp_path / "one.jsonl", named("x", 0, 5))
    follower = following(tmp_path)
    taken(follower)
    add(tmp_path / "two.jsonl", named("x", 0, 7))
    assert [row[1] for row in taken(follower)] == [5, 6]
    assert not follower.torn


def test_a_run_may_be_resumed_in_another_file_and_tell_other_metrics_there(tmp_path):
    add(tmp_path / "one.jsonl", named("x", 0, 5))
    follower = following(tmp_path)
    taken(follower)
    add(tmp_path / "two.jsonl", named("x", 3, 7, add=1.0))
    assert [row[1] for row in taken(follower)] == [3, 4, 5, 6]
    add(tmp_path / "y1.jsonl", named("y", 0, 3, columns=("loss",)))
    taken(follower)
    add(tmp_path / "y2.jsonl", named("y", 0, 3, columns=("norm",)))
    rows = taken(follower)
    assert [row[1] for row in rows] == [0, 1, 2]
    assert all(np.isnan(row[2]) for row in rows)
    assert not follower.torn
