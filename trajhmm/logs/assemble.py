"""From the tables of many files to one validated `RunSet`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.blanks import logged_cells
from trajhmm.logs.clocks import is_clock
from trajhmm.logs.conditions import parse_condition
from trajhmm.logs.resume import standing_rows
from trajhmm.logs.runset import Note, RunSet, offsets_of
from trajhmm.logs.table import RUN_NAME, Table, Text, means_blank, natural_key

STEP_NAMES = ("step", "global_step", "epoch")
# Steps are kept in float64 columns until they are known to be whole.
_LARGEST_STEP = 2**53


@dataclass(frozen=True, kw_only=True, eq=False)
class _Stack:
    """All rows of all tables, in reading order, before they are sorted into runs."""

    numbers: tuple[str, ...]
    values: NDArray[np.float64]
    present: NDArray[np.bool_]
    texts: dict[str, Text]
    source: NDArray[np.int64]

    def column(self, name: str) -> NDArray[Any]:
        if name in self.numbers:
            return self.values[:, self.numbers.index(name)]
        return self.texts[name].cells()

    @property
    def columns(self) -> tuple[str, ...]:
        return (*self.numbers, *self.texts)

    def at(self, rows: NDArray[Any]) -> _Stack:
        return _Stack(
            numbers=self.numbers,
            values=self.values[rows],
            present=self.present[rows],
            texts={name: column.at(rows) for name, column in self.texts.items()},
            source=self.source[rows],
        )


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
    stack = _stack(tables)
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

    stack, steps, lengths = _stand(stack, steps, lengths, runs, tables, notes, run_by)
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


def _stack(tables: Sequence[Table]) -> _Stack:
    numeric, textual = _kinds(tables)
    sizes = [table.n for table in tables]
    values = np.full((sum(sizes), len(numeric)), np.nan)
    present = np.zeros(values.shape, dtype=bool)
    start = 0
    for table in tables:
        rows = slice(start, start + table.n)
        for index, name in enumerate(numeric):
            if name in table.numbers:
                values[rows, index] = table.numbers[name]
                present[rows, index] = table.present.get(name, True)
            elif not isinstance(setting := table.attributes.get(name, ""), str) and np.isfinite(setting):
                # A setting that is infinite, such as no limit, is no event.
                values[rows, index] = setting
                present[rows, index] = True
        start += table.n
    return _Stack(
        numbers=tuple(numeric),
        values=values,
        present=present,
        texts={name: Text.joined([_as_text(table, name) for table in tables]) for name in textual},
        source=np.repeat(np.arange(len(tables), dtype=np.int64), sizes),
    )


def _kinds(tables: Sequence[Table]) -> tuple[list[str], list[str]]:
    """Names of numeric and of text columns over all tables, in order of appearance.

    Attributes may be numbers here and text there, then all are text; a metric may not.
    """
    numeric: dict[str, None] = {}
    textual: dict[str, Table] = {}
    blank: dict[str, None] = {}
    for table in tables:
        for name in table.numbers:
            if name in table.present and not table.present[name].any():
                blank[name] = None
            else:
                numeric[name] = None
        for name in table.texts:
            textual.setdefault(name, table)
        for name, value in table.attributes.items():
            if name not in table.numbers and name not in table.texts:
                if isinstance(value, str):
                    textual.setdefault(name, table)
                else:
                    numeric[name] = None
    for name in [name for name in textual if name in numeric and _is_blank(name, tables)]:
        del textual[name]
    for name in [name for name in textual if name in numeric]:
        numeric.pop(name)
        one, other = next((table for table in tables if _changes(name, table)), None), textual[name]
        if one is not None and name != RUN_NAME:
            word = other.texts[name].words[0] if name in other.texts else other.attributes[name]
            raise LogError(
                f"{other.path}: column {name!r} is text ({word!r}) but holds numbers in {one.path}; "
                "make them alike or leave one file out"
            )
    return [*numeric, *(name for name in blank if name not in numeric and name not in textual)], list(textual)


def _is_blank(name: str, tables: Sequence[Table]) -> bool:
    """Whether a column of text holds nothing but words for a blank, in every table in which it is text."""
    words = [word for table in tables if name in table.texts for word in table.texts[name].words]
    settings = [setting for table in tables if isinstance(setting := table.attributes.get(name), str)]
    return all(means_blank(cell) for cell in (*words, *settings))


def _changes(name: str, table: Table) -> bool:
    return name in table.numbers and len(np.unique(table.numbers[name][np.isfinite(table.numbers[name])])) > 1


def _as_text(table: Table, name: str) -> Text:
    if name in table.texts:
        return table.texts[name]
    if name in table.numbers:
        return _number_text(table.numbers[name])
    word = _label(table.attributes[name]) if name in table.attributes else ""
    return Text(codes=np.full(table.n, 0 if word else -1, dtype=np.int64), words=(word,) if word else ())


def _number_text(column: NDArray[np.float64]) -> Text:
    unique, codes = np.unique(column, return_inverse=True)
    finite = np.isfinite(unique)
    return Text(codes=np.where(finite, np.arange(len(unique)), -1)[codes], words=tuple(_label(v) for v in unique))


def _where(stack: _Stack, where: str, tables: Sequence[Table], run_by: Sequence[str]) -> _Stack:
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


def _with_steps(stack: _Stack, step_name: str, tables: Sequence[Table], notes: list[Note]) -> _Stack:
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


def _run_names(stack: _Stack, tables: Sequence[Table], run_by: Sequence[str]) -> Text:
    fallback = Text(codes=stack.source, words=tuple(table.name for table in tables))
    keys = list(run_by) or ([RUN_NAME] if RUN_NAME in stack.columns else [])
    if not keys:
        return _only_used(Text.joined([fallback]))
    labels = []
    for key in keys:
        text = stack.texts[key] if key in stack.texts else _number_text(stack.column(key))
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


def _label(value: Any) -> str:
    """A number as a person would write it: 3 rather than 3.0."""
    if isinstance(value, str):
        return value
    if value is None or np.isnan(value):
        return ""
    return str(int(value)) if float(value).is_integer() and abs(value) < 2**53 else repr(float(value))


def _stand(
    stack: _Stack,
    steps: NDArray[np.int64],
    lengths: NDArray[np.int64],
    runs: list[str],
    tables: Sequence[Table],
    notes: list[Note],
    run_by: Sequence[str],
) -> tuple[_Stack, NDArray[np.int64], NDArray[np.int64]]:
    """Keep the rows that stand: all, unless steps repeat or go back."""
    offsets = offsets_of(lengths)
    falls = np.flatnonzero(np.diff(steps) <= 0) + 1
    falls = falls[~np.isin(falls, offsets)]
    if not len(falls):
        return stack, steps, lengths
    troubled = np.unique(np.searchsorted(offsets, falls, side="right") - 1)
    keep: list[NDArray[np.int64]] = []
    values, present = stack.values.copy(), stack.present.copy()
    texts = {name: Text(codes=text.codes.copy(), words=text.words) for name, text in stack.texts.items()}
    new_lengths = lengths.copy()
    for r in range(len(runs)):
        rows = np.arange(offsets[r], offsets[r + 1])
        if r in troubled:
            rows = rows[_without_copies(runs[r], steps[rows], rows, stack, tables, notes)]
            _check_one_run(runs[r], steps[rows], rows, stack, tables, run_by)
            evidence = _evidence(stack, rows)
            standing = standing_rows(runs[r], steps[rows], values[rows][:, evidence], present[rows][:, evidence])
            for row, earlier in standing.merge:
                for before in reversed(earlier):
                    fill = ~present[rows[row]] & present[rows[before]]
                    values[rows[row], fill] = values[rows[before], fill]
                    present[rows[row], fill] = True
                    for text in texts.values():
                        if text.codes[rows[row]] < 0:
                            text.codes[rows[row]] = text.codes[rows[before]]
            notes.extend(standing.notes)
            rows = rows[standing.keep]
            new_lengths[r] = len(rows)
        keep.append(rows)
    kept = np.concatenate(keep)
    whole = _Stack(numbers=stack.numbers, values=values, present=present, texts=texts, source=stack.source)
    return whole.at(kept), steps[kept], new_lengths


def _without_copies(
    run: str,
    steps: NDArray[np.int64],
    rows: NDArray[np.int64],
    stack: _Stack,
    tables: Sequence[Table],
    notes: list[Note],
) -> NDArray[np.int64]:
    """Positions that remain when identical copies of the same rows in several files are taken once.

    Two files that hold the same steps of one run with different values are two runs of one name: an error. A later file
    that starts within the earlier one and goes on beyond it is a resumed run.
    """
    source = stack.source[rows]
    sources = list(dict.fromkeys(source.tolist()))
    if len(sources) == 1:
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
            if _same(stack.values[one], stack.values[two]) and np.array_equal(stack.present[one], stack.present[two]):
                keep[second[j]] = False
                paths = f"{tables[earlier].path} and {tables[later].path}"
                notes.append(
                    Note(kind="duplicate", run=run, text=f"{len(shared)} identical rows in {paths}, taken once")
                )
                continue
            both = (stack.present[one] & stack.present[two])[:, evidence]
            clash = both & (stack.values[one] != stack.values[two])[:, evidence]
            resumed = steps[second].min() > steps[first].min() and steps[second].max() >= steps[first].max()
            if clash.any() and not resumed:
                raise LogError(
                    f"run {run!r} is in {tables[earlier].path} and in {tables[later].path} with the same steps "
                    f"{shared[0]}…{shared[-1]} but other values; rename one, or name the columns that tell them apart "
                    "with --run-by"
                )
    positions = np.flatnonzero(keep)
    if any(len(np.intersect1d(steps[source == a], steps[source == b])) for a in sources for b in sources if a < b):
        return positions[np.argsort(source[positions], kind="stable")]
    # Files of one run that do not overlap may come in any order.
    firsts = {s: int(steps[source == s].min()) for s in sources}
    return np.array(sorted(positions.tolist(), key=lambda p: (firsts[int(source[p])], p)), dtype=np.int64)


def _evidence(stack: _Stack, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(D,) metrics that change over the rows and are no clocks: what tells one row of a step from another."""
    block, present = stack.values[rows], stack.present[rows]
    low = np.where(present, block, np.inf).min(axis=0)
    high = np.where(present, block, -np.inf).max(axis=0)
    changes: NDArray[np.bool_] = (low != high) & present.any(axis=0) & ~np.array([is_clock(n) for n in stack.numbers])
    return changes


def _same(one: NDArray[np.float64], two: NDArray[np.float64]) -> bool:
    return bool(np.array_equal(one, two, equal_nan=True))


def _check_one_run(
    run: str,
    steps: NDArray[np.int64],
    rows: NDArray[np.int64],
    stack: _Stack,
    tables: Sequence[Table],
    run_by: Sequence[str],
) -> None:
    """Refuse several runs in one: steps go back, or repeat, just where a column such as ``seed`` changes."""
    back = np.flatnonzero(np.diff(steps) < 0) + 1
    _, step_code, times = np.unique(steps, return_inverse=True, return_counts=True)
    repeats = (times[step_code] > 1).mean() > 0.5 and _contradictory(step_code, rows, stack)
    path = tables[stack.source[rows[0]]].path
    for name in stack.columns:
        if name in run_by or is_clock(name):
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


def _contradictory(step_code: NDArray[np.int64], rows: NDArray[np.int64], stack: _Stack) -> bool:
    """Whether two neighbours among the rows of one step differ in a cell that both hold."""
    order = np.argsort(step_code, kind="stable")
    one, two = rows[order[:-1]], rows[order[1:]]
    both = (stack.present[one] & stack.present[two])[:, _evidence(stack, rows)]
    differ = (stack.values[one] != stack.values[two])[:, _evidence(stack, rows)]
    return bool(((both & differ).any(axis=1) & (np.diff(step_code[order]) == 0)).any())


def _codes(stack: _Stack, name: str, rows: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """A column of names or whole numbers as codes, and where it is blank; a column of other numbers as all blank."""
    if name in stack.texts:
        code = stack.texts[name].codes[rows]
        return code, code < 0
    column = stack.column(name)[rows]
    whole = np.isnan(column) | (column == np.floor(column))
    return column, np.isnan(column) | ~np.full(len(rows), whole.all())


def _split(
    stack: _Stack,
    steps: NDArray[np.int64],
    lengths: NDArray[np.int64],
    runs: list[str],
    step_name: str,
    run_by: Sequence[str],
    tables: Sequence[Table],
    notes: list[Note],
) -> RunSet:
    """Tell attributes, constant within each run, from metrics."""
    import pandas as pd

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
    return replace(runset, notes=(*notes, *_value_notes(runset)))


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


def _value_notes(runs: RunSet) -> list[Note]:
    """Non-finite events, metrics logged less often, and gaps in the steps."""
    notes: list[Note] = []
    event = runs.logged & ~np.isfinite(runs.values)
    for run, rows in runs.slices():
        for column in np.flatnonzero(event[rows].any(axis=0)):
            first = int(np.argmax(event[rows, column]))
            count = int(event[rows, column].sum())
            cell = runs.values[rows, column][first]
            text = (
                f"{runs.metrics[column]} is not finite ({'NaN' if np.isnan(cell) else cell}) "
                f"from step {runs.steps[rows][first]}, {count} rows"
            )
            notes.append(Note(kind="non-finite", run=run, text=text))
        gap = _gap(runs.steps[rows])
        if gap is not None:
            notes.append(Note(kind="gap", run=run, text=gap))
    blank = ~runs.logged
    for column in np.flatnonzero(blank.any(axis=0)):
        share = 1 - blank[:, column].mean()
        notes.append(Note(kind="blank", text=f"{runs.metrics[column]} is logged at {share:.1%} of the rows"))
    return notes


def _gap(steps: NDArray[np.int64]) -> str | None:
    """Say where steps are missing, if most are evenly spaced."""
    if len(steps) < 4:
        return None
    spacing = np.diff(steps)
    usual, counts = np.unique(spacing, return_counts=True)
    typical = usual[np.argmax(counts)]
    wide = np.flatnonzero(spacing > typical)
    if counts.max() < 0.8 * len(spacing) or not len(wide):
        return None
    first = wide[0]
    missing = int((spacing[wide] // typical - 1).sum())
    gaps = "1 gap" if len(wide) == 1 else f"{len(wide)} gaps"
    return f"{gaps} in the steps, about {missing} rows missing, first after step {steps[first]}"
