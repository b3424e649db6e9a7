"""From the tables of many files to one validated `RunSet`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from trajhmm.errors import LogError
from trajhmm.logs.assembly.columns import ColumnsSeen
from trajhmm.logs.assembly.evidence import Evidence
from trajhmm.logs.assembly.layout import layout_of, run_set
from trajhmm.logs.assembly.remarks import blank_notes, copy_notes, run_notes, sideways_notes
from trajhmm.logs.assembly.rows import Rows, check_columns, rows_that_meet, sorted_rows
from trajhmm.logs.assembly.stack import Stack
from trajhmm.logs.runset import RunSet
from trajhmm.logs.settings import Settings
from trajhmm.naming import plain_text


class NoRowsError(LogError):
    """No row is left of some tables."""


@contextmanager
def naming_files(paths: Sequence[Path]) -> Iterator[None]:
    """Have an error that names none of the files that were read begin with the first of them."""
    try:
        yield
    except LogError as error:
        text = str(error)
        if paths and not any(str(path) in text or path.name in text for path in paths):
            others = f" and {len(paths) - 1} other file{'' if len(paths) == 2 else 's'}" if len(paths) > 1 else ""
            error.args = (f"{paths[0]}{others}: {text}",)
        raise


def assemble(stack: Stack, seen: ColumnsSeen, settings: Settings) -> RunSet:
    """Sort rows into runs and steps and check that they make sense.

    Parameters
    ----------
    stack, seen : all rows of some tables, and what their columns hold.
    settings : those of `trajhmm.read_logs`; columns are renamed already.

    Raises
    ------
    LogError
        No step column, no numeric metric, unknown columns, or two runs of one name.
    """
    check_columns(stack.tables, settings.run_by, "--run-by")
    rows = assembled_rows(stack, settings)
    layout = layout_of(Evidence.of(rows, seen), settings.run_by)
    runs = run_set(rows, layout)
    said = dict.fromkeys(note for table in stack.tables for note in table.notes)
    incomplete = frozenset(layout.incomplete)
    places = {name: place for place, name in enumerate(runs.metrics) if name in incomplete}
    shares = {name: float(runs.logged[:, places[name]].mean()) for name in layout.incomplete}
    remarks = (*sideways_notes(runs), *copy_notes(runs), *run_notes(runs, incomplete), *blank_notes(shares))
    files = tuple((plain_text(table.path), table.format) for table in stack.tables)
    return replace(runs, notes=(*said, *rows.notes, *layout.notes, *remarks), files=files)


def assembled_rows(stack: Stack, settings: Settings) -> Rows:
    """Sort the rows that meet the condition of ``settings`` into runs and steps.

    Raises
    ------
    NoRowsError
        There are none.
    LogError
        As `assemble`.
    """
    if settings.where is not None:
        n_rows = len(stack.source)
        stack = rows_that_meet(stack, settings.where, settings.run_by)
        if not len(stack.source):
            raise no_row_meets(settings.where, n_rows)
    rows = sorted_rows(stack, settings.run_by)
    if not rows.runs:
        raise NoRowsError(f"{stack.tables[0].path}: no rows with a {stack.tables[0].step_from}")
    return rows


def no_row_meets(where: str, n_rows: int) -> NoRowsError:
    """The error of a condition that leaves nothing of so many rows."""
    return NoRowsError(f"--where {where!r}: none of {n_rows} rows meets the condition")
