"""Text in figures: how large it comes out, and names, which are a stranger's, so that they stand there as they are."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.text import Text
from matplotlib.textpath import text_to_path

from trajhmm.figures.style import current_style
from trajhmm.naming import by_number, shown

LINE_SPACING = 1.15
BOX_PAD = 0.7
"""Room around a text, in points."""
ROOM = 150.0
"""What a name may take up where its figure does not say, in points; of longer ones both ends are shown."""
# Letters beyond which nothing fits in any figure.
_MOST = 200


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


def _pieces(word: str, room: float) -> list[str]:
    """A word in as many parts of one length as it takes for each to be no wider than ``room``."""
    parts = 1
    while True:
        size = -(-len(word) // parts)
        pieces = [word[start : start + size] for start in range(0, len(word), size)]
        if size == 1 or max(text_size(piece)[0] for piece in pieces) <= room:
            return pieces
        parts += 1
