"""What a stranger, or a damaged disk, may make of a file: changes to JSON, to tables of text, and to bytes.

Every function takes a `random.Random`, so that one may come from hypothesis (``st.randoms(use_true_random=False)``,
which then shrinks what fails) or from a seed. Nothing is changed in place.
"""

from __future__ import annotations

import math

# Values that stand where another was expected.
ODD_NUMBERS = (
    *(0, 1, -1, 2, 7, 50, 51, 32768, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63), 10**30, 10**320, 10**500),
    *(
        0.0,
        -0.0,
        0.5,
        -0.5,
        1.0,
        1.0 + 1e-7,
        1.5,
        5e-324,
        1e-320,
        1e-300,
        1e-100,
        1e-61,
        1e-12,
        1e12,
        1e61,
        1e100,
        1e154,
    ),
    *(1e300, 1.7976931348623157e308, -1e308, math.nan, math.inf, -math.inf),
)
ODD_TEXTS = (
    *(
        "",
        " ",
        "0",
        "1",
        "1.5",
        "nan",
        "inf",
        "-Infinity",
        "null",
        "true",
        "[]",
        "{}",
        "a",
        "run",
        "step",
        "train_loss",
    ),
    *(
        "\n",
        "a\nb",
        "a\rb",
        "\t",
        "\0",
        "\x1b[31mred\x1b[0m",
        "\x9b31m",
        "\u202eabc",
        "\ud800",
        "\ufeff",
        "é",
        "🙂" * 3,
    ),
    *("=1+1", "@x", "+1", "-1", "$x$", "^_{}", "%s", "{0}", "<b>&amp;", "../../x", "a/b", "a," * 3, '"', "'", "\\"),
    *("x" * 300, "x" * 20_000),
)
ODD_OTHERS = (
    None,
    True,
    False,
    [],
    {},
    [[]],
    [None],
    [{}],
    {"": 0},
    {"a": {"b": [1]}},
    [0.5, "a"],
    [[0.0], [0.0, 1.0]],
)
ODD_BYTES = (
    *(
        b"",
        b"\0",
        b"\xff",
        b"\n",
        b"\r\n",
        b'"',
        b",",
        b"[",
        b"]",
        b"{",
        b"}",
        b":",
        b"\\",
        b"\xed\xa0\x80",
        b"\xc3\x28",
    ),
    *(
        b"\xef\xbb\xbf",
        b"nan",
        b"NaN",
        b"Infinity",
        b"1e999",
        b"-",
        b"null",
        b"\0" * 64,
        b"9" * 5000,
        b"[" * 5000,
        b"#",
        b";",
    ),
)


def odd_value(rng):
    """One of the odd values, or a deep or long one."""
    kind = rng.randrange(10)
    if kind < 4:
        return rng.choice(ODD_NUMBERS)
    if kind < 6:
        return rng.choice(ODD_TEXTS)
    if kind < 9:
        return rng.choice(ODD_OTHERS)
    return (
        nested(rng.choice((2, 10, 33, 200)), rng) if rng.randrange(2) else [odd_value(rng)] * rng.choice((1, 5, 1000))
    )


def nested(depth, rng):
    """Lists or objects within one another."""
    value = rng.choice((0, "a", None))
    for _ in range(depth):
        value = [value] if rng.randrange(2) else {"a": value}
    return value


def mutated(document, rng, *, times=None):
    """A JSON document with one to four changes: values, types, shapes, members dropped, added, renamed and exchanged.

    Parameters
    ----------
    times : how many changes; by default mostly one, as the more there are, the sooner a file is refused.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 2, 4)) if times is None else times):
        document = _changed(document, rng)
    return document


def _changed(value, rng):
    if isinstance(value, (dict, list)) and value and rng.randrange(5):
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = rng.choice(keys)
        copy = value.copy()
        copy[key] = _changed(value[key], rng)
        return copy
    if isinstance(value, dict):
        return _other_object(value, rng)
    if isinstance(value, list):
        return _other_list(value, rng)
    return _other_scalar(value, rng)


def _other_object(value, rng):
    copy, kind = value.copy(), rng.randrange(6)
    keys = list(copy)
    if kind == 0 and keys:
        del copy[rng.choice(keys)]
    elif kind == 1:
        copy[rng.choice((*ODD_TEXTS, *keys))] = odd_value(rng)
    elif kind == 2 and keys:
        copy[rng.choice(ODD_TEXTS)] = copy.pop(rng.choice(keys))
    elif kind == 3 and len(keys) > 1:
        one, other = rng.sample(keys, 2)
        copy[one], copy[other] = copy[other], copy[one]
    elif kind == 4:
        return [copy]
    else:
        return odd_value(rng)
    return copy


def _other_list(value, rng):
    kind, copy = rng.randrange(9), list(value)
    if kind == 0 and copy:
        del copy[rng.randrange(len(copy))]
    elif kind == 1 and copy:
        copy.insert(rng.randrange(len(copy)), rng.choice(copy))
    elif kind == 2:
        copy.insert(rng.randrange(len(copy) + 1), odd_value(rng))
    elif kind == 3:
        copy.reverse()
    elif kind == 4:
        copy = copy * rng.choice((0, 2, 3, 50))
    elif kind == 5 and copy and all(isinstance(row, list) for row in copy):
        copy = [list(column) for column in zip(*copy, strict=False)]
    elif kind == 6 and copy:
        copy = copy[: rng.randrange(len(copy))]
    elif kind == 7:
        return [copy] if rng.randrange(2) else {str(place): item for place, item in enumerate(copy)}
    else:
        return odd_value(rng)
    return copy


def _other_scalar(value, rng):
    kind = rng.randrange(5)
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300:
        if kind == 0:
            return value * rng.choice((-1, 0, 2, 0.999, 1e6, 1e-6, 1e200, 1e-200))
        if kind == 1:
            return value + rng.choice((-1, 1, 1e-9, 0.5))
        if kind == 2:
            return rng.choice((str(value), bool(value), [value], int(value)))
    if isinstance(value, str) and kind < 2:
        return value + rng.choice(ODD_TEXTS)
    return odd_value(rng)


def scrambled(raw, rng, *, times=None):
    """Bytes with one to four changes: bits flipped, pieces cut, moved, doubled, zeroed, inserted; truncated."""
    for _ in range(rng.choice((1, 1, 2, 4)) if times is None else times):
        raw = _other_bytes(raw, rng)
    return raw


def _other_bytes(raw, rng):
    if not raw:
        return rng.choice(ODD_BYTES)
    place = rng.randrange(len(raw))
    end = min(len(raw), place + rng.choice((1, 2, 8, 64, 1024)))
    before, piece, behind = raw[:place], raw[place:end], raw[end:]
    to = rng.randrange(len(raw))
    return rng.choice(
        (
            before + bytes([piece[0] ^ (1 << rng.randrange(8))]) + raw[place + 1 :],
            before,
            before + behind,
            before + piece + piece + behind,
            before + b"\0" * len(piece) + behind,
            before + bytes(rng.randrange(256) for _ in piece[:8]) + piece[8:] + behind,
            raw[:to] + piece + raw[to:],
            before + rng.choice(ODD_BYTES) + raw[place:],
        )
    )


def other_cells(lines, rng, *, separator=","):
    """Lines of a table of text (CSV, TSV) with one change: a cell, a row or a column more, less, odd or elsewhere."""
    lines = [line.split(separator) for line in lines]
    row = rng.randrange(len(lines)) if lines else 0
    cells = list(lines[row]) if lines else []
    kind = rng.randrange(7)
    if kind == 0:
        lines.insert(row, cells)
    elif kind == 1 and lines:
        del lines[row]
    elif kind == 2:
        lines.append(lines[0] if lines else [])
    elif kind == 3 and cells:
        del cells[rng.randrange(len(cells))]
        lines[row] = cells
    elif kind == 4:
        column = rng.randrange(len(cells) + 1)
        lines = [[*line[:column], str(rng.choice(ODD_NUMBERS)), *line[column:]] for line in lines]
    elif cells:
        odd = rng.choice((*ODD_TEXTS, *map(str, ODD_NUMBERS)))
        cells[rng.randrange(len(cells))] = odd
        lines[row] = cells
    return [separator.join(line) for line in lines]
