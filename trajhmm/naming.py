"""What names of files, folders and runs say: natural order, and the values in ``lr=0.1``."""

from __future__ import annotations

import re

Attribute = str | int | float

# A number that can be one: 01 and 1_000 are names, and so is one with more digits than a float keeps.
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
_DIGITS = 15


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


def is_text(name: object) -> bool:
    """Whether UTF-8 can hold a name, such as that of a file."""
    text = str(name)
    return text.isascii() or text == plain_text(text)


def value_of(text: str) -> Attribute:
    """A number where ``text`` is one, else the text."""
    if len(text) > _DIGITS or not _NUMBER.fullmatch(text):
        return text
    return int(text) if text.lstrip("-").isdecimal() else float(text)
