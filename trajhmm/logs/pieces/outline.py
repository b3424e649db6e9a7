"""Which runs stand where in log files, and how to read them piece by piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from trajhmm.errors import LogError
from trajhmm.logs.assembly.columns import ColumnsSeen
from trajhmm.logs.assembly.rows import check_columns, run_names
from trajhmm.logs.assembly.stack import stack_tables
from trajhmm.logs.formats.parquet import PARQUET, Range, parquet_columns, parquet_heading
from trajhmm.logs.formats.table import RUN_NAME, Table
from trajhmm.logs.runset import Note
from trajhmm.logs.settings import Settings
from trajhmm.logs.sources.paths import LogFile
from trajhmm.logs.sources.reading import Source, why_left_out
from trajhmm.naming import natural_key


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The runs of one file.

    Attributes
    ----------
    source : the whole file.
    n_rows : how many rows it holds.
    runs : run to (first row, behind the last one), in order of appearance.
    mixed : a run that goes on after another, and the row at which it does; None if each run stands in one stretch.
    divisible : whether the rows of one run can be read without the rest.
    """

    source: Source
    n_rows: int
    runs: dict[str, Range]
    mixed: tuple[str, int] | None
    divisible: bool


def outline_file(place: int, file: LogFile, settings: Settings) -> tuple[Table, Outline] | Note:
    """Tell the columns of a file, as a table without rows that is not renamed, and its runs; or why it is no log.

    Of a Parquet file only the columns that name runs are read; text is read whole.

    Raises
    ------
    LogError
        The file is torn, or its runs have no name.
    """
    keys = settings.run_by or (RUN_NAME,)
    if file.format is PARQUET:
        heading, n_rows = parquet_heading(file.path, file.name)
        own = [name for name in (*heading.numbers, *heading.texts) if settings.rename.get(name, name) in keys]
        # Names that are in no column hold for all rows: one tells them.
        tables = parquet_columns(file.path, file.name, own) if own else [replace(heading.only(()), n=1)]
    else:
        table = file.read()
        heading, n_rows = table.heading(), table.n
        tables = [table.only([name for name in table.columns if settings.rename.get(name, name) in keys])]
    if note := why_left_out(file, heading, n_rows):
        return note
    check_columns([file.told(heading).renamed(settings.rename)], settings.run_by, "--run-by")
    runs, mixed = _runs((file.told(table).renamed(settings.rename) for table in tables), settings)
    if len(runs) == 1:
        runs = dict.fromkeys(runs, (0, n_rows))
    return file.told(heading), Outline(
        source=Source(file=file, place=place),
        n_rows=n_rows,
        runs=runs,
        mixed=mixed,
        divisible=file.format is PARQUET and mixed is None,
    )


def _runs(tables: Iterable[Table], settings: Settings) -> tuple[dict[str, Range], tuple[str, int] | None]:
    """Run to the rows from its first to its last, in ``tables`` one after the other; and where runs are mixed."""
    runs: dict[str, Range] = {}
    mixed: tuple[str, int] | None = None
    start, last = 0, ""
    for table in tables:
        kinds = ColumnsSeen.in_tables([table], [0]).kinds()
        names = run_names(stack_tables([table], kinds), settings.run_by)
        # Where runs are mixed all rows are read together, so that it matters no more where each stands.
        cuts = [] if mixed else [0, *(np.flatnonzero(np.diff(names.codes)) + 1).tolist(), table.n]
        for first, behind in pairwise(cuts):
            run = names.words[names.codes[first]]
            if run in runs and run != last and mixed is None:
                mixed = run, start + first
            runs[run] = (runs.get(run, (start + first,))[0], start + behind)
            last = run
        start += table.n
        runs |= {run: (0, start) for run in names.words if run not in runs}
    return runs, mixed


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Runs that cannot be read apart from each other, and how many rows they have together."""

    runs: tuple[str, ...]
    n_rows: int


def cut(outlines: Sequence[Outline], max_rows: int) -> list[tuple[Source, ...]]:
    """Cut files into pieces of whole runs and, where possible, at most ``max_rows`` rows.

    Pieces follow the natural order of the runs, or the order of a file that holds several.

    Raises
    ------
    LogError
        Runs that cannot be read apart have more rows than that, and it is not just one text file.
    """
    piece_of: dict[str, int] = {}
    piece, size = 0, 0
    for group in _groups(outlines):
        if group.n_rows > max_rows:
            _refuse_mixed(group, outlines, max_rows)
        if size and size + group.n_rows > max_rows:
            piece, size = piece + 1, 0
        size += group.n_rows
        piece_of |= dict.fromkeys(group.runs, piece)
    pieces: list[list[Source]] = [[] for _ in range(piece + 1)]
    for outline in outlines:
        stretches: dict[int, list[Range]] = {}
        for run, stretch in outline.runs.items():
            stretches.setdefault(piece_of[run], []).append(stretch)
        for number, some in stretches.items():
            whole = not outline.divisible or len(stretches) == 1
            pieces[number].append(outline.source if whole else replace(outline.source, rows=_merged(some)))
    return [tuple(sources) for sources in pieces]


def _groups(outlines: Sequence[Outline]) -> list[_Group]:
    """Groups of runs that share an indivisible file, in the order in which they are to be read."""
    from networkx.utils import UnionFind

    together = UnionFind(run for outline in outlines for run in outline.runs)
    places: dict[str, tuple[object, ...]] = {}
    sizes: Counter[str] = Counter()
    for outline in outlines:
        if not outline.divisible:
            together.union(*outline.runs)
            sizes[next(iter(outline.runs))] += outline.n_rows
        first = min(map(natural_key, outline.runs))
        for run, (start, behind) in outline.runs.items():
            place = (first, start if outline.divisible else 0, natural_key(run))
            places[run] = min(places.get(run, place), place)
            if outline.divisible:
                sizes[run] += behind - start
    groups = (sorted(runs, key=places.__getitem__) for runs in together.to_sets())
    return [
        _Group(runs=tuple(runs), n_rows=sum(sizes[run] for run in runs))
        for runs in sorted(groups, key=lambda runs: places[runs[0]])
    ]


def _merged(ranges: Sequence[Range]) -> tuple[Range, ...]:
    """The same rows in as few ranges as possible."""
    merged: list[Range] = []
    for start, behind in sorted(ranges):
        if merged and merged[-1][1] == start:
            merged[-1] = (merged[-1][0], behind)
        else:
            merged.append((start, behind))
    return tuple(merged)


def _refuse_mixed(group: _Group, outlines: Sequence[Outline], max_rows: int) -> None:
    """Raise where runs that cannot be read apart are too many rows; one run, or one text file, may be."""
    if len(group.runs) == 1:
        return
    holding = [outline for outline in outlines if any(run in outline.runs for run in group.runs)]
    remedy = "write them as one Parquet file sorted by run, or raise max_rows"
    if len(holding) > 1:
        run = next(run for run in group.runs if sum(run in outline.runs for outline in holding) > 1)
        one, two = [outline.source.file.path for outline in holding if run in outline.runs][:2]
        raise LogError(
            f"run {run!r} is in {one} and in {two}: with the runs beside it that cannot be read apart these are "
            f"{group.n_rows} rows, more than max_rows = {max_rows}; {remedy}"
        )
    file = holding[0].source.file
    if file.format is PARQUET and holding[0].mixed is not None:
        run, row = holding[0].mixed
        raise LogError(
            f"{file.path}: runs are mixed ({run!r} goes on at row {row}) and {group.n_rows} rows are more than "
            f"max_rows = {max_rows}; sort the file by run, or raise max_rows"
        )
