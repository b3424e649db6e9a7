"""``result.json`` of RLlib and Ray Tune, a result a line with all of its configuration."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trajhmm.logs.formats.format import Format, Growth, itself_or_folder
from trajhmm.logs.formats.jsonlines import Records, Row, first_records, is_json_object, records_among, records_of
from trajhmm.logs.formats.lines import Lines, whole_lines
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note
from trajhmm.naming import Attribute

_ITERATION = "training_iteration"
_CONFIG = "config/"


def read_results(path: Path, name: str) -> Table:
    """Read the results of a trial; of its configuration what is simple and constant are attributes.

    Raises
    ------
    LogError
        As `read_jsonlines`.
    """
    return _configured(records_of(path), path).table(path, name)


def read_some_results(lines: Lines, path: Path, name: str) -> Table:
    """Read some results as `read_results` reads all."""
    return _configured(records_among(lines, path), path).table(path, name, as_text=lines.texts)


def _configured(records: Records, path: Path) -> Records:
    """The rows without their configuration, of which attributes and a note are left."""
    settings: dict[str, Attribute] = {}
    left_out: set[str] = set()
    rows: list[Row] = []
    for row in records.rows:
        rest: Row = {}
        for key, value in row.items():
            if not key.startswith(_CONFIG):
                rest[key] = value
            elif value is None or key in left_out:
                continue
            elif not isinstance(value, (str, int, float)) or settings.setdefault(key, value) != value:
                left_out.add(key)
        rows.append(rest)
    kept = {key: value for key, value in settings.items() if key not in left_out}
    notes = records.notes
    if left_out:
        some = ", ".join(sorted(left_out)[:3])
        text = f"{path}: {len(left_out)} settings that are lists or change left out: {some}"
        notes = (*notes, Note(kind="left-out", text=text))
    return replace(records, rows=rows, attributes={**records.attributes, **kept}, notes=notes)


def _takes(path: Path, head: bytes) -> bool:
    found = first_records(path, head) or []
    return any(_ITERATION in row for row in found)


RLLIB = Format(
    name="rllib",
    title="RLlib and Ray Tune result.json",
    names=r"(?:^|/)result\.json(\.gz)?",
    read=read_results,
    takes=_takes,
    growth=Growth(read=read_some_results, cut=whole_lines(is_json_object)),
    home=itself_or_folder,
)
