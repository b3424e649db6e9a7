"""One run in several files, several runs in one, resumed runs: which rows stand where steps repeat or go back."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.assembly.clocks import called_clock
from trajhmm.logs.assembly.epochs import numbered_on
from trajhmm.logs.assembly.resume import alike, standing_rows
from trajhmm.logs.assembly.stack import Stack
from trajhmm.logs.assembly.steps import STEP
from trajhmm.logs.formats.table import Text
from trajhmm.logs.runset import Note, offsets_of


def standing_stack(
    stack: Stack,
    steps: NDArray[np.int64],
    lengths: NDArray[np.int64],
    runs: list[str],
    notes: list[Note],
    run_by: Sequence[str],
) -> tuple[Stack, NDArray[np.int64], NDArray[np.int64]]:
    """Keep the rows that stand: all, unless steps repeat or go back.

    Parameters
    ----------
    stack, steps : rows sorted by run, in reading order within each.
    lengths, runs : (R,) rows of each run, and R names.
    notes : what was done is added.
    run_by : columns that name runs.

    Raises
    ------
    LogError
        Several runs in one, or two runs of one name.
    """
    offsets = offsets_of(lengths)
    falls = np.flatnonzero(np.diff(steps) <= 0) + 1
    falls = falls[~np.isin(falls, offsets)]
    if not len(falls):
        return stack, steps, lengths
    troubled = np.unique(np.searchsorted(offsets, falls, side="right") - 1)
    keep: list[NDArray[np.int64]] = []
    stack = _own_cells(stack)
    writer = np.array([-1 if table.numbered else number for number, table in enumerate(stack.tables)])
    steps, new_lengths = steps.copy(), lengths.copy()
    for r in range(len(runs)):
        rows = np.arange(offsets[r], offsets[r + 1])
        if r in troubled:
            rows = rows[_without_copies(runs[r], steps[rows], rows, stack, notes)]
            _check_one_run(runs[r], steps[rows], rows, stack, run_by)
            steps[rows] = numbered_on(runs[r], steps[rows], rows, stack, notes)
            evidence = _evidence(stack, rows)
            values, logged = stack.values(rows, evidence), stack.logged(rows, evidence)
            standing = standing_rows(
                runs[r], steps[rows], values, logged, stack.source[rows], writer[stack.source[rows]]
            )
            _complete(stack, [(rows[row], rows[earlier]) for row, earlier in standing.merge])
            together = [rows[[*earlier, row]] for row, earlier in standing.average]
            mixed = _told_apart(runs[r], together, stack)
            for same_step in together:
                _average(stack, same_step[-1], same_step)
            notes.extend((*standing.notes, *mixed))
            rows = rows[standing.keep]
            new_lengths[r] = len(rows)
        keep.append(rows)
    kept = np.concatenate(keep)
    return stack.at(kept), steps[kept], new_lengths


def _own_cells(stack: Stack) -> Stack:
    """The same stack with cells of its own."""
    return replace(
        stack,
        numbers={name: column.copy() for name, column in stack.numbers.items()},
        present={name: present.copy() for name, present in stack.present.items()},
        texts={name: Text(codes=text.codes.copy(), words=text.words) for name, text in stack.texts.items()},
    )


def _told_apart(run: str, together: list[NDArray[np.int64]], stack: Stack) -> list[Note]:
    """Say of rows whose mean is taken which column of text tells them apart."""
    for name, text in stack.texts.items():
        words = [text.codes[rows] for rows in together]
        mixed = [codes for codes in words if len(set(codes.tolist())) == len(codes) and (codes >= 0).all()]
        if mixed:
            told = ", ".join(text.words[code] for code in np.unique(np.concatenate(mixed))[:6])
            first = text.words[mixed[0][0]]
            mixes = f"the means of {len(mixed)} steps mix rows of several {name} ({told})"
            return [Note(kind="mixed", run=run, text=f"{mixes}; choose some with --where \"{name} == '{first}'\"")]
    return []


def _average(stack: Stack, kept: np.int64, rows: NDArray[np.int64]) -> None:
    """Put the mean of what is logged in some rows into one of them, in place; text that it lacks is the last."""
    for name, column in stack.numbers.items():
        cells = column[rows]
        if name in stack.present:
            cells = cells[stack.present[name][rows]]
            stack.present[name][kept] = len(cells) > 0
        if len(cells):
            column[kept] = mean_of(cells)
    for text in stack.texts.values():
        told = text.codes[rows][text.codes[rows] >= 0]
        if len(told):
            text.codes[kept] = told[-1]


def mean_of(cells: NDArray[np.float64]) -> float:
    """The mean of (n,) cells, exact where all are the same; NaN of none."""
    if not len(cells):
        return math.nan
    with np.errstate(invalid="ignore", over="ignore"):
        return float(cells[0] if (cells == cells[0]).all() else cells[0] + (cells - cells[0]).mean())


def _complete(stack: Stack, merge: list[tuple[np.int64, NDArray[np.int64]]]) -> None:
    """Fill, in place, the blank cells of rows from the latest of some earlier rows that holds them."""
    for back in range(max((len(earlier) for _, earlier in merge), default=0)):
        rows, before = np.array([(row, earlier[-1 - back]) for row, earlier in merge if len(earlier) > back]).T
        for name, present in stack.present.items():
            fill = ~present[rows] & present[before]
            stack.numbers[name][rows[fill]] = stack.numbers[name][before[fill]]
            present[rows[fill]] = True
        for text in stack.texts.values():
            blank = text.codes[rows] < 0
            text.codes[rows[blank]] = text.codes[before[blank]]


def _without_copies(
    run: str,
    steps: NDArray[np.int64],
    rows: NDArray[np.int64],
    stack: Stack,
    notes: list[Note],
) -> NDArray[np.int64]:
    """Positions that remain when identical copies of the same rows in several files are taken once.

    Two files that hold the same steps of one run with different values are two runs of one name: an error. A later file
    that starts within the earlier one and goes on beyond it is a resumed run; so is a later part of one logger,
    wherever it ends.
    """
    source = stack.source[rows]
    sources = list(dict.fromkeys(source.tolist()))
    if len(sources) == 1 or all(stack.tables[s].numbered for s in sources):
        return np.arange(len(rows))
    keep = np.ones(len(rows), dtype=bool)
    evidence = _evidence(stack, rows)
    for position, later in enumerate(sources[1:], start=1):
        for earlier in sources[:position]:
            first, second = np.flatnonzero((source == earlier) & keep), np.flatnonzero((source == later) & keep)
            shared, i, j = np.intersect1d(steps[first], steps[second], return_indices=True)
            if not len(shared):
                continue
            one, two = rows[first[i]], rows[second[j]]
            if np.array_equal(steps[first], steps[second]) and _same(stack, rows[first], rows[second]):
                one, two = rows[first], rows[second]  # a copy, however many rows a step it holds
                j = np.arange(len(second))
            if _same(stack, one, two):
                keep[second[j]] = False
                paths = f"{stack.tables[earlier].path} and {stack.tables[later].path}"
                notes.append(Note(kind="duplicate", run=run, text=f"{len(j)} identical rows in {paths}, taken once"))
                continue
            resumed = steps[second].min() > steps[first].min() and steps[second].max() >= steps[first].max()
            if _contradict(stack, one, two, evidence).any() and not resumed:
                raise LogError(
                    f"run {run!r} is in {stack.tables[earlier].path} and in {stack.tables[later].path} with the same "
                    f"steps {shared[0]}…{shared[-1]} but other values; rename one, or name the columns that tell them "
                    "apart with --run-by"
                )
    positions = np.flatnonzero(keep)
    if any(len(np.intersect1d(steps[source == a], steps[source == b])) for a in sources for b in sources if a < b):
        return positions[np.argsort(source[positions], kind="stable")]
    # Files of one run that do not overlap may come in any order.
    firsts = {s: int(steps[source == s].min()) for s in sources}
    return np.array(sorted(positions.tolist(), key=lambda p: (firsts[int(source[p])], p)), dtype=np.int64)


def _evidence(stack: Stack, rows: NDArray[np.int64]) -> list[str]:
    """Metrics that change over the rows and are no clocks: what tells one row of a step from another."""
    evidence = []
    for name, column in stack.numbers.items():
        cells = column[rows]
        if name in stack.present:
            cells = cells[stack.present[name][rows]]
        if len(cells) and cells.min() != cells.max() and not called_clock(name):
            evidence.append(name)
    return evidence


def _same(stack: Stack, one: NDArray[np.int64], two: NDArray[np.int64]) -> bool:
    """Whether the numbers of two (n,) sets of rows are the same, row by row."""
    return all(np.array_equal(column[one], column[two], equal_nan=True) for column in stack.numbers.values()) and all(
        np.array_equal(present[one], present[two]) for present in stack.present.values()
    )


def _contradict(
    stack: Stack, one: NDArray[np.int64], two: NDArray[np.int64], evidence: Sequence[str]
) -> NDArray[np.bool_]:
    """(n,) bool: whether two rows differ in a cell that both hold, for two (n,) sets of rows."""
    both = stack.logged(one, evidence) & stack.logged(two, evidence)
    cells, others = stack.values(one, evidence), stack.values(two, evidence)
    differ: NDArray[np.bool_] = np.logical_or.reduce(both & ~alike(cells, others), axis=1)
    return differ


def _check_one_run(
    run: str,
    steps: NDArray[np.int64],
    rows: NDArray[np.int64],
    stack: Stack,
    run_by: Sequence[str],
) -> None:
    """Refuse several runs in one: steps go back, or repeat, just where a column such as ``seed`` changes."""
    back = np.flatnonzero(np.diff(steps) < 0) + 1
    _, step_code, times = np.unique(steps, return_inverse=True, return_counts=True)
    repeats = (times[step_code] > 1).mean() > 0.5 and _contradictory(step_code, rows, stack)
    path = stack.path_at(rows[0])
    if repeats and (counter := _counts_within(steps, rows, stack)) is not None:
        raise LogError(
            f"{path}: run {run!r}: step {steps[0]} is logged {times[0]} times with different values, while "
            f"{counter!r} counts on within each step: --step {counter} if it does so through a run, --run-by {counter} "
            "if these are several"
        )
    for name in stack.columns:
        if name in run_by or called_clock(name):
            continue
        code, blank = _codes(stack, name, rows)
        changes = np.flatnonzero((code[1:] != code[:-1]) & ~blank[1:] & ~blank[:-1]) + 1
        remedy = f"several runs in one; tell them apart with --run-by {name}"
        if 0 < len(changes) <= min(2 * len(back), len(rows) / 2) and np.isin(back, changes).all():
            raise LogError(
                f"{path}: run {run!r}: steps go back from {steps[back[0] - 1]} to {steps[back[0]]} where column "
                f"{name!r} changes, {len(back)} times: {remedy}"
            )
        tells_apart = 1 < len(np.unique(code)) <= times.max() and not blank.any()
        if repeats and tells_apart and np.unique(np.stack([step_code, code]), axis=1).shape[1] == len(rows):
            raise LogError(
                f"{path}: run {run!r}: step {steps[times[step_code].argmax()]} is logged {times.max()} times with "
                f"different values, each with another {name!r}: {remedy}"
            )


# What counts within a step, as an epoch is one, by its name.
_WITHIN = re.compile(r"batch|step|iter|^(?:i|j|idx|index)$", re.IGNORECASE)


def _counts_within(steps: NDArray[np.int64], rows: NDArray[np.int64], stack: Stack) -> str | None:
    """The column of whole numbers that goes up by one amount from row to row of each step, and begins again at each."""
    begins = np.diff(steps) != 0
    if (np.diff(steps) < 0).any() or not begins.any():
        return None
    for name in stack.numbers:
        cells = stack.numbers[name][rows]
        is_called = name != STEP and (called_clock(name) or _WITHIN.search(name) is not None)
        if not is_called or not np.isfinite(cells).all() or (cells != np.floor(cells)).any():
            continue
        rises, starts = np.diff(cells)[~begins], np.concatenate(([cells[0]], cells[1:][begins]))
        if len(rises) and rises[0] > 0 and (rises == rises[0]).all() and (starts == starts[0]).all():
            return name
    return None


def _contradictory(step_code: NDArray[np.int64], rows: NDArray[np.int64], stack: Stack) -> bool:
    """Whether two neighbours among the rows of one step differ in a cell that both hold."""
    order = np.argsort(step_code, kind="stable")
    differ = _contradict(stack, rows[order[:-1]], rows[order[1:]], _evidence(stack, rows))
    return bool((differ & (np.diff(step_code[order]) == 0)).any())


def _codes(stack: Stack, name: str, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A column of names or whole numbers as codes, and where it is blank; a column of other numbers as all blank."""
    if name in stack.texts:
        code = stack.texts[name].codes[rows]
        return code, code < 0
    column = stack.column(name)[rows]
    whole = np.isnan(column) | (column == np.floor(column))
    return column, np.isnan(column) | ~np.full(len(rows), whole.all())
