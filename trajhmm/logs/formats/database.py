"""Database files of SQLite, opened so that neither they nor those who write them are disturbed."""

from __future__ import annotations

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
# Bytes of a cell or a row.
_LONGEST = 2**24


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

    try:
        with closing(sqlite3.connect(_address(path), uri=True, timeout=_BUSY_S)) as connection:
            connection.text_factory = _text
            # Columns that are worked out as they are read may be of any size.
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _LONGEST)
            # A stranger's views and triggers may call nothing that reaches out of the file.
            connection.execute("PRAGMA trusted_schema = OFF")
            yield connection
    except (sqlite3.Error, OSError, ValueError, OverflowError) as error:
        # What SQLite says of a damaged file may itself be no text.
        reason = "damaged" if isinstance(error, ValueError) else str(error).strip() or type(error).__name__
        remedy = "try again" if "locked" in reason or "busy" in reason else "copy it again"
        raise LogError(f"{path}: cannot be read as an SQLite database ({reason[:90]}); {remedy}") from error


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


def _text(raw: bytes) -> Any:
    return raw.decode(errors="replace")
