"""The page of the benchmark: every detector on every set, with intervals, in one file that loads nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trajhmm.report.page import environment
from trajhmm.report.tables import MISSING, Cell, Column, Row, Table, words
from trajhmm.warning.benchmark import SETS, Result

if TYPE_CHECKING:
    import pandas as pd

# What this project warns with, with a reference and without one.
OURS = ("portfolio", "own_past")
# Within so much of the best on a set a detector is near the top there.
NEAR_RECALL, NEAR_LEAD = 0.05, 0.1
_SITUATIONS = {
    "matched": "Healthy runs of one configuration; the seeds of a tested run are held out.",
    "sweep": "Healthy runs of several configurations; the configuration of a tested run is held out.",
    "alone": "No reference: each detector that has a threshold of its own, at that.",
}


def render_benchmark(result: Result) -> str:
    """The page as text; the same result gives the same bytes."""
    found = result.results()
    sections = [
        {"name": name, "words": told, "tables": _tables(found, name, result.budgets)}
        for name, told in _SITUATIONS.items()
        if len(found) and (found["situation"] == name).any()
    ]
    return (
        environment()
        .get_template("benchmark.html.j2")
        .render(
            sections=sections,
            near=(NEAR_RECALL, NEAR_LEAD),
            sets=[(name, SETS[name].title, SETS[name].collapse, digest) for name, digest in result.data.items()],
            left_out=_left_out(found),
            ours=OURS,
            seed=result.seed,
        )
    )


def standings(found: pd.DataFrame, situation: str, budget: float | None) -> dict[str, dict[str, dict[str, Any]]]:
    """Detector to set to its row of ``results.csv``, with ``near``: whether it is near the top there."""
    chosen = found[(found["situation"] == situation) & found["recall"].notna()]
    chosen = chosen[chosen["budget"].isna() if budget is None else chosen["budget"] == budget]
    best = chosen.groupby("set")[["recall", "lead_share"]].max()
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for row in chosen.to_dict("records"):
        top = best.loc[row["set"]]
        near = (
            top["recall"] - row["recall"] <= NEAR_RECALL + 1e-9
            and top["lead_share"] - row["lead_share"] <= NEAR_LEAD + 1e-9
        )
        named = {str(name): value for name, value in row.items()}
        table.setdefault(str(row["detector"]), {})[str(row["set"])] = {**named, "near": bool(near)}
    return table


def _tables(found: pd.DataFrame, situation: str, budgets: tuple[float, ...]) -> list[Table]:
    wanted: list[float | None] = [None] if situation == "alone" else list(budgets)
    tables = []
    for budget in wanted:
        table = standings(found, situation, budget)
        names = list(dict.fromkeys(found[found["situation"] == situation]["set"]))
        told = "at its own threshold" if budget is None else f"{budget:.0%} of healthy runs may alarm"
        columns = [Column(title="detector", number=False), Column(title="sets near the top")]
        columns += [Column(title=f"{name}: {what}") for name in names for what in ("recall", "lead", "healthy alarmed")]
        rows = [
            Row(cells=(words(_named(detector)), _count(of), *(cell for name in names for cell in _cells(of.get(name)))))
            for detector, of in sorted(table.items(), key=lambda one: _order(one, names))
        ]
        tables.append(Table(name=f"{situation}, {told}", columns=tuple(columns), rows=tuple(rows)))
    return tables


def _order(one: tuple[str, Mapping[str, Mapping[str, Any]]], names: list[str]) -> tuple[bool, float, str]:
    """Those of trajhmm first, then by recall over the sets."""
    detector, of = one
    return detector not in OURS, -sum(of[name]["recall"] for name in names if name in of), detector


def _named(detector: str) -> str:
    return f"{detector} (trajhmm)" if detector in OURS else detector


def _count(of: Mapping[str, Mapping[str, Any]]) -> Cell:
    near = sum(row["near"] for row in of.values())
    return Cell(text=f"{near} of {len(of)}", value=float(near))


def _cells(row: Mapping[str, Any] | None) -> tuple[Cell, Cell, Cell]:
    if row is None:
        missing = Cell(text=MISSING)
        return missing, missing, missing
    found = [
        (row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("recall", "lead_share", "healthy_alarmed")
    ]
    first, second, third = (Cell(text=_between(*one), value=one[0]) for one in found)
    return first, second, third


def _between(value: float, low: float, high: float) -> str:
    """A number and its interval, where it has one."""
    return f"{value:.2f}" if math.isnan(low) else f"{value:.2f} ({low:.2f}–{high:.2f})"


def _left_out(found: pd.DataFrame) -> list[tuple[str, str]]:
    """Detectors that could not be used, and why: once each."""
    if "reason" not in found:
        return []
    told = found[found["reason"].notna()]
    return list(dict(zip(told["detector"].astype(str), told["reason"].astype(str), strict=True)).items())
