"""trackio: the SQLite database of a project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from trajhmm.errors import LogError
from trajhmm.jsontext import loads
from trajhmm.logs.formats.database import SQLITE_NAMES, columns_in, has_tables, is_sqlite, opened, rows_of, tables_in
from trajhmm.logs.formats.format import Format
from trajhmm.logs.formats.points import Cells, attributes_in, flat, number_in, table_of_runs
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note

if TYPE_CHECKING:
    import sqlite3

_TABLES = {"metrics": ("run_name", "step", "metrics", "timestamp")}
# Samples of the machine, which have a time but no step.
_SYSTEM = "system_metrics"


def read_trackio(path: Path, name: str) -> Table:
    """Read the runs of a project. Nested objects become metrics whose names are joined by ``/``.

    Runs are called by their names; by their ids where several have one name.

    Raises
    ------
    LogError
        The file cannot be read, or the metrics of a row are no JSON object.
    """
    with opened(path) as connection:
        # Early versions knew a run by its name alone.
        by = "run_id" if "run_id" in columns_in(connection, "metrics") else "run_name"
        names: dict[object, str] = {}
        cells: dict[object, Cells] = {}
        columns = (by, "run_name", "step", "metrics", "rowid")
        for run, shown, step, metrics, row in rows_of(connection, "metrics", columns):
            names[run] = str(shown)
            _add(cells.setdefault(run, Cells()), step, _json(metrics, f"{path}: table metrics, row {row}"))
        configs = dict(_configs(connection, by, path)) if "configs" in tables_in(connection) else {}
        n_system = len(rows_of(connection, _SYSTEM, ("rowid",)).fetchall()) if _SYSTEM in tables_in(connection) else 0
    times = Counter(names.values())
    runs = [
        one.rows(names[run] if times[names[run]] == 1 else str(run), attributes_in(configs.get(run, {}), "/"), path)
        for run, one in cells.items()
    ]
    notes = list(dict.fromkeys(note for one in cells.values() for note in one.note(path)))
    if n_system:
        notes.append(Note(kind="left-out", text=f"{path}: {n_system} samples of the system have no step, left out"))
    return table_of_runs(runs, path=path, name=name, notes=notes)


def _add(cells: Cells, step: object, metrics: dict[str, object]) -> None:
    cells.n += 1
    cells.put("step", number_in(step))
    for key, value in flat(metrics, "/"):
        if isinstance(value, dict):
            cells.left_out.setdefault(key, str(value.get("_type", "an object")))
        else:
            cells.put(key, value)


def _configs(connection: sqlite3.Connection, by: str, path: Path) -> Iterator[tuple[object, dict[str, object]]]:
    for run, config in rows_of(connection, "configs", (by, "config")):
        yield run, _json(config, f"{path}: table configs, run {run}")


def _json(stored: object, where: str) -> dict[str, object]:
    """An object that is kept as text or as its bytes."""
    try:
        record = loads(stored) if isinstance(stored, (str, bytes)) else None
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise LogError(f"{where}: expected a JSON object, found {str(stored)[:30]!r}; delete the row")
    return record


TRACKIO = Format(
    name="trackio",
    title="trackio (SQLite)",
    names=SQLITE_NAMES,
    read=read_trackio,
    takes=lambda path, head: is_sqlite(head) and has_tables(path, _TABLES),
)
