"""Tables of the page: what stands in a cell, and what a column is sorted by."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field

MISSING = "–"
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A stretch of a scale from 0 to 1, with the places of its zero and of a mark, if any."""

    low: float
    high: float
    zero: float
    mark: float | None = None

    @classmethod
    def on_scale(cls, values: tuple[float, float], scale: tuple[float, float], *, mark: float | None = None) -> Bar:
        """The stretch between two values on a scale that reaches from one end to the other."""
        start, length = scale[0], max(scale[1] - scale[0], math.ulp(1.0))
        return cls(
            low=(values[0] - start) / length,
            high=(values[1] - start) / length,
            zero=-start / length,
            mark=None if mark is None else (mark - start) / length,
        )


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What a cell shows and what it is sorted by; None comes last whichever way."""

    text: str = ""
    value: float | str | None = None
    states: tuple[int, ...] = ()
    bar: Bar | None = None


@dataclass(frozen=True, kw_only=True)
class Column:
    """Title of a column, and whether it holds numbers; a ``plain`` one is not sorted by.

    ``sorted`` says which way the rows stand by it from the start: ``ascending`` or ``descending``.
    """

    title: str
    number: bool = True
    plain: bool = False
    sorted: str = ""


@dataclass(frozen=True, kw_only=True)
class Row:
    """Cells; ``visits`` are the states of the run that the row is of, None if it is of no run."""

    cells: tuple[Cell, ...]
    visits: tuple[int, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a name for those who do not see it."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...] = field(default=())


def words(text: str) -> Cell:
    """A cell of text."""
    return Cell(text=text, value=text)


def whole(value: float | None) -> Cell:
    """A whole number."""
    return Cell(text=MISSING) if value is None else Cell(text=f"{value:,.0f}".replace("-", "−"), value=float(value))


def number(value: float | None) -> Cell:
    """A number in three digits that count."""
    return _number(value, None if value is None else short(value))


def fixed(value: float | None, digits: int = 2) -> Cell:
    """A number with so many decimals."""
    # Adding 0 makes a plain zero of a negative one.
    return _number(value, None if value is None else f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−"))


def _number(value: float | None, text: str | None) -> Cell:
    """What is not known is left out; what is infinite is larger than all else."""
    if value is None or text is None or math.isnan(value):
        return Cell(text=MISSING)
    if math.isinf(value):
        return Cell(text=short(value), value=math.copysign(sys.float_info.max, value))
    return Cell(text=text, value=value)


def share(value: float | None) -> Cell:
    """A share in per cent."""
    return Cell(text=MISSING) if value is None else Cell(text=f"{value:.0%}", value=value)


def yes(value: bool) -> Cell:  # noqa: FBT001 (a cell of a boolean)
    """A cell that says yes or no."""
    return Cell(text="yes" if value else "no", value="yes" if value else "no")


def state(k: int) -> Cell:
    """A state."""
    return Cell(text=str(k), value=float(k), states=(k,))


def visited(states: Iterable[int]) -> Cell:
    """The states that a run visits, in the order of their numbers."""
    found = tuple(states)
    return Cell(value=float(len(found)), states=found)


def short(value: float) -> str:
    """Three digits that count, with commas rather than powers of ten up to a million: ``6.45×10⁻⁵``."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:,.0f}" if 1000 <= abs(value) < 1e6 else f"{value:.3g}"
    mantissa, _, power = text.partition("e")
    if power:
        mantissa += "×10" + str(int(power)).translate(_RAISED)
    return mantissa.replace("-", "−")
