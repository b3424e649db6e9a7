"""Tables as text: LaTeX (booktabs), rounded for print, and CSV, in full."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from trajhmm.files import guarded
from trajhmm.naming import shown

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": "$<$", ">": "$>$", "↑": r"$\uparrow$", "↓": r"$\downarrow$", "²": r"$^2$", "∞": r"$\infty$", "−": "$-$",
}  # fmt: skip
# Letters that TeX joins to another one.
_LIGATURES = re.compile(r"-(?=-)|`(?=`)|'(?=')|[?!](?=`)|,(?=,)")
_NOTHING = "–"


class P(float):
    """A p-value."""


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
    """

    name: str
    title: str
    cells: Sequence[Cell]


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
    rows = [
        [guarded(name) for name in fields],
        *(["" if _is_missing(cell) else guarded(cell) for cell in row] for row in zip(*fields.values(), strict=True)),
    ]
    # What ends a line to some readers ends none where it is quoted.
    odd = any(isinstance(cell, str) and "\r" in cell for row in rows for cell in row)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC if odd else csv.QUOTE_MINIMAL).writerows(rows)
    return text.getvalue()


def as_latex(columns: Sequence[Column]) -> str:
    r"""Render a ``tabular`` with booktabs' rules; three digits that count, p-values below 0.001 as such."""
    alignment = "".join("l" if all(isinstance(c, str) for c in column.cells) else "r" for column in columns)
    cells = [[_rounded(cell) for cell in column.cells] for column in columns]
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
    """Text as LaTeX prints it, letter by letter."""
    return _LIGATURES.sub(r"\g<0>{}", "".join(_ESCAPES.get(character, character) for character in shown(text)))


def _line(cells: Sequence[str | None]) -> str:
    line = " & ".join(_NOTHING if cell is None else escaped(cell) for cell in cells) + r" \\"
    # At the beginning of a line these would belong to the end of the one before: \\[length] and \\*.
    return f"{{}}{line}" if line.startswith(("[", "*")) else line


def _rounded(cell: Cell) -> str | None:
    if _is_missing(cell):
        return None
    match cell:
        case bool():
            text = "yes" if cell else "no"
        case int():
            text = f"{cell:,}"
        case P():
            text = "<0.001" if cell < 0.001 else f"{cell:.2g}" if cell < 0.1 else f"{cell:.2f}"
        case float():
            text = _digits(cell, cell / 10)
        case Estimate():
            text = _with_interval(cell)
        case _:
            text = str(cell)
    return text


def _with_interval(estimate: Estimate) -> str:
    """As many decimals as the width of the interval is worth."""
    if math.isnan(estimate.low) or math.isnan(estimate.high):
        return _digits(estimate.value, estimate.value / 10)
    ends = [number for number in (estimate.value, estimate.low, estimate.high) if math.isfinite(number)]
    fineness = (max(ends) - min(ends)) / 10 if len(ends) > 1 else max([0.0, *map(abs, ends)]) / 10
    value, low, high = (_digits(number, fineness) for number in (estimate.value, estimate.low, estimate.high))
    return f"{value} ({low} to {high})"


def _digits(value: float, fineness: float) -> str:
    """A number with so many decimals that two digits of ``fineness`` show; 0 below a millionth."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if abs(value) < 1e-6:
        return "0"
    decimals = min(6, max(0, 1 - math.floor(math.log10(max(abs(fineness), 1e-6)))))
    text = f"{value:,.{decimals}f}"
    return text.replace("-", "−")


def _is_missing(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, float) and not math.isfinite(cell))
