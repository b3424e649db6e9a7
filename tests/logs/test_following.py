"""Logs that are followed: whatever jobs do to their files between polls, each row is told once."""

import gzip
import io
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trajhmm.logs.following import follow
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.formats import lines
from trajhmm.logs.settings import Settings
from trajhmm.logs.sources.reading import Source
from trajhmm.metrics import RunLogger

METRICS = ("loss", "norm")


def following(*paths, run_by=(), where=None, step=None, rename=None):
    return Follower(paths, METRICS, Settings.of(run_by=run_by, rename=rename, where=where, step=step))


def taken(follower):
    """What a poll tells: (run, step, loss), in order."""
    return [
        (rows.run, int(step), float(loss))
        for rows in follower.poll()
        for step, loss in zip(rows.steps, rows.values[:, 0], strict=True)
    ]


def steps(follower):
    return [step for _, step, _ in taken(follower)]


def csv_of(rows, *, attempt=1.0, header=True):
    body = "".join(f"{step},{attempt + step / 1000},{step / 7}\n" for step in rows)
    return ("step,loss,norm\n" if header else "") + body


def carried_on(follower, *paths):
    """A follower that resumes from what another would have saved."""
    stored = {}
    for path, seen, _ in follower.unsaved():
        again = json.loads(json.dumps(seen.to_dict()))
        stored[path] = type(seen).of(again, seen.runs)
    other = following(*paths)
    other.resume(stored)
    return other


# Text that grows

CSV = "\nstep,loss,norm,run,host\r\n0,3,,007,node 1\r\n1,2.5,0.1,b,node 2\r\n\r\n0,nan,inf,007,\n" + "".join(
    f"{t},{1 / t},None,{'007' if t % 3 else 'b'},node {t % 4}\n" for t in range(2, 40)
)
TSV = CSV.replace(",", "\t")
JSON = (
    '\ufeff{"_meta": {"seed": 3}}\n{"step": 0, "loss": 3, "run": "007"}\n'
    + "".join(
        json.dumps({"step": t, "loss": [None, "nan", 1 / t, float("inf")][t % 4], "run": ["1e5", "b", "é"][t % 3]})
        + "\n"
        for t in range(1, 40)
    )
    + '\n{"_summary": {"loss": 1}}\n{"event": "end"}\n{"step": 99, "loss": 1, "run": "007", "norm": 3}'
)


def everything(follower):
    """All rows of a poll by run, bits and blanks."""
    found = {}
    for rows in follower.poll():
        cells = [rows.steps.tobytes(), rows.values.tobytes(), rows.logged.tobytes()]
        found[rows.run] = [a + b for a, b in zip(found.get(rows.run, [b""] * 3), cells, strict=True)]
    return found


@settings(deadline=None, max_examples=60)
@given(data=st.data(), kind=st.sampled_from(["csv", "tsv", "jsonl"]), piece=st.sampled_from([300, 2**22]))
@pytest.mark.once
def test_however_a_file_grows_byte_by_byte_the_rows_are_those_of_the_whole(tmp_path_factory, data, kind, piece):
    raw = {"csv": CSV, "tsv": TSV, "jsonl": JSON}[kind].encode()
    cuts = sorted(data.draw(st.sets(st.integers(1, len(raw)), max_size=12)))
    folder = tmp_path_factory.mktemp("logs")
    path = folder / f"a.{kind}"
    # What a column holds is what its first rows say, so that these have to be the same.
    first = raw.index(b"b", raw.index(b"007"))
    first = raw.index(b"\n", first) + 1
    follower, found, written = following(folder), {}, 0
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines, "_PIECE", piece)
        for cut in [*(cut for cut in cuts if cut > first), len(raw)]:
            with path.open("ab") as file:
                file.write(raw[written:cut])
            written = cut
            for run, cells in everything(follower).items():
                found[run] = [a + b for a, b in zip(found.get(run, [b""] * 3), cells, strict=True)]
            assert not follower.torn
    whole = following(folder)
    assert found == everything(whole)
    assert set(found) == ({"007", "b"} if kind != "jsonl" else {"007", "1e5", "b", "é"})


def test_of_a_file_that_grew_only_what_is_new_is_read(tmp_path):
    """What stands in the middle is garbage by then, which would be left out if it were read."""
    path = tmp_path / "a.csv"
    path.write_text(csv_of(range(1000)))
    follower = following(tmp_path)
    assert steps(follower) == list(range(1000))
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"?" * 2000)
    with path.open("a") as file:
        file.write(csv_of(range(1000, 1003), header=False))
    assert steps(follower) == [1000, 1001, 1002]
    assert len(steps(following(tmp_path))) < 1000


@pytest.mark.parametrize(("at", "same"), [(0, False), (1000, False), (5000, True), (9990, False), (10_005, True)])
def test_a_text_is_known_again_by_its_start_and_by_what_stands_before_the_place(at, same):
    raw = b"x" * 9_999 + b"\n"

    def text(raw):
        return lines.GrowingFile(io.BytesIO(raw), header=False, cut=lines.whole_lines())

    ((_, place),) = text(raw).lines_behind(lines.Place())
    assert place.offset == 10_000
    changed = bytearray(raw + b"later lines\n")
    changed[at] ^= 1
    assert text(bytes(changed)).begins_as_before(place) == same


@pytest.mark.parametrize("where", ["head", "tail", "other file"])
def test_a_file_that_was_written_again_is_read_in_full_and_rows_that_were_seen_are_passed(tmp_path, where):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(range(100)))
    follower = following(tmp_path)
    assert len(steps(follower)) == 100
    again = {
        "head": csv_of(range(105)).replace("\n", ",\n").replace("norm,", "norm,seconds"),
        "tail": csv_of(range(99)) + "99,1.09900,14.1\n" + csv_of(range(100, 105), header=False),
        "other file": csv_of(range(105)),
    }[where]
    if where == "other file":
        (tmp_path / ".new").write_text(again)
        (tmp_path / ".new").rename(path)
    else:
        path.write_text(again)
    assert steps(follower) == list(range(100, 105))
    with path.open("a") as file:
        file.write("105,1,1" + (",\n" if where == "head" else "\n"))
    assert steps(follower) == [105]


def test_a_log_that_was_begun_anew_in_the_same_file_is_new(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(range(50)))
    follower = following(tmp_path)
    assert len(steps(follower)) == 50
    path.write_text(csv_of(range(3), attempt=2.0))
    assert taken(follower) == [("a", 0, 2.0), ("a", 1, 2.001), ("a", 2, 2.002)]
    with path.open("a") as file:
        file.write(csv_of(range(3, 5), attempt=2.0, header=False))
    assert steps(follower) == [3, 4]


def test_a_file_seen_while_it_is_written_again_tells_no_row_twice(tmp_path):
    path = tmp_path / "a.csv"
    whole = csv_of(range(60))
    path.write_text(csv_of(range(50)))
    follower = following(tmp_path)
    assert len(steps(follower)) == 50
    for part in (0, 5, 200, 900, len(whole)):
        path.write_text(whole[:part])
        last = steps(follower)
    assert last == list(range(50, 60))


def test_a_run_of_several_in_a_file_that_is_written_again_may_come_late(tmp_path):
    path = tmp_path / "all.csv"
    rows = [f"{run},{step},{step / 3}\n" for run in "ab" for step in range(40)]
    header = "run,step,loss\n"
    path.write_text(header + "".join(rows))
    follower = following(tmp_path)
    assert len(steps(follower)) == 80
    (tmp_path / ".new").write_text(header + "".join(rows[:40]))
    (tmp_path / ".new").rename(path)
    assert steps(follower) == []
    with path.open("a") as file:
        file.writelines(rows[40:])
        file.write("b,40,1\n")
    assert taken(follower) == [("b", 40, 1.0)]


# Lines that are not whole


def test_a_last_line_without_its_line_break_waits(tmp_path):
    path = tmp_path / "a.csv"
    follower = following(tmp_path)
    for text, expected in [
        ("step,lo", []),
        ("ss,norm\n0,1,1\n1,0.1", [(0, 1.0)]),
        ("25,2", []),
        ("\n2,3,4\n", [(1, 0.125), (2, 3.0)]),
    ]:
        with path.open("a") as file:
            file.write(text)
        assert [(step, loss) for _, step, loss in taken(follower)] == expected
        assert not follower.torn


def test_rows_with_names_of_their_own_are_held_a_few_at_a_time(tmp_path, monkeypatch):
    """Of 10,000 rows that name 10,000 columns 1.6 GB were held; read in parts they are the same rows."""
    path = tmp_path / "a.jsonl"
    rows = [{"step": t, "loss": t / 7, f"k{t}": 1.0, f"k{t - 1}": 2.0} for t in range(200)]
    found, most = [], []
    stacked = follow.stack_tables
    monkeypatch.setattr(
        follow, "stack_tables", lambda tables, *rest: most.append(tables[0].n) or stacked(tables, *rest)
    )
    for limit in (2**21, 400):
        monkeypatch.setattr(follow, "_MOST_CELLS", limit)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows[:100]))
        follower = following(tmp_path)
        first = everything(follower)
        most.clear()
        with path.open("a") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows[100:])
        found.append((first, everything(follower), max(most)))
    assert found[0][:2] == found[1][:2]
    assert (found[0][2], found[1][2]) == (100, 3)
    assert not follower.skipped


@pytest.mark.parametrize("limit", [2**21, 6])
def test_rows_before_a_line_that_names_columns_anew_are_told_once(tmp_path, monkeypatch, limit):
    """They were told again in each poll after it."""
    monkeypatch.setattr(follow, "_MOST_CELLS", limit)
    path = tmp_path / "a.csv"
    path.write_text("step,loss,norm\n" + "".join(f"{t},{t / 7},1\n" for t in range(4)))
    follower = following(tmp_path)
    told = steps(follower)
    with path.open("a") as file:
        file.write("".join(f"{t},{t / 7},1\n" for t in range(4, 8)) + "norm,step,loss\n")
    for t in range(8, 12):
        told += steps(follower)
        with path.open("a") as file:
            file.write(f"1,{t},{t / 7}\n")
    assert told == sorted(set(told))
    assert told[:4] == [0, 1, 2, 3]
    assert path in follower.torn


@pytest.mark.parametrize(
    ("text", "unfinished"),
    [
        ("step,loss\n0,1\n1,2\n", False),
        ("step,loss\n0,1\n1,2", True),
        ("step,loss\n0,1", True),
        ("step,lo", True),
        ("step,loss\n0,1\n   ", False),
        ("step,loss\n0,1\n\0\0\0", False),
        ("", False),
    ],
)
def test_a_file_whose_end_is_unfinished_is_known(tmp_path, text, unfinished):
    path = tmp_path / "a.csv"
    path.write_text(text)
    follower = following(tmp_path)
    taken(follower)
    assert follower.unfinished() == [path] * unfinished
    with path.open("a") as file:
        file.write("\n" if unfinished else "5,6\n" if text else "step,loss\n")
    taken(follower)
    assert follower.unfinished() == []


def test_half_an_object_is_unfinished(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 0, "loss"')
    follower = following(tmp_path)
    assert (taken(follower), follower.unfinished()) == ([], [path])


def test_a_whole_object_needs_no_line_break(tmp_path):
    path = tmp_path / "a.jsonl"
    follower = following(tmp_path)
    for text, expected in [('{"step": 0, "loss": 1}', [0]), ('\n{"step": 1, "loss"', []), (": 2}", [1])]:
        with path.open("a") as file:
            file.write(text)
        assert steps(follower) == expected


def test_a_file_in_which_words_stand_from_the_first_is_told_and_read_once_it_is_mended(tmp_path):
    path = tmp_path / "a.jsonl"
    whole = '{"step": 0, "loss": 1}\n{"step": 1, "loss": 1}\n{"step": 2, "loss": 2}\n{"step": 3, "loss": 3}\n'
    path.write_text(whole.replace(": 2}", ': "x"}'))
    (tmp_path / "b.csv").write_text("step,loss\n0,1\n")
    follower = following(tmp_path)
    assert taken(follower) == [("b", 0, 1.0)]
    assert list(follower.torn) == [path]
    assert "line 3, column 'loss': expected a number, found 'x'" in follower.torn[path]
    assert steps(follower) == []
    assert list(follower.torn) == [path]  # for as long as it stays so
    path.write_text(whole)
    assert steps(follower) == [0, 1, 2, 3]
    assert not follower.torn


@pytest.mark.parametrize("line", ['{"step": 1, "loss": 2', '{"step": 1, "lo{"step": 1, "loss": 2}', "\0\0\0"])
def test_a_torn_line_is_passed_over_as_in_a_batch(line, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 0, "loss": 1}\n')
    follower = following(tmp_path)
    assert steps(follower) == [0]
    with path.open("a") as file:
        file.write(line + '\n{"step": 2, "loss": 3}\n')
    assert steps(follower) == [2]
    assert not follower.torn


def test_torn_lines_are_counted_and_told_also_after_a_restart(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step,loss\n0,1\n1,1\n2,1,1\n")
    follower = following(tmp_path)
    assert steps(follower) == [0, 1]
    assert (follower.skipped[path].n, "line 4 has 3 cells" in follower.skipped[path].why) == (1, True)
    again = carried_on(follower, tmp_path)
    with path.open("a") as file:
        file.write("3,1,1\n")  # by now most are
    assert steps(again) == steps(follower) == []
    assert again.skipped[path].n == follower.skipped[path].n == 2
    assert "from line 5 on: not a table" in again.skipped[path].why
    with path.open("a") as file:
        file.write("4,1\n")
    assert steps(again) == steps(follower) == [4]


def test_lines_are_numbered_as_in_the_file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(range(10)))
    follower = following(tmp_path)
    list(follower.poll())
    with path.open("a") as file:
        file.write("10,1,1\n11,1,1\n12,oops,1\n")
    assert steps(follower) == [10, 11]
    assert follower.skipped[path].why.endswith("column 'loss' is text ('oops'); expected numbers (line 14)")


def test_a_text_file_that_makes_no_sense_is_not_read_again_until_it_changes(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("epochs,loss\n0,1\n")
    follower = following(tmp_path)
    list(follower.poll())
    with monkeypatch.context() as closed:
        closed.setattr(Path, "open", lambda *_, **__: pytest.fail("it was read again"))
        list(follower.poll())
    assert "no column 'step'" in follower.torn[path]
    path.write_text("step,loss\n0,1\n")
    assert steps(follower) == [0]


def test_a_file_that_made_no_sense_is_told_again_after_a_restart(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("?\n")
    (tmp_path / "b.jsonl").write_text('{"step": 0, "loss": 1}\n')
    follower = following(tmp_path)
    assert steps(follower) == [0]
    with (tmp_path / "b.jsonl").open("a") as file:
        file.write("?\n")
    assert steps(follower) == []
    again = carried_on(follower, tmp_path)
    assert steps(again) == []
    assert again.torn.keys() == follower.torn.keys() == {path}
    assert again.skipped.keys() == follower.skipped.keys() == {tmp_path / "b.jsonl"}


def test_a_file_whose_first_lines_have_no_step_yet_does_not_end_the_watch(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"config": 1}\n')
    follower = following(tmp_path)
    assert steps(follower) == []
    assert "no column 'step'" in follower.torn[path]
    with path.open("a") as file:
        file.write('{"step": 0, "loss": 1}\n')
    assert steps(follower) == [0]
    with path.open("a") as file:
        file.write('{"event": "saved"}\n{"step": 1, "loss": 1}\n')
    assert steps(follower) == [1]
    with path.open("a") as file:
        file.write('{"event": "saved"}\n')
    assert steps(follower) == []
    assert not follower.torn


def test_a_metric_that_is_text_is_told(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("step,loss\n0,low\n1,high\n")
    follower = following(tmp_path)
    assert steps(follower) == []
    assert "column 'loss' is text ('low'); expected numbers" in follower.torn[path]


# What columns are


def test_a_name_keeps_its_zeros_in_lines_where_all_names_are_numbers(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"step": 0, "loss": 1, "run": "007"}\n{"step": 0, "loss": 1, "run": "b"}\n')
    follower = following(tmp_path)
    taken(follower)
    for again in (follower, carried_on(follower, tmp_path)):
        with path.open("a") as file:
            file.write('{"step": 1, "loss": 1, "run": "007"}\n')
        assert taken(again)[0] == ("007", 1, 1.0)


def test_what_a_meta_line_and_the_folder_say_holds_for_later_lines(tmp_path):
    path = tmp_path / "lr=0.1" / "a.jsonl"
    path.parent.mkdir()
    path.write_text('{"_meta": {"seed": 3}}\n{"step": 0, "loss": 1}\n')
    follower = following(tmp_path, run_by=("seed", "lr"))
    assert taken(follower) == [("3/0.1", 0, 1.0)]
    with path.open("a") as file:
        file.write('{"step": 1, "loss": 2}\n')
    assert taken(follower) == [("3/0.1", 1, 2.0)]


def test_conditions_renaming_and_steps_hold_for_later_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"it": 0, "l": 1, "phase": "train"}\n{"it": 0, "l": 9, "phase": "eval"}\n')
    follower = following(tmp_path, where="phase == 'train'", step="it", rename={"l": "loss"})
    assert taken(follower) == [("a", 0, 1.0)]
    with path.open("a") as file:
        file.write('{"event": 1}\n{"it": 1, "l": 2, "phase": "train"}\n{"it": 2, "l": 3}\n')
    assert taken(follower) == [("a", 1, 2.0)]
    with path.open("a") as file:
        file.write('{"it": 3, "l": 3}\n')
    assert taken(follower) == []
    assert not follower.torn


def test_what_this_package_wrote_is_no_log_even_as_it_grows(tmp_path):
    path = tmp_path / "scores.csv"
    path.write_text("run,step,score,threshold,risk,state\na,0,1,2,0.1,0\n")
    follower = following(tmp_path)
    assert taken(follower) == []
    with path.open("a") as file:
        file.write("a,1,1,2,0.1,0\n")
    assert taken(follower) == []
    assert not follower.torn


# Files that come, go and change


@pytest.mark.parametrize("change", ["renamed over", "written in place"])
def test_a_change_that_leaves_size_and_time_as_they_were_is_noticed(tmp_path, change):
    path = tmp_path / "a.csv"
    path.write_text(csv_of([0], attempt=1.0))
    before = path.stat()
    follower = following(tmp_path)
    assert taken(follower) == [("a", 0, 1.0)]
    if change == "renamed over":
        (tmp_path / ".new").write_text(csv_of([0], attempt=2.0))
        (tmp_path / ".new").rename(path)
    else:
        path.write_text(csv_of([0], attempt=2.0))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert taken(follower) == [("a", 0, 2.0)]


def test_clocks_that_are_wrong_or_go_back_do_not_matter(tmp_path):
    path = tmp_path / "a.csv"
    follower = following(tmp_path)
    for at, year in enumerate((2100, 1971, 2050, 1972)):
        with path.open("a") as file:
            file.write(csv_of([at], header=at == 0))
        os.utime(path, (0, (year - 1970) * 365 * 86400))
        assert steps(follower) == [at]


def test_a_file_that_is_gone_and_comes_back_is_not_told_again(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(csv_of(range(5)))
    follower = following(tmp_path)
    assert len(steps(follower)) == 5
    path.unlink()
    assert steps(follower) == []
    path.write_text(csv_of(range(7)))
    assert steps(follower) == [5, 6]


def test_a_torn_file_that_is_gone_is_torn_no_more(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("?\n")
    follower = following(tmp_path)
    list(follower.poll())
    assert list(follower.torn) == [path]
    path.unlink()
    list(follower.poll())
    assert not follower.torn


def test_parts_come_in_natural_order_and_a_late_one_is_not_lost(tmp_path):
    def write(part):
        path = tmp_path / "run 1" / f"part-{part}.csv"
        path.parent.mkdir(exist_ok=True)
        path.write_text(csv_of([part]))

    for part in (10, 9, 2):
        write(part)
    follower = following(tmp_path)
    assert steps(follower) == [2, 9, 10]
    for part in (3, 11):
        write(part)
    assert taken(follower) == [("run 1", 3, 1.003), ("run 1", 11, 1.011)]


def test_each_part_of_a_run_logger_is_read_once_and_half_written_ones_never(tmp_path, monkeypatch):
    read = []
    whole = Source.read
    monkeypatch.setattr(Source, "read", lambda self, rename: read.append(self.file.path.name) or whole(self, rename))
    (tmp_path / "a").mkdir()
    follower = following(tmp_path)
    for start in (0, 6):  # the job is started again, from an earlier checkpoint
        with RunLogger(tmp_path, "a", rows=4) as logger:
            for step in range(start, start + 8):
                logger.log(step, loss=step)
                (tmp_path / "a" / ".part-000009.parquet.x.tmp").write_bytes(b"PAR1")
                list(follower.poll())
    list(follower.poll())
    assert read == [f"part-{part:06d}.parquet" for part in range(4)]
    assert taken(following(tmp_path)) == [("a", step, step) for step in (*range(8), *range(6, 14))]
    assert not follower.torn


def test_a_folder_need_not_exist_yet_and_new_runs_are_picked_up(tmp_path):
    follower = following(tmp_path / "logs", tmp_path / "single.csv")
    assert steps(follower) == []
    (tmp_path / "logs" / "deep").mkdir(parents=True)
    (tmp_path / "logs" / "deep" / "a.csv").write_text(csv_of([0]))
    assert taken(follower) == [("a", 0, 1.0)]
    (tmp_path / "single.csv").write_text(csv_of([1]))
    (tmp_path / "logs" / ".hidden.csv").write_text(csv_of([1]))
    (tmp_path / "logs" / "notes.txt").write_text("?")
    assert taken(follower) == [("single", 1, 1.001)]
    assert not follower.torn


def test_a_file_that_may_not_be_read_is_told_and_tried_again(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text(csv_of([0]))
    follower = following(tmp_path)
    with monkeypatch.context() as denied:

        def deny(self, *_, **__):
            raise PermissionError(13, "Permission denied", str(self))

        denied.setattr(Path, "open", deny)
        assert steps(follower) == []
        assert follower.torn == {path: f"{path}: cannot be read (Permission denied)"}
    assert steps(follower) == [0]
    assert not follower.torn


def test_a_folder_that_may_not_be_listed_is_told(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text(csv_of([0]))
    (tmp_path / "closed").mkdir()
    follower = following(tmp_path)
    scan = os.scandir
    with monkeypatch.context() as denied:

        def deny(path):
            if str(path).endswith("closed"):
                raise PermissionError(13, "Permission denied", str(path))
            return scan(path)

        denied.setattr(os, "scandir", deny)
        assert steps(follower) == [0]
        assert follower.torn == {tmp_path / "closed": f"{tmp_path / 'closed'}: cannot be looked at (Permission denied)"}
    assert steps(follower) == []
    assert not follower.torn


def test_a_run_keeps_its_name_when_more_files_would_make_another_clearer(tmp_path):
    for run in "xy":
        (tmp_path / run).mkdir()
    (tmp_path / "x" / "log.csv").write_text(csv_of([0]))
    follower = following(tmp_path)
    assert taken(follower) == [("log", 0, 1.0)]
    (tmp_path / "y" / "log.csv").write_text(csv_of([0]))
    again = carried_on(follower, tmp_path)
    for one in (follower, again):
        assert taken(one) == [("y", 0, 1.0)]
    with (tmp_path / "x" / "log.csv").open("a") as file:
        file.write(csv_of([1], header=False))
    for one in (follower, again):
        assert taken(one) == [("log", 1, 1.001)]


def test_a_file_by_two_names_is_read_once(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.csv").write_text(csv_of([0]))
    (tmp_path / "link").symlink_to(tmp_path / "logs")
    follower = following(tmp_path / "logs", tmp_path / "logs" / "a.csv", tmp_path / "link", tmp_path / "logs")
    assert steps(follower) == [0]
    with (tmp_path / "logs" / "a.csv").open("a") as file:
        file.write(csv_of([1], header=False))
    assert steps(follower) == [1]


# Files that are read as a whole


@pytest.mark.parametrize("n_rows", [100, 20_000])
def test_parquet_that_is_written_again_tells_what_is_new(tmp_path, monkeypatch, n_rows):
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"step": np.arange(n_rows + 50), "loss": np.linspace(0, 1, n_rows + 50)})
    frame[:n_rows].to_parquet(path, row_group_size=2000)
    follower = following(tmp_path)
    assert len(steps(follower)) == n_rows
    ranges = []
    whole = Source.read
    monkeypatch.setattr(Source, "read", lambda self, rename: ranges.append(self.rows) or whole(self, rename))
    for begin, end in ((n_rows, n_rows + 20), (n_rows + 20, n_rows + 50)):
        frame[:end].to_parquet(path, row_group_size=2000)
        assert taken(follower) == [("a", step, frame["loss"][step]) for step in range(begin, end)]
    known = n_rows - n_rows % 512 if n_rows > 10_000 else 0  # the last row by which the run is known again
    many = [((0, 1),), ((known, n_rows + 20),), ((0, 1),), ((known, n_rows + 50),)]
    assert ranges == (many if n_rows > 10_000 else [None, None])


@pytest.mark.parametrize("change", ["begun anew", "shorter"])
def test_long_parquet_that_is_another_log_is_read_in_full(tmp_path, change):
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"step": np.arange(10_000), "loss": np.linspace(0, 1, 10_000)})
    frame.to_parquet(path)
    follower = following(tmp_path)
    assert len(steps(follower)) == 10_000
    if change == "shorter":
        frame[:9000].to_parquet(path)
        assert steps(follower) == []
        frame.to_parquet(path)
        assert steps(follower) == []
    else:
        longer = pd.concat([frame, frame]).assign(step=np.arange(20_000), loss=np.linspace(1, 3, 20_000))
        longer.to_parquet(path)
        assert steps(follower) == list(range(20_000))


def test_compressed_text_is_read_as_a_whole(tmp_path):
    path = tmp_path / "a.csv.gz"
    follower = following(tmp_path)
    for end in (3, 5):
        path.write_bytes(gzip.compress(csv_of(range(end)).encode()))
        assert steps(follower) == list(range(end))[-3 if end == 3 else -2 :]
