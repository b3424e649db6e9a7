"""`scan_logs`: logs that do not fit in memory, as pieces of whole runs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.assembly.assemble import NoRowsError, assembled_rows, naming_files, no_row_meets
from trajhmm.logs.assembly.columns import ColumnsSeen
from trajhmm.logs.assembly.evidence import Evidence
from trajhmm.logs.assembly.layout import Layout, layout_of, run_set
from trajhmm.logs.assembly.remarks import blank_notes, run_notes
from trajhmm.logs.assembly.rows import unknown_in_condition
from trajhmm.logs.assembly.stack import stack_tables
from trajhmm.logs.assembly.steps import common_step, with_steps
from trajhmm.logs.conditions import parse_condition
from trajhmm.logs.formats.table import RUN_NAME, Table
from trajhmm.logs.pieces.counts import Counts
from trajhmm.logs.pieces.outline import Outline, cut, outline_file
from trajhmm.logs.runset import Note, RunSet
from trajhmm.logs.settings import Settings
from trajhmm.logs.sources.paths import LogFile, find_log_files
from trajhmm.logs.sources.reading import Source, check_rename, give_back_memory, no_logs, side_by_side


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Some whole runs of a larger set of logs, not read yet; small, and fit to be sent to another process.

    Attributes
    ----------
    runs : names, in natural order.
    n_rows : how many rows they have together.
    sources, settings, layout : where the rows are, and how they are read.
    """

    runs: tuple[str, ...]
    n_rows: int
    sources: tuple[Source, ...]
    settings: Settings
    layout: Layout

    def __repr__(self) -> str:
        return f"Piece({len(self.runs)} runs, {self.n_rows} rows)"

    def read(self) -> RunSet:
        """Read the runs; metrics, attributes and what a blank means are those of the whole set.

        Raises
        ------
        LogError
            The files are not what they were when they were scanned.
        """
        tables = _tables(self.sources, self.settings)
        stack = stack_tables(tables, self.layout.kinds)
        del tables
        give_back_memory()
        rows = assembled_rows(stack, self.settings)
        if rows.runs != self.runs or len(rows.steps) != self.n_rows:
            paths = ", ".join(str(source.file.path) for source in self.sources[:3])
            raise LogError(f"{paths}: other runs or rows than when the logs were scanned; scan them again")
        runs = run_set(rows, self.layout)
        said = dict.fromkeys(note for table in stack.tables for note in table.notes)
        return replace(runs, notes=(*said, *rows.notes, *run_notes(runs, frozenset(self.layout.incomplete))))


@dataclass(frozen=True, kw_only=True, eq=False)
class Scan:
    """What is in a set of logs, and the pieces to read it in. R runs, D metrics.

    Attributes
    ----------
    pieces : to be read one by one: ``for piece in scan.pieces: piece.read()``.
    runs : R names, in the order in which the pieces hold them.
    lengths : (R,) int64, rows of each run.
    metrics : D names; every piece has them all, in this order.
    logged_counts : (R, D) int64, how many rows of each run have the metric logged, non-finite values included.
    changes : (R, D) bool, whether the metric takes more than one finite value within the run.
    known : (R, D) bool, whether the metric is ever finite in the run.
    paces : (R, D) int8, whether it goes as a clock does, see `trajhmm.logs.assembly.clocks.paces`.
    notes : what the reader saw and did. Non-finite values and gaps in the steps are noted by each piece that is read.
    """

    pieces: tuple[Piece, ...]
    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    metrics: tuple[str, ...]
    logged_counts: NDArray[np.int64]
    changes: NDArray[np.bool_]
    known: NDArray[np.bool_]
    paces: NDArray[np.int8]
    notes: tuple[Note, ...] = ()

    def __post_init__(self) -> None:
        for array in (self.lengths, self.logged_counts, self.changes, self.known, self.paces):
            array.setflags(write=False)

    @property
    def attribute_names(self) -> tuple[str, ...]:
        """Names of the attributes: columns of numbers or text that are constant within each run."""
        layout = self.pieces[0].layout
        return (*layout.numbers, *layout.texts)

    def __repr__(self) -> str:
        return (
            f"Scan({len(self.pieces)} pieces, {len(self.runs)} runs, {self.lengths.sum()} rows, "
            f"{len(self.metrics)} metrics: {', '.join(self.metrics)})"
        )


def scan_logs(
    paths: str | Path | Iterable[str | Path],
    *,
    run_by: str | Sequence[str] = (),
    rename: Mapping[str, str] | None = None,
    where: str | None = None,
    step: str | None = None,
    format: str | None = None,
    table: str | None = None,
    max_rows: int = 262_144,
) -> Scan:
    """Look through logs that may not fit in memory, and cut them into pieces that do.

    What the pieces give when they are read is, together, what `read_logs` gives for the whole: the same runs, metrics,
    attributes, steps, values and blanks. One pass reads each piece once and keeps counts, no rows, so that it needs no
    more memory than the largest piece. Before it, the columns that name runs are read from Parquet, and text files
    (CSV, TSV, JSON lines) whole, to learn which runs they hold.

    A run is never cut, and all files that hold rows of it are read with it. A Parquet file in which the rows of each
    run stand together is cut between runs; one in which they do not, and any text file, is read whole. Pieces come in
    the natural order of their runs, those of a file of several runs in the order of its rows. To read a piece, its row
    groups are read from their beginning: in a large file they should have no more than about ``max_rows`` rows each.

    Parameters
    ----------
    paths, run_by, rename, where, step, format, table : as for `read_logs`.
    max_rows : rows that a piece holds at most, where runs and files allow it; rows that ``where`` leaves out count.

    Raises
    ------
    LogError
        As `read_logs`; or runs that cannot be read apart have more than ``max_rows`` rows.
    ConditionError
        ``where`` does not parse.
    """
    if max_rows < 1:
        raise LogError(f"max_rows = {max_rows}: expected at least 1 row a piece")
    settings = Settings.of(run_by=run_by, rename=rename, where=where, step=step)
    passed_over: list[Note] = []
    files = find_log_files(paths, format=format, table=table, notes=passed_over)
    headings, outlines, notes = _outlined(files, settings)
    notes = [*passed_over, *notes]
    settings = replace(settings, step=common_step(headings, step))
    headings = [with_steps(heading, settings.step) for heading in headings]
    look = _Look(
        settings=settings,
        conditioned=_columns_of_condition(where, headings),
    )
    evidence: list[Evidence] = []
    counted: list[tuple[tuple[Source, ...], Counts]] = []
    for sources in cut(outlines, max_rows):
        found, counts, said = look.at(sources)
        # Joined at once, so that what is kept does not grow with the number of pieces.
        evidence = [Evidence.joined([*evidence, found])]
        notes.extend(said)
        if counts is not None:
            counted.append((sources, counts))
    if not counted:
        n_rows = sum(outline.n_rows for outline in outlines)
        path, step_from = outlines[0].source.file.path, headings[0].step_from
        if where is None:
            raise LogError(f"{path}: no rows with a {step_from}")
        with naming_files([file.path for file in files]):
            raise no_row_meets(where, n_rows)
    _check_apart(counted)
    with naming_files([file.path for file in files]):
        layout = layout_of(evidence[0], settings.run_by)
    return _scan_of(counted, layout, settings, notes)


def _outlined(files: Sequence[LogFile], settings: Settings) -> tuple[list[Table], list[Outline], list[Note]]:
    """The different headings that files have, renamed; the runs of each file; and which files were left out."""
    headings: dict[Hashable, Table] = {}
    outlines: list[Outline] = []
    notes: list[Note] = []
    for found in side_by_side(lambda task: outline_file(*task, settings), [*enumerate(files)]):
        if isinstance(found, Note):
            notes.append(found)
            continue
        heading, outline = found
        outlines.append(outline)
        headings.setdefault((heading.columns, tuple(heading.numbers), heading.blanks_are_blank), heading)
    if not outlines:
        raise no_logs(notes)
    check_rename([*headings.values()], settings.rename)
    return [heading.renamed(settings.rename) for heading in headings.values()], outlines, notes


def _tables(sources: Sequence[Source], settings: Settings) -> list[Table]:
    """Read some files, or rows of them."""
    return side_by_side(lambda source: with_steps(source.read(settings.rename), settings.step), sources)


def _columns_of_condition(where: str | None, headings: Sequence[Table]) -> tuple[str, ...]:
    """Names of the columns that a condition looks at, which single pieces may lack."""
    if where is None:
        return ()
    columns = tuple(dict.fromkeys(name for heading in headings for name in (*heading.columns, heading.step_from)))
    named = parse_condition(where).columns
    for name in named:
        if name not in columns and name != RUN_NAME:
            raise unknown_in_condition(name, where, columns)
    return tuple(name for name in named if name in columns)


@dataclass(frozen=True, kw_only=True)
class _Look:
    """How pieces are looked at.

    ``conditioned`` are columns of the condition, which single pieces may lack.
    """

    settings: Settings
    conditioned: tuple[str, ...]

    def at(self, sources: Sequence[Source]) -> tuple[Evidence, Counts | None, list[Note]]:
        """Read a piece, count in it, and let it go; no counts where no row meets the condition."""
        tables = _tables(sources, self.settings)
        seen = ColumnsSeen.in_tables(tables, [source.place for source in sources])
        kinds = seen.kinds()
        lacking = tuple(name for name in self.conditioned if name not in (*kinds.numbers, *kinds.texts))
        stack = stack_tables(tables, replace(kinds, numbers=(*kinds.numbers, *lacking)))
        del tables
        give_back_memory()
        notes = [note for table in stack.tables for note in table.notes]
        try:
            rows = assembled_rows(stack, self.settings)
        except NoRowsError:
            return Evidence(seen=seen), None, notes
        evidence = Evidence.of(rows, seen)
        return evidence, Counts.of(rows), [*notes, *rows.notes]


def _check_apart(counted: Sequence[tuple[tuple[Source, ...], Counts]]) -> None:
    """Refuse a run that turns up in two pieces."""
    held: dict[str, tuple[Source, ...]] = {}
    for sources, counts in counted:
        for run in counts.runs:
            if run in held:
                one, two = (", ".join(str(source.file.path) for source in some[:3]) for some in (held[run], sources))
                raise LogError(
                    f"run {run!r} turns up in {one} and again in {two}, which are read apart: the files changed while "
                    "they were scanned; scan them again"
                )
            held[run] = sources


def _scan_of(
    counted: Sequence[tuple[tuple[Source, ...], Counts]], layout: Layout, settings: Settings, notes: Sequence[Note]
) -> Scan:
    metrics = layout.metrics
    lengths = np.concatenate([counts.lengths for _, counts in counted])
    logged = np.concatenate([counts.logged(metrics) for _, counts in counted])
    shares = dict(zip(metrics, logged.sum(axis=0) / lengths.sum(), strict=True))
    return Scan(
        pieces=tuple(
            Piece(
                runs=counts.runs,
                n_rows=int(counts.lengths.sum()),
                sources=sources,
                settings=settings,
                layout=replace(layout, notes=()),
            )
            for sources, counts in counted
        ),
        runs=tuple(run for _, counts in counted for run in counts.runs),
        lengths=lengths,
        metrics=metrics,
        logged_counts=logged,
        changes=np.concatenate([counts.changing(metrics) for _, counts in counted]),
        known=np.concatenate([counts.known(metrics) for _, counts in counted]),
        paces=np.concatenate([counts.going(metrics) for _, counts in counted]),
        # A file that is read in pieces says the same each time.
        notes=tuple(dict.fromkeys((*notes, *layout.notes, *blank_notes(shares)))),
    )
