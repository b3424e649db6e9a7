"""What ``trajhmm audit`` and ``trajhmm stability`` wrote, as a section of the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from trajhmm.errors import AnalysisError
from trajhmm.files import read_csv, reads
from trajhmm.logs.sources.paths import check_regular
from trajhmm.report.tables import Cell, Column, Row, Table, number, words, yes

# Tables that are shown, in this order: a row a group, not one a run or a step.
_SHOWN = {
    "profile": "Stability profile",
    "lyapunov": "Lyapunov exponents, a step",
    "phases": "Phases of learning",
    "noise": "Freezing against noise",
    "placebos": "What spikes left behind",
    "formation": "Layers, whether they break formation",
}
_MOST_ROWS = 200


@dataclass(frozen=True, kw_only=True)
class ToldClaim:
    """A claim that was put to the test: its name, the verdict and the sentence."""

    name: str
    verdict: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class StabilitySection:
    """What one folder holds.

    Attributes
    ----------
    name : of the folder.
    claims : verdicts, of an audit.
    tables : with a row a group.
    summary : the text of ``summary.txt``.
    """

    name: str
    claims: tuple[ToldClaim, ...]
    tables: tuple[Table, ...]
    summary: str


def stability_sections(folders: Sequence[Path]) -> tuple[StabilitySection, ...]:
    """Read the folders.

    Raises
    ------
    AnalysisError
        One holds no ``summary.txt``, or a table of it cannot be read.
    """
    return tuple(_section(folder) for folder in folders)


def _section(folder: Path) -> StabilitySection:
    found = {name: folder / f"{name}.csv" for name in _SHOWN}
    text, claims = folder / "summary.txt", folder / "claims.json"
    try:
        there = [path for path in (text, claims, *found.values()) if path.exists()]
        for path in there:
            check_regular(path)
        reads(there)
        summary = text.read_text(encoding="utf-8")
        tables = [_table(_SHOWN[name], read_csv(path)) for name, path in found.items() if path in there]
        told = json.loads(claims.read_text(encoding="utf-8")) if claims.exists() else {}
        read = tuple(
            ToldClaim(name=str(name), verdict=str(claim["verdict"]), sentence=str(claim["sentence"]))
            for name, claim in told.items()
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        why = " ".join(str(error).split())
        raise AnalysisError(
            f"{folder}: {why}; expected a folder that 'trajhmm audit' or 'trajhmm stability' wrote"
        ) from error
    return StabilitySection(
        name=folder.resolve().name, claims=read, tables=tuple(table for table in tables if table.rows), summary=summary
    )


def _table(name: str, frame: pd.DataFrame) -> Table:
    frame = frame.dropna(axis="columns", how="all").head(_MOST_ROWS)
    numeric = [pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind) for kind in frame.dtypes]
    columns = tuple(
        Column(title=str(title).replace("_", " "), number=is_number)
        for title, is_number in zip(frame.columns, numeric, strict=True)
    )
    rows = tuple(
        Row(cells=tuple(_cell(value, is_number=kind) for value, kind in zip(row, numeric, strict=True)))
        for row in frame.itertuples(index=False, name=None)
    )
    return Table(name=name, columns=columns, rows=rows)


def _cell(value: Any, *, is_number: bool) -> Cell:
    if isinstance(value, bool):
        return yes(value)
    if is_number:
        return number(float(value))
    return words("" if pd.isna(value) else str(value))
