"""DVCLive: a folder of TSV files of one metric each, and the parameters beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trajhmm.errors import LogError
from trajhmm.logs.formats.encodings import beginning_of, whole_text, without_mark
from trajhmm.logs.formats.format import Format
from trajhmm.logs.formats.points import Points, table_of_run
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute, value_of

_PLOTS, _METRICS = "plots", ("metrics", "scalars")
_STEP, _TIME = "step", "timestamp"
# What the folder is called unless somebody says otherwise: then the run is called after the one around it.
_USUAL = "dvclive"
_PARAMETERS = "params.yaml"
_ENTRY = re.compile(r"( *)([^\s#-][^:#]*):(?:\s+(?:#.*|(.*?))(?:\s+#.*)?)?")
# Characters of such an entry.
_LONGEST_ENTRY = 1000
_NOT_PLAIN = ("[", "{", "|", ">", "&", "*", "!", "%", "@")
_NOTHING = ("null", "~", "Null", "NULL")
_TRUTH = {"true": 1.0, "false": 0.0}


@dataclass(frozen=True, kw_only=True)
class _Metric:
    """One metric: its name, and its values at steps that go up."""

    name: str
    steps: list[float]
    values: list[float]


def read_dvclive(path: Path, name: str) -> Table:
    """Read the whole run to which a file of one metric belongs.

    A metric is called as the header of its file says, behind the folders in which it stands (``train/loss``). Where
    its steps go back or repeat, the later values win from there on. Parameters become attributes.

    Raises
    ------
    LogError
        A file cannot be read, or a row holds no step and number.
    """
    notes: list[Note] = []
    root = _metrics_folder(path)
    files = [path] if root is None else sorted(file for file in root.rglob("*.tsv") if file.is_file())
    metrics = [found for file in files if (found := _read_metric(file, root or path.parent, notes)) is not None]
    points = Points(
        names=tuple(one.name for one in metrics),
        metric=np.repeat(np.arange(len(metrics)), [len(one.steps) for one in metrics]),
        steps=np.array([step for one in metrics for step in one.steps], dtype=np.float64),
        values=np.array([value for one in metrics for value in one.values], dtype=np.float64),
    )
    attributes = {} if root is None else _parameters(root.parent.parent / _PARAMETERS)
    return table_of_run(points.rows(name, attributes, path), path=path, notes=notes)


def _read_metric(file: Path, root: Path, notes: list[Note]) -> _Metric | None:
    """Read a file; None if it holds no metric."""
    text = without_mark(whole_text(file)).decode(errors="replace")
    if text and not text.endswith("\n"):
        text = text[: text.rfind("\n") + 1]
        notes.append(Note(kind="torn", text=f"{file}: last line is half-written, left out"))
    rows = [line.split("\t") for line in text.splitlines()]
    header = [cell.strip().strip('"') for cell in rows[0]] if rows else []
    own = _own_column(header)
    if own is None:
        notes.append(Note(kind="left-out", text=f"{file}: has no columns step and one metric, left out"))
        return None
    folders = "".join(f"{part}/" for part in file.parent.relative_to(root).parts)
    name = own if own.startswith(folders) else folders + own
    value_at = header.index(own)
    words = next((row[value_at] for row in rows[1:] if len(row) > value_at and row[value_at].strip()), "0")
    if not _is_number(words):
        notes.append(Note(kind="left-out", text=f"{file}: {name} is text ({words[:20]!r}), left out"))
        return None
    metric = _Metric(name=name, steps=[], values=[])
    resumed: list[float] = []
    replaced = 0
    for step, value in _points_in(rows, header.index(_STEP), value_at, file):
        if metric.steps and step <= metric.steps[-1]:
            resumed.append(step)
        while metric.steps and step <= metric.steps[-1]:
            metric.steps.pop()
            metric.values.pop()
            replaced += 1
        metric.steps.append(step)
        metric.values.append(value)
    if resumed:
        places = ", ".join(f"{step:g}" for step in resumed[:3]) + (", …" if len(resumed) > 3 else "")
        text = f"{file}: steps repeat or go back at step {places}: resumed, {replaced} earlier values replaced"
        notes.append(Note(kind="resume", text=text))
    return metric


def _points_in(rows: list[list[str]], step_at: int, value_at: int, file: Path) -> Iterator[tuple[float, float]]:
    """Yield step and value of each row; a value may be blank, then there is none."""
    for line, row in enumerate(rows[1:], start=2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            if row[value_at].strip():
                yield float(int(row[step_at])), _number(row[value_at])
        except (ValueError, IndexError, OverflowError) as error:
            found = "\t".join(row)[:40]
            raise LogError(
                f"{file}: line {line}: expected a step and a number, found {found!r}; mend or delete the line"
            ) from error


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True


def _number(cell: str) -> float:
    known = {"true": 1.0, "false": 0.0}.get(cell.strip().lower())
    return float(cell) if known is None else known


def _own_column(header: list[str]) -> str | None:
    """The column that holds the metric of a file, which has one beside its steps and times."""
    others = [name for name in header if name not in (_STEP, _TIME)]
    return others[0] if _STEP in header and len(others) == 1 else None


def _parameters(file: Path) -> dict[str, Attribute]:
    """The plain entries of a YAML file, keys of nested ones joined by a dot; lists and the like are passed over."""
    found: dict[str, Attribute] = {}
    above: list[tuple[int, str]] = []  # indents and keys of the entries around a line
    for line in beginning_of(file).splitlines():
        if len(line) > _LONGEST_ENTRY or (entry := _ENTRY.fullmatch(line)) is None:
            continue
        indent, key, value = len(entry[1]), _unquoted(entry[2].strip()), (entry[3] or "").strip()
        above = [(depth, name) for depth, name in above if depth < indent]
        if not value:
            above.append((indent, key))
        elif not value.startswith(_NOT_PLAIN) and value not in _NOTHING:
            setting = value_of(_unquoted(value)) if value not in _TRUTH else _TRUTH[value]
            found[".".join((*(name for _, name in above), key))] = setting
    return found


def _unquoted(word: str) -> str:
    return word[1:-1] if len(word) > 1 and word[0] == word[-1] and word[0] in "'\"" else word


def _metrics_folder(path: Path) -> Path | None:
    """The folder of all metrics of the run to which a file belongs."""
    return next((one for one in path.parents if one.name in _METRICS and one.parent.name == _PLOTS), None)


def _home(path: Path) -> Path:
    root = _metrics_folder(path)
    if root is None:
        return path
    folder = root.parent.parent
    return folder.parent if folder.name == _USUAL else folder


def _takes(_path: Path, head: bytes) -> bool:
    header = head.decode("utf-8-sig", errors="replace").partition("\n")[0].strip("\r")
    return _own_column([cell.strip('"') for cell in header.split("\t")]) is not None


DVCLIVE = Format(
    name="dvclive",
    title="DVCLive",
    names=r"(^|/)plots/(metrics|scalars)/.+\.tsv",
    read=read_dvclive,
    takes=_takes,
    home=_home,
    whole_history=True,
    together=True,
)
