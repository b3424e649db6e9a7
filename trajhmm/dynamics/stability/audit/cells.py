"""What the cells of attributes say, however people write them: onsets, strengths, arms, and what runs are paired by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from trajhmm.errors import AnalysisError

PLAIN = "none"
"""What the buffer's column says of runs without one."""
BLANK = "blank"
"""Dimension or strength of a perturbed run of which it is not told."""
Bools = np.ndarray[tuple[int], np.dtype[np.bool_]]
_NOTHING = ("", "nan", PLAIN)
_OFF, _ON = ("no", "off", "false"), ("yes", "on", "true")
# No counter of steps gets as far, and little beyond it whole numbers do not fit 64 bits.
_FARTHEST = 2.0**62


@dataclass(frozen=True, order=True)
class Unpaired:
    """Key of a run that lacks what it would be paired by: like that of no other run, and blank in tables."""

    run: str

    def __str__(self) -> str:
        return ""


def is_blank(value: Any) -> bool:
    """Whether a cell says nothing: missing, empty, or ``none`` or ``nan`` in words."""
    return value.strip().lower() in _NOTHING if isinstance(value, str) else bool(pd.isna(value))


def onsets_in(column: pd.Series) -> pd.Series:
    """Step of the onset of each run (R,), -1 where nothing was perturbed: where it is negative or blank.

    Raises
    ------
    AnalysisError
        What stands there is no step.
    """
    nothing = _blanks(column)
    flags = np.array([isinstance(value, (bool, np.bool_)) for value in column], dtype=bool)
    numbers = pd.to_numeric(column.mask(nothing | flags), errors="coerce")
    wrong = ~nothing & ~(numbers < _FARTHEST).to_numpy(dtype=bool, na_value=False)
    if wrong.any():
        run, value = column.index[wrong][0], column[wrong].iloc[0]
        raise AnalysisError(
            f"column {column.name!r} of run {run}: expected the step at which it was perturbed, or a negative or blank "
            f"one where nothing was, found {value!s}; mend it, or name another column with --onset"
        )
    return numbers.where(numbers >= 0, -1).astype(np.int64)


def dimensions_in(column: pd.Series, perturbed: Bools) -> list[str]:
    """What was perturbed in each run (R,), as text; where it is blank in a perturbed run, that is one of its own."""
    return [
        (BLANK if done else PLAIN) if is_blank(value) else str(value)
        for value, done in zip(column, perturbed, strict=True)
    ]


def strengths_in(column: pd.Series, perturbed: Bools) -> pd.Series:
    """How much it was in each run (R,): numbers where all of perturbed runs are, else text.

    Where it is blank in a perturbed run, that is a strength of its own.
    """
    blank = _blanks(column)
    numbers = pd.to_numeric(column.mask(blank), errors="coerce").astype(np.float64)
    in_words = numbers.isna().to_numpy()[perturbed & ~blank].any()
    told = column.astype(object).where(~blank, PLAIN).map(str) if in_words else numbers
    return told.astype(object).mask(blank & perturbed, BLANK) if (blank & perturbed).any() else told


def strength_order(strength: float | str) -> tuple[bool, float | str]:
    """Key to sort strengths by: numbers first."""
    return isinstance(strength, str), strength


def keys_in(columns: pd.DataFrame) -> pd.Series:
    """What runs are paired by (R,); a run in which any of it is blank has a key of its own."""
    lacking = np.any([_blanks(columns[name]) for name in columns], axis=0)
    found = columns.iloc[:, 0] if len(columns.columns) == 1 else _joined(columns)
    if not lacking.any():
        return found
    # Numbers among which one is missing are fractional; whole ones are read back as such.
    keys = [
        Unpaired(str(run)) if lacks else int(key) if isinstance(key, float) and key.is_integer() else key
        for run, key, lacks in zip(columns.index, found, lacking, strict=True)
    ]
    return pd.Series(keys, index=columns.index, dtype=object)


def arm_in(value: Any, column: str) -> str:
    """What buffers a run: the cell where it is a word, the column's name where that is on or 1, both if a number."""
    if is_blank(value):
        return PLAIN
    word = str(value).strip()
    if word.lower() in (*_OFF, *_ON):
        return PLAIN if word.lower() in _OFF else column
    try:
        number = float(word)
    except ValueError:
        return word
    return PLAIN if number == 0 else column if number == 1 else f"{column} {number:g}"


def _blanks(column: pd.Series) -> Bools:
    return np.array([is_blank(value) for value in column], dtype=bool)


def _joined(columns: pd.DataFrame) -> pd.Series:
    texts = [", ".join(f"{name}={value}" for name, value in row.items()) for row in columns.to_dict("records")]
    return pd.Series(texts, index=columns.index, dtype=object)
