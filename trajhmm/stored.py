"""JSON that anybody may have written: read within bounds, and taken apart piece by piece, each piece checked."""

from __future__ import annotations

import json
import math
import re
import reprlib
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trajhmm.jsontext import loads
from trajhmm.naming import is_text, shown

# What a file may hold at most: bytes, values, values within values, digits of a number and letters of a text. Within
# these bounds what is read of it takes less than half a gibibyte.
MOST_BYTES, MOST_VALUES, DEEPEST = 32 * 2**20, 2_000_000, 32
_MOST_DIGITS, _MOST_LETTERS = 400, 10_000
# Letters of a value that an error tells.
_MOST_SHOWN = 100
# Bytes that are looked at at a time.
_BLOCK = 2**20
# Whole numbers up to which floats are exact; what counts rows needs no more.
MOST = 2**53
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+["\\]?', re.DOTALL)
# Looked for where digits begin alone, as from each of a long row of them on it would take the square of its length.
_DIGITS = re.compile(rb"(?<![0-9])[0-9]{%d}" % _MOST_DIGITS)
_NAME = re.compile(r"[a-z0-9_]{1,40}")


class StoredError(ValueError):
    """What was read is not what was asked for; says where it stands, in one line."""


def read_bounded(path: str | Path, most: int = MOST_BYTES) -> bytes:
    """The bytes of a file, if it holds no more than ``most``.

    Raises
    ------
    StoredError
        It is larger, or no file that can be read to an end: a pipe, a device.
    OSError, ValueError
        It cannot be read, or its name is none.
    """
    path = Path(path)
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise StoredError("a pipe or a device, no file; write what comes out of it to a file, and name that")
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise StoredError(f"larger than {most / 2**20:g} MiB, which is more than such a file may hold")
    return raw


def parsed(raw: bytes) -> Any:
    """The value that JSON text holds.

    Raises
    ------
    StoredError
        It is not JSON in UTF-8, names a member of an object twice, or holds more than it may: values, values within
        values, digits of a number.
    """
    _check_bounds(raw)
    try:
        return loads(raw.decode("utf-8"), object_pairs_hook=_members)
    except UnicodeDecodeError as error:
        raise StoredError(f"not UTF-8 (byte {error.start})") from error
    except json.JSONDecodeError as error:
        raise StoredError(f"not JSON (line {error.lineno}: {error.msg})") from error
    except RecursionError as error:
        raise StoredError("values within values, deeper than can be read here") from error


def _check_bounds(raw: bytes) -> None:
    """Refuse JSON that would take much memory to read, by its punctuation, before it is read."""
    if len(raw) > MOST_BYTES:
        raise StoredError(f"larger than {MOST_BYTES / 2**20:g} MiB")
    if raw.count(b'"') > 2 * MOST_VALUES:  # texts take more room than numbers, and most are names of members
        raise StoredError(f"more than {MOST_VALUES} texts")
    bare = _STRING.sub(b"", raw)
    if _DIGITS.search(bare):
        raise StoredError(f"a number of more than {_MOST_DIGITS} digits")
    depth = n_values = 0
    for begin in range(0, len(bare), _BLOCK):
        letters = np.frombuffer(bare[begin : begin + _BLOCK], dtype=np.uint8)
        opens = (letters == ord("[")) | (letters == ord("{"))
        closes = (letters == ord("]")) | (letters == ord("}"))
        depths = depth + np.cumsum(opens.astype(np.int8) - closes.astype(np.int8), dtype=np.int64)
        if depths.max(initial=0) > DEEPEST:
            raise StoredError(f"values within values, more than {DEEPEST} deep")
        n_values += int(opens.sum()) + int((letters == ord(",")).sum())
        if n_values > MOST_VALUES:
            raise StoredError(f"more than {MOST_VALUES} values")
        depth = int(depths[-1])


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        names = [name for name, _ in pairs]
        raise StoredError(f"{brief(next(name for name in members if names.count(name) > 1))} is there twice")
    return members


def brief(value: Any) -> str:
    """A value as an error tells it: short, in one line, in letters that can be seen."""
    told = shown(reprlib.repr(value))
    return told if len(told) <= _MOST_SHOWN else f"{told[:_MOST_SHOWN]}…"


class Stored:
    """A value of a JSON document, and where in it it stands.

    What is asked of it is given, or a `StoredError` says where and what was expected. Numbers are numbers: no text, no
    truth values.

    Parameters
    ----------
    value : what `parsed` gave, or a part of it.
    where : in the document.
    """

    def __init__(self, value: Any, where: str = "") -> None:
        self.value = value
        self.where = where

    def error(self, expected: str) -> StoredError:
        """What to raise where it is not as expected."""
        return StoredError(f"{self.where or 'the file'} {brief(self.value)}: expected {expected}")

    def __getitem__(self, name: str) -> Stored:
        """A member of an object."""
        members = self.members()
        if name not in members:
            raise StoredError(f"{self._at(name)} is missing")
        return Stored(members[name], self._at(name))

    def get(self, name: str) -> Stored | None:
        """A member of an object; None where it is missing or null."""
        members = self.members()
        return None if members.get(name) is None else Stored(members[name], self._at(name))

    def members(self, *, known: Sequence[str] | None = None, needed: Sequence[str] = ()) -> dict[str, Any]:
        """The members of an object: no others than are ``known``, and all that are ``needed``."""
        if type(self.value) is not dict:
            raise self.error("an object")
        other = [] if known is None else [name for name in self.value if name not in known]
        if other:
            raise StoredError(f"{self._at(other[0])}: not known here")
        missing = [name for name in needed if name not in self.value]
        if missing:
            raise StoredError(f"{self._at(missing[0])} is missing")
        return self.value

    def items(self) -> Iterator[Stored]:
        """The values of a list."""
        if type(self.value) is not list:
            raise self.error("a list")
        return (Stored(item, f"{self.where}[{place}]") for place, item in enumerate(self.value))

    def whole(self, least: int = 0, most: int = MOST) -> int:
        """A whole number."""
        if type(self.value) is not int or not least <= self.value <= most:
            raise self.error(f"a whole number from {least} {'on' if most >= MOST else f'to {most}'}")
        return self.value

    def number(self, least: float = -math.inf, most: float = math.inf) -> float:
        """A finite number."""
        value = self.value
        is_number = type(value) is float or (type(value) is int and abs(value) <= MOST)
        if not is_number or not math.isfinite(value) or not least <= value <= most:
            above = "" if least == -math.inf else f", at least {least:g}"
            raise self.error(f"a finite number{above}{'' if most == math.inf else f', at most {most:g}'}")
        return float(value)

    def flag(self) -> bool:
        """Whether it is true."""
        if type(self.value) is not bool:
            raise self.error("true or false")
        return self.value

    def text(self, most: int = _MOST_LETTERS) -> str:
        """Text of at least one letter."""
        value = self.value
        if type(value) is not str or not 1 <= len(value) <= most or not is_text(value):
            raise self.error(f"a text of 1 to {most} letters")
        return value

    def one_of(self, known: Sequence[str]) -> str:
        """One of several texts."""
        if type(self.value) is not str or self.value not in known:
            raise self.error(f"one of {', '.join(known)}")
        return self.value

    def array(
        self,
        shape: Sequence[int | None],
        least: float = -math.inf,
        most: float = math.inf,
        *,
        or_null: bool = False,
    ) -> NDArray[np.float64]:
        """Finite numbers in lists of a given shape.

        Parameters
        ----------
        shape : lengths; None for one that does not matter.
        least, most : of the numbers.
        or_null : whether some may be null, which is given as NaN.
        """
        flat, found = [self.value], []
        for size in shape:
            lengths = {len(part) if type(part) is list else None for part in flat}
            if len(lengths) != 1 or lengths == {None} or (size is not None and lengths != {size}):
                raise self._misshapen(shape)
            found.append(lengths.pop())
            flat = [item for part in flat for item in part]
        kinds = (float, int, type(None)) if or_null else (float, int)
        if not {type(item) for item in flat} <= set(kinds):
            other = next(item for item in flat if type(item) not in kinds)
            if type(other) is list:
                raise self._misshapen(shape)
            raise StoredError(f"{self.where}: {brief(other)} among the numbers; expected numbers alone")
        try:
            array = np.array(flat, dtype=np.float64)
        except OverflowError as error:
            raise StoredError(f"{self.where}: expected numbers that floats can hold") from error
        self._check_range(array[[item is not None for item in flat]] if or_null else array, least, most)
        return array.reshape([size or 0 for size in found])

    def check_plain(self) -> None:
        """Refuse numbers that are not finite and text that is none, anywhere in it."""
        value = self.value
        if type(value) is dict:
            for name in value:
                Stored(name, self.where).text()
                self[name].check_plain()
        elif type(value) is list:
            for item in self.items():
                item.check_plain()
        elif type(value) is str and value:
            self.text()
        elif type(value) is float:
            self.number()

    def _at(self, name: str) -> str:
        name = name if _NAME.fullmatch(name) else brief(name)
        return f"{self.where}.{name}" if self.where else name

    def _check_range(self, array: NDArray[np.float64], least: float, most: float) -> None:
        finite = np.isfinite(array)
        if not finite.all():
            raise StoredError(f"{self.where}: expected finite numbers, found {array[~finite][0]}")
        outside = (array < least) | (array > most)
        if outside.any():
            raise StoredError(f"{self.where}: {array[outside][0]:g}; expected numbers from {least:g} to {most:g}")

    def _misshapen(self, shape: Sequence[int | None]) -> StoredError:
        expected = ", ".join("any" if size is None else str(size) for size in shape)
        what = "" if type(self.value) is list else f": could not convert {brief(self.value)} to numbers"
        return StoredError(f"{self.where} has shape {_shape_of(self.value)}{what}; expected ({expected})")


def _shape_of(value: Any) -> str:
    sizes = []
    while type(value) is list and value:
        if len({type(item) is list and len(item) for item in value}) > 1:
            sizes.append(f"{len(value)}, of different lengths")
            break
        sizes.append(str(len(value)))
        value = value[0]
    if value == []:
        sizes.append("0")
    return f"({', '.join(sizes)})"
