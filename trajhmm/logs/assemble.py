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
from trajhmm.logs.stack import stack_tables
from trajhmm.logs.table import Table


class NoRowsError(LogError):
    """No row is left of some tables."""


def assemble(
    tables: Sequence[Table], *, run_by: Sequence[str] = (), step: str | None = None, where: str | None = None
) -> RunSet:
    """Sort the rows of ``tables`` into runs and steps and check that they make sense.

    Parameters are those of `trajhmm.read_logs`.

    Raises
    ------
    LogError
        No step column, no numeric metric, unknown columns, or two runs of one name.
    """
    step = step_column(tables, step)
    check_columns(tables, run_by, "--run-by")
    kinds = ColumnsSeen.in_tables(tables, range(len(tables))).kinds()
    rows = assembled_rows(tables, kinds, step=step, run_by=run_by, where=where)
    layout = layout_of(kinds, Evidence.of(rows), step=step, run_by=run_by)
    runs = run_set(rows, layout, tables)
    said = (note for table in tables for note in table.notes)
    return replace(runs, notes=(*said, *rows.notes, *layout.notes, *run_notes(runs), *blank_notes(runs)))


def assembled_rows(
    tables: Sequence[Table], kinds: Kinds, *, step: str, run_by: Sequence[str], where: str | None
) -> Rows:
    """Stack ``tables`` and sort the rows that meet a condition into runs and steps.

    Raises
    ------
    NoRowsError
        There are none.
    LogError
        As `assemble`.
    """
    stack = stack_tables(tables, kinds)
    if where is not None:
        n_rows = len(stack.source)
        stack = rows_that_meet(stack, where, tables, run_by)
        if not len(stack.source):
            raise NoRowsError(f"--where {where!r}: none of {n_rows} rows meets the condition")
    rows = sorted_rows(stack, step, tables, run_by)
    if not rows.runs:
        raise NoRowsError(f"{tables[0].path}: no rows with a {step}")
    return rows
