"""Tables of trainers that tell a blank from NaN, or show less than there was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from trajhmm.logs.formats.delimited import read_delimited, read_some_delimited
from trajhmm.logs.formats.format import Format, Growth, itself_or_folder
from trajhmm.logs.formats.headings import heading_end
from trajhmm.logs.formats.lines import Lines
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note

# What a tool shows less of than there was, given the table; empty if it hides nothing.
Hides = Callable[[Table], str]


def _format(
    name: str, title: str, names: str, marks: frozenset[str], hides: Hides, *, usual: str = ",", by_groups: bool = False
) -> Format:
    """The format of a tool's table, known by its name and some of its columns.

    Parameters
    ----------
    name, title, names : see `Format`.
    marks : columns that it has.
    hides : what to note of it.
    usual : what separates cells.
    by_groups : whether it is enough that some columns begin like one of ``marks``.
    """

    def read(path: Path, run: str) -> Table:
        table = replace(read_delimited(path, run, usual), blanks_are_blank=True)
        if not (hidden := hides(table) if table.n else ""):
            return table
        return replace(table, notes=(*table.notes, Note(kind="hidden", text=f"{path}: {hidden}")))

    def read_some(lines: Lines, path: Path, run: str) -> Table:
        return replace(read_some_delimited(lines, path, run, usual), blanks_are_blank=True)

    def takes(_path: Path, head: bytes) -> bool:
        first = head.lstrip().partition(b"\n")[0].decode(errors="replace")
        cells = {cell.strip().strip('"') for cell in first.split(usual)}
        if by_groups:
            return any(cell.startswith(tuple(marks)) for cell in cells)
        return marks <= cells

    return Format(
        name=name,
        title=title,
        names=names,
        read=read,
        takes=takes,
        growth=Growth(read=read_some, header=heading_end),
        home=itself_or_folder,
    )


def _of_baselines(table: Table) -> str:
    means = ", ".join(name for name in ("rollout/ep_rew_mean", "rollout/ep_len_mean") if name in table.columns)
    return f"{means} are means over the last 100 episodes (stats_window_size)" if means else ""


def _of_spinning_up(table: Table) -> str:
    averaged = [name for name in table.columns if name.startswith("Average")]
    return f"a row tells an epoch; {', '.join(averaged[:4])} are means over its episodes" if averaged else ""


def _of_tune(_table: Table) -> str:
    return "Ray Tune writes no columns here but those of its first result; result.json holds all"


def _nothing(_table: Table) -> str:
    return ""


LIGHTNING = _format(
    "lightning",
    "Lightning metrics.csv",
    r"(?:^|/)metrics\.csv(\.gz)?",
    frozenset({"epoch", "step"}),
    _nothing,
)
TUNE_PROGRESS = _format(
    "tune-csv",
    "RLlib and Ray Tune progress.csv",
    r"(?:^|/)progress\.csv(\.gz)?",
    frozenset({"training_iteration"}),
    _of_tune,
)
BASELINES = _format(
    "sb3",
    "Stable-Baselines3 progress.csv",
    r"(?:^|/)progress\.csv(\.gz)?",
    frozenset({"time/", "rollout/", "train/", "eval/"}),
    _of_baselines,
    by_groups=True,
)
SPINNING_UP = _format(
    "spinningup",
    "Spinning Up progress.txt",
    r"(?:^|/)progress\.txt(\.gz)?",
    frozenset({"Epoch"}),
    _of_spinning_up,
    usual="\t",
)
