"""Databases whose views and columns are worked out as they are read: without end, of any size, other each time."""

import sqlite3
import time

import pytest

from trajhmm.errors import LogError
from trajhmm.logs import read_logs
from trajhmm.logs.following.follow import Follower
from trajhmm.logs.settings import Settings

from .room import LONG, little_room

TABLE = "CREATE TABLE t (run TEXT, step INTEGER, loss REAL)"
ROWS = (
    "INSERT INTO t (run, step, loss) WITH RECURSIVE n(i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM n LIMIT {n})"
    " SELECT 'a', i, 1.0 / (i + 1) FROM n"
)
COUNT = (
    "WITH RECURSIVE n(step) AS (VALUES (0) UNION ALL SELECT step + 1 FROM n{limit})"
    " SELECT step, step * 0.5 AS loss FROM n"
)
VIEWS = {
    "without end": COUNT.format(limit=""),
    "of a billion rows": COUNT.format(limit=" LIMIT 1000000000"),
    "of each with each": "SELECT a.step, b.loss FROM t a, t b, t c, t d",
    "other each time": (
        "WITH RECURSIVE n(step, r) AS"
        " (VALUES (0, 0) UNION ALL SELECT step + 1, random() FROM n WHERE abs(r % 1000) < 999)"
        " SELECT step, step * 0.5 AS loss FROM n"
    ),
}
# What a column of a table may be worked out by.
COLUMNS = {
    "the square of its length": "instr(zeroblob(16000000), zeroblob(8000000) || x'01')",
    "the same of text": "replace(substr(loss, 1, 9), step, 'b')",
    "the same of both ends": "trim(loss, step)",
    "a long text": "hex(zeroblob(4000000))",
    "a long blob": "CAST(hex(zeroblob(60000)) AS BLOB)",
    "many texts": "hex(zeroblob(50000))",
}


@pytest.fixture
def database(tmp_path):
    def make(*statements, n=2000):
        with sqlite3.connect(tmp_path / "a.db") as connection:
            for statement in (TABLE, ROWS.format(n=n), *statements):
                connection.execute(statement)
        connection.close()
        return tmp_path / "a.db"

    return make


def refusal(path, **settings):
    """Why a database is refused, in a line, soon, and in little room."""
    started = time.monotonic()
    with little_room(), pytest.raises(LogError) as refused:
        read_logs(path, **settings)
    assert time.monotonic() - started < LONG / 2
    said = str(refused.value)
    assert said.startswith(f"{path}: cannot be read as a")
    assert said.endswith("; write what it tells to a table")
    assert "\n" not in said
    return said


@pytest.mark.sampled(1)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.once
def test_views_without_end_are_refused_soon(view, database):
    refusal(database(f"CREATE VIEW v AS {VIEWS[view]}"), table="v")


@pytest.mark.parametrize("column", COLUMNS)
def test_columns_that_take_time_or_room_are_refused(column, database):
    refusal(database(f"ALTER TABLE t ADD COLUMN x AS ({COLUMNS[column]})", n=20_000))


def test_an_honest_view_is_read(database):
    path = database(
        "CREATE TABLE names (run TEXT, lr REAL)",
        "INSERT INTO names VALUES ('a', 0.1)",
        "CREATE VIEW v AS SELECT upper(t.run) AS run, step, round(loss, 6) AS loss, lr FROM t JOIN names USING (run)"
        " WHERE t.run LIKE 'a%' ORDER BY step DESC",
        n=50_000,
    )
    runs = read_logs(path, table="v")
    assert (runs.runs, runs.n_rows) == (("A",), 50_000)
    assert runs.attributes["lr"].tolist() == [0.1]


def test_a_database_is_read_while_another_program_writes(database):
    path = database()
    with sqlite3.connect(path) as writer:
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("INSERT INTO t VALUES ('a', 5000, 0.5)")
        assert read_logs(path).n_rows == 2000
        writer.commit()
        assert read_logs(path).n_rows == 2001
    writer.close()


@pytest.mark.once
def test_a_watch_says_it_and_goes_on(database, tmp_path):
    database(f"CREATE VIEW v AS {VIEWS['without end']}")
    (tmp_path / "b.csv").write_text("step,loss\n" + "".join(f"{step},1.5\n" for step in range(9)))
    settings = Settings.of(run_by=(), rename=None, where=None, step=None, table="v")
    follower = Follower([tmp_path], ["loss"], settings)
    assert [rows.run for rows in follower.poll()] == ["b"]
    assert "without end" in follower.torn[tmp_path / "a.db"]


@pytest.mark.sampled(1)
@pytest.mark.parametrize(
    "view",
    [
        "SELECT range AS step, range * 0.5 AS loss FROM range(1000000000000)",
        "WITH RECURSIVE n(step) AS (SELECT 1 UNION ALL SELECT step + 1 FROM n) SELECT step, step * 0.5 AS loss FROM n",
        "SELECT range AS step, md5(range::VARCHAR) || md5((range + 1)::VARCHAR) AS word FROM range(2000000)",
    ],
)
@pytest.mark.once
def test_views_of_duckdb_without_end_are_refused_soon(view, tmp_path):
    duckdb = pytest.importorskip("duckdb", reason="needs the extra duckdb")
    with duckdb.connect(str(tmp_path / "a.duckdb")) as connection:
        connection.execute(f"CREATE VIEW v AS {view}")
    with little_room(), pytest.raises(LogError) as refused:
        read_logs(tmp_path / "a.duckdb", table="v")
    assert "\n" not in str(refused.value)
    with pytest.raises(LogError, match="has no tables"):
        read_logs(tmp_path / "a.duckdb")
