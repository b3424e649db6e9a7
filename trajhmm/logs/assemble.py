"""From the tables of many files to one validated `RunSet`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.blanks import logged_cells
from trajhmm.logs.conditions import parse_condition
from trajhmm.logs.remarks import value_notes
from trajhmm.logs.repeats import standing_stack
from trajhmm.logs.runset import Note, RunSet, offsets_of
from trajhmm.logs.stack import Stack, number_text, stack_tables
from trajhmm.logs.table import RUN_NAME, Table, Text
from trajhmm.naming import natural_key

STEP_NAMES = ("step", "global_step", "epoch")
# Steps are kept in float64 columns until they are known to be whole.
_LARGEST_STEP = 2**53


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
    notes = [note for table in tables for note in table.notes]
    step_name = _step_column(tables, step)
    _check_columns(tables, run_by, "--run-by")
    stack = stack_tables(tables)
    if where is not None:
        stack = _where(stack, where, tables, run_by)
    stack = _with_steps(stack, step_name, tables, notes)
    names = _run_names(stack, tables, run_by)
    steps = stack.column(step_name).astype(np.int64)

    runs = sorted(names.words, key=natural_key)
    rank = {run: position for position, run in enumerate(runs)}
    code = np.array([rank[word] for word in names.words], dtype=np.int64)[names.codes]
    order = np.argsort(code, kind="stable")
    if not np.array_equal(order, np.arange(len(order))):
        stack, steps, code = stack.at(order), steps[order], code[order]
    lengths = np.bincount(code, minlength=len(runs)).astype(np.int64)

    stack, steps, lengths = standing_stack(stack, steps, lengths, runs, tables, notes, run_by)
    return _split(stack, steps, lengths, runs, step_name, run_by, tables, notes)


def _step_column(tables: Sequence[Table], step: str | None) -> str:
    if step is not None:
        _check_columns(tables, [step], "--step")
        if any(step in table.texts for table in tables):
            raise LogError(f"column {step!r} is text; the step must be a whole number")
        return step
    for name in STEP_NAMES:
        if all(name in table.numbers for table in tables):
            return name
    name = next((name for name in STEP_NAMES if any(name in table.numbers for table in tables)), STEP_NAMES[0])
    table = next(table for table in tables if name not in table.numbers)
    if name in table.texts:
        raise LogError(
            f"{table.path}: column {name!r} is text ({table.texts[name].words[0]!r}); expected whole numbers"
        )
    found = ", ".join(table.columns[:8]) or "none"
    raise LogError(f"{table.path}: no column {name!r} (found: {found}); name the step's column with --step COLUMN")


def _check_columns(tables: Sequence[Table], wanted: Iterable[str], option: str) -> None:
    for name in wanted:
        for table in tables:
            if name not in table.columns:
                found = ", ".join(table.columns[:12])
                raise LogError(f"{table.path}: no column {name!r} for {option} (found: {found})")


def _where(stack: Stack, where: str, tables: Sequence[Table], run_by: Sequence[str]) -> Stack:
    condition = parse_condition(where)
    columns: dict[str, NDArray[Any]] = {}
    for name in condition.columns:
        if name in stack.columns:
            columns[name] = stack.column(name)
        elif name == RUN_NAME:
            columns[name] = _run_names(stack, tables, run_by).cells()
        else:
            raise LogError(f"--where {where!r}: no column {name!r} (found: {', '.join(stack.columns[:12])})")
    keep = condition.evaluate(columns)
    if not keep.any():
        raise LogError(f"--where {where!r}: none of {len(keep)} rows meets the condition")
    return stack.at(np.flatnonzero(keep))


def _with_steps(stack: Stack, step_name: str, tables: Sequence[Table], notes: list[Note]) -> Stack:
    steps = stack.column(step_name)
    finite = np.isfinite(steps)
    if not finite.all():
        lost = int((~finite).sum())
        path = tables[stack.source[np.flatnonzero(~finite)[0]]].path
        notes.append(Note(kind="left-out", text=f"{path}: {lost} rows without a {step_name}, left out"))
        stack = stack.at(np.flatnonzero(finite))
        steps = stack.column(step_name)
    if not len(steps):
        raise LogError(f"{tables[0].path}: no rows with a {step_name}")
    broken = np.flatnonzero(steps != np.floor(steps))
    if len(broken):
        path = tables[stack.source[broken[0]]].path
        raise LogError(
            f"{path}: column {step_name!r} must hold whole numbers, found {steps[broken[0]]:g}; "
            "name another with --step COLUMN"
        )
    large = np.flatnonzero(np.abs(steps) >= _LARGEST_STEP)
    if len(large):
        path = tables[stack.source[large[0]]].path
        raise LogError(f"{path}: column {step_name!r} holds {steps[large[0]]:g}; expected steps below 2^53")
    return stack


def _run_names(stack: Stack, tables: Sequence[Table], run_by: Sequence[str]) -> Text:
    fallback = Text(codes=stack.source, words=tuple(table.name for table in tables))
    keys = list(run_by) or ([RUN_NAME] if RUN_NAME in stack.columns else [])
    if not keys:
        return _only_used(Text.joined([fallback]))
    labels = []
    for key in keys:
        text = stack.texts[key] if key in stack.texts else number_text(stack.column(key))
        blank = np.flatnonzero(text.codes < 0)
        if len(blank) and run_by:
            path = tables[stack.source[blank[0]]].path
            raise LogError(f"{path}: column {key!r} is blank in {len(blank)} rows; it names the run (--run-by)")
        if len(blank):
            codes = np.where(text.codes < 0, len(text.words) + stack.source, text.codes)
            text = Text.joined([Text(codes=codes, words=(*text.words, *fallback.words))])
        labels.append(text)
    names = labels[0]
    for text in labels[1:]:
        pairs = names.codes * len(text.words) + text.codes
        unique, codes = np.unique(pairs, return_inverse=True)
        words = tuple(f"{names.words[p // len(text.words)]}/{text.words[p % len(text.words)]}" for p in unique)
        names = Text(codes=codes, words=words)
    return _only_used(names)


def _only_used(text: Text) -> Text:
    used, codes = np.unique(text.codes, return_inverse=True)
    return Text(codes=codes, words=tuple(text.words[code] for code in used))


def _split(
    stack: Stack,
    steps: NDArray[np.int64],
    lengths: NDArray[np.int64],
    runs: list[str],
    step_name: str,
    run_by: Sequence[str],
    tables: Sequence[Table],
    notes: list[Note],
) -> RunSet:
    """Tell attributes, constant within each run, from metrics, and events from blanks."""
    import pandas as pd

    offsets = offsets_of(lengths)
    metrics, attributes = _metrics_and_attributes(stack, lengths, step_name, run_by, notes)
    values = np.ascontiguousarray(stack.values[:, metrics])
    logged = stack.present[:, metrics]
    told = np.array([table.blanks_are_blank for table in tables])[stack.source]
    if not told.all():
        logged = np.where(told[:, np.newaxis], logged, logged_cells(logged, offsets))
    runset = RunSet(
        runs=tuple(runs),
        lengths=lengths,
        steps=steps,
        values=values,
        logged=logged,
        metrics=tuple(stack.numbers[index] for index in metrics),
        attributes=pd.DataFrame(attributes, index=pd.Index(runs, name="run")),
        notes=(),
    )
    return replace(runset, notes=(*notes, *value_notes(runset)))


def _metrics_and_attributes(
    stack: Stack, lengths: NDArray[np.int64], step_name: str, run_by: Sequence[str], notes: list[Note]
) -> tuple[list[int], dict[str, Any]]:
    """Columns of `Stack.values` that are metrics, and (R,) attributes by name; raises if there is no metric."""
    offsets = offsets_of(lengths)
    several = bool((lengths > 1).any())
    attributes: dict[str, Any] = {}
    metrics, constants = [], []
    taken = {step_name, STEP_NAMES[0]} | ({RUN_NAME} - set(run_by))
    if step_name != STEP_NAMES[0] and STEP_NAMES[0] in stack.columns:
        notes.append(Note(kind="left-out", text=f"column {STEP_NAMES[0]} is left out: {step_name} counts the steps"))
    for index, name in enumerate(stack.numbers):
        if name in taken:
            continue
        constant = _constants(stack.values[:, index], stack.present[:, index], offsets) if several else None
        if name in run_by or constant is not None:
            per_run = constant if constant is not None else stack.values[offsets[:-1], index]
            attributes[name] = _tidy(per_run)
            constants.append(name)
        elif stack.present[:, index].any():
            metrics.append(index)
        else:
            notes.append(Note(kind="left-out", text=f"column {name} is blank everywhere, left out"))
    for name, text in stack.texts.items():
        if name in taken:
            continue
        code = _constants(text.codes.astype(np.float64), text.codes >= 0, offsets)
        if code is None:
            notes.append(Note(kind="left-out", text=f"text column {name} changes within a run, left out"))
        else:
            attributes[name] = [None if np.isnan(c) else text.words[int(c)] for c in code]
    if not metrics:
        held = f" (constant within each run: {', '.join(constants[:6])})" if constants else ""
        raise LogError(f"no numeric metric besides {step_name!r}{held}; expected at least one column that changes")
    if constants:
        notes.append(
            Note(kind="constant", text=f"constant within each run, taken as attributes: {', '.join(constants)}")
        )
    return metrics, attributes


def _constants(
    values: NDArray[np.float64], present: NDArray[np.bool_], offsets: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """(R,) the value in each run, NaN where blank; None if the column changes in a run or holds a non-finite value."""
    if not np.isfinite(values[present]).all() or not present.any():
        return None
    low = np.minimum.reduceat(np.where(present, values, np.inf), offsets[:-1])
    high = np.maximum.reduceat(np.where(present, values, -np.inf), offsets[:-1])
    if ((low != high) & (low < np.inf)).any():
        return None
    return np.where(low < np.inf, low, np.nan)


def _tidy(column: NDArray[np.float64]) -> NDArray[Any]:
    """Whole numbers as integers, so that seed 3 does not read 3.0."""
    if np.isfinite(column).all() and (column == np.floor(column)).all() and (np.abs(column) < 2**53).all():
        return column.astype(np.int64)
    return column
