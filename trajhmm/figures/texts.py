"""Text in figures: how large it comes out, and names, which are a stranger's, so that they stand there as they are."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from matplotlib.axis import Axis
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import Formatter

from trajhmm.figures.style import current_style
from trajhmm.naming import by_number, shown

LINE_SPACING = 1.15
BOX_PAD = 0.7
"""Room around a text, in points."""
ROOM = 150.0
"""What a name may take up where its figure does not say, in points; of longer ones both ends are shown."""
# Letters beyond which nothing fits in any figure.
_MOST = 200
_MOST_DECIMALS = 9
# Part of the width of a figure that a name beside a row takes up before it is broken.
_WIDEST = 0.3
_RAISED = {ord(flat): ord(raised) for flat, raised in zip("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹", strict=True)}


def printable(name: object, room: float = ROOM) -> str:
    """A name as a figure may print it: in one line, what has no glyph by its number, both ends if it is too long.

    Parameters
    ----------
    name : of a run, a metric, an attribute, or a value of one.
    room : for it, in points of small text.
    """
    text = shown(name)
    if not text.isascii():
        known = _glyphs(current_style().font)
        text = "".join(letter if ord(letter) in known else by_number(letter) for letter in text)
    kept = min(len(text), _MOST)
    whole = text if kept == len(text) else _ends(text, kept)
    while kept > 2 and text_size(whole)[0] > room:
        kept = min(kept - 1, int(kept * room / text_size(whole)[0]))
        whole = _ends(text, kept)
    return whole


def _ends(text: str, kept: int) -> str:
    kept = max(kept, 2)
    return f"{text[: kept - kept // 2]}…{text[len(text) - kept // 2 :]}"


@lru_cache
def _glyphs(family: str) -> frozenset[int]:
    """Numbers of the characters that a font has."""
    return frozenset(get_font(findfont(FontProperties(family=family))).get_charmap())


def number(value: float, digits: int = 3) -> str:
    """A number as a figure prints it: ``12,000``, ``−0.25``, ``2×10⁻⁷``; never ``1e+06``, never a hyphen for a minus.

    Parameters
    ----------
    value : what to print.
    digits : that count, at most.
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "∞" if value > 0 else "−∞" if value < 0 else "nan"
    power = math.floor(math.log10(float(f"{abs(value):.{digits - 1}e}")))
    least, most = _spelt_out()
    if least <= power < most:
        return _signed(f"{value:,.{max(digits - 1 - power, 0)}f}")
    return _signed(f"{value / 10.0**power:.{digits - 1}f}") + _power(power)


class Ticks(Formatter):
    """Labels of ticks as `number` writes them, all with as many decimals, or with one power of ten."""

    def __call__(self, value: float, pos: int | None = None) -> str:  # noqa: ARG002 (what matplotlib calls it with)
        """One label alone, as of a bar of colours."""
        return number(float(value))

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """The labels of all ticks of an axis."""
        ticks = [float(value) for value in values]
        ends = sorted(self.axis.get_view_interval()) if isinstance(self.axis, Axis) else (-math.inf, math.inf)
        logarithmic = isinstance(self.axis, Axis) and self.axis.get_scale() in ("log", "symlog")
        # Ticks beyond the ends are not drawn: what they would take decides nothing.
        seen = [tick for tick in ticks if ends[0] <= tick <= ends[1]] or ticks
        largest = max(map(abs, seen), default=0.0)
        if largest == 0 or not math.isfinite(largest):
            return [number(tick) for tick in ticks]
        power = math.floor(math.log10(largest))
        least, most = _spelt_out()
        unit = 1.0 if least <= power < most else 10.0**power
        parts = [tick / unit for tick in ticks]
        inside = [tick / unit for tick in seen]
        gaps = [abs(b - a) for a, b in itertools.pairwise(sorted(set(inside)))]
        near = 0.01 * min(gaps, default=abs(inside[0]))
        fits = (n for n in range(12) if all(abs(round(part, n) - part) <= near for part in inside))
        decimals = next(fits, 12)
        if unit == 1.0 and decimals > _MOST_DECIMALS:
            return [number(tick) for tick in ticks]
        if logarithmic or (gaps and max(gaps) > 50 * min(gaps)):
            return _powers(ticks, seen) or [number(tick) for tick in ticks]
        return [
            "0" if part == 0 else _signed(f"{part:,.{decimals}f}", keep=True) + ("" if unit == 1.0 else _power(power))
            for part in parts
        ]


def _powers(ticks: Sequence[float], seen: Sequence[float]) -> list[str]:
    """Powers of ten as such, if that is all there is and some are too small or too large to be spelt out."""
    exponents = {tick: round(math.log10(abs(tick))) for tick in ticks if tick}
    exact = all(math.isclose(abs(tick), 10.0**power) for tick, power in exponents.items())
    least, most = _spelt_out()
    if not exact or not _has_exponents() or all(least <= exponents[tick] < most for tick in seen if tick):
        return []
    words = {tick: "1" if power == 0 else _power(power).removeprefix("×") for tick, power in exponents.items()}
    return ["0" if not tick else "−" * (tick < 0) + words[tick] for tick in ticks]


def _signed(text: str, *, keep: bool = False) -> str:
    """With a minus for the hyphen, and without the zeros at the end of its decimals unless they are to be kept."""
    if "." in text and not keep:
        text = text.rstrip("0").removesuffix(".")
    return text.replace("-", "−")


def _spelt_out() -> tuple[int, int]:
    """Powers of ten from which, and below which, numbers are spelt out: all but the oddest where exponents lack."""
    return (-4, 7) if _has_exponents() else (-9, 15)


def _power(power: int) -> str:
    if _has_exponents():
        return "×10" + str(power).translate(_RAISED)
    return "e" + str(power).replace("-", "−")


def _has_exponents() -> bool:
    """Whether the font has raised digits; set smaller as mathematics they would be below the smallest size of type."""
    return all(raised in _glyphs(current_style().font) for raised in _RAISED.values())


def as_it_stands(texts: Iterable[Text]) -> None:
    """Have axes that somebody else made print names as they are, not typeset what they take for mathematics."""
    for text in texts:
        text.set(parse_math=False, usetex=False)


def text_size(text: str, weight: str = "normal", size: float | None = None) -> tuple[float, float]:
    """Width and height of a text's box with a little room around it, in points; by default of a small text."""
    return _text_size(text, current_style().font, current_style().small if size is None else size, weight)


@lru_cache(maxsize=4096)
def _text_size(text: str, family: str, size: float, weight: str) -> tuple[float, float]:
    font = FontProperties(family=family, size=size, weight=weight)
    lines = text.split("\n")
    # Not `lp` alone, as matplotlib measures a line: digits and arrows may stand higher.
    measured = [text_to_path.get_text_width_height_descent(line + "lp", font, ismath=False) for line in lines]
    extra = text_to_path.get_text_width_height_descent("lp", font, ismath=False)[0]
    width = max(width for width, _, _ in measured) - extra
    height = max(height for _, height, _ in measured)
    return width + 2 * BOX_PAD, height * (1 + LINE_SPACING * (len(lines) - 1)) + 2 * BOX_PAD


def wrapped(name: str, width: int, room: float = math.inf) -> str:
    """Break a metric's name after ``_``, ``/``, ``.``, ``-`` or blanks into lines of at most ``width`` characters.

    Words without such a joint are broken where they are wider than ``room``, in points of small text.
    """
    lines: list[str] = []
    for part in re.findall(r"[^_/.\- ]+[_/.\- ]*|[_/.\- ]+", name):
        if lines and len(lines[-1]) + len(part) <= width:
            lines[-1] += part
        else:
            lines += _pieces(part, room)
    return "\n".join(lines)


def in_two(name: str, room: float) -> str:
    """A name that is wider than ``room`` points of small text, broken at the joint nearest to its middle."""
    if text_size(name)[0] <= room:
        return name
    joints = [found.end() for found in re.finditer(r"[_/.\- ]+", name) if found.end() < len(name)]
    if not joints:
        return name
    at = min(joints, key=lambda joint: abs(joint - len(name) / 2))
    return f"{name[:at]}\n{name[at:]}"


def broken_alike(names: Sequence[str], width: float) -> list[str]:
    """Names beside rows, in two lines each, but for the short ones, where one would take up too much of the width.

    Parameters
    ----------
    names : of rows.
    width : of the figure, in points.
    """
    longest = max((text_size(name)[0] for name in names), default=0.0)
    return [in_two(name, 0.6 * longest if longest > _WIDEST * width else math.inf) for name in names]


def _pieces(word: str, room: float) -> list[str]:
    """A word in as many parts of one length as it takes for each to be no wider than ``room``."""
    parts = 1
    while True:
        size = -(-len(word) // parts)
        pieces = [word[start : start + size] for start in range(0, len(word), size)]
        if size == 1 or max(text_size(piece)[0] for piece in pieces) <= room:
            return pieces
        parts += 1
