"""The state file of a watch: what was seen of each log file, and what is known of each run; it survives any kill."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ModelFileError, TrajHMMError
from trajhmm.logs.following.seen import FileSeen, RunSeen

# By which SQLite knows whose a file is ("trjw" in ASCII), and in which layout.
_OURS, _LAYOUT = 0x74726A77, 1
# Files of before lack these, which does no harm: without a model nothing of them fits, with one a resume pauses longer.
_LATER = (
    "CREATE TABLE IF NOT EXISTS watched (told_by TEXT NOT NULL, metrics TEXT NOT NULL)",
    "CREATE TABLE IF NOT EXISTS checkpoints (run BLOB PRIMARY KEY, known BLOB NOT NULL) WITHOUT ROWID",
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
    path : made, with its folder, if it is not there.
    model : fingerprint of the model that the state belongs to.

    Raises
    ------
    ModelFileError
        The file belongs to another model, or is no state file.
    TrajHMMError
        It cannot be read or written.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path = path
        with suppress(OSError):  # then it cannot be opened either
            path.parent.mkdir(parents=True, exist_ok=True)
        with self._transaction() as database:
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

    def watched(self) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
        """Without a model: metrics by which runs are known again, and all that are watched; None if none was saved."""
        with self._transaction() as database:
            row = database.execute("SELECT told_by, metrics FROM watched").fetchone()
        return None if row is None else (tuple(json.loads(row[0])), tuple(json.loads(row[1])))

    def load(self) -> tuple[dict[str, FileSeen], dict[str, dict[str, Any]], dict[str, NDArray[np.float64]]]:
        """What was seen of each file, by path, what is known of each run, and what was known at its checkpoints."""
        with self._transaction() as database:
            rows: defaultdict[bytes, dict[str, RunSeen]] = defaultdict(dict)
            for path, run, n, first in database.execute("SELECT path, run, n, first FROM rows"):
                rows[path][_text(run)] = RunSeen(rows=n, first=first)
            files = {
                _text(path): FileSeen.of(json.loads(seen), rows[path])
                for path, seen in database.execute("SELECT path, seen FROM files")
            }
            runs = {_text(run): json.loads(known) for run, known in database.execute("SELECT run, known FROM runs")}
            checkpoints = {
                _text(run): np.frombuffer(known)
                for run, known in database.execute("SELECT run, known FROM checkpoints")
                if len(known) % np.float64().nbytes == 0
            }
        return files, runs, checkpoints

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
                database.execute("REPLACE INTO files VALUES (?, ?)", [key, json.dumps(seen.to_dict())])
                counts = [(key, _key(run), known.rows, known.first) for run, known in more.items()]
                database.executemany("REPLACE INTO rows VALUES (?, ?, ?, ?)", counts)
            database.executemany("REPLACE INTO runs VALUES (?, ?)", [(_key(run), json.dumps(k)) for run, k in runs])
            database.executemany(
                "REPLACE INTO checkpoints VALUES (?, ?)", [(_key(run), known.tobytes()) for run, known in checkpoints]
            )
            if watched is not None:
                database.execute("DELETE FROM watched")
                database.execute("INSERT INTO watched VALUES (?, ?)", [json.dumps(list(names)) for names in watched])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self._path, isolation_level=None)) as database:
                database.execute("BEGIN IMMEDIATE")
                yield database
                database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise TrajHMMError(f"{self._path}: cannot be used as a state file ({error})") from error
        except sqlite3.DatabaseError as error:
            raise self._no_state_file(str(error)) from error

    def _no_state_file(self, reason: str) -> ModelFileError:
        return ModelFileError(f"{self._path}: no state file of trajhmm ({reason}); name another, or remove it")


def _key(name: str) -> bytes:
    """Names of files and runs need not be valid text."""
    return name.encode("utf-8", "surrogateescape")


def _text(key: bytes) -> str:
    return str(key, "utf-8", "surrogateescape")
