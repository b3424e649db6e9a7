"""From the tables of many files to one validated `RunSet`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from trajhmm.errors import LogError
from trajhmm.logs.columns import ColumnsSeen, Kinds
from trajhmm.logs.evidence import Evidence
from trajhmm.logs.layout import layout_of, run_set
from trajhmm.logs.remarks import blank_notes, run_notes
from trajhmm.logs.rows import Rows, check_columns, rows_that_meet, sorted_rows, step_column
from trajhmm.logs.runset import RunSet
from trajhmm.logs.settings import Settings
from trajhmm.logs.stack import stack_tables
from trajhmm.logs.table import Table


class NoRowsError(LogError):
    """No row is left of some tables."""


def assemble(tables: Sequence[Table], settings: Settings) -> RunSet:
    """Sort the rows of ``tables`` into runs and steps and check that they make sense.

    Columns are renamed already; other ``settings`` are those of `trajhmm.read_logs`.

    Raises
    ------
    LogError
        No step column, no numeric metric, unknown columns, or two runs of one name.
    """
    step = step_column(tables, settings.step)
    check_columns(tables, settings.run_by, "--run-by")
    seen = ColumnsSeen.in_tables(tables, range(len(tables)))
    rows = assembled_rows(tables, seen.kinds(), step, settings)
    layout = layout_of(Evidence.of(rows, seen), step, settings.run_by)
    runs = run_set(rows, layout, tables)
    said = (note for table in tables for note in table.notes)
    shares = {name: float(runs.logged[:, runs.metrics.index(name)].mean()) for name in layout.incomplete}
    remarks = (*run_notes(runs, layout.incomplete), *blank_notes(shares))
    return replace(runs, notes=(*said, *rows.notes, *layout.notes, *remarks))


def assembled_rows(tables: Sequence[Table], kinds: Kinds, step: str, settings: Settings) -> Rows:
    """Stack ``tables`` and sort the rows that meet the condition of ``settings`` into runs and steps.

    Raises
    ------
    NoRowsError
        There are none.
    LogError
        As `assemble`.
    """
    stack = stack_tables(tables, kinds)
    if settings.where is not None:
        n_rows = len(stack.source)
        stack = rows_that_meet(stack, settings.where, tables, settings.run_by)
        if not len(stack.source):
            raise no_row_meets(settings.where, n_rows)
    rows = sorted_rows(stack, step, tables, settings.run_by)
    if not rows.runs:
        raise NoRowsError(f"{tables[0].path}: no rows with a {step}")
    return rows


def no_row_meets(where: str, n_rows: int) -> NoRowsError:
    """The error of a condition that leaves nothing of so many rows."""
    return NoRowsError(f"--where {where!r}: none of {n_rows} rows meets the condition")
