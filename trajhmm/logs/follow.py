"""Following logs that are being written: in each poll the rows that are new."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.columns import ColumnsSeen
from trajhmm.logs.formats import SUFFIXES, stem_and_suffix
from trajhmm.logs.paths import LogFile, find_log_files
from trajhmm.logs.products import product_of
from trajhmm.logs.rows import rows_that_meet, rows_with_steps, run_names, step_column
from trajhmm.logs.settings import Settings
from trajhmm.logs.sources import Source
from trajhmm.logs.stack import stack_tables
from trajhmm.logs.table import Table


@dataclass(frozen=True, kw_only=True, eq=False)
class NewRows:
    """Rows of one run that have not been seen before, in the order in which they were written.

    Attributes
    ----------
    run : name.
    steps : (n,) int64; where a run was resumed they go back.
    values : (n, D); NaN where blank.
    logged : (n, D) bool, False where blank.
    """

    run: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    logged: NDArray[np.bool_]


@dataclass(kw_only=True)
class _Seen:
    """What was seen of a file: its size and time of change then, and rows of each run."""

    size: int
    changed: int
    rows: dict[str, int] = field(default_factory=dict)


class Follower:
    """Log files and folders under which jobs add files, add to them, or write them again with more rows.

    A file that cannot be read, because it is half-written, is passed over and tried again in the next poll. A file that
    was written again is taken to begin with the rows that it held before. Files that were there once and are gone are
    forgotten, not their rows.

    Parameters
    ----------
    paths : files or folders; they need not exist yet.
    metrics : D columns to read; one that a file lacks is blank there.
    settings : as for `trajhmm.read_logs`.
    """

    def __init__(self, paths: Iterable[str | Path], metrics: Sequence[str], settings: Settings) -> None:
        self._paths = [Path(path) for path in paths]
        self._metrics = tuple(metrics)
        self._settings = settings
        self._files: dict[Path, LogFile] = {}
        self._seen: dict[Path, _Seen] = {}
        self.torn: dict[Path, str] = {}

    def poll(self) -> Iterator[NewRows]:
        """Yield what is new since the last poll.

        Raises
        ------
        LogError
            A file that is whole makes no sense: no step, or a metric that is text.
        """
        now = dict(self._stats())
        if now.keys() - self._files.keys():
            found = {file.path: file for file in find_log_files([path for path in self._paths if path.exists()])}
            # A run keeps the name that it had first, though more files may make another one clearer.
            self._files = {**found, **{path: file for path, file in self._files.items() if path in found}}
        for place, (path, file) in enumerate(self._files.items()):
            if path not in now:
                continue
            size, changed = now[path]
            seen = self._seen.get(path)
            if seen is not None and (seen.size, seen.changed) == (size, changed):
                continue
            try:
                table = Source(file=file, place=place).read({})
            except (LogError, OSError) as error:
                self.torn[path] = str(error)
                continue
            self.torn.pop(path, None)
            seen = _Seen(size=size, changed=changed, rows=seen.rows if seen is not None else {})
            self._seen[path] = seen
            if table.n and not (file.searched and product_of(table.columns)):
                yield from self._new_rows(table, seen)

    def _stats(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        """Log files that are there, with size and time of change."""
        for root in self._paths:
            inside = _walk(root) if root.is_dir() else [root] if root.exists() else []
            for path in inside:
                try:
                    stat = path.stat()
                except OSError:  # gone meanwhile
                    continue
                yield path, (stat.st_size, stat.st_mtime_ns)

    def _new_rows(self, table: Table, seen: _Seen) -> Iterator[NewRows]:
        names = {old: new for old, new in self._settings.rename.items() if old in table.columns}
        table = table.renamed(names)
        step = step_column([table], self._settings.step)
        stack = stack_tables([table], ColumnsSeen.in_tables([table], [0]).kinds())
        if self._settings.where is not None:
            stack = rows_that_meet(stack, self._settings.where, self._settings.run_by)
        stack, steps = rows_with_steps(stack, step, [])
        if not len(steps):
            return
        labels = run_names(stack, self._settings.run_by)
        there = [metric for metric in self._metrics if metric in stack.numbers]
        columns = [self._metrics.index(metric) for metric in there]
        for code, run in enumerate(labels.words):
            rows = np.flatnonzero(labels.codes == code)[seen.rows.get(run, 0) :]
            seen.rows[run] = seen.rows.get(run, 0) + len(rows)
            if not len(rows):
                continue
            values = np.full((len(rows), len(self._metrics)), np.nan)
            logged = np.zeros(values.shape, dtype=bool)
            values[:, columns], logged[:, columns] = stack.values(rows, there), stack.logged(rows, there)
            yield NewRows(run=run, steps=steps[rows].astype(np.int64), values=values, logged=logged)

    def to_dict(self) -> dict[str, Any]:
        """What a state file holds."""
        return {
            str(path): {"size": seen.size, "changed": seen.changed, "rows": seen.rows, "name": self._files[path].name}
            for path, seen in self._seen.items()
        }

    def resume(self, stored: Mapping[str, Any]) -> None:
        """Go on from what `to_dict` gave: rows that were seen are not new."""
        self._seen = {
            Path(path): _Seen(size=seen["size"], changed=seen["changed"], rows=dict(seen["rows"]))
            for path, seen in stored.items()
        }


def _walk(root: Path) -> Iterator[Path]:
    """Log files under a folder; hidden ones are passed over."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith((".", "_"))]
        for name in files:
            path = Path(folder) / name
            if not name.startswith((".", "_")) and stem_and_suffix(path)[1] in SUFFIXES:
                yield path
