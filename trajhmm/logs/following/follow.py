"""Following logs that are being written: in each poll the rows that are new."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.assembly.clocks import called_clock
from trajhmm.logs.assembly.epochs import is_epoch
from trajhmm.logs.assembly.rows import rows_that_meet, rows_with_steps, run_names
from trajhmm.logs.assembly.stack import Stack, stack_tables
from trajhmm.logs.assembly.steps import STEP, with_steps
from trajhmm.logs.following.listing import Found, Listing
from trajhmm.logs.following.marks import SIZE
from trajhmm.logs.following.moving import Moving
from trajhmm.logs.following.seen import FileSeen, KnownColumns, RunSeen, Skipped, Stamp, fingerprint_of_row
from trajhmm.logs.formats.format import Growth
from trajhmm.logs.formats.lines import GrowingFile, Lines, Place
from trajhmm.logs.formats.parquet import PARQUET, parquet_heading
from trajhmm.logs.formats.repairs import TORN, NamedAnewError
from trajhmm.logs.formats.table import RUN_NAME, Table, means_blank
from trajhmm.logs.runset import offsets_of
from trajhmm.logs.settings import Settings
from trajhmm.logs.sources.paths import LogFile
from trajhmm.logs.sources.products import product_of
from trajhmm.logs.sources.reading import Source
from trajhmm.naming import natural_key

# Of fewer rows it is not worth while to find out which were read.
_MANY_ROWS = 2**13
# Bytes behind what was read that are looked at, and those of them that say nothing.
_MOST_BEHIND, _BLANK = 2**16, b" \t\r\n\0"
# Cells that are held at a time: rows that each name columns of their own have nearly all of them blank.
_MOST_CELLS = 2**21
# Lines of a file that may make no sense in one poll; of more, the file does not.
_MOST_WRONG = 100


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """Numbers of all columns of some rows but steps and clocks.

    ``names`` of E columns; ``values`` (n, E), NaN where blank; ``present`` (n, E), False where blank.
    """

    names: tuple[str, ...]
    values: NDArray[np.float64]
    present: NDArray[np.bool_]

    def of_columns(self, names: tuple[str, ...]) -> Cells:
        """Some columns; one that is not there is blank."""
        values, present = (
            np.full((len(self.values), len(names)), np.nan),
            np.zeros((len(self.values), len(names)), bool),
        )
        for place, name in enumerate(names):
            if name in self.names:
                column = self.names.index(name)
                values[:, place], present[:, place] = self.values[:, column], self.present[:, column]
        return Cells(names=names, values=values, present=present)

    def at(self, rows: slice) -> Cells:
        """Some of the rows."""
        return Cells(names=self.names, values=self.values[rows], present=self.present[rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class NewRows:
    """Rows of one run that have not been seen before, in the order in which they were written.

    Attributes
    ----------
    run : name.
    steps : (n,) int64; where a run was resumed they go back.
    values : (n, D); NaN where blank.
    logged : (n, D) bool, False where blank.
    cells : all that the rows hold; None where a blank is known to be none that was lost.
    file : that they stand in.
    epochs : (n,), NaN where blank; None if no column tells them.
    numbered : whether they are of a part that `RunLogger` wrote.
    """

    run: str
    steps: NDArray[np.int64]
    values: NDArray[np.float64]
    logged: NDArray[np.bool_]
    cells: Cells | None = None
    file: str = ""
    epochs: NDArray[np.float64] | None = None
    numbered: bool = False

    def copy(self) -> NewRows:
        """The same rows, not a view of more."""
        cells = self.cells
        if cells is not None:
            cells = Cells(names=cells.names, values=cells.values.copy(), present=cells.present.copy())
        arrays = {name: getattr(self, name).copy() for name in ("steps", "values", "logged")}
        return NewRows(run=self.run, cells=cells, file=self.file, **arrays)

    def to_dict(self) -> dict[str, Any]:
        """What a state file holds of them; numbers as Python reads them back."""
        cells = self.cells
        return {
            "steps": self.steps.tolist(),
            "values": self.values.tolist(),
            "logged": self.logged.tolist(),
            "names": None if cells is None else cells.names,
            "cells": None if cells is None else cells.values.tolist(),
            "present": None if cells is None else cells.present.tolist(),
            "file": self.file,
        }

    @classmethod
    def of(cls, run: str, stored: Mapping[str, Any]) -> NewRows:
        """Take what `to_dict` gave."""
        cells = None
        if stored["names"] is not None:
            names = tuple(stored["names"])
            shape = (len(stored["steps"]), len(names))
            cells = Cells(
                names=names,
                values=np.array(stored["cells"], dtype=np.float64).reshape(shape),
                present=np.array(stored["present"], dtype=bool).reshape(shape),
            )
        return cls(
            run=run,
            steps=np.array(stored["steps"], dtype=np.int64),
            values=np.array(stored["values"], dtype=np.float64),
            logged=np.array(stored["logged"], dtype=bool),
            cells=cells,
            file=stored["file"],
        )

    def behind(self, row: int) -> NewRows:
        """The rows from ``row`` on."""
        return self.at(slice(row, None))

    def at(self, rows: slice) -> NewRows:
        """Some of the rows."""
        cells = None if self.cells is None else self.cells.at(rows)
        return NewRows(
            run=self.run,
            steps=self.steps[rows],
            values=self.values[rows],
            logged=self.logged[rows],
            cells=cells,
            file=self.file,
            epochs=None if self.epochs is None else self.epochs[rows],
            numbered=self.numbered,
        )


class _Begun(NamedTuple):
    """Where a run began, as far as is known: the file, and the step and values of its first row."""

    real: str
    step: int
    values: NDArray[np.float64]


class _WrittenAnew(Exception):  # noqa: N818 (no error: what is to be done is known)
    """Rows of a file are not those that were seen at their places: it is to be read again from its start."""


class Follower:
    """Log files and folders under which jobs add files, add to them, or write them again with more rows.

    In each poll the folders are listed and files that changed are read. Of a text file that only grew, no more is read
    than the lines that are new; a last line without its line break waits for the next poll. A file that was written
    again is read in full. It is taken to begin with the rows that were seen as long as those of them are the same that
    are known again (see `Marks`): the first, the one before the last, and some between. Where the first is another one,
    the log was begun anew and all its rows are new; where a later one is, it was cut back and written on, and rows are
    told again from the last one on that is known to be as it was. The last row may be written again as it goes on, and
    was told as it was first seen.

    With ``more``, what the first row of each run held is kept in `moving`.

    A file that cannot be read, because it is half-written or makes no sense, is passed over and tried again; why stands
    in `torn`. Single lines that make no sense, of a file that did before, are passed over for good, and counted in
    `skipped`. A log that was emptied and goes on without its line of names has the names that it had. Files that were
    there once and are gone are forgotten, not their rows. Times of change are compared for being the same and never
    ordered, so that clocks may be wrong.

    Parameters
    ----------
    paths : files or folders; they need not exist yet.
    metrics : D columns to read; one that a file lacks is blank there.
    settings : as for `trajhmm.read_logs`.
    more : called with the names of other columns that turn out to be metrics, before rows that hold them are given; the
        names of all to read from there on. Without it there are no more.
    told_by : columns of ``metrics`` by whose values in the first row a run is known again; by default all.
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        metrics: Sequence[str],
        settings: Settings,
        *,
        more: Callable[[Sequence[str]], Sequence[str]] | None = None,
        told_by: Sequence[str] | None = None,
    ) -> None:
        self._metrics = tuple(metrics)
        self._told_by = self._metrics if told_by is None else tuple(told_by)
        self._more, self._asked = more, set[str]()
        self.moving = Moving()
        self._settings = settings
        self._listing = Listing(map(Path, paths), settings.table)
        self._shared: dict[KnownColumns, KnownColumns] = {}
        self._headings: dict[bytes, bytes] = {}
        self._begun: dict[str, _Begun] = {}
        self._reached: dict[tuple[str, str], int] = {}  # the last step that was given, of files that are read together
        self._resumed: dict[str, str] = {}  # the first file of each run that was seen before a restart
        self._torn: dict[str, str] = {}
        self._unsaved: defaultdict[str, set[str]] = defaultdict(set)

    @property
    def torn(self) -> dict[Path, str]:
        """Files and folders that could not be read at the last poll, and why."""
        there = self._listing.there
        return {
            **self._listing.refused,
            **{there[real].file.path: reason for real, reason in self._torn.items() if real in there},
        }

    @property
    def skipped(self) -> dict[Path, Skipped]:
        """Files in which lines were passed over."""
        there = self._listing.there.values()
        return {found.file.path: found.seen.skipped for found in there if found.seen.skipped is not None}

    def unfinished(self) -> list[Path]:
        """Files of which the end was not read, as more of its last line or record is still to come."""
        return [
            found.file.path
            for found in self._listing.there.values()
            if _grows(found.file) and found.real not in self._torn and _goes_on(found)
        ]

    def poll(self) -> Iterator[NewRows]:
        """Yield what is new since the last poll. It is to be used up: what is not taken is not told again.

        Raises
        ------
        LogError
            A file that was named has a suffix that no reader takes.
        """
        for found, stamp in self._listing.changed():
            seen = found.seen
            try:
                yield from self._read(found, stamp)
            except LogError as error:
                self._torn[found.real] = str(error)
                seen.failed = stamp if _grows(found.file) else None
            except OSError as error:
                self._torn[found.real] = f"{found.file.path}: cannot be read ({error.strerror or error})"
            else:
                seen.stamp, seen.failed = stamp, None
                self._unsaved.setdefault(found.real, set())
                self._torn.pop(found.real, None)

    def _read(self, found: Found, stamp: Stamp) -> Iterator[NewRows]:
        """Read what is new of a file."""
        while True:
            try:
                for rows in self._read_lines(found, stamp) if _grows(found.file) else [self._read_whole(found)]:
                    yield from rows
            except _WrittenAnew:  # each time fewer rows count as seen
                found.seen.place = None
            else:
                return

    def _read_lines(self, found: Found, stamp: Stamp) -> Iterator[list[NewRows]]:
        file, seen = found.file, found.seen
        growth = file.format.growth
        if growth is None:
            raise AssertionError(f"{file.format.name} files are read as a whole")
        with file.path.open("rb") as stream:
            text = GrowingFile(stream, header=growth.header, cut=growth.cut)
            passed: Counter[str] | None = None
            place = seen.place if seen.grew(stamp) else None
            if place is None or not text.begins_as_before(place):
                passed, place = Counter(), Place()
                seen.columns, seen.attributes, seen.carry, seen.skipped = KnownColumns(), {}, {}, None
                seen.headless = seen.heading is not None and _lacks_header(text, growth, seen.heading, file)
            if seen.headless:
                text = GrowingFile(stream, header=False, cut=growth.cut)
            wrong: list[str] = []
            for lines, behind in text.lines_behind(place):
                named = replace(lines, header=seen.heading) if seen.headless and seen.heading is not None else lines
                any_taken = False
                try:
                    for rows in self._taken(named, found, growth, passed, wrong):
                        any_taken = True
                        yield rows
                except LogError:
                    if wrong or any_taken:  # some of these lines were taken in: all are read again, but for rows seen
                        seen.place = None
                    raise
                if not seen.headless and not wrong:
                    seen.heading = self._headings.setdefault(lines.header, lines.header)
                seen.place = behind if passed is None or not seen.is_behind(passed) else None

    def _taken(
        self, lines: Lines, found: Found, growth: Growth, passed: Counter[str] | None, wrong: list[str]
    ) -> Iterator[list[NewRows]]:
        """Take in some lines, but those that make no sense: they are counted, and what is wrong with them is told.

        Raises
        ------
        LogError
            So many of the lines of a poll make no sense, or what stands before them, that the file as a whole does not.
        """
        seen, file = found.seen, found.file
        many = growth.by_line and lines.raw.count(b"\n") * len(seen.columns.names) > _MOST_CELLS
        if many and (parts := lines.halves()):
            for part in parts:
                yield from self._taken(part, found, growth, passed, wrong)
            return
        known = replace(lines, texts=frozenset(seen.columns.texts), carry=seen.carry)
        try:
            table = growth.read(known, file.path, file.name)
            table = replace(table, attributes={**seen.attributes, **table.attributes})
            rows, columns = self._by_run(file.told(table), file, seen.columns)
            new = self._unseen(self._as_called(rows, columns, found), found, passed)
        except LogError as error:
            parts = lines.halves()
            if len(wrong) >= _MOST_WRONG or not seen.runs or not growth.by_line:
                raise
            if not parts and isinstance(error, NamedAnewError):
                raise
            if not parts:
                wrong.append(str(error))
                seen.skip(1, str(error) if "line " in str(error) else f"{error} (line {lines.first})")
            for part in parts:
                yield from self._taken(part, found, growth, passed, wrong)
            return
        if torn := int(table.carry.get(TORN, 0) - seen.carry.get(TORN, 0)):
            seen.skip(torn, next(note.text for note in table.notes if note.kind == "torn"))
        seen.took(table.n)
        seen.attributes, seen.carry = table.attributes, dict(table.carry)
        seen.columns = self._shared.setdefault(columns, columns)
        yield new

    def _read_whole(self, found: Found) -> list[NewRows]:
        source, passed = self._unread(found)
        n_before = passed.total()
        table = source.read({})
        rows = self._as_called(*self._by_run(table, found.file, KnownColumns()), found)
        new = self._unseen(self._as_called_before(rows, found, passed), found, passed)
        found.seen.n_rows = n_before + table.n
        return new

    def _unread(self, found: Found) -> tuple[Source, Counter[str]]:
        """What to read of a file that is read as a whole, and how many rows of each run stand before that.

        That is all of it, save of a long Parquet file of one run, of which row groups that were read can be told.
        """
        seen, whole = found.seen, Source(file=found.file, place=0)
        if found.file.format is PARQUET and len(seen.runs) == 1 and seen.n_rows >= _MANY_ROWS:
            ((run, known),) = seen.runs.items()
            n_rows = parquet_heading(found.file.path, found.file.name)[1]
            beginning, _ = self._by_run(replace(whole, rows=((0, 1),)).read({}), found.file, KnownColumns())
            as_before = [(rows.run, self._first(rows)) for rows in beginning] == [(run, known.first)]
            if as_before and known.rows == seen.n_rows <= n_rows:
                start = known.marks.reaches or known.rows
                return replace(whole, rows=((start, n_rows),)), Counter({run: start})
        return whole, Counter()

    def _by_run(self, table: Table, file: LogFile, known: KnownColumns) -> tuple[list[NewRows], KnownColumns]:
        """Rows of a table by run, and the columns of its file, of which ``known`` stand before the table."""
        if not table.n:
            return [], known
        if file.searched and product_of(table.columns):
            return [], known
        table = self._with_steps(self._without_words(table.renamed(self._settings.rename), known), known)
        kinds, columns = known.with_table(table)
        stack, steps = self._chosen(stack_tables([table], kinds))
        if not len(steps):
            return [], columns
        labels = run_names(stack, self._settings.run_by)
        order = np.argsort(labels.codes, kind="stable")
        bounds = list(pairwise(offsets_of(np.bincount(labels.codes)).tolist()))
        if self._more is not None:
            self._watch_more(stack, order, dict(zip(labels.words, bounds, strict=True)), self._more)
        there = [metric for metric in self._metrics if metric in stack.numbers]
        positions = [self._metrics.index(metric) for metric in there]
        values = np.full((len(order), len(self._metrics)), np.nan)
        logged = np.zeros(values.shape, dtype=bool)
        values[:, positions], logged[:, positions] = stack.values(order, there), stack.logged(order, there)
        cells = None
        if not table.blanks_are_blank:
            names = tuple(name for name in stack.numbers if name != STEP and not called_clock(name))
            cells = Cells(names=names, values=stack.values(order, names), present=stack.logged(order, names))
        epochs = next((stack.numbers[name][order] for name in stack.numbers if is_epoch(name)), None)
        rows = NewRows(
            run="",
            steps=steps[order],
            values=values,
            logged=logged,
            cells=cells,
            file=str(file.path),
            epochs=epochs,
            numbered=table.numbered,
        )
        return [
            replace(rows.at(slice(begin, end)), run=run) for run, (begin, end) in zip(labels.words, bounds, strict=True)
        ], columns

    def _without_words(self, table: Table, known: KnownColumns) -> Table:
        """The table without columns that nobody asks for, and that held numbers before and now hold words."""
        odd = table.texts.keys() & set(known.numbers) - set(self._metrics) - {STEP, known.step, self._settings.step}
        if not odd or self._settings.where is not None or odd & set(self._settings.run_by):
            return table
        return table.only([name for name in table.columns if name not in odd])

    def _watch_more(
        self,
        stack: Stack,
        order: NDArray[np.int64],
        runs: Mapping[str, tuple[int, int]],
        more: Callable[[Sequence[str]], Sequence[str]],
    ) -> None:
        """Ask which columns that move are to be read from here on."""
        names = [
            name
            for name in stack.numbers
            if name != STEP and name not in self._metrics and name not in self._asked and not called_clock(name)
        ]
        values, present = stack.values(order, names), stack.logged(order, names)
        moving = {
            name: None
            for run, (begin, end) in runs.items()
            for name in self.moving.names(run, names, values[begin:end], present[begin:end])
        }
        if moving:
            self._asked |= moving.keys()
            self._metrics = tuple(more(list(moving)))

    def _first(self, rows: NewRows) -> int:
        """A fingerprint of the first of some rows."""
        return fingerprint_of_row(rows.steps[0], rows.values[0, self._places])

    def _with_steps(self, table: Table, known: KnownColumns) -> Table:
        """The table with a column ``step``: the one that counted in the rows before, blank where these lack it."""
        if known.step is not None and known.step not in table.columns:
            blank = {STEP: np.full(table.n, np.nan)}
            return replace(table, numbers=blank | table.numbers, step_from=known.step)
        return with_steps(table, known.step if known.step is not None else self._settings.step)

    def _as_called(self, rows: list[NewRows], columns: KnownColumns, found: Found) -> list[NewRows]:
        """Rows of a file of one run, called as when it was first seen.

        A tracker's run goes by its name until another run has that too; then it would go by its id. Of a file with a
        column of runs, as its columns are renamed, more may come.
        """
        by_file = not self._settings.run_by and RUN_NAME not in columns.names
        if not (by_file and len(rows) == 1 and len(found.seen.runs) == 1):
            return rows
        return [replace(rows[0], run=next(iter(found.seen.runs)))]

    def _as_called_before(self, rows: list[NewRows], found: Found, passed: Counter[str]) -> list[NewRows]:
        """The same of the runs of a database: a new one that begins with all rows of one that is gone is that one."""
        known, names = found.seen.runs, {one.run for one in rows}
        gone = {run: seen for run, seen in known.items() if run not in names}
        if not gone or passed:
            return rows
        called = []
        for one in rows:
            before = None if one.run in known else next((run for run in gone if self._goes_on(gone[run], one)), None)
            if before is not None:
                del gone[before]
            called.append(one if before is None else replace(one, run=before))
        return called

    def _goes_on(self, seen: RunSeen, rows: NewRows) -> bool:
        """Whether rows begin with those that were seen of a run."""
        fingerprints = self._fingerprints(rows, 0)
        return (
            len(rows.steps) >= seen.rows
            and seen.first == self._first(rows)
            and seen.marks.differs(seen.rows, 0, len(rows.steps), fingerprints) is None
        )

    def _unseen(self, rows: list[NewRows], found: Found, passed: Counter[str] | None) -> list[NewRows]:
        """Rows that were not seen before; they are seen now.

        ``passed`` counts the rows of each run that stand before these in a file that is not read on from where reading
        stopped; it is brought up to date.
        """
        new = []
        elsewhere = {one.run: self._seen_elsewhere(one, found) for one in rows}
        if passed is not None and not found.file.format.together:
            self._check_as_before(rows, found, passed)
        for one in rows:
            seen, first = found.seen.runs.get(one.run, elsewhere[one.run]), self._first(one)
            if seen is None or (passed is not None and not passed[one.run] and seen.first != first):
                seen = RunSeen(rows=0, first=first)
            before = seen.rows if passed is None else passed[one.run]
            behind = before + len(one.steps)
            if passed is not None:
                passed[one.run] = behind
                if before < seen.rows <= behind:  # the last row that was seen may have gone on since
                    last = self._fingerprints(one, before)(seen.rows - 1)
                    seen = found.seen.runs[one.run] = seen._replace(marks=seen.marks.with_last(last))
            if behind > seen.rows:
                start = max(seen.rows - before, 0)
                if found.file.format.together:
                    start = self._start(one, start, found.real)
                if start < len(one.steps):
                    new.append(one.behind(start))
                marks = seen.marks.behind(seen.rows, behind - seen.rows, self._fingerprints(one, before))
                found.seen.runs[one.run] = seen._replace(rows=behind, marks=marks)
                self._unsaved[found.real].add(one.run)
        return new

    def _check_as_before(self, rows: Sequence[NewRows], found: Found, passed: Counter[str]) -> None:
        """See that rows of a file that is read again are those that were seen; else count only those as seen that are.

        Raises
        ------
        _WrittenAnew
            They are others from some row on.
        """
        others = False
        for one in rows:
            seen, before = found.seen.runs.get(one.run), passed[one.run]
            if seen is None or (not before and seen.first != self._first(one)):
                continue
            behind = before + len(one.steps)
            other = seen.marks.differs(seen.rows, before, behind, self._fingerprints(one, before))
            if other is not None:
                found.seen.runs[one.run], others = seen.up_to(seen.marks.as_before(other)), True
        if others:
            raise _WrittenAnew

    def _fingerprints(self, rows: NewRows, before: int) -> Callable[[int], bytes]:
        """Fingerprint of a row by its place in the run, of some rows behind the first ``before``."""
        told_by = self._places

        def of(place: int) -> bytes:
            row = place - before
            return fingerprint_of_row(rows.steps[row], rows.values[row, told_by]).to_bytes(SIZE, "big", signed=True)

        return of

    def _start(self, rows: NewRows, seen: int, real: str) -> int:
        """Where what is new begins, in rows of which ``seen`` are known and others may have come to stand among them.

        A metric that is logged late has its points between rows that were given: these are passed over, as what comes
        behind them was judged without them.
        """
        reached, self._reached[real, rows.run] = self._reached.get((real, rows.run)), int(rows.steps[-1])
        if reached is None or not seen:
            return seen
        again = np.flatnonzero(rows.steps[seen - 1 :] == reached)
        return seen + int(again[0]) if len(again) else seen

    def _seen_elsewhere(self, rows: NewRows, found: Found) -> RunSeen | None:
        """What was seen of a run, the first rows of which are new in a file, in another of which that one is a copy.

        A file that begins later is of the run that was resumed; so is a later part of one logger.

        Raises
        ------
        LogError
            The run began at the same step in another file that is there, with other values.
        """
        if rows.run in found.seen.runs:
            return None
        told_by = rows.values[:, self._places]
        begun = self._begun.get(rows.run) or self._begun_before(rows.run)
        begun = begun or _Begun(found.real, int(rows.steps[0]), told_by[0].copy())
        self._begun[rows.run] = begun
        other = self._listing.there.get(begun.real)
        if begun.real == found.real or rows.numbered or other is None:
            return None
        at = np.flatnonzero(rows.steps == begun.step)
        if rows.steps[0] > begun.step or not len(at):
            return None
        both = np.isfinite(begun.values) & np.isfinite(told_by[at[0]])
        if (told_by[at[0], both] == begun.values[both]).all():  # of other metrics, it may be
            known = other.seen.runs.get(rows.run)
            return known if known is not None and known.first == self._first(rows) else None
        raise LogError(
            f"run {rows.run!r} is in {other.file.path} and in {found.file.path}, with other values at step "
            f"{begun.step}; rename one, or name the columns that tell them apart with --run-by"
        )

    def _begun_before(self, run: str) -> _Begun | None:
        """Where a run began that was seen before a restart, read again; None if that is not to be told any more."""
        other = self._listing.there.get(self._resumed.pop(run, ""))
        if other is None:
            return None
        more, self._more = self._more, None  # columns that are new come with rows that are
        try:
            table = Source(file=other.file, place=0).read({})
            parts = self._by_run(other.file.told(table), other.file, KnownColumns())[0]
        except (LogError, OSError):
            return None
        finally:
            self._more = more
        first = next((rows for rows in parts if rows.run == run), None)
        return None if first is None else _Begun(other.real, int(first.steps[0]), first.values[0, self._places].copy())

    @property
    def _places(self) -> list[int]:
        return [self._metrics.index(metric) for metric in self._told_by]

    def _chosen(self, stack: Stack) -> tuple[Stack, NDArray[np.int64]]:
        """Rows with a step that meet the condition, and their steps."""
        for metric in self._metrics:
            words = stack.texts[metric].words if metric in stack.texts else ()
            if word := next((word for word in words if not means_blank(word)), None):
                raise LogError(f"{stack.tables[0].path}: column {metric!r} is text ({word!r}); expected numbers")
        if self._settings.where is not None:
            stack = rows_that_meet(stack, self._settings.where, self._settings.run_by)
        return rows_with_steps(stack, [])

    def unsaved(self) -> Iterator[tuple[str, FileSeen, dict[str, RunSeen]]]:
        """Yield what changed since `saved`: path of a file without links, what was seen of it, runs that are new."""
        for real, runs in self._unsaved.items():
            seen = self._listing.seen[real]
            yield real, seen, {run: seen.runs[run] for run in runs}

    def saved(self) -> None:
        """Take note that what `unsaved` gave was saved."""
        self._unsaved.clear()

    def resume(self, seen: Mapping[str, FileSeen]) -> None:
        """Go on from what was seen of files, by path without links, before the first poll."""
        self._listing.seen.update(seen)
        in_order = sorted(seen.items(), key=lambda one: natural_key(one[0]), reverse=True)
        self._resumed = {run: real for real, known in in_order for run in known.runs}


def _grows(file: LogFile) -> bool:
    """Whether lines may be added to a file; what is compressed is read as a whole."""
    return file.format.growth is not None and file.path.suffix.lower() != ".gz"


def _goes_on(found: Found) -> bool:
    """Whether a file holds more than what was read of it, and that is not blank."""
    seen = found.seen
    if seen.stamp is None or (seen.place is None and seen.runs):  # one that was written again is read from its start
        return False
    offset = max(0, seen.stamp.size - _MOST_BEHIND) if seen.place is None else seen.place.offset
    if seen.stamp.size <= offset:
        return False
    try:
        with found.file.path.open("rb") as stream:
            stream.seek(offset)
            behind = stream.read(_MOST_BEHIND)
    except OSError:
        return False
    if seen.place is None:  # there may be a line that names columns, and no row yet
        behind = behind.rpartition(b"\n")[2]
    return bool(behind.strip(_BLANK))


def _lacks_header(text: GrowingFile, growth: Growth, heading: bytes, file: LogFile) -> bool:
    """Whether a file that was begun anew holds rows of the columns that it had, but no line of names."""
    first = text.heading()
    if not heading or not first:
        return False
    try:
        names, before = (
            set(growth.read(Lines(header=header, raw=b"", first=1), file.path, file.name).columns)
            for header in (first, heading)
        )
    except LogError:
        return True
    return not names & before
