"""MLflow: its folders of one file a metric (``mlruns``), and its SQLite database (``mlflow.db``)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trajhmm.errors import LogError
from trajhmm.logs.formats.database import SQLITE_NAMES, has_tables, is_sqlite, opened, tables_in
from trajhmm.logs.formats.encodings import beginning_of, whole_text
from trajhmm.logs.formats.format import Format
from trajhmm.logs.formats.points import Points, RunRows, table_of_run, table_of_runs
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute, value_of

if TYPE_CHECKING:
    import sqlite3

_RUN_ID = re.compile(r"[0-9a-f]{32}", re.IGNORECASE)
_METRICS, _META = "metrics", "meta.yaml"
_DELETED = "deleted"
_NAME_TAG = "mlflow.runName"
# Databases hold infinities as this.
_LARGEST = float(np.finfo(np.float64).max)
_TABLES = {
    "runs": ("run_uuid", "name", "lifecycle_stage"),
    "metrics": ("key", "value", "timestamp", "run_uuid"),
    "params": ("key", "value", "run_uuid"),
    "tags": ("key", "value", "run_uuid"),
}
# The time at which a value was logged, in ms, the value and its step.
_Point = tuple[int, float, int]


def read_mlflow(path: Path, name: str) -> Table:
    """Read a database, or the whole run to which a file of one metric belongs.

    Parameters become attributes, as does the name of the experiment; runs are called by their names, by their ids
    where several have one name. Deleted runs are left out.

    Raises
    ------
    LogError
        A file cannot be read, or a line holds no point.
    """
    return _read_database(path, name) if _run_folder(path) is None else _read_run(path, name)


@dataclass(kw_only=True)
class _Run:
    """A run of a store, and its points by metric."""

    run_id: str
    name: str
    experiment: str
    deleted: bool
    attributes: dict[str, Attribute] = field(default_factory=dict)
    points: dict[str, list[_Point]] = field(default_factory=dict)

    def rows(self, shown: str, path: Path) -> RunRows:
        """Put points into rows, in the order of their times where steps go back or repeat."""
        names = tuple(self.points)
        counts = [len(points) for points in self.points.values()]
        flat = [point for points in self.points.values() for point in points]
        times = np.array([time for time, _, _ in flat], dtype=np.float64)
        order = np.argsort(times, kind="stable")
        points = Points(
            names=names,
            metric=np.repeat(np.arange(len(names)), counts)[order],
            steps=np.array([step for _, _, step in flat], dtype=np.float64)[order],
            values=np.array([value for _, value, _ in flat], dtype=np.float64)[order],
        )
        experiment: dict[str, Attribute] = {"experiment": self.experiment} if self.experiment else {}
        return points.rows(shown, {**experiment, **self.attributes}, path)

    def settle_steps(self) -> tuple[list[str], list[str]]:
        """Settle what of several points all at step 0, as where no step was given, is to count as steps.

        Their order, where the run has no other metric of several points: the first list names such metrics. Else they
        cannot be put beside the others and are taken out: the second list.
        """
        several = [name for name, points in self.points.items() if len(points) > 1]
        stepless = [name for name in several if all(step == 0 for _, _, step in self.points[name])]
        if len(stepless) < len(several):
            for name in stepless:
                del self.points[name]
            return [], stepless
        for name in stepless:
            points = sorted(self.points[name], key=lambda point: point[0])
            self.points[name] = [(time, value, place) for place, (time, value, _) in enumerate(points)]
        return stepless, []


def _settled(path: Path, runs: Iterable[_Run]) -> list[Note]:
    """Settle what counts as steps in some runs, and say so."""
    counted: dict[str, None] = {}
    left_out: dict[str, None] = {}
    for run in runs:
        by_order, without = run.settle_steps()
        counted |= dict.fromkeys(by_order)
        left_out |= dict.fromkeys(without)
    notes = []
    said = f"{path}: logged without steps, all points are at step 0"
    if counted:
        text = f"{said}: {', '.join(counted)}; their order in time counts as steps"
        notes.append(Note(kind="hidden", text=text))
    if left_out:
        text = f"{said}: {', '.join(left_out)}, left out beside metrics with steps; give log_metric its step"
        notes.append(Note(kind="left-out", text=text))
    return notes


# Folders.


def _read_run(path: Path, name: str) -> Table:
    folder = _home(path).absolute()
    run = _run_in(folder)
    if run.deleted:
        return table_of_run(RunRows(run=name, n=0, numbers={}, present={}), path=path)
    notes: list[Note] = []
    root = folder / _METRICS
    for file in sorted(root.rglob("*")):
        if file.is_file() and (points := list(_points_in(file, notes))):
            run.points[file.relative_to(root).as_posix()] = points
    run.attributes = {
        file.relative_to(folder / "params").as_posix(): value_of(beginning_of(file))
        for file in sorted((folder / "params").rglob("*"))
        if file.is_file()
    }
    beside = _store_of(folder)
    run.experiment = beside.experiments.get(folder.parent.name, "")
    shown = run.run_id if any(one == run.name for other, one in beside.names.items() if other != run.run_id) else ""
    if deleted := beside.deleted.get(folder.parent.name):
        notes.append(Note(kind="left-out", text=_deleted_text(folder.parent, deleted)))
    notes += _settled(folder, [run])
    return table_of_run(run.rows(shown or run.name, path), path=path, notes=notes)


def _deleted_text(where: Path, names: list[str]) -> str:
    some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"{where}: {len(names)} runs that were deleted in MLflow are left out ({some})"


def _points_in(file: Path, notes: list[Note]) -> Iterator[_Point]:
    """Yield the points of a file: time, value and step a line."""
    *lines, rest = whole_text(file).decode(errors="replace").split("\n")
    if rest.strip():
        notes.append(Note(kind="torn", text=f"{file}: last line is half-written, left out"))
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts:
            continue
        try:
            # Early versions told no step; late ones tell a data set behind it.
            yield _whole(parts[0]), float(parts[1]), _whole(parts[2]) if len(parts) > 2 else 0
        except (ValueError, IndexError) as error:
            found = line.strip()[:40]
            raise LogError(
                f"{file}: line {number}: expected time, value and step, found {found!r}; mend or delete the line"
            ) from error


def _whole(cell: Any) -> int:
    """A whole number.

    Raises
    ------
    ValueError
        It is none, or has more than 64 bits.
    """
    number = int(cell)
    if abs(number) >= 2**63:
        raise ValueError("a number of more than 64 bits")
    return number


@dataclass(frozen=True, kw_only=True)
class _Store:
    """What the runs of a store are called.

    Attributes
    ----------
    names : of runs that are not deleted, by id.
    deleted : names of the others, by experiment's folder.
    experiments : names, by folder.
    """

    names: dict[str, str]
    deleted: dict[str, list[str]]
    experiments: dict[str, str]


def _store_of(folder: Path) -> _Store:
    """The store in which a run's folder stands."""
    root = folder.parent.parent
    experiments = sorted(one for one in root.glob("*") if one.is_dir() and not one.name.startswith("."))
    return _store_in(tuple((one, one.stat().st_mtime_ns) for one in experiments))


@lru_cache(maxsize=4)
def _store_in(experiments: tuple[tuple[Path, int], ...]) -> _Store:
    store = _Store(names={}, deleted={}, experiments={})
    for experiment, _changed in experiments:
        store.experiments[experiment.name] = _meta_of(experiment).get("name", "")
        for folder in sorted(experiment.glob("*")):
            if not _RUN_ID.fullmatch(folder.name):
                continue
            run = _run_in(folder)
            if run.deleted:
                store.deleted.setdefault(experiment.name, []).append(run.name)
            else:
                store.names[run.run_id] = run.name
    return store


def _run_in(folder: Path) -> _Run:
    """A run without its points."""
    meta = _meta_of(folder)
    tag = folder / "tags" / _NAME_TAG
    name = beginning_of(tag).strip() or meta.get("run_name", "") or folder.name
    return _Run(run_id=folder.name, name=name, experiment="", deleted=meta.get("lifecycle_stage") == _DELETED)


def _meta_of(folder: Path) -> dict[str, str]:
    """The plain entries of a ``meta.yaml``; none where there is no such file."""
    try:
        text = beginning_of(folder / _META)
    except LogError:
        return {}
    entries = (line.partition(": ") for line in text.splitlines() if line[:1].strip())
    return {key: _unquoted(value.strip()) for key, _, value in entries}


def _unquoted(word: str) -> str:
    if len(word) > 1 and word[0] == word[-1] == "'":
        return word[1:-1].replace("''", "'")
    if len(word) > 1 and word[0] == word[-1] == '"':
        return word[1:-1].replace('\\"', '"')
    return word


def _run_folder(path: Path) -> Path | None:
    """The folder of the run to which a file of a metric belongs; None for other files."""
    parts = path.parts
    for place in range(len(parts) - 2, 0, -1):
        if parts[place] == _METRICS and _RUN_ID.fullmatch(parts[place - 1]):
            return Path(*parts[:place])
    return None


def _home(path: Path) -> Path:
    return _run_folder(path) or path


# The database.


def _read_database(path: Path, name: str) -> Table:
    with opened(path) as connection:
        runs = _runs_in(connection, path)
    kept = [run for run in runs if not run.deleted and run.points]
    deleted = [run.name for run in runs if run.deleted]
    if deleted and not kept:
        raise LogError(
            f"{path}: all {len(deleted)} runs with metrics were deleted in MLflow; restore one (mlflow runs restore)"
        )
    times = Counter(run.name for run in runs if not run.deleted)
    notes = [Note(kind="left-out", text=_deleted_text(path, deleted))] if deleted else []
    if any(abs(value) == np.inf for run in kept for points in run.points.values() for _, value, _ in points):
        text = f"{path}: MLflow keeps infinities as the largest float; one of {_LARGEST:.3g} is read as infinite"
        notes.append(Note(kind="hidden", text=text))
    notes += _settled(path, kept)
    rows = [run.rows(run.name if times[run.name] == 1 else run.run_id, path) for run in kept]
    return table_of_runs(rows, path=path, name=name, notes=notes)


def _runs_in(connection: sqlite3.Connection, path: Path) -> list[_Run]:
    experiments: dict[Any, str] = {}
    if "experiments" in tables_in(connection):
        experiments = dict(connection.execute("SELECT experiment_id, name FROM experiments"))
    names = dict(connection.execute("SELECT run_uuid, value FROM tags WHERE key = ?", (_NAME_TAG,)))
    runs = {
        run_id: _Run(
            run_id=str(run_id),
            name=str(names.get(run_id) or name or run_id),
            experiment=str(experiments.get(experiment) or ""),
            deleted=stage == _DELETED,
        )
        for run_id, name, stage, experiment in connection.execute(
            "SELECT run_uuid, name, lifecycle_stage, experiment_id FROM runs ORDER BY start_time, run_uuid"
        )
    }
    for run_id, key, value in connection.execute("SELECT run_uuid, key, value FROM params ORDER BY run_uuid, key"):
        if run_id in runs:
            runs[run_id].attributes[str(key)] = value_of(str(value))
    # Of points at the same time the order of writing is told by their rows.
    rows = connection.execute(
        "SELECT run_uuid, key, timestamp, value, step, is_nan FROM metrics ORDER BY timestamp, rowid"
    )
    for run_id, key, time, value, step, is_nan in rows:
        if run_id not in runs or runs[run_id].deleted:
            continue
        try:
            point = _whole(time), _value_meant(float(value), is_nan=bool(is_nan)), _whole(step)
        except (TypeError, ValueError) as error:
            found = f"{value!r} at step {step!r}"
            raise LogError(
                f"{path}: table metrics, run {run_id}, {key!r}: expected a number, found {found[:40]}; delete the row"
            ) from error
        runs[run_id].points.setdefault(str(key), []).append(point)
    return list(runs.values())


def _value_meant(stored: float, *, is_nan: bool) -> float:
    """The value that was logged: databases cannot hold NaN and infinities, MLflow puts other things for them."""
    if is_nan:
        return np.nan
    return float(np.copysign(np.inf, stored)) if abs(stored) >= _LARGEST else stored


def _takes(path: Path, head: bytes) -> bool:
    if (folder := _run_folder(path)) is not None:
        return (folder / _META).is_file() and b"\0" not in head
    return is_sqlite(head) and has_tables(path, _TABLES)


MLFLOW = Format(
    name="mlflow",
    title="MLflow (mlruns folders, SQLite)",
    names=rf"(^|/)[0-9a-f]{{32}}/metrics/.+|{SQLITE_NAMES}",
    read=read_mlflow,
    takes=_takes,
    home=_home,
    whole_history=True,
    together=True,
)
