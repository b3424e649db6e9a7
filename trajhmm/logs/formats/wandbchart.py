"""Weights & Biases: CSV that its pages export, of a chart (runs side by side) or of a run's history."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.formats.delimited import read_csv
from trajhmm.logs.formats.format import HEAD, Format
from trajhmm.logs.formats.points import RunRows, table_of_runs
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note

_BETWEEN = " - "
# Dashes with blanks in the name of a metric.
_MOST_DASHES = 20
_TWINS = ("__MIN", "__MAX")
_STEP = "_step"
_COUNTS_STEPS = re.compile(r"(.*[/_. ])?(step|steps)", re.IGNORECASE)
# Columns that only a run's history has.
_HISTORY = {_STEP, "_runtime", "_timestamp"}
# As many points the tool takes of a run; one more or less where ends are counted in.
_SAMPLED, _GIVE = 500, 1
# Without twins it takes more to tell a chart than a few names with a dash.
_FEWEST_RUNS = 2


@dataclass(frozen=True, kw_only=True)
class _Chart:
    """The columns of a chart: its axis, and the place of each metric of each run."""

    axis: str
    cells: dict[str, dict[str, str]]


def read_wandb_csv(path: Path, name: str) -> Table:
    """Read an export of the tool's pages.

    A chart has a column ``RUN - METRIC`` for each run and metric, most often with twins ``__MIN`` and ``__MAX``; it
    becomes rows of runs, none where all cells of a run are blank. A history is read as any CSV. Where points were
    sampled, a note says so.

    Raises
    ------
    LogError
        As `trajhmm.logs.formats.delimited.read_csv`; or a cell of a chart holds no number.
    """
    table = read_csv(path, name)
    chart = _chart_of((*table.numbers, *table.texts), _axis(path))
    if chart is None:
        return replace(table, notes=(*table.notes, *_sampling_of_history(table)))
    words = next((column for runs in chart.cells.values() for column in runs.values() if column in table.texts), None)
    if words is not None:
        found = table.texts[words].words[0]
        raise LogError(f"{path}: column {words!r} holds {found!r}; expected numbers, mend the cell or leave it empty")
    runs = [_run(table, chart, run) for run in chart.cells]
    runs = [rows for rows in runs if rows.n]
    return table_of_runs(runs, path=path, name=name, notes=(*table.notes, *_sampling_of_chart(table, chart, runs)))


def _run(table: Table, chart: _Chart, run: str) -> RunRows:
    columns = dict(chart.cells[run])
    # The axis of a chart counts steps, or each run brings its steps along.
    own_steps = columns.pop(_STEP, None)
    stands = {metric: table.present.get(column, np.ones(table.n, dtype=bool)) for metric, column in columns.items()}
    rows: NDArray[np.bool_] = np.logical_or.reduce([np.zeros(table.n, dtype=bool), *stands.values()])
    numbers = {chart.axis: table.numbers[chart.axis][rows]}
    if own_steps is not None and not _COUNTS_STEPS.fullmatch(chart.axis):
        numbers["step"] = table.numbers[own_steps][rows]
    numbers |= {metric: table.numbers[column][rows] for metric, column in columns.items()}
    present = {metric: here[rows] for metric, here in stands.items() if not here[rows].all()}
    return RunRows(run=run, n=int(rows.sum()), numbers=numbers, present=present)


def _sampling_of_chart(table: Table, chart: _Chart, runs: Sequence[RunRows]) -> list[Note]:
    averaged = [
        run for run, columns in chart.cells.items() if any(_twins_differ(table, column) for column in columns.values())
    ]
    sampled = [rows.run for rows in runs if abs(rows.n - _SAMPLED) <= _GIVE]
    notes = []
    if averaged:
        text = f"charts are exported with points averaged over steps (_MIN differs from _MAX in {_some(averaged)})"
        notes.append(Note(kind="hidden", text=f"{table.path}: {text}; export the history for every step"))
    if sampled:
        text = f"charts are exported with at most {_SAMPLED} sampled points, as many as {_some(sampled)} has"
        notes.append(Note(kind="hidden", text=f"{table.path}: {text}; export the history for every step"))
    return notes


def _twins_differ(table: Table, column: str) -> bool:
    low, high = (table.numbers.get(column + twin) for twin in _TWINS)
    return low is not None and high is not None and bool((low < high).any())


def _sampling_of_history(table: Table) -> list[Note]:
    steps = table.numbers.get(_STEP)
    if steps is None or abs(table.n - _SAMPLED) > _GIVE or not (np.diff(steps) != 1).any():
        return []
    text = f"{table.n} rows, as many as a history has that was sampled: steps may be missing; scan the whole history"
    return [Note(kind="hidden", text=f"{table.path}: {text}")]


def _some(runs: Sequence[str]) -> str:
    return runs[0] if len(runs) == 1 else f"{runs[0]} and {len(runs) - 1} more"


def _axis(path: Path) -> str:
    """The first column, by which the points of a chart are ordered."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        return next(iter(next(csv.reader(stream), [])), "").strip()


def _chart_of(columns: Sequence[str], axis: str) -> _Chart | None:
    """Which column is which run's, or None if this is no chart."""
    others = [column for column in columns if column != axis]
    values = [column for column in others if not column.endswith(_TWINS)]
    if axis not in columns or not values or not all(_BETWEEN in column for column in values):
        return None
    known = set(others)
    twins = [column for column in values if all(column + twin in known for twin in _TWINS)]
    if len(others) - len(values) != len(_TWINS) * len(twins):
        return None
    metrics = _metrics_of(values)
    runs = {column.removesuffix(_BETWEEN + metric) for column, metric in metrics.items()}
    if not twins and (len(runs) < _FEWEST_RUNS or len(set(metrics.values())) * _FEWEST_RUNS > len(values)):
        return None
    cells: dict[str, dict[str, str]] = {}
    for column, metric in metrics.items():
        cells.setdefault(column.removesuffix(_BETWEEN + metric), {})[metric] = column
    return _Chart(axis=axis, cells=cells)


def _metrics_of(columns: Sequence[str]) -> dict[str, str]:
    """The metric of each column. Names may hold a dash with blanks too: the split is taken that most columns share."""
    ends: dict[str, int] = {}
    for column in columns:
        for end in _ends(column):
            ends[end] = ends.get(end, 0) + 1
    # Of ends that as many share the shortest: charts hold few metrics of many runs, whose names are free.
    return {column: max(_ends(column), key=lambda end: (ends[end], -len(end))) for column in columns}


def _ends(column: str) -> list[str]:
    parts = column.split(_BETWEEN)
    return [_BETWEEN.join(parts[place:]) for place in range(max(1, len(parts) - _MOST_DASHES), len(parts))]


def _takes(_path: Path, head: bytes) -> bool:
    line, _, rest = head.decode("utf-8-sig", errors="replace").partition("\n")
    try:
        columns = [column.strip() for column in next(csv.reader([line]), [])]
    except csv.Error:
        return False
    if not rest and len(head) >= HEAD:
        # The line goes on behind the bytes that were read.
        columns = columns[: 1 + (len(columns) - 2) // 3 * 3]
    if not columns or len(set(columns)) < len(columns):
        return False
    return set(columns) >= _HISTORY or _chart_of(columns, columns[0]) is not None


WANDB_CSV = Format(
    name="wandb-csv",
    title="Weights & Biases (exported CSV)",
    names=r"\.csv",
    read=read_wandb_csv,
    takes=_takes,
)
