"""Tables of SQLite and DuckDB databases."""

import os
import sqlite3

import numpy as np
import pytest

from trajhmm import read_logs
from trajhmm.errors import LogError
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.formats.sql import read_sql
from trajhmm.logs.settings import Settings

HOSTILE = 'x"; DROP TABLE runs; --'


def sqlite_file(path, **tables):
    connection = sqlite3.connect(path)
    for table, (columns, rows) in tables.items():
        name = '"' + table.replace('"', '""') + '"'
        connection.execute(f"CREATE TABLE {name} ({columns})")
        with connection:
            connection.executemany(f"INSERT INTO {name} VALUES ({','.join('?' * len(rows[0]))})", rows)  # noqa: S608
    connection.close()


def duckdb_file(path, **tables):
    duckdb = pytest.importorskip("duckdb", reason="needs the extra duckdb")
    with duckdb.connect(str(path)) as connection:
        for table, (columns, rows) in tables.items():
            name = '"' + table.replace('"', '""') + '"'
            connection.execute(f"CREATE TABLE {name} ({columns})")
            marks = ",".join([f"({','.join('?' * len(rows[0]))})"] * len(rows))
            connection.execute(f"INSERT INTO {name} VALUES {marks}", [cell for row in rows for cell in row])  # noqa: S608


WRITERS = {"sqlite": sqlite_file, "db": sqlite_file, "sqlite3": sqlite_file, "duckdb": duckdb_file}
COLUMNS = "run VARCHAR, step INTEGER, loss DOUBLE, eval DOUBLE, lr DOUBLE, tag VARCHAR"
ROWS = [
    (run, step, [3.0, np.inf, -np.inf, 0.5][step], step / 4 if step % 2 == 0 else None, lr, "007")
    for run, lr in (("01", 0.1), ("02", 0.2))
    for step in range(4)
]


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_table_of_runs(suffix, tmp_path):
    WRITERS[suffix](tmp_path / f"logs.{suffix}", rows=(COLUMNS, ROWS))
    runs = read_logs(tmp_path)
    assert runs.runs == ("01", "02")
    assert runs.metrics == ("loss", "eval")
    np.testing.assert_array_equal(runs.column("loss"), [3, np.inf, -np.inf, 0.5] * 2)
    np.testing.assert_array_equal(runs.column("eval"), [0, np.nan, 0.5, np.nan] * 2)
    assert runs.attributes["lr"].tolist() == [0.1, 0.2]
    assert runs.attributes["tag"].tolist() == ["007", "007"]
    told = any("SQLite keeps NaN as NULL: blanks of eval may have been NaN" in note.text for note in runs.notes)
    assert told == (suffix != "duckdb")


def test_duckdb_tells_nan_from_a_blank(tmp_path):
    rows = [(0, 1.0, None), (1, np.nan, 2.0), (2, 3.0, None), (3, 2.0, 5.0)]
    duckdb_file(tmp_path / "a.duckdb", t=("step BIGINT, loss DOUBLE, acc DOUBLE", rows))
    runs = read_logs(tmp_path)
    assert runs.logged[:, runs.metrics.index("loss")].all()
    np.testing.assert_array_equal(runs.logged[:, runs.metrics.index("acc")], [False, True, False, True])


@pytest.mark.parametrize("suffix", ["db", "duckdb"])
def test_several_tables_are_listed_and_one_can_be_named(suffix, tmp_path):
    path = tmp_path / f"logs.{suffix}"
    some = ("step INTEGER, loss DOUBLE", [(0, 2.0), (1, 1.0)])
    other = ("step INTEGER, loss DOUBLE", [(0, 20.0), (1, 10.0)])
    WRITERS[suffix](path, **{"runs": some, HOSTILE: other})
    with pytest.raises(LogError, match=r"2 tables in this database .*; name one with --table NAME"):
        read_logs(path)
    with pytest.raises(LogError, match=r"no table 'nix' in this database \(found: "):
        read_sql(path, "a", "nix")
    before = path.read_bytes()
    np.testing.assert_array_equal(read_sql(path, "a", HOSTILE).numbers["loss"], [20, 10])
    np.testing.assert_array_equal(read_sql(path, "a", "runs").numbers["loss"], [2, 1])
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_committed_rows_are_read_while_a_job_writes(tmp_path):
    path = tmp_path / "live.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("CREATE TABLE t (step INTEGER, loss REAL)")
    for step in range(5):
        with writer:
            writer.execute("INSERT INTO t VALUES (?, ?)", (step, 5.0 - step))
    writer.execute("INSERT INTO t VALUES (5, 99)")
    np.testing.assert_array_equal(read_logs(path).column("loss"), [5, 4, 3, 2, 1])
    writer.commit()
    np.testing.assert_array_equal(read_logs(path).column("loss"), [5, 4, 3, 2, 1, 99])
    writer.close()


def test_a_file_in_a_folder_that_cannot_be_written_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    sqlite_file(path, t=("step INTEGER, loss REAL", [(0, 2.0), (1, 1.0)]))
    np.testing.assert_array_equal(read_logs(path).column("loss"), [2, 1])
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_views_are_read_only_where_they_are_named(tmp_path):
    path = tmp_path / "a.db"
    sqlite_file(path, t=("step INTEGER, loss REAL", [(0, 2.0), (1, 1.0)]))
    connection = sqlite3.connect(path)
    connection.execute("CREATE VIEW v AS SELECT step, 2 * loss AS loss FROM t")
    connection.close()
    np.testing.assert_array_equal(read_logs(path).column("loss"), [2, 1])
    np.testing.assert_array_equal(read_sql(path, "a", "v").numbers["loss"], [4, 2])


def test_words_among_numbers_and_blobs(tmp_path):
    sqlite_file(tmp_path / "a.db", t=("step, loss, picture", [(0, 2.0, b"x"), (1, 1.5, b"y"), (2, "bad", b"z")]))
    with pytest.raises(LogError, match=r"a\.db: line 3, column 'loss': expected a number, found 'bad'"):
        read_logs(tmp_path)
    sqlite_file(tmp_path / "b.db", t=("step, loss, picture", [(0, 2.0, b"x"), (1, 1.5, b"y")]))
    assert any("left out: picture" in note.text for note in read_logs(tmp_path / "b.db").notes)


@pytest.mark.parametrize("suffix", ["db", "sqlite3", "duckdb"])
@pytest.mark.parametrize("damage", ["empty", "head", "half", "garbage", "noise"])
def test_a_broken_file_is_an_error_of_a_line_or_two(suffix, damage, tmp_path):
    path = tmp_path / f"broken.{suffix}"
    WRITERS[suffix](path, rows=(COLUMNS, ROWS * 50))
    whole = path.read_bytes()
    noise = bytearray(whole)
    noise[100:8000] = os.urandom(7900)
    path.write_bytes(
        {"empty": b"", "head": whole[:60], "half": whole[: len(whole) // 2], "garbage": b"x" * 9999, "noise": noise}[
            damage
        ]
    )
    with pytest.raises(LogError, match=r"broken\.") as caught:
        read_logs(path)
    assert len(str(caught.value)) < 400


def test_an_error_that_is_no_text_is_an_error_all_the_same(tmp_path):
    path = tmp_path / "a.db"
    sqlite_file(path, rows=(COLUMNS, ROWS))
    path.write_bytes(path.read_bytes().replace(b"loss DOUBLE", b"loss) D\xb6UBL"))
    with pytest.raises(LogError, match=r"a\.db: cannot be read as an SQLite database \(damaged\)"):
        read_logs(path)


def test_without_duckdb_the_remedy_is_named(tmp_path, monkeypatch):
    duckdb_file(tmp_path / "a.duckdb", t=("step INTEGER, loss DOUBLE", [(0, 1.0), (1, 2.0)]))
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(LogError, match=r"pip install 'trajhmm\[duckdb\]'"):
        read_logs(tmp_path)


def test_a_state_file_of_a_watch_is_no_log(tmp_path):
    sqlite_file(tmp_path / "a.db", t=("step INTEGER, loss REAL", [(0, 2.0), (1, 1.0)]))
    state = sqlite3.connect(tmp_path / "state.db")
    state.execute(f"PRAGMA application_id = {int.from_bytes(b'trjw', 'big')}")
    state.execute("CREATE TABLE files (path, seen)")
    state.close()
    assert read_logs(tmp_path).runs == ("a",)


def test_rows_that_wait_in_the_write_ahead_log_are_followed(tmp_path):
    path = tmp_path / "live.db"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode = WAL")
    writer.execute("PRAGMA wal_autocheckpoint = 0")
    with writer:
        writer.execute("CREATE TABLE t (step INTEGER, loss REAL)")
    follower = Follower([tmp_path], ["loss"], Settings.of(run_by=(), rename=None, where=None, step=None))
    list(follower.poll())
    found = []
    for step in range(4):
        with writer:
            writer.execute("INSERT INTO t VALUES (?, ?)", (step, 5.0 - step))
        found += [(rows.steps.tolist(), rows.values[:, 0].tolist()) for rows in follower.poll()]
    assert found == [([step], [5.0 - step]) for step in range(4)]
    writer.close()


def test_the_table_to_read_may_be_named_from_anywhere(tmp_path):
    path = tmp_path / "a.db"
    sqlite_file(
        path,
        one=("step INTEGER, loss REAL", [(0, 2.0), (1, 1.0)]),
        two=("step INTEGER, loss REAL", [(0, 5.0), (1, 4.0)]),
    )
    (tmp_path / "b.csv").write_text("step,loss\n0,1\n1,3\n")
    assert read_logs(tmp_path).runs == ("b",)  # which of the tables nobody said
    assert "a.db" in " ".join(str(note) for note in read_logs(tmp_path).notes)
    with pytest.raises(LogError, match=r"one, two|two, one"):
        read_logs(path)
    runs = read_logs(tmp_path, table="two")
    assert runs.column("loss").tolist() == [5, 4, 1, 3]
    with pytest.raises(LogError, match="--table two: names a table"):
        read_logs(tmp_path / "b.csv", table="two")
    follower = Follower([path], ["loss"], Settings.of(run_by=(), rename=None, where=None, step=None, table="two"))
    assert [rows.values[:, 0].tolist() for rows in follower.poll()] == [[5, 4]]
