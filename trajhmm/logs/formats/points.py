"""From what trackers keep, single points and rows of any keys, to tables."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trajhmm.logs.formats.table import LONGEST_NAME, RUN_NAME, Table, Text, check_cells, plain_cell
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute, plain_text

Floats = NDArray[np.float64]

_NOT_FINITE = re.compile(r"\s*[-+]?(nan|inf|infinity)\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, eq=False)
class RunRows:
    """The n rows of one run.

    Attributes
    ----------
    run : its name.
    n : number of rows.
    numbers : name to (n,) float64.
    present : name to (n,) bool, for columns with blank cells.
    texts : name to n cells, None where blank.
    attributes : what holds for all of them.
    """

    run: str
    n: int
    numbers: dict[str, Floats]
    present: dict[str, NDArray[np.bool_]]
    texts: dict[str, list[str | None]] = field(default_factory=dict)
    attributes: dict[str, Attribute] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, eq=False)
class Points:
    """Single values of one run in the order in which they were logged.

    ``metric`` (n,) int64 are positions in ``names``; ``steps`` and ``values`` (n,) float64.
    """

    names: tuple[str, ...]
    metric: NDArray[np.int64]
    steps: Floats
    values: Floats

    def rows(self, run: str, attributes: dict[str, Attribute], path: Path) -> RunRows:
        """Put the points of one step into one row, rows sorted by step.

        Several points of one metric and step stand in rows of their own, one behind the other. Where a metric's steps
        go back, rows begin anew, so that it can be told which of them a resumed run replaced.

        Raises
        ------
        LogError
            Far more cells would be blank than not, see `trajhmm.logs.formats.table.check_cells`.
        """
        steps, row = self._goes_up() or self._in_passes()
        check_cells(len(steps), len(self.names), len(self.values), path)
        numbers = {"step": steps}
        present: dict[str, NDArray[np.bool_]] = {}
        order = np.argsort(self.metric, kind="stable")
        bounds = np.searchsorted(self.metric[order], np.arange(len(self.names) + 1))
        for position, name in enumerate(map(plain_text, self.names)):
            mine = order[bounds[position] : bounds[position + 1]]
            column, stands = np.full(len(steps), np.nan), np.zeros(len(steps), dtype=bool)
            column[row[mine]], stands[row[mine]] = self.values[mine], True
            numbers[name] = column
            if not stands.all():
                present[name] = stands
        return RunRows(run=run, n=len(steps), numbers=numbers, present=present, attributes=attributes)

    def _goes_up(self) -> tuple[Floats, NDArray[np.int64]] | None:
        """Steps of the rows, and the row of each point, where the steps of each metric go up; else None."""
        order = np.argsort(self.metric, kind="stable")
        metric, steps = self.metric[order], self.steps[order]
        if not (np.diff(steps) > 0)[np.diff(metric) == 0].all():
            return None
        unique, row = np.unique(self.steps, return_inverse=True)
        return unique, row

    def _in_passes(self) -> tuple[Floats, NDArray[np.int64]]:
        """The same where some go back or repeat."""
        last, seen_in = [-np.inf] * len(self.names), [0] * len(self.names)
        times = [0] * len(self.names)  # how often each metric was logged at its last step before
        # Passes and the steps at which they begin, without those behind which one begins at an earlier step still: a
        # metric's last step counts as below where the passes since began.
        begun: list[int] = []
        begins: list[float] = []
        passes = 0
        places = np.empty((len(self.steps), 3))
        for point, (metric, step) in enumerate(zip(self.metric.tolist(), self.steps.tolist(), strict=True)):
            since = bisect_right(begun, seen_in[metric])
            before = min(last[metric], math.nextafter(begins[since], -math.inf)) if since < len(begun) else last[metric]
            if step < before:
                passes += 1
                while begins and begins[-1] >= step:
                    begun.pop()
                    begins.pop()
                begun.append(passes)
                begins.append(step)
                before = math.nextafter(step, -math.inf)
            times[metric] = times[metric] + 1 if step == before else 0
            last[metric], seen_in[metric] = step, passes
            places[point] = passes, step, times[metric]
        unique, row = np.unique(places, axis=0, return_inverse=True)
        return unique[:, 1], row.reshape(-1)


class Cells:
    """Rows of any keys, collected cell by cell: numbers, words that spell a non-finite one, booleans and texts.

    Attributes
    ----------
    n : number of rows so far; the last of them is the one to which `put` adds.
    left_out : what was no number and no text, and what it was.
    """

    def __init__(self) -> None:
        self.n = 0
        self.left_out: dict[str, str] = {}
        self._numbers: dict[str, tuple[list[int], list[float]]] = {}
        self._texts: dict[str, tuple[list[int], list[str]]] = {}

    def put(self, name: str, value: object) -> None:
        """Add a cell to the last row; None is a blank."""
        name, value = plain_text(name), plain_cell(value)
        number = number_in(value)
        if number is not None:
            rows, numbers = self._numbers.setdefault(name, ([], []))
            rows.append(self.n - 1)
            numbers.append(number)
        elif isinstance(value, str):
            at, words = self._texts.setdefault(name, ([], []))
            at.append(self.n - 1)
            words.append(value)
        elif value is not None:
            self.left_out.setdefault(name, "a list" if isinstance(value, list) else "an object")

    def rows(self, run: str, attributes: dict[str, Attribute], path: Path) -> RunRows:
        """What was collected. Words in a column of numbers are left out, see `left_out`.

        Raises
        ------
        LogError
            Far more cells would be blank than not, see `trajhmm.logs.formats.table.check_cells`.
        """
        n_values = sum(len(at) for at, _ in self._numbers.values()) + sum(len(at) for at, _ in self._texts.values())
        check_cells(self.n, len(self._numbers.keys() | self._texts.keys()), n_values, path)
        numbers: dict[str, Floats] = {}
        present: dict[str, NDArray[np.bool_]] = {}
        for name, (rows, cells) in self._numbers.items():
            column, stands = np.full(self.n, np.nan), np.zeros(self.n, dtype=bool)
            column[rows], stands[rows] = cells, True
            numbers[name] = column
            if not stands.all():
                present[name] = stands
        texts: dict[str, list[str | None]] = {}
        for name, (at, words) in self._texts.items():
            if name in numbers:
                self.left_out.setdefault(name, f"words among numbers, {words[0][:20]!r}")
                continue
            cells_of_text: list[str | None] = [None] * self.n
            for row, word in zip(at, words, strict=True):
                cells_of_text[row] = word
            texts[name] = cells_of_text
        return RunRows(run=run, n=self.n, numbers=numbers, present=present, texts=texts, attributes=attributes)

    def note(self, path: Path) -> tuple[Note, ...]:
        """Say what was left out."""
        if not self.left_out:
            return ()
        said = ", ".join(f"{name} ({what})" for name, what in self.left_out.items())
        return (Note(kind="left-out", text=f"{path}: neither numbers nor text, left out: {said}"),)


def number_in(value: object) -> float | None:
    """The number that a cell holds, or spells where JSON has no other way; None if it is something else."""
    if isinstance(value, (int, float)):
        try:
            return float(value)
        except OverflowError:
            return np.inf if value > 0 else -np.inf
    if isinstance(value, str) and _NOT_FINITE.fullmatch(value):
        return float(value)
    return None


def flat(record: Mapping[str, object], between: str, prefix: str = "") -> Iterable[tuple[str, object]]:
    """The entries of nested objects, their keys joined; an object that names its ``_type`` is one entry."""
    for key, value in record.items():
        if isinstance(value, dict) and "_type" not in value and len(prefix) < LONGEST_NAME:
            yield from flat(value, between, f"{prefix}{key}{between}")
        else:
            yield plain_text(f"{prefix}{key}"), plain_cell(value)


def attributes_in(config: Mapping[str, object], between: str) -> dict[str, Attribute]:
    """The numbers and texts of a run's settings; those with an underscore, the trackers' own, and lists are no such."""
    return {
        key: float(value) if isinstance(value, bool) else value
        for key, value in flat(config, between)
        if isinstance(value, (str, int, float)) and not key.startswith("_")
    }


def table_of_run(rows: RunRows, *, path: Path, notes: Iterable[Note] = ()) -> Table:
    """A table of one run, of a writer that tells a blank from NaN."""
    return Table(
        path=path,
        name=rows.run,
        n=rows.n,
        numbers=rows.numbers,
        present=rows.present,
        texts={name: Text.of(cells) for name, cells in rows.texts.items()},
        attributes={plain_text(key): value for key, value in rows.attributes.items()},
        blanks_are_blank=True,
        notes=tuple(notes),
    )


def table_of_runs(runs: Sequence[RunRows], *, path: Path, name: str, notes: Iterable[Note] = ()) -> Table:
    """A table of several runs, told apart by its column ``run``; what holds for each stands in all its rows."""
    total = sum(rows.n for rows in runs)
    columns = {key for rows in runs for key in (*rows.numbers, *rows.texts, *rows.attributes)}
    n_values = sum(rows.n * (len(rows.numbers) + len(rows.texts)) for rows in runs)
    check_cells(total, len(columns), n_values, path)
    numbers: dict[str, Floats] = {}
    present: dict[str, NDArray[np.bool_]] = {}
    texts: dict[str, list[str | None]] = {RUN_NAME: [rows.run for rows in runs for _ in range(rows.n)]}
    words = {key for rows in runs for key, value in rows.attributes.items() if isinstance(value, str)}
    words |= {key for rows in runs for key in rows.texts}
    words -= {key for rows in runs for key in rows.numbers}
    words.discard(RUN_NAME)
    begin = 0
    for rows in runs:
        here = slice(begin, begin + rows.n)
        begin += rows.n
        settings = {key: value for key, value in rows.attributes.items() if key not in (*rows.numbers, *rows.texts)}
        for key in (*rows.numbers, *rows.texts, *settings):
            if key == RUN_NAME:
                continue
            if key in words:
                cells = texts.setdefault(key, [None] * total)
                cells[here] = rows.texts.get(key) or [str(settings[key])] * rows.n
            elif key in rows.numbers or not isinstance(settings.get(key, ""), str):
                if key not in numbers:
                    numbers[key], present[key] = np.full(total, np.nan), np.zeros(total, dtype=bool)
                numbers[key][here] = rows.numbers.get(key, settings.get(key))
                present[key][here] = rows.present.get(key, np.True_)
    return Table(
        path=path,
        name=name,
        n=total,
        numbers=numbers,
        present={key: stands for key, stands in present.items() if not stands.all()},
        texts={key: Text.of(cells) for key, cells in texts.items()},
        blanks_are_blank=True,
        notes=tuple(notes),
    )
