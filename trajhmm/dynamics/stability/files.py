"""The files that a measurement of stability leaves behind."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from trajhmm.dynamics.stability.measure import Stability
from trajhmm.errors import AnalysisError
from trajhmm.files import write_csv, write_text
from trajhmm.naming import shown, shown_lines

_WIDTH = 100
_MOST_ROWS = 12
_QUARTERS = ("first", "median", "third")
Row = dict[Any, Any]


def write_stability(stability: Stability, folder: str | Path) -> list[Path]:
    """Write each table, and the summary, into ``folder``.

    Returns
    -------
    The files written.

    Raises
    ------
    AnalysisError
        ``folder`` is a file.
    """
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise AnalysisError(f"{target}: is a file; expected the name of a folder")
    tables = {f"{name}.csv": table for name, table in stability.tables.items()}
    texts: dict[str, str] = {}
    if stability.three_phases is not None:
        content = stability.three_phases.to_dict()
        texts["three_phases.json"] = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    texts["summary.txt"] = summarize(stability)
    for name, table in tables.items():
        write_csv(table, target / name)
    for name, text in texts.items():
        write_text(target / name, text)
    return [target / name for name in (*tables, *texts)]


def summarize(stability: Stability) -> str:
    """What came out, and what stands behind it or is not there, as text."""
    said = [*_found(stability), "", *(textwrap.fill(remark, _WIDTH) for remark in stability.remarks)]
    return shown_lines("\n".join(said) + "\n")


def _found(stability: Stability) -> Iterator[str]:
    tables, by = stability.tables, stability.by
    for name, (title, words) in _SECTIONS.items():
        rows = _told(tables[name], name, by) if name in tables else pd.DataFrame()
        if len(rows):
            yield title
            yield from _rows(rows, words, by)
    if "spikes" in tables:
        verdicts = tables["spikes"]["verdict"].value_counts()
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        yield f"Spikes of losses: {len(tables['spikes'])} ({told})" if told else "Spikes of losses: none"
    if stability.three_phases is not None:
        yield from textwrap.wrap(stability.three_phases.sentence, _WIDTH)
    if not tables:
        yield "Nothing of what is logged speaks of stability."


def _told(table: pd.DataFrame, name: str, by: tuple[str, ...]) -> pd.DataFrame:
    """The rows that are told: one a group, also of tables with a row a run or a step; none where nothing is known."""
    if name == "spikes_and_ends":
        return table[table["correlation"].notna()]
    if name == "spread":
        return table.drop_duplicates([*by, "stop_step"])
    if name != "freezing":
        return table
    groups = table.groupby(list(by), dropna=False) if by else [((), table)]
    return pd.DataFrame(
        [
            {
                **dict(zip(by, values, strict=True)),
                **dict(zip(_QUARTERS, rows["freezing_step"].quantile([0.25, 0.5, 0.75]).astype(int), strict=True)),
                "n_runs": len(rows),
                "n_censored": int(rows["censored"].sum()),
            }
            for values, rows in groups
        ]
    )


def _exponent(row: Row) -> str:
    if pd.isna(row["exponent"]):
        return f"{row['quantity']}: not known, as no run has two finite values"
    sides = [("probability_stable", "in probability"), ("l2_stable", "in L2")]
    told = [f"{'stable' if row[name] else 'not stable'} {where}" for name, where in sides if not pd.isna(row[name])]
    interval = f"({row['ci_low']:+.4g} to {row['ci_high']:+.4g})"
    return f"{row['quantity']} {row['exponent']:+.4g} {interval}, {row['n_runs']} runs: {', '.join(told)}"


def _freezing(row: Row) -> str:
    return (
        f"step {row['median']:,} in the median of {row['n_runs']} runs ({row['first']:,} to {row['third']:,} in the "
        f"middle half), {row['n_censored']} may change again"
    )


def _stop(row: Row) -> str:
    if row["still_growing"]:
        return "grows to the end of the log"
    if row["stop_step"] <= row["step"]:
        return "does not grow"
    return f"grows up to step {row['stop_step']:,} ({row['stop_low']:,.0f} to {row['stop_high']:,.0f})"


def _noise(row: Row) -> str:
    censored = f", {row['n_censored']} censored, taken {row['censored_as']}" if row["n_censored"] else ""
    return f"{row['quantity']} against {row['against']}: {_correlation(row)}{censored}"


def _placebo(row: Row) -> str:
    if pd.isna(row["difference"]):
        return f"{row['metric']}, {row['verdict']}: {row['share']:.0%} of the spikes that ended"
    interval = f"{row['difference']:+.2f}, {row['ci_low']:+.2f} to {row['ci_high']:+.2f}"
    told = f"{row['metric']}, {row['verdict']}: {row['share']:.0%} of the spikes that ended"
    return f"{told}, {row['placebo_share']:.0%} of the same steps of runs without ({interval})"


def _ends(row: Row) -> str:
    return f"{row['metric']}, {row['quantity']}: {_correlation(row)}"


def _correlation(row: Row) -> str:
    if pd.isna(row["correlation"]):
        return f"no rank correlation, {row['n_runs']} runs"
    interval = f"({row['ci_low']:+.2f} to {row['ci_high']:+.2f})"
    return f"rank correlation {row['correlation']:+.2f} {interval}, {row['n_runs']} runs"


def _rows(table: pd.DataFrame, words: Callable[[Row], str], by: tuple[str, ...]) -> Iterator[str]:
    for row in table.head(_MOST_ROWS).to_dict("records"):
        told = ", ".join(f"{name} {row[name]}" for name in by if name in row) or "all runs"
        yield shown(f"  {told}: {words(row)}")
    if len(table) > _MOST_ROWS:
        yield f"  and {len(table) - _MOST_ROWS} more, see the table"


# What is said of each table: a title, and words for a row.
_SECTIONS: dict[str, tuple[str, Callable[[Row], str]]] = {
    "lyapunov": ("Lyapunov exponents, a step:", _exponent),
    "phases": ("Phases of learning:", lambda row: str(row["phase"])),
    "freezing": ("Freezing, the last change of state:", _freezing),
    "noise": ("Freezing against noise:", _noise),
    "spread": ("Spread across seeds:", _stop),
    "formation": (
        "Layers, whether they break formation and rejoin:",
        lambda row: f"{row['verdict']} (p {row['p_value']:.2g})",
    ),
    "placebos": ("What spikes left behind:", _placebo),
    "spikes_and_ends": ("How spiky a run was against how it ended:", _ends),
}
