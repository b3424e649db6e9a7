"""JSON lines of detectron2 and of MMEngine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from trajhmm.logs.formats.format import Format, Growth, itself_or_folder
from trajhmm.logs.formats.jsonlines import (
    Records,
    Row,
    first_records,
    is_json_object,
    is_number,
    read_some_jsonlines,
    records_among,
    records_of,
)
from trajhmm.logs.formats.lines import Lines, whole_lines
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note

_VIS_DATA = "vis_data"
# What `Table.carry` says: the step of the last row of training so far.
_TRAINED = "trained"


def read_detectron2(path: Path, name: str) -> Table:
    """Read ``metrics.json`` of detectron2, whose values are medians over the last iterations, which is said.

    Raises
    ------
    LogError
        As `read_jsonlines`.
    """
    table = records_of(path).table(path, name)
    text = f"{path}: detectron2 writes medians over the last 20 iterations, and stops at a loss that is not finite"
    return replace(table, notes=(*table.notes, Note(kind="hidden", text=text)))


def read_mmengine(path: Path, name: str) -> Table:
    """Read scalars of MMEngine: rows of training, which have an ``iter``, and of validation, which do not.

    A row of validation counts its step in epochs, or in iterations; it is given the step of the last row of training
    before it, and its own count as ``epoch`` if it differs.

    Raises
    ------
    LogError
        As `read_jsonlines`.
    """
    return _counted(records_of(path), {}).table(path, name)


def read_some_mmengine(lines: Lines, path: Path, name: str) -> Table:
    """Read some rows as `read_mmengine` reads all."""
    return _counted(records_among(lines, path), lines.carry).table(path, name, as_text=lines.texts)


def _counted(records: Records, carry: Mapping[str, float]) -> Records:
    """The rows with steps that all count iterations."""
    trained = carry.get(_TRAINED)
    rows: list[Row] = []
    for row in records.rows:
        step = row.get("step")
        if "iter" in row:
            iteration = row["iter"]
            trained = float(iteration) if isinstance(iteration, (int, float)) else trained
        elif trained is not None and is_number(step) and step != trained:
            rows.append({**row, "step": trained, **({} if "epoch" in row else {"epoch": step})})
            continue
        rows.append(row)
    told = records.carry if trained is None else {**records.carry, _TRAINED: trained}
    return replace(records, rows=rows, carry=told)


def run_of_scalars(path: Path) -> Path:
    """The folder of a run, in which its scalars are in a folder of their own."""
    return path.parent.parent if path.parent.name == _VIS_DATA else itself_or_folder(path)


def _is_detectron2(path: Path, head: bytes) -> bool:
    rows = first_records(path, head) or []
    return any("iteration" in row and ("data_time" in row or "total_loss" in row) for row in rows)


def _is_mmengine(path: Path, head: bytes) -> bool:
    rows = first_records(path, head) or []
    return any("iter" in row and "step" in row for row in rows)


DETECTRON2 = Format(
    name="detectron2",
    title="detectron2 metrics.json",
    names=r"(?:^|/)metrics\.json(\.gz)?",
    read=read_detectron2,
    takes=_is_detectron2,
    growth=Growth(read=read_some_jsonlines, cut=whole_lines(is_json_object)),
    home=itself_or_folder,
)
MMENGINE = Format(
    name="mmengine",
    title="MMEngine scalars.json",
    names=r"(?:(?:^|/)scalars|(?:^|/)vis_data/[^/]+)\.json(\.gz)?",
    read=read_mmengine,
    takes=_is_mmengine,
    growth=Growth(read=read_some_mmengine, cut=whole_lines(is_json_object)),
    home=run_of_scalars,
    # The same rows stand in a file called after the time, too.
    whole_history=True,
)
