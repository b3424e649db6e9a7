"""``monitor.csv`` of Stable-Baselines3, an episode a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from trajhmm.errors import LogError
from trajhmm.jsontext import loads
from trajhmm.logs.formats.delimited import read_delimited, read_some_delimited
from trajhmm.logs.formats.encodings import opened
from trajhmm.logs.formats.format import Format, Growth, itself_or_folder
from trajhmm.logs.formats.headings import heading_end
from trajhmm.logs.formats.lines import Lines
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute

_LENGTH = "l"
_STEP = "step"
# What `Table.carry` says: steps of the environment so far.
_SO_FAR = "steps"
_FIRST_LINE = 2**16
_MARK = re.compile(rb'\s*#\s*\{.*?"(?:t_start|env_id|gym_version)"', re.DOTALL)


def read_monitor(path: Path, name: str) -> Table:
    """Read the episodes that one environment went through.

    ``step`` is the running sum of the lengths ``l``: steps of this environment at the end of the episode. ``r``, ``l``
    and ``t`` keep their names.

    Raises
    ------
    LogError
        As `read_delimited`; or there are no lengths.
    """
    with opened(path) as stream:
        header = stream.read(_FIRST_LINE)
    return _with_environment(_counted(read_delimited(path, name, ",", note_comments=False), {}), header)


def read_some_monitor(lines: Lines, path: Path, name: str) -> Table:
    """Read some episodes as `read_monitor` reads all."""
    table = _counted(read_some_delimited(lines, path, name, ","), lines.carry)
    return _with_environment(table, lines.header)


def _counted(table: Table, carry: Mapping[str, float]) -> Table:
    """The table with a column of steps."""
    before = carry.get(_SO_FAR, 0.0)
    if not table.n:
        return replace(table, carry={**table.carry, _SO_FAR: before})
    if _LENGTH not in table.numbers:
        raise LogError(f"{table.path}: no numbers in column 'l'; expected the lengths of episodes")
    lengths = np.nan_to_num(table.numbers[_LENGTH], nan=0.0, posinf=0.0, neginf=0.0)
    steps = before + np.cumsum(lengths)
    return replace(table, numbers={_STEP: steps, **table.numbers}, carry={**table.carry, _SO_FAR: float(steps[-1])})


def _with_environment(table: Table, header: bytes) -> Table:
    """The table with what the first line says of all rows."""
    line = header.partition(b"\n")[0].strip().lstrip(b"#")
    try:
        told = loads(line)
    except (ValueError, RecursionError):
        told = {}
    told = told if isinstance(told, dict) else {}
    attributes: dict[str, Attribute] = {}
    if isinstance(told.get("env_id"), str) and told["env_id"] != "None":
        attributes["env_id"] = told["env_id"]
    others = ", ".join(f"{key} {value}" for key, value in told.items() if key != "env_id")[:100]
    note = Note(kind="left-out", text=f"{table.path}: of the first line left out: {others}")
    return replace(
        table,
        attributes={**table.attributes, **attributes},
        blanks_are_blank=True,
        notes=(*table.notes, *((note,) if others else ())),
    )


def _takes(_path: Path, head: bytes) -> bool:
    return _MARK.match(head) is not None


MONITOR = Format(
    name="monitor",
    title="Stable-Baselines3 monitor.csv",
    names=r"(?:^|[/.])monitor\.csv(\.gz)?",
    read=read_monitor,
    takes=_takes,
    growth=Growth(read=read_some_monitor, header=heading_end),
    home=itself_or_folder,
)
