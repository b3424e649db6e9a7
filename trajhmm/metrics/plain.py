"""What a caller gives as an attribute of a run, as a column of a log can hold it."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from trajhmm.naming import plain_text

Attribute = str | int | float | bool

# Characters of a text that stands in every row; of a longer one a beginning is kept, and what tells it from others.
_LONGEST = 1000


def plain_attribute(value: Any) -> Attribute | None:
    """A number, a truth value or a text for anything; None for nothing and NaN.

    An infinity, and an integer of more than 64 bits, are text: the one would count as an event, the other fits no
    column. Lists and dictionaries are JSON.
    """
    with suppress(Exception):  # numbers of numpy, tensors of one element
        value = value.item() if hasattr(value, "item") else value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        # Digits beyond some thousands Python refuses to print; there is no such limit in base 16.
        small = -(2**63) <= value < 2**63
        return int(value) if small else _cut(f"{value:d}" if value.bit_length() < 2**12 else f"{value:#x}")
    if isinstance(value, float):
        return None if math.isnan(value) else float(value) if math.isfinite(value) else str(float(value))
    if isinstance(value, (list, tuple, dict)):
        with suppress(Exception):
            return _cut(plain_text(json.dumps(value, default=str)))
    return _cut(plain_text(value))


def _cut(text: str) -> str:
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}… {blake2b(text.encode(), digest_size=8).hexdigest()}"
