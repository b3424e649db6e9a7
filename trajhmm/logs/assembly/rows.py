"""`Rows`: the rows of all tables sorted into runs and steps, before their columns are told apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.assembly.repeats import standing_stack
from trajhmm.logs.assembly.stack import Stack, number_text
from trajhmm.logs.assembly.steps import STEP
from trajhmm.logs.conditions import parse_condition
from trajhmm.logs.formats.table import RUN_NAME, Table, Text
from trajhmm.logs.runset import Note, offsets_of
from trajhmm.naming import instead_of, natural_key

# Steps are kept in float64 columns until they are known to be whole.
_LARGEST_STEP = 2**53


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The N rows that stand, sorted by run, then by step.

    Attributes
    ----------
    stack : their cells; ``steps`` (N,) int64.
    runs, lengths : R names in natural order, and (R,) int64 rows of each.
    notes : what was repaired or left out.
    """

    stack: Stack
    steps: NDArray[np.int64]
    runs: tuple[str, ...]
    lengths: NDArray[np.int64]
    notes: tuple[Note, ...]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """(R + 1,) int64: run r holds the rows ``offsets[r]:offsets[r + 1]``."""
        return offsets_of(self.lengths)


def check_columns(tables: Sequence[Table], wanted: Iterable[str], option: str) -> None:
    """Refuse an option that names a column which one of ``tables`` lacks."""
    for name in wanted:
        for table in tables:
            if name not in table.columns:
                raise LogError(f"{table.path}: no column {name!r} for {option}{instead_of(name, table.columns)}")


def rows_that_meet(stack: Stack, where: str, run_by: Sequence[str]) -> Stack:
    """Keep the rows that meet a condition.

    Raises
    ------
    LogError
        The condition names an unknown column.
    """
    condition = parse_condition(where)
    if condition.ordered:
        raise LogError(f"--where {where!r}: drop and ratio look back along a run; rows are chosen one by one")
    columns: dict[str, NDArray[Any]] = {}
    for name in condition.columns:
        if any(table.step_from == name for table in stack.tables):
            columns[name] = _with_steps(stack, name)
        elif name in stack.columns:
            columns[name] = stack.column(name)
        elif name == RUN_NAME:
            columns[name] = run_names(stack, run_by).cells()
        else:
            raise unknown_in_condition(name, where, stack.columns)
    return stack.at(np.flatnonzero(condition.evaluate(columns)))


def _with_steps(stack: Stack, name: str) -> NDArray[Any]:
    """(N,) a column that counts the steps in some of the tables."""
    counts = np.array([table.step_from == name for table in stack.tables])[stack.source]
    other = stack.numbers[name] if name in stack.numbers else np.full(len(counts), np.nan)
    return np.where(counts, stack.numbers[STEP], other)


def unknown_in_condition(name: str, where: str, columns: Sequence[str]) -> LogError:
    """The error of a condition that names a column which there is not."""
    return LogError(f"--where {where!r}: no column {name!r}{instead_of(name, columns)}")


def sorted_rows(stack: Stack, run_by: Sequence[str]) -> Rows:
    """Sort the rows of ``stack`` into runs and steps, and settle which stand where steps repeat or go back.

    Parameters
    ----------
    stack : all rows in reading order, without those that a condition leaves out.
    run_by : columns that name runs.

    Raises
    ------
    LogError
        Steps are no whole numbers, names of runs are blank, several runs in one, or two runs of one name.
    """
    notes: list[Note] = []
    stack, steps = rows_with_steps(stack, notes)
    if not run_by and RUN_NAME in stack.texts and (blank := stack.texts[RUN_NAME].codes < 0).any():
        path = stack.path_at(np.argmax(blank))
        own = any(RUN_NAME in table.texts for table in [stack.tables[s] for s in np.unique(stack.source[blank])])
        if own:
            text = f"{path}: column 'run' is blank in {blank.sum()} rows, which are named after the file; fill it"
            notes.append(Note(kind="duplicate", text=text))
    names = run_names(stack, run_by)
    runs = sorted(names.words, key=natural_key)
    rank = {run: position for position, run in enumerate(runs)}
    code = np.array([rank[word] for word in names.words], dtype=np.int64)[names.codes]
    if (code[1:] < code[:-1]).any():
        order = np.argsort(code, kind="stable")
        stack, steps, code = stack.at(order), steps[order], code[order]
    lengths = np.bincount(code, minlength=len(runs)).astype(np.int64)
    stack, steps, lengths = standing_stack(stack, steps, lengths, runs, notes, run_by)
    return Rows(stack=stack, steps=steps, runs=tuple(runs), lengths=lengths, notes=tuple(notes))


def run_names(stack: Stack, run_by: Sequence[str]) -> Text:
    """Name the run of each row: by ``run_by``, else by the column ``run``, else by the table.

    Raises
    ------
    LogError
        A cell of ``run_by`` is blank, or two runs would have one name.
    """
    fallback = Text(codes=stack.source, words=tuple(table.name for table in stack.tables))
    keys = list(run_by) or ([RUN_NAME] if RUN_NAME in stack.columns else [])
    if not keys:
        return _only_used(Text.joined([fallback]))
    labels = []
    for key in keys:
        text = stack.texts[key] if key in stack.texts else number_text(stack.column(key))
        blank = np.flatnonzero(text.codes < 0)
        if len(blank) and run_by:
            path = stack.path_at(blank[0])
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
        if len(set(words)) < len(words):
            word = next(word for word in words if words.count(word) > 1)
            raise LogError(
                f"{stack.tables[0].path}: two runs would be called {word!r}, by other values of {', '.join(keys)}; "
                "write one of these columns without '/'"
            )
        names = Text(codes=codes, words=words)
    return _only_used(names)


def rows_with_steps(stack: Stack, notes: list[Note]) -> tuple[Stack, NDArray[np.int64]]:
    """Leave out rows without a step, and return the steps of the others."""
    steps = stack.numbers[STEP]
    finite = np.isfinite(steps)
    if not finite.all():
        first = np.argmin(finite)
        text = f"{stack.path_at(first)}: {np.sum(~finite)} rows without a {_name(stack, first)}, left out"
        notes.append(Note(kind="left-out", text=text))
        stack, steps = stack.at(np.flatnonzero(finite)), steps[finite]
    broken = np.flatnonzero(steps != np.floor(steps))
    if len(broken):
        path = stack.path_at(broken[0])
        raise LogError(
            f"{path}: column {_name(stack, broken[0])!r} must hold whole numbers, found {steps[broken[0]]:g}; "
            "name another with --step COLUMN"
        )
    large = np.flatnonzero(np.abs(steps) >= _LARGEST_STEP)
    if len(large):
        path = stack.path_at(large[0])
        name = _name(stack, large[0])
        raise LogError(f"{path}: column {name!r} holds {steps[large[0]]:g}; expected steps below 2^53")
    return stack, steps.astype(np.int64)


def _name(stack: Stack, row: np.integer[Any]) -> str:
    """What the column of steps is called where a row came from."""
    return stack.tables[int(stack.source[row])].step_from


def _only_used(text: Text) -> Text:
    """The same cells, none of them blank, with no more words than they use."""
    used = np.bincount(text.codes, minlength=len(text.words)) > 0
    if used.all():
        return text
    new = np.cumsum(used) - 1
    return Text(codes=new[text.codes], words=tuple(word for word, use in zip(text.words, used, strict=True) if use))
