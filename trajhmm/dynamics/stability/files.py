"""The files that a measurement of stability leaves behind."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from trajhmm.dynamics.stability.measure import Stability
from trajhmm.errors import AnalysisError
from trajhmm.files import write_text

_WIDTH = 100
_MOST_ROWS = 12


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
    texts = {f"{name}.csv": table.to_csv(index=False, lineterminator="\n") for name, table in stability.tables.items()}
    texts["summary.txt"] = summarize(stability)
    for name, text in texts.items():
        write_text(target / name, text)
    return [target / name for name in texts]


def summarize(stability: Stability) -> str:
    """What came out, and what stands behind it or is not there, as text."""
    said = [*_found(stability), "", *(textwrap.fill(remark, _WIDTH) for remark in stability.remarks)]
    return "\n".join(said) + "\n"


def _found(stability: Stability) -> Iterator[str]:
    tables, by = stability.tables, stability.by
    if "lyapunov" in tables:
        yield "Lyapunov exponents, a step:"
        yield from _rows(
            tables["lyapunov"],
            lambda row: (
                f"{row['quantity']} {row['exponent']:+.4g} ({row['ci_low']:+.4g} to {row['ci_high']:+.4g}), "
                f"{row['n_runs']} runs: {'stable' if row['probability_stable'] else 'not stable'} in probability"
                + ("" if pd.isna(row["l2_stable"]) else f", {'stable' if row['l2_stable'] else 'not stable'} in L2")
            ),
            by,
        )
    if "phases" in tables:
        yield "Phases of learning:"
        yield from _rows(tables["phases"], lambda row: str(row["phase"]), by)
    if "freezing" in tables:
        frozen = tables["freezing"]
        yield "Freezing, the last change of state:"
        groups = frozen.groupby(list(by), dropna=False) if by else [((), frozen)]
        for values, rows in list(groups)[:_MOST_ROWS]:
            quarters = rows["freezing_step"].quantile([0.25, 0.5, 0.75]).astype(int)
            told = ", ".join(f"{name} {value}" for name, value in zip(by, values, strict=True)) or "all runs"
            yield (
                f"  {told}: step {quarters[0.5]:,} in the median of {len(rows)} runs ({quarters[0.25]:,} to "
                f"{quarters[0.75]:,} in the middle half), {int(rows['censored'].sum())} may change again"
            )
    if "spikes" in tables:
        verdicts = tables["spikes"]["verdict"].value_counts()
        told = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "none"
        yield f"Spikes of losses: {len(tables['spikes'])} ({told})" if len(verdicts) else "Spikes of losses: none"
    if not tables:
        yield "Nothing of what is logged speaks of stability."


def _rows(table: pd.DataFrame, words: Callable[[dict[Any, Any]], str], by: tuple[str, ...]) -> Iterator[str]:
    for row in table.head(_MOST_ROWS).to_dict("records"):
        told = ", ".join(f"{name} {row[name]}" for name in by) or "all runs"
        yield f"  {told}: {words(row)}"
    if len(table) > _MOST_ROWS:
        yield f"  and {len(table) - _MOST_ROWS} more, see the table"
