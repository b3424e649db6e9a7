"""What names of files, folders and runs say: natural order, and the values in ``lr=0.1``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import islice

Attribute = str | int | float

# Names that an error lists, letters of each, those that it offers for a name that there is not, and of how many.
_LISTED, _LONGEST, _OFFERED, _LOOKED_AT = 8, 60, 3, 10_000

# A number that can be one: 01 and 1_000 are names, and so is one with more digits than a float keeps.
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_DIGITS = 15
# Columns that tell runs of one configuration apart.
_SEED = re.compile(r"(^|[/_.])(seeds?|run|run_id|id|trial|replicate)$")
# What a terminal or a page would obey or not show, rather than print: controls, ends of lines, marks and overrides of
# the direction of text, blanks without width, halves of characters, tags.
_UNSHOWN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def called_seed(name: str) -> bool:
    """Whether a column by its name tells runs of one configuration apart: ``seed``, ``train/seed``, ``trial``."""
    return _SEED.search(name.lower()) is not None


def natural_key(text: str) -> tuple[tuple[int, float, str], ...]:
    """A sort key under which ``seed 2`` comes before ``seed 10``, and a folder before those whose names go on."""
    parts = re.split(r"(\d+)", text.replace("/", "\0"))
    return tuple((0, float(part), part) if part.isdecimal() else (1, 0.0, part) for part in parts if part)


def plain_text(value: object) -> str:
    """Text that UTF-8 can hold, whatever it was: halves of characters, as names of files may have, as their numbers."""
    try:
        text = value if isinstance(value, str) else str(value)
    except Exception:  # noqa: BLE001 (a stranger's __str__ may raise anything)
        text = type(value).__name__
    return text if text.isascii() else text.encode("utf-8", errors="backslashreplace").decode()


def shown(value: object) -> str:
    r"""A text in one line that does nothing but stand there: ``\x1b``, ``\n``, ``\u202e`` for what would do more.

    For all that is printed, drawn or written for people: names in logs are a stranger's.
    """
    text = value if isinstance(value, str) else plain_text(value)
    return text if text.isascii() and text.isprintable() else _UNSHOWN.sub(lambda found: by_number(found[0]), text)


def abridged(text: str, most: int) -> str:
    """A text of at most about so many letters: of a longer one its beginning and its end."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} … {text[-(most // 3) :]}"


def shown_lines(text: str) -> str:
    """The same of a text of several lines, which keeps its lines and tabs."""
    return "".join(part if part in "\n\t" else shown(part) for part in re.split(r"([\n\t])", text))


def listed(names: Iterable[object], most: int = _LISTED) -> str:
    """Names beside each other, the first of many: ``a, b and 3 more``; ``none`` where there are none."""
    told = [shown(name)[:_LONGEST] for name in names]
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return ", ".join(told[:most]) + more if told else "none"


def instead_of(wanted: object, names: Iterable[object]) -> str:
    """What an error says behind a name that there is not: those that were meant perhaps, and what there is.

    ``; did you mean 'eval_accuracy'? (found: eval_loss, eval_accuracy and 12 more)``, to stand behind ``no metric
    'accuracy' in these logs``. Meant are names that are written nearly so, or that hold it as a word.
    """
    there = [str(name) for name in names]
    return f"{meant(wanted, there)} (found: {listed(there)})"


def meant(wanted: object, names: Iterable[object]) -> str:
    """``; did you mean 'map' or 'raster'?``; nothing where no name is like what was ``wanted``."""
    close = [f"'{shown(name)[:_LONGEST]}'" for name in _close_to(str(wanted), [str(name) for name in names])]
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _close_to(wanted: str, names: list[str]) -> list[str]:
    """Names that a mistyped one may have meant, the likeliest first."""
    from difflib import get_close_matches

    of_lower: dict[str, str] = {}
    for name in islice(names, _LOOKED_AT):
        of_lower.setdefault(name.lower(), name)
    lower = wanted.lower()
    within = [name for name in of_lower if lower and lower in re.split(r"[^a-z0-9]+", name)]
    if lower in of_lower:
        return [of_lower[lower]]
    close = get_close_matches(lower, of_lower, n=_OFFERED, cutoff=0.7)
    return [of_lower[name] for name in dict.fromkeys([*close, *within])][:_OFFERED]


def by_number(letter: str) -> str:
    r"""A character as its number: ``\x1b``, ``\u202e``; ends of lines and tabs as ``\n``, ``\r`` and ``\t``."""
    code = ord(letter)
    if short := _SHORT.get(letter):
        return short
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_text(name: object) -> bool:
    """Whether UTF-8 can hold a name, such as that of a file."""
    text = str(name)
    return text.isascii() or text == plain_text(text)


def value_of(text: str) -> Attribute:
    """A number where ``text`` is one, else the text."""
    if len(text) > _DIGITS or not _NUMBER.fullmatch(text):
        return text
    return int(text) if text.lstrip("-").isdecimal() else float(text)
