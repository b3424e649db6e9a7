"""The state file of a watch: what was seen of each log file, and what is known of each run; it survives any kill."""

from __future__ import annotations

import json
import os
import sqlite3
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ModelFileError, TrajHMMError
from trajhmm.jsontext import loads
from trajhmm.logs.following.marks import Marks
from trajhmm.logs.following.seen import FileSeen, RunSeen

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None  # type: ignore[assignment]

# Locks of this process, which closing them would give back.
_held: dict[Path, int] = {}
# Seconds to wait for another program that holds the file.
_PATIENCE = 5.0
# Letters of a checksum.
_SUM = 8
# By which SQLite knows whose a file is ("trjw" in ASCII), and in which layout.
_OURS, _LAYOUT = 0x74726A77, 1
# Files of before lack these, which does no harm: without a model nothing of them fits, with one a resume pauses longer,
# and a log that is cut back is known by its first row alone.
_LATER = (
    "CREATE TABLE IF NOT EXISTS watched (told_by TEXT NOT NULL, metrics TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS logs (log BLOB PRIMARY KEY) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS checkpoints (run BLOB PRIMARY KEY, known BLOB NOT NULL) WITHOUT ROWID",
    (
        "CREATE TABLE IF NOT EXISTS marks (path BLOB, run BLOB, every INTEGER NOT NULL, prints BLOB NOT NULL,"
        " ends BLOB NOT NULL, PRIMARY KEY (path, run)) WITHOUT ROWID"
    ),
)
_TABLES = (
    "CREATE TABLE model (fingerprint TEXT NOT NULL)",
    *_LATER,
    "CREATE TABLE files (path BLOB PRIMARY KEY, seen TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE runs (run BLOB PRIMARY KEY, known TEXT NOT NULL) WITHOUT ROWID",
    (
        "CREATE TABLE rows (path BLOB, run BLOB, n INTEGER NOT NULL, first INTEGER NOT NULL, PRIMARY KEY (path, run))"
        " WITHOUT ROWID"
    ),
    f"PRAGMA application_id = {_OURS}",
    f"PRAGMA user_version = {_LAYOUT}",
)


class StateFile:
    """An SQLite database; what a poll changes is written in one transaction: all of it or nothing, whatever happens.

    Parameters
    ----------
    path : made, with its folder, if it is not there; beside it lies a file that is locked as long as the process lives.
    model : fingerprint of the model that the state belongs to.
    logs : what is watched; more may come, but none may go.

    Raises
    ------
    ModelFileError
        The file belongs to another model or to other logs, or is no state file.
    TrajHMMError
        It cannot be read or written, or another process keeps its own state in it.
    """

    def __init__(self, path: Path, model: str, logs: Iterable[Path] = ()) -> None:
        self._path = path
        with suppress(OSError):  # then it cannot be opened either
            path.parent.mkdir(parents=True, exist_ok=True)
        _claim(path)
        with self._transaction() as database, self.damage_told():
            if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                for statement in _TABLES:
                    database.execute(statement)
                database.execute("INSERT INTO model VALUES (?)", [model])
            marks = [database.execute(f"PRAGMA {mark}").fetchone()[0] for mark in ("application_id", "user_version")]
            if marks != [_OURS, _LAYOUT]:
                raise self._no_state_file("another program's, or another version's, database")
            if database.execute("SELECT fingerprint FROM model").fetchone() != (model,):
                raise ModelFileError(f"{path}: belongs to another model; name another with --state, or remove it")
            for statement in _LATER:
                database.execute(statement)
            self._check_logs(database, {_key(str(one.absolute())) for one in logs})

    def _check_logs(self, database: sqlite3.Connection, logs: set[bytes]) -> None:
        before = {log for (log,) in database.execute("SELECT log FROM logs")}
        if gone := before - logs:
            raise ModelFileError(
                f"{self._path}: belongs to a watch of {_text(min(gone))}; watch that as well, name another file with "
                "--state, or remove it"
            )
        database.executemany("INSERT INTO logs VALUES (?)", [(log,) for log in sorted(logs - before)])

    def watched(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Without a model: metrics by which runs are known again, and all that are watched; None if none was saved."""
        with self._transaction() as database:
            row = database.execute("SELECT told_by, metrics FROM watched").fetchone()
        with self.damage_told():
            return None if row is None else (tuple(_told(row[0])), tuple(_told(row[1])))

    def load(self) -> tuple[dict[str, FileSeen], dict[str, dict[str, Any]], dict[str, NDArray[np.float64]]]:
        """What was seen of each file, by path, what is known of each run, and what was known at its checkpoints."""
        with self._transaction() as database, self.damage_told():
            rows: defaultdict[bytes, dict[str, RunSeen]] = defaultdict(dict)
            marks = {
                (path, run): Marks.of(int(every), _whole(prints), end)
                for path, run, every, prints, end in database.execute("SELECT * FROM marks")
            }
            for path, run, n, first in database.execute("SELECT path, run, n, first FROM rows"):
                rows[path][_text(run)] = RunSeen(int(n), int(first), marks.get((path, run), Marks()))
            files = {
                _text(path): FileSeen.of(_told(seen), rows[path])
                for path, seen in database.execute("SELECT path, seen FROM files")
            }
            runs = {_text(run): _told(known) for run, known in database.execute("SELECT run, known FROM runs")}
            checkpoints = {
                _text(run): np.frombuffer(_whole(known))
                for run, known in database.execute("SELECT run, known FROM checkpoints")
            }
        return files, runs, checkpoints

    @contextmanager
    def damage_told(self) -> Iterator[None]:
        """What makes no sense in the file is an error of one line."""
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RecursionError) as error:
            raise self._no_state_file(f"damaged: {' '.join(str(error).split())}") from error

    def save(
        self,
        files: Iterable[tuple[str, FileSeen, Mapping[str, RunSeen]]],
        runs: Iterable[tuple[str, Mapping[str, Any]]],
        checkpoints: Iterable[tuple[str, NDArray[np.float64]]] = (),
        watched: tuple[Sequence[str], Sequence[str]] | None = None,
    ) -> None:
        """Write what changed: files with those of their runs that have more rows, runs, their checkpoints, and metrics.

        Without a model ``watched`` are those by which runs are known again, and all.

        Raises
        ------
        TrajHMMError
            It cannot be written.
        """
        with self._transaction() as database:
            for path, seen, more in files:
                key = _key(path)
                database.execute("REPLACE INTO files VALUES (?, ?)", [key, _checked(seen.to_dict())])
                counts = [(key, _key(run), known.rows, known.first) for run, known in more.items()]
                database.executemany("REPLACE INTO rows VALUES (?, ?, ?, ?)", counts)
                marks = [
                    (key, _key(run), known.marks.every, _summed(known.marks.prints), known.marks.end)
                    for run, known in more.items()
                ]
                database.executemany("REPLACE INTO marks VALUES (?, ?, ?, ?, ?)", marks)
            database.executemany("REPLACE INTO runs VALUES (?, ?)", [(_key(run), _checked(k)) for run, k in runs])
            database.executemany(
                "REPLACE INTO checkpoints VALUES (?, ?)",
                [(_key(run), _summed(known.tobytes())) for run, known in checkpoints],
            )
            if watched is not None:
                database.execute("DELETE FROM watched")
                database.execute("INSERT INTO watched VALUES (?, ?)", [_checked(list(names)) for names in watched])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, timeout=_PATIENCE, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                # A view or a trigger may run for ever.
                if database.execute("SELECT 1 FROM sqlite_master WHERE type NOT IN ('table', 'index')").fetchone():
                    raise self._no_state_file("it holds views or triggers")
                yield database
                database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise TrajHMMError(f"{self._path}: cannot be used as a state file ({error})") from error
        except (sqlite3.DatabaseError, UnicodeError) as error:  # what SQLite says of damage may be no text
            raise self._no_state_file(" ".join(str(error).split())) from error

    def _no_state_file(self, reason: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: no state file of trajhmm ({reason}); name another, or remove it")


def _key(name: str) -> bytes:
    """Names of files and runs need not be valid text."""
    return name.encode("utf-8", "surrogateescape")


def _text(key: bytes) -> str:
    return str(key, "utf-8", "surrogateescape")


def _checked(known: Any) -> str:
    """JSON, and in front of it a checksum."""
    text = json.dumps(known)
    return f"{zlib.crc32(text.encode()):08x}{text}"


def _told(stored: str) -> Any:
    """What `_checked` wrote; also without a checksum, as files of before have it.

    Raises
    ------
    ValueError
        It is not as it was written.
    """
    if stored[:1] in "[{":
        return loads(stored)
    text = stored[_SUM:]
    if stored[:_SUM] != f"{zlib.crc32(text.encode()):08x}":
        raise ValueError("a checksum is wrong")
    return loads(text)


def _summed(known: bytes) -> bytes:
    return zlib.crc32(known).to_bytes(4, "big") + known


def _whole(stored: bytes) -> bytes:
    if stored[:4] != zlib.crc32(stored[4:]).to_bytes(4, "big"):
        raise ValueError("a checksum is wrong")
    return stored[4:]


def _claim(path: Path) -> None:
    """Hold a lock beside the state file until the process ends, whatever ends it.

    Where the file system knows no locks, or the folder cannot be written, it goes without.

    Raises
    ------
    TrajHMMError
        Another process holds it.
    """
    beside = Path(f"{os.path.realpath(path)}.lock")
    if fcntl is None or beside in _held:
        return
    try:
        lock = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o666)
    except OSError:
        return
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise TrajHMMError(f"{path}: another watch keeps its state in it; name another with --state") from error
    except OSError:
        os.close(lock)
        return
    _held[beside] = lock
