"""Database files of SQLite, opened so that neither they nor those who write them are disturbed."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trajhmm.errors import LogError

if TYPE_CHECKING:
    import sqlite3

SQLITE_NAMES = r"\.(db|sqlite|sqlite3)"
_MAGIC = b"SQLite format 3\0"
# Where the head says that changes go to a log beside the file first.
_JOURNAL, _WRITE_AHEAD = 18, 2
# Where programs sign their files, and what this package's own state files are signed with.
_SIGNED, _STATE_FILE = slice(68, 72), b"trjw"
_BUSY_S = 5.0
# Bytes of a row, and the least of a bound on them; what is worked out as it is read is no longer than its file.
_LONGEST, _SHORTEST = 2**24, 2**17
# Bytes of texts and blobs: so many, and so many times those of the file, as views say them again.
_MOST_READ, _TIMES_READ = 2**26, 16
_ROWS_AT_ONCE = 16
# Seconds on a processor that a file may take, and bytes of it that take one more; instructions from look to look.
_SECONDS, _BYTES_A_SECOND, _INSTRUCTIONS = 2.0, 2e6, 100_000
# How SQLite marks columns that are worked out as they are read.
_WORKED_OUT = (2, 3)
_FAR_MORE = "a view or column that tells far more than the file holds"
# Functions in a view or a column whose time grows with the square of what they are given, in one instruction.
_SLOW = re.compile(r"\b(instr|replace|[lr]?trim)\b", re.IGNORECASE)


def is_sqlite(head: bytes) -> bool:
    """Whether a file that begins like this is a database of SQLite, and no state file of a watch."""
    return head.startswith(_MAGIC) and head[_SIGNED] != _STATE_FILE


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file for reading; what a job has written so far is read, also where it is still in its log.

    Raises
    ------
    LogError
        The file, or what is asked of it, cannot be read.
    """
    import sqlite3

    size = _size_of(path)
    try:
        with closing(sqlite3.connect(_address(path), uri=True, timeout=_BUSY_S)) as connection:
            budget = _Budget(size)
            connection.text_factory = budget.text
            connection.set_progress_handler(budget.is_spent, _INSTRUCTIONS)
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, min(max(size, _SHORTEST), _LONGEST))
            connection.set_authorizer(_allowed)
            # A stranger's views and triggers may call nothing that reaches out of the file.
            connection.execute("PRAGMA trusted_schema = OFF")
            _check_columns(connection)
            yield connection
    except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
        # What SQLite says of a damaged file may itself be no text.
        reason = "damaged" if isinstance(error, ValueError) else str(error).strip() or type(error).__name__
        remedy = "try again" if "locked" in reason or "busy" in reason else "copy it again"
        if any(word in reason for word in ("interrupted", "too big", "not authorized", "far more")):
            reason = "a view or column that goes on without end" if reason == "interrupted" else reason
            remedy = "write what it tells to a table"
        raise LogError(f"{path}: cannot be read as an SQLite database ({reason[:90]}); {remedy}") from error


class _Budget:
    """What may be read of a database, of which views and columns that are worked out may tell without end.

    Parameters
    ----------
    size : bytes of the file.
    """

    def __init__(self, size: int) -> None:
        self._seconds = _SECONDS + size / _BYTES_A_SECOND
        self._bytes = _most_read(size)
        self._began: float | None = None

    def text(self, raw: bytes) -> str:
        """A text, whatever its bytes.

        Raises
        ------
        OverflowError
            There were more than may be.
        """
        self._bytes -= len(raw)
        if self._bytes < 0:
            raise OverflowError(_FAR_MORE)
        return raw.decode(errors="replace")

    def is_spent(self) -> bool:
        """Whether it took longer than it may: time on the processor, so that others who use it do not count."""
        now = time.thread_time()
        self._began = now if self._began is None else self._began
        return now - self._began > self._seconds


def _allowed(action: int, _one: str | None, name: str | None, *_: object) -> int:
    """Whether a statement may do something, as SQLite asks while it takes it in."""
    import sqlite3

    is_slow = action == sqlite3.SQLITE_FUNCTION and name is not None and _SLOW.fullmatch(name)
    return sqlite3.SQLITE_DENY if is_slow else sqlite3.SQLITE_OK


def _check_columns(connection: sqlite3.Connection) -> None:
    """Refuse columns that are worked out by what takes long: SQLite does not ask about these.

    Raises
    ------
    OverflowError
        There is one.
    """
    for name, made in connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall():
        if (found := _SLOW.search(str(made))) is None:
            continue
        hidden = [row[6] for row in connection.execute(f"PRAGMA table_xinfo({quoted(str(name))})")]
        if any(kind in _WORKED_OUT for kind in hidden):
            raise OverflowError(f"not authorized to use function: {found[0]}")


def _most_read(size: int) -> int:
    """Bytes that may be read of a file of so many."""
    return _MOST_READ + _TIMES_READ * size


def _size_of(path: Path) -> int:
    """Bytes of a database and of what waits beside it."""
    return sum(file.stat().st_size for file in (path, path.with_name(path.name + "-wal")) if file.exists())


def tables_in(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Names of the tables, without SQLite's own."""
    found = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    return tuple(str(name) for (name,) in found if not str(name).startswith("sqlite_"))


def columns_in(connection: sqlite3.Connection, table: str) -> tuple[str, ...]:
    """Names of a table's columns."""
    return tuple(row[1] for row in connection.execute(f"PRAGMA table_info({quoted(table)})"))


def has_tables(path: Path, needed: Mapping[str, Sequence[str]]) -> bool:
    """Whether a database has some tables with some columns; False where it cannot be read."""
    try:
        with opened(path) as connection:
            there = set(tables_in(connection))
            return all(
                table in there and set(columns) <= set(columns_in(connection, table))
                for table, columns in needed.items()
            )
    except LogError:
        return False


def rows_of(
    connection: sqlite3.Connection, table: str, columns: Sequence[str] = (), *, ordered: bool = True
) -> sqlite3.Cursor:
    """The rows of a table, all columns or some, in the order in which they were written unless it has none."""
    wanted = ", ".join(map(quoted, columns)) or "*"
    # Names cannot stand as parameters; quoted, they are names whatever they hold.
    return connection.execute(f"SELECT {wanted} FROM {quoted(table)}{' ORDER BY rowid' if ordered else ''}")  # noqa: S608


def fetched(cursor: sqlite3.Cursor, n_rows: int, path: Path) -> list[tuple[Any, ...]]:
    """All rows of a cursor, which are ``n_rows``.

    Raises
    ------
    OverflowError
        They hold far more than the file, or are others.
    """
    rows: list[tuple[Any, ...]] = []
    most = _most_read(_size_of(path))
    while (some := cursor.fetchmany(_ROWS_AT_ONCE)) and len(rows) <= n_rows:
        rows += some
        most -= sum(len(cell) for row in some for cell in row if type(cell) is bytes)
        if most < 0:
            raise OverflowError(_FAR_MORE)
    if len(rows) != n_rows:
        raise OverflowError("a view that tells far more, or less, each time it is read")
    return rows


def quoted(name: str) -> str:
    """A name as SQL takes it, whatever it holds."""
    return '"' + name.replace('"', '""') + '"'


def _address(path: Path) -> str:
    log = path.with_name(path.name + "-wal")
    with path.open("rb") as stream:
        head = stream.read(_JOURNAL + 1)
    # Without a log beside it there is no writer; then nothing has to be put beside it in order to read.
    alone = head[_JOURNAL:] == bytes((_WRITE_AHEAD,)) and not (log.exists() and log.stat().st_size)
    return f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if alone else ''}"
