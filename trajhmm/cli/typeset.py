"""Tables as text: LaTeX (booktabs), rounded for print, and CSV, in full."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "²": r"$^2$", "−": "$-$",
}  # fmt: skip
_NOTHING = "–"


@dataclass(frozen=True)
class Estimate:
    """A value with a 95% interval."""

    value: float
    low: float
    high: float


Cell = str | bool | int | float | Estimate | None


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes
    ----------
    name : in CSV.
    title : in LaTeX.
    cells : a value each row.
    probability : whether the values are p-values.
    """

    name: str
    title: str
    cells: Sequence[Cell]
    probability: bool = False


def as_csv(columns: Sequence[Column]) -> str:
    """Comma-separated values, numbers in full; an estimate takes three columns, ``_low`` and ``_high`` its interval."""
    fields: dict[str, list[Cell]] = {}
    for column in columns:
        if any(isinstance(cell, Estimate) for cell in column.cells):
            estimates = [cell if isinstance(cell, Estimate) else None for cell in column.cells]
            fields[column.name] = [e and e.value for e in estimates]
            fields[f"{column.name}_low"] = [e and e.low for e in estimates]
            fields[f"{column.name}_high"] = [e and e.high for e in estimates]
        else:
            fields[column.name] = list(column.cells)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(fields)
    for row in zip(*fields.values(), strict=True):
        writer.writerow(["" if _is_missing(cell) else cell for cell in row])
    return text.getvalue()


def as_latex(columns: Sequence[Column]) -> str:
    r"""Render a ``tabular`` with booktabs' rules; three digits that count, p-values below 0.001 as such."""
    alignment = "".join("l" if any(isinstance(c, str) for c in column.cells) else "r" for column in columns)
    cells = [[p_text(c) if column.probability else _rounded(c) for c in column.cells] for column in columns]
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{alignment}}}",
        "\\toprule",
        _line([column.title for column in columns]),
        "\\midrule",
        *(_line(row) for row in zip(*cells, strict=True)),
        "\\bottomrule",
        "\\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text as LaTeX prints it."""
    return "".join(_ESCAPES.get(character, character) for character in text)


def p_text(p: Cell) -> str | None:
    """A p-value in two digits that count, or that it is below 0.001."""
    if not isinstance(p, float) or _is_missing(p):
        return None
    return "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def _line(cells: Sequence[str | None]) -> str:
    return " & ".join(_NOTHING if cell is None else escaped(cell) for cell in cells) + r" \\"


def _rounded(cell: Cell) -> str | None:
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, str) or cell is None:
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, Estimate):
        if _is_missing(cell.low) or _is_missing(cell.high):
            return _digits(cell.value, cell.value)
        # As many decimals as the width of the interval is worth.
        value, low, high = (_digits(x, (cell.high - cell.low) / 10) for x in (cell.value, cell.low, cell.high))
        return f"{value} ({low} to {high})"
    return None if _is_missing(cell) else _digits(cell, cell / 10)


def _digits(value: float, fineness: float) -> str:
    """A number with so many decimals that one digit of ``fineness`` or two show."""
    decimals = 2 if fineness == 0 else min(6, max(0, 1 - math.floor(math.log10(abs(fineness)))))
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−")


def _is_missing(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and not math.isfinite(cell))
