"""Which columns hold numbers and which text, over many tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import LogError
from trajhmm.logs.formats.table import RUN_NAME, Table, means_blank

# Number of a table in reading order, and of a column within it.
Place = tuple[int, int]
_Found = TypeVar("_Found", bound=tuple[Any, ...])


@dataclass(frozen=True, kw_only=True)
class Kinds:
    """Names of the columns that hold numbers and of those that hold text, in order of appearance."""

    numbers: tuple[str, ...]
    texts: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ColumnsSeen:
    """What the columns of some tables hold; what is seen in several sets of tables can be joined.

    Attributes
    ----------
    numbers, blanks, texts : where a column first holds numbers, nothing but blanks, or text.
    changing : first file in which the numbers of a column change.
    words : first file in which a column is text, with a word.
    spelled : where a text column first holds a word that does not just mean a blank.
    """

    numbers: dict[str, Place] = field(default_factory=dict)
    blanks: dict[str, Place] = field(default_factory=dict)
    texts: dict[str, Place] = field(default_factory=dict)
    changing: dict[str, tuple[Place, Path]] = field(default_factory=dict)
    words: dict[str, tuple[Place, Path, str]] = field(default_factory=dict)
    spelled: dict[str, Place] = field(default_factory=dict)

    @classmethod
    def in_tables(cls, tables: Sequence[Table], places: Iterable[int]) -> ColumnsSeen:
        """See the columns of ``tables``, which stand at ``places`` in reading order."""
        seen = cls()
        for place, table in zip(places, tables, strict=True):
            _see_numbers(seen, place, table)
            _see_texts(seen, place, table)
        return seen

    @classmethod
    def joined(cls, several: Iterable[ColumnsSeen]) -> ColumnsSeen:
        """What was seen in several sets of tables, whatever their order."""
        several = list(several)
        return cls(
            numbers=_firsts(one.numbers for one in several),
            blanks=_firsts(one.blanks for one in several),
            texts=_firsts(one.texts for one in several),
            changing=_firsts(one.changing for one in several),
            words=_firsts(one.words for one in several),
            spelled=_firsts(one.spelled for one in several),
        )

    def kinds(self) -> Kinds:
        """Tell numbers from text. An attribute may be numbers here and text there, then all are text.

        Raises
        ------
        LogError
            A metric is numbers in one file and text in another.
        """
        both = [name for name in self.texts if name in self.numbers]
        texts = self.texts.keys() - {name for name in both if name not in self.spelled}
        for name in sorted(both, key=self.texts.__getitem__):
            if name in texts and name in self.changing and name != RUN_NAME:
                path, word = self.words[name][1:]
                raise LogError(
                    f"{path}: column {name!r} is text ({word!r}) but holds numbers in {self.changing[name][1]}; "
                    "make them alike or leave one file out"
                )
        numbers = self.numbers.keys() - texts
        blanks = self.blanks.keys() - numbers - texts
        return Kinds(
            numbers=(*sorted(numbers, key=self.numbers.__getitem__), *sorted(blanks, key=self.blanks.__getitem__)),
            texts=tuple(sorted(texts, key=self.texts.__getitem__)),
        )


def changes(column: NDArray[np.float64]) -> bool:
    """Whether an (n,) column takes more than one finite value."""
    if not len(column):
        return False
    if np.isfinite(column[0]) and np.isfinite(column[-1]) and column[0] != column[-1]:
        return True
    finite = column[np.isfinite(column)]
    return bool(len(finite) and (finite != finite[0]).any())


def _see_numbers(seen: ColumnsSeen, number: int, table: Table) -> None:
    settings = (name for name, value in table.settings.items() if not isinstance(value, str))
    for position, name in enumerate((*table.numbers, *settings)):
        place = (number, position)
        if name in table.present and not table.present[name].any():
            seen.blanks.setdefault(name, place)
            continue
        seen.numbers.setdefault(name, place)
        if name in table.numbers and name not in seen.changing and changes(table.numbers[name]):
            seen.changing[name] = (place, table.path)


def _see_texts(seen: ColumnsSeen, number: int, table: Table) -> None:
    words = {name: text.words for name, text in table.texts.items()}
    words |= {name: (value,) for name, value in table.settings.items() if isinstance(value, str)}
    for position, name in enumerate(words):
        place = (number, position)
        seen.texts.setdefault(name, place)
        seen.words.setdefault(name, (place, table.path, next(iter(words[name]), "")))
        if name not in seen.spelled and not all(map(means_blank, words[name])):
            seen.spelled[name] = place


def _firsts(several: Iterable[Mapping[str, _Found]]) -> dict[str, _Found]:
    firsts: dict[str, _Found] = {}
    for one in several:
        for name, found in one.items():
            if name not in firsts or found < firsts[name]:
                firsts[name] = found
    return firsts
