"""Which column counts the steps, in each table by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from trajhmm.errors import LogError
from trajhmm.logs.assembly.clocks import called_clock
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note
from trajhmm.naming import instead_of, listed

STEP = "step"
# By the whole name, else by its last part behind a slash; case does not count. Epochs where nothing finer is there.
_NAMES = (
    STEP,
    "global_step",
    "_step",
    "iteration",
    "iter",
    "total_timesteps",
    "num_timesteps",
    "timesteps_total",
    "training_iteration",
)
# What else may count them, by its name.
_COUNTS = re.compile(r"(?:step|iter|itr|update|epoch|episode|frame|token|interact)", re.IGNORECASE)
_SECOND, _LAST_RESORT = _NAMES[1], "epoch"


def common_step(tables: Sequence[Table], wanted: str | None) -> str | None:
    """The column that counts steps in all tables, where that is not for each to say; ``wanted`` if one was named."""
    if wanted is None and not all(STEP in table.numbers for table in tables):
        return _SECOND if all(_SECOND in table.numbers for table in tables) else None
    return wanted


def with_steps(table: Table, wanted: str | None) -> Table:
    """The same table, its column of steps called ``step``; a note says so where that was not told.

    Parameters
    ----------
    table : as read and renamed; rows are not looked at.
    wanted : the column that ``--step`` names.

    Raises
    ------
    LogError
        There is none, or it holds text.
    """
    _refuse_charts(table)
    name = wanted if wanted is not None else _found(table)
    if name not in table.numbers and (value := table.settings.get(name)) is not None and not isinstance(value, str):
        return replace(table, numbers={STEP: np.full(table.n, float(value)), **table.numbers}, step_from=name)
    if name not in table.numbers:
        raise _no_steps(table, wanted)
    if name == STEP:
        return table
    notes = []
    if STEP in table.columns:
        notes.append(Note(kind="left-out", text=f"column {STEP} is left out: {name} counts the steps"))
    elif wanted in (None, _SECOND):
        notes.append(Note(kind="step", text=f"no column {STEP!r}: {name} counts the steps"))
    others = {other: column for other, column in table.numbers.items() if other not in (STEP, name)}
    present = {other: stands for other, stands in table.present.items() if other not in (STEP, name)}
    if name in table.present:
        present[STEP] = table.present[name]
    return replace(
        table,
        numbers={STEP: table.numbers[name], **others},
        present=present,
        texts={other: text for other, text in table.texts.items() if other != STEP},
        step_from=name,
        notes=(*table.notes, *notes),
    )


def _refuse_charts(table: Table) -> None:
    """Refuse a chart of Weights & Biases that was saved otherwise than it was exported: its columns are runs."""
    columns = set(table.columns)
    named = (name for name in table.columns if " - " in name)
    chart = next((name for name in named if {f"{name}__MIN", f"{name}__MAX"} <= columns), None)
    if chart is not None:
        raise LogError(
            f"{table.path}: looks like a chart exported by Weights & Biases, a column for each run ({chart!r}, with "
            "its __MIN and __MAX), but is not as it was exported: read that CSV itself, runs with names of their own "
            "and no columns added"
        )


def _found(table: Table) -> str:
    """The name that sounds most like a step; ``step`` if none does."""
    names = [name for name in table.numbers if "/" not in name or called_clock(name)]
    for told in (str.lower, _last_part):
        for word in _NAMES:
            for name in names:
                if told(name) == word:
                    return name
    return next((name for told in (str.lower, _last_part) for name in names if told(name) == _LAST_RESORT), STEP)


def _last_part(name: str) -> str:
    return name.lower().rsplit("/", 1)[-1]


def _no_steps(table: Table, wanted: str | None) -> LogError:
    name = STEP if wanted is None else wanted
    if name in table.texts:
        words = table.texts[name].words
        found = f" ({words[0]!r})" if words else ""
        if wanted is not None:
            return LogError(f"{table.path}: column {name!r} is text; the step must be a whole number")
        return LogError(f"{table.path}: column {name!r} is text{found}; expected whole numbers")
    if wanted is not None:
        return LogError(f"{table.path}: no column {name!r} for --step{instead_of(name, table.columns)}")
    count = [column for column in table.numbers if called_clock(column) or _COUNTS.search(column)]
    if count:
        return LogError(
            f"{table.path}: no column {name!r}; {listed(count)} may count steps: name one with --step COLUMN"
            f"{instead_of(name, table.columns)}"
        )
    return LogError(
        f"{table.path}: no column {name!r}{instead_of(name, table.columns)}; name the step's column with --step "
        "COLUMN, or where there is none add one that counts the rows"
    )
