"""Conditions on columns, such as ``eval_accuracy > 0.9 and condition == "ln"``: a small grammar, no ``eval``.

Grammar::

    either     = both ("or" both)*
    both       = unit ("and" unit)*
    unit       = "not" unit | "(" either ")" | comparison
    comparison = operand (("==" | "!=" | "<" | "<=" | ">" | ">=") operand)+ | operand "in" "(" literal, … ")"
    operand    = number | "text" | column | ("drop" | "ratio" | "best") "(" column ")"

``best(x)`` is the largest x so far, ``drop(x)`` how far x lies below it, ``ratio(x)`` the share of it that x has.
Higher is better, and rows count in their order, so they have a meaning only for the rows of one run. ``ratio`` is blank
until the best is above 0, as a share of less means nothing.

A column may hold letters, digits and ``_ . / : @ % -``; any other name goes in backquotes. There is no arithmetic, so
``L1/L2`` and ``train-loss`` are names.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ConditionError

Column = NDArray[Any]
Evaluate = Callable[[Mapping[str, Column]], Any]

# Characters of a condition, and brackets and "not" within each other; more is no person's.
_LONGEST, _DEEPEST = 10_000, 50
_SHOWN = 200
_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[-+]?(?:(?:\d++\.?\d*+|\.\d++)(?:[eE][-+]?\d++)?|inf\b|nan\b))(?![\w./:@%-])
    | (?P<text>"[^"]*"|'[^']*')
    | (?P<quoted>`[^`]+`)
    | (?P<operator>==|!=|<=|>=|<|>|\(|\)|\[|\]|,)
    | (?P<word>[^\W\d][\w./:@%-]*)
    )""",
    re.VERBOSE,
)
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_FLIPPED = {"=": "==", "&&": "and", "||": "or", "&": "and", "|": "or"}
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")
_EXAMPLE = "; expected such as 'loss < 0.1' or 'accuracy > 0.9 and step < 1000'"


def drop(values: Column) -> Column:
    """(N,) how far each value lies below the largest so far; what is not finite is passed over."""
    below: Column = best(values) - values
    return below


def ratio(values: Column) -> Column:
    """(N,) each value as a share of the largest so far; NaN until that is above 0."""
    largest = best(values)
    share: Column = np.divide(values, largest, out=np.full(len(values), np.nan), where=largest > 0)
    return share


def best(values: Column) -> Column:
    """(N,) the largest value so far; what is not finite is passed over."""
    largest: Column = np.fmax.accumulate(np.where(np.isfinite(values), values, np.nan))
    return largest


_SO_FAR: dict[str, Callable[[Column], Column]] = {"drop": drop, "ratio": ratio, "best": best}


@dataclass(frozen=True, kw_only=True, eq=False)
class Condition:
    """A parsed condition.

    Attributes
    ----------
    text : what it came from.
    columns : the columns it names, in order of appearance.
    ordered : whether it looks back (``best``, ``drop``, ``ratio``), so that it must be evaluated on one run at a time.
    """

    text: str
    columns: tuple[str, ...]
    ordered: bool
    _evaluate: Evaluate

    def evaluate(self, columns: Mapping[str, Column]) -> NDArray[np.bool_]:
        """Evaluate on columns of one length N; a blank or NaN cell makes a comparison false.

        Returns
        -------
        (N,) bool

        Raises
        ------
        ConditionError
            Text is compared with a number.
        """
        size = len(next(iter(columns.values()))) if columns else 0
        return np.broadcast_to(np.asarray(self._evaluate(columns), dtype=bool), (size,)).copy()


def parse_condition(text: str) -> Condition:
    """Parse ``text`` into a `Condition`.

    Raises
    ------
    ConditionError
        With the place where the grammar was left.
    """
    parser = _Parser(text)
    evaluate = parser.either()
    parser.expect_end()
    if not parser.columns:
        raise ConditionError(f"condition {shown(text)}: names no column; expected for example 'eval_accuracy > 0.9'")
    return Condition(text=text, columns=tuple(parser.columns), ordered=parser.ordered, _evaluate=evaluate)


def _tokens(text: str) -> list[tuple[str, str]]:
    tokens, position = [], 0
    if len(text) > _LONGEST:
        raise ConditionError(f"condition {shown(text)}: {len(text):,} characters; expected at most {_LONGEST:,}")
    stripped = text.rstrip()
    while position < len(stripped):
        match = _TOKEN.match(stripped, position)
        if match is None or match.lastgroup is None:
            rest = stripped[position:].strip()
            hint = next((f"; write '{good}'" for bad, good in _FLIPPED.items() if rest.startswith(bad)), _EXAMPLE)
            if percent := _PERCENT.match(rest):
                hint = f"; write {float(percent[1]) / 100:g}, or {percent[1]} if that is how it is logged"
            raise ConditionError(f"condition {shown(text)}: cannot read it from {rest[:20]!r} on{hint}")
        tokens.append((match.lastgroup, match.group(match.lastgroup)))
        position = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens; each rule returns a function of the columns."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.position = 0
        self.columns: list[str] = []
        self.ordered = False
        self.depth = 0

    def either(self) -> Evaluate:
        units = [self.both()]
        while self.take("word", "or"):
            units.append(self.both())
        return self.joined(np.logical_or, units)

    def both(self) -> Evaluate:
        units = [self.unit()]
        while self.take("word", "and"):
            units.append(self.unit())
        return self.joined(np.logical_and, units)

    @staticmethod
    def joined(combine: Callable[[Any, Any], Any], units: list[Evaluate]) -> Evaluate:
        return units[0] if len(units) == 1 else lambda columns: reduce(combine, (unit(columns) for unit in units))

    def unit(self) -> Evaluate:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail(f"expected at most {_DEEPEST} brackets and 'not' within each other")
        if self.take("word", "not"):
            inner = self.unit()
            found: Evaluate = lambda columns: np.logical_not(inner(columns))  # noqa: E731 (as the other rules give it)
        elif self.take("operator", "("):
            found = self.either()
            self.expect("operator", ")")
        else:
            found = self.comparison()
        self.depth -= 1
        return found

    def comparison(self) -> Evaluate:
        left = self.operand()
        if self.take("word", "in"):
            return self.membership(left)
        links: list[tuple[str, Evaluate, Evaluate]] = []
        while self.peek()[0] == "operator" and self.peek()[1] in _COMPARE:
            sign = self.next()[1]
            right = self.operand()
            links.append((sign, left, right))
            left = right
        if not links:
            self.fail("expected one of == != < <= > >= in")
        return lambda columns: reduce(
            np.logical_and, (self.compare(sign, one(columns), other(columns)) for sign, one, other in links)
        )

    def membership(self, left: Evaluate) -> Evaluate:
        closing = "]" if self.take("operator", "[") else ")"
        if closing == ")":
            self.expect("operator", "(")
        members = [self.operand()]
        while self.take("operator", ","):
            members.append(self.operand())
        self.expect("operator", closing)
        return lambda columns: reduce(
            np.logical_or, (self.compare("==", left(columns), member(columns)) for member in members)
        )

    def operand(self) -> Evaluate:
        kind, value = self.next()
        if kind == "number":
            number = float(value)
            return lambda _: number
        if kind == "text":
            return lambda _: value[1:-1]
        if kind == "word" and value in _SO_FAR and self.take("operator", "("):
            return self.so_far(value)
        self.position -= 1
        return self.column("expected a column, a number or a text in quotes")

    def so_far(self, function: str) -> Evaluate:
        column = self.column(f"expected the column that {function} looks back on")
        self.expect("operator", ")")
        self.ordered = True

        def evaluate(columns: Mapping[str, Column]) -> Column:
            values = column(columns)
            if _is_text(values):
                raise ConditionError(f"condition {shown(self.text)}: {function} needs numbers, found text")
            return _SO_FAR[function](values)

        return evaluate

    def column(self, expected: str) -> Evaluate:
        kind, value = self.peek()
        if kind not in ("word", "quoted") or value in ("and", "or", "not", "in"):
            self.fail(expected)
        self.position += 1
        name = value.strip("`")
        if name not in self.columns:
            self.columns.append(name)
        return lambda columns: columns[name]

    def compare(self, sign: str, left: Any, right: Any) -> Any:
        stands = np.logical_not(_blank(left) | _blank(right))
        if _is_text(left) or _is_text(right):
            if _is_text(left) != _is_text(right) and sign not in ("==", "!="):
                raise ConditionError(f"condition {shown(self.text)}: {sign} compares a text with a number")
            left, right = _as_text(left), _as_text(right)
        return _COMPARE[sign](left, right) & stands

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.position] if self.position < len(self.tokens) else ("end", "")

    def next(self) -> tuple[str, str]:
        token = self.peek()
        self.position += 1
        return token

    def take(self, kind: str, value: str) -> bool:
        if self.peek() == (kind, value):
            self.position += 1
            return True
        return False

    def expect(self, kind: str, value: str) -> None:
        if not self.take(kind, value):
            self.fail(f"expected {value!r}")

    def expect_end(self) -> None:
        if self.peek()[0] != "end":
            self.fail("expected 'and', 'or' or the end")

    def fail(self, expected: str) -> NoReturn:
        found = self.peek()[1]
        what = shown(found) if found else "its end"
        raise ConditionError(f"condition {shown(self.text)}: {expected}, found {what}")


def shown(text: str) -> str:
    """A text as a message shows it: in quotes, and no more than a line of it."""
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def _is_text(side: Any) -> bool:
    return isinstance(side, str) or (isinstance(side, np.ndarray) and side.dtype.kind in "OUS")


def _as_text(side: Any) -> Any:
    """Numbers as they would be typed, so that ``seed == "3"`` holds for the number 3; a blank as no text."""
    if isinstance(side, str):
        return side
    if not isinstance(side, np.ndarray):
        return str(int(side)) if float(side).is_integer() else repr(float(side))
    if _is_text(side):
        return np.where(_blank(side), "", side)
    return np.array([_as_text(value) for value in side.tolist()], dtype=object)


def _blank(side: Any) -> Any:
    """(N,) bool for a column, bool for a value."""
    import pandas as pd

    return pd.isna(side)
