"""A log that is followed is cut back, to a checkpoint or to nothing, and written on with other rows."""

import numpy as np
import pandas as pd
import pytest

from trajhmm.logs.following.follow import Follower
from trajhmm.logs.following.marks import Marks
from trajhmm.logs.settings import Settings

HOW = Settings.of(run_by=(), rename=None, where=None, step=None)


def values(n, seed=0, cut=None, other=1):
    """n numbers; from ``cut`` on those of another seed."""
    first = np.random.default_rng(seed).random(n)
    if cut is not None:
        first[cut:] = np.random.default_rng(other).random(n)[cut:]
    return first


def write(path, loss, runs=("r",)):
    frame = pd.concat([pd.DataFrame({"run": run, "step": 10 * np.arange(len(loss)), "loss": loss}) for run in runs])
    match path.suffix:
        case ".csv":
            frame.to_csv(path, index=False)
        case ".jsonl":
            frame.to_json(path, orient="records", lines=True, double_precision=15)
        case ".parquet":
            frame.to_parquet(path, index=False, row_group_size=1000)


def told(follower):
    found = {}
    for rows in follower.poll():
        found.setdefault(rows.run, []).extend(zip(rows.steps.tolist(), rows.values[:, 0].tolist(), strict=True))
    return found


def again(path, follower):
    """A new follower that goes on from what was seen."""
    seen = {found.real: found.seen for found in follower._listing.there.values()}
    other = Follower([path], ["loss"], HOW)
    other.resume(seen)
    return other


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(("length", "cut", "now"), [(50, 30, 40), (50, 1, 12), (500, 100, 260), (500, 490, 500)])
def test_rows_behind_the_cut_are_told(suffix, length, cut, now, restart, tmp_path):
    """Those behind the last mark before the cut may come again; no row that is another than it was is missing."""
    path = tmp_path / f"log{suffix}"
    write(path, values(length))
    follower = Follower([path], ["loss"], HOW)
    assert len(told(follower)["r"]) == length
    if restart:
        follower = again(path, follower)
    new = values(now, cut=cut)
    write(path, new)
    found = told(follower)["r"]
    steps, losses = map(np.array, zip(*found, strict=True))
    np.testing.assert_array_equal(steps, 10 * np.arange(now - len(found), now))
    np.testing.assert_allclose(losses, new[now - len(found) :], rtol=1e-12)
    assert now - cut <= len(found) <= now - cut + length // 32 + 1
    write(path, np.append(new, 0.5))
    assert told(follower) == {"r": [(10 * now, 0.5)]}


def test_only_the_run_that_was_cut_back_is_told_again(tmp_path):
    path = tmp_path / "log.csv"
    write(path, values(60), runs=("a", "b"))
    follower = Follower([path], ["loss"], HOW)
    assert {run: len(rows) for run, rows in told(follower).items()} == {"a": 60, "b": 60}
    frame = pd.read_csv(path)
    frame.loc[frame["run"].eq("b") & frame["step"].ge(400), "loss"] += 1
    frame.to_csv(path, index=False)
    found = told(follower)
    assert list(found) == ["b"]
    assert 20 <= len(found["b"]) <= 22


@pytest.mark.parametrize("rows", [9000, 20_000])
def test_a_long_parquet_file_of_which_only_the_end_is_read(rows, tmp_path):
    path = tmp_path / "log.parquet"
    write(path, values(rows))
    follower = Follower([path], ["loss"], HOW)
    told(follower)
    new = values(rows + 100, cut=rows // 2)
    write(path, new)
    found = told(follower)["r"]
    assert rows // 2 + 100 <= len(found) <= rows // 2 + 100 + rows // 32
    assert found[-1] == (10 * (rows + 99), new[-1])


def test_a_file_that_is_half_written_again_tells_nothing(tmp_path):
    """A job that writes its whole log anew is seen in between: the same rows, fewer of them."""
    path = tmp_path / "log.csv"
    write(path, values(100))
    follower = Follower([path], ["loss"], HOW)
    told(follower)
    for n in (40, 3, 100):
        write(path, values(n) if n < 100 else values(100))
        whole = np.random.default_rng(0).random(100)
        write(path, whole[:n])
        assert told(follower) == {}
    write(path, np.append(np.random.default_rng(0).random(100), [1.0, 2.0]))
    assert told(follower) == {"r": [(1000, 1.0), (1010, 2.0)]}


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("first", [2, 60, 900])
def test_a_last_row_that_goes_on_is_told_once_and_nothing_before_it_again(first, suffix, restart, tmp_path):
    """A running mean of an epoch, written over until the next begins: no other run, and no resume."""
    path, loss, steps = tmp_path / f"log{suffix}", values(first + 8), []
    write(path, loss[:first])
    follower = Follower([path], ["loss"], HOW)
    assert len(told(follower)["r"]) == first
    for n in range(first, first + 8):
        for part in (0.3, 0.7, 1.0):
            so_far = loss[:n].copy()
            so_far[-1] *= part
            write(path, so_far)
            steps += [step for step, _ in told(follower).get("r", [])]
            if restart:
                follower = again(path, follower)
    assert steps == [10 * n for n in range(first, first + 7)]
    write(path, values(first + 40, cut=first - 1))  # and now it is another run from there on
    rows = told(follower)["r"]
    assert (rows[-1][0], len(rows) >= 41) == (10 * (first + 39), True)


def test_marks_against_all_rows():
    """However rows come, a row that changed is told from the last mark before it on, and no other is."""
    rng = np.random.default_rng(3)
    for _ in range(300):
        rows, marks = 0, Marks()
        prints = [rng.bytes(8) for _ in range(1200)]
        while rows < 700 and (not rows or rng.random() > 0.02):
            more = int(rng.choice([1, 2, 5, 100, 290]))
            marks, rows = marks.behind(rows, more, prints.__getitem__), rows + more
        assert len(marks.prints) == 8 * (max(rows - 2, 0) // marks.every)
        assert len(marks.prints) <= 8 * 64
        assert marks.end == b"".join(prints[max(rows - 2, 0) : rows])
        assert marks.differs(rows, 0, rows, prints.__getitem__) is None
        last = [*prints[: rows - 1], rng.bytes(8)]
        assert marks.differs(rows, 0, rows, last.__getitem__) is None
        more = marks.with_last(last[-1]).behind(rows, 50, [*last, *prints[rows:]].__getitem__)
        assert more.differs(rows + 50, 0, rows + 50, [*last, *prints[rows:]].__getitem__) is None
        if rows < 3:
            continue
        changed = int(rng.integers(1, rows - 1))
        other = [*prints[:changed], *(rng.bytes(8) for _ in prints[changed:])]
        found = marks.differs(rows, 0, rows, other.__getitem__)
        assert found == min(-(-changed // marks.every) * marks.every, rows - 2)
        same = marks.as_before(found)
        assert changed - marks.every < same <= changed
        grown = marks.of_first(same, prints[same - 1]).behind(same, 50, other.__getitem__)
        assert grown.differs(same + 50, 0, same + 50, other.__getitem__) is None
        assert grown.differs(same + 50, 0, same + 50, prints.__getitem__) is not None


def test_without_marks_of_before_nothing_is_said_of_rows():
    """A state file of before tells the first row alone."""
    marks = Marks().behind(20, 5, lambda place: bytes([place] * 8))
    assert marks == Marks()
    assert marks.differs(25, 0, 25, lambda place: bytes([place] * 8)) is None
    assert marks.with_last(bytes(8)) == marks
