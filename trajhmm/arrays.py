"""What reaches a compiled loop: arrays of the shapes that it was written for, or an error that says which is not.

A compiled loop reads and writes where it is told to: an index beyond the end of an array is other memory. So whoever
calls one from Python passes through `takes`, once a call, however many rows there are.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import update_wrapper
from operator import attrgetter, itemgetter
from typing import Any, ClassVar, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import ArrayError

Loop = TypeVar("Loop", bound=Callable[..., Any])

_FLOAT, _INT, _BOOL = np.dtype(np.float64), np.dtype(np.int64), np.dtype(np.bool_)
_DTYPES = {"int": _INT, "bool": _BOOL}
_SIZE = re.compile(r"(\d*)([A-Z]?)(\?|1\+)?")
# No number of rows is larger.
_MOST = 2**40
_shape, _dtype, _packed = attrgetter("shape"), attrgetter("dtype"), attrgetter("flags.c_contiguous")
# Shapes that each loop remembers.
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Laid:
    """How an argument of a compiled loop lies in memory: a number, or a C-contiguous array of ``ndim`` axes.

    Parameters
    ----------
    dtype : ``float64``, ``int64`` or ``bool``.
    ndim : None for a number.
    filled : whether the loop writes to it; what it only reads may be read-only.
    """

    dtype: str
    ndim: int | None = None
    filled: bool = False


def takes(**wanted: str | int | tuple[float, float]) -> Callable[[Loop], Loop]:
    """Check what a compiled loop is given before it runs; arguments that are not named are passed on as they are.

    Parameters
    ----------
    wanted : of each array the sizes of its shape, one after the other: a letter, which is the same size wherever it
        stands; ``2D``, twice that; ``5``, a number; ``R?``, which may be 0 as well; ``K1+``, which may not be 0. In
        front ``int`` or ``bool`` of arrays that hold no floats; behind ``filled`` for an array that is written to,
        ``among M`` for one of places in M rows, ``below M`` where -1 stands for none.
        ``G runs of N`` are (G + 1,) row offsets from 0 to N, none less than the one before. A number in place of a
        text: a whole number of at least that; two numbers: a finite number above the first, at most the second.
        Arguments that are not named are truth values, whole numbers or floats, as the loop's annotations say.

    Raises
    ------
    ArrayError
        When called: a shape, a type, an offset or a number is not what was asked for. Arrays that are only read are
        converted where nothing but precision is lost: lists, other kinds of floats, other orders of bytes or axes.

    Notes
    -----
    A loop is compiled once, when it is first called, for C-contiguous arrays of which those that are only read may be
    read-only; not again for each mixture of orders and flags that callers have.
    """

    def decorate(loop: Loop) -> Loop:
        signature = inspect.signature(loop)
        names = list(signature.parameters)
        plan = [(names.index(name), _argument(f"{loop.__name__}: {name}", what)) for name, what in wanted.items()]
        # Shapes that were found to fit need not be looked at again: a run that is followed comes row by row.
        types = {names[place]: argument.type for place, argument in plan}
        picked = _picker([place for place, argument in plan if isinstance(argument, (_Array, _Offsets))])
        dtypes = tuple(argument.dtype for _, argument in plan if isinstance(argument, (_Array, _Offsets)))
        again = [(place, argument) for place, argument in plan if not isinstance(argument, _Array) or argument.again]
        known: dict[tuple[tuple[int, ...], ...], dict[str, int]] = {}
        laid = [types.get(name) for name in names]
        unsettled = [loop]

        def checked(*given: Any, **named: Any) -> Any:
            if named or len(given) != len(names):
                given = signature.bind(*given, **named).args
            sizes = shapes = None
            try:
                arrays = picked(given)
                shapes = tuple(map(_shape, arrays))
                if tuple(map(_dtype, arrays)) == dtypes and all(map(_packed, arrays)):
                    sizes = known.get(shapes)
            except (AttributeError, TypeError):  # not all are arrays
                shapes = None
            if sizes is not None:
                for place, argument in again:
                    value = given[place]
                    fit = argument.fit_again(value, sizes)
                    if fit is not value:
                        given = (*given[:place], fit, *given[place + 1 :])
            else:
                sizes = {}
                given = _fitted(given, plan, sizes)
                if shapes is not None and len(known) < _REMEMBERED:
                    known[shapes] = sizes
            if unsettled:
                from trajhmm.compiled import settle

                settle(loop, laid)
                unsettled.clear()
            try:
                return loop(*given)
            except TypeError as error:  # not of the types that it was compiled for
                converted = _fitted(given, plan, {})
                if all(one is other for one, other in zip(given, converted, strict=True)):
                    raise ArrayError(f"{loop.__name__}: arguments of types that it is not compiled for") from error
                return loop(*converted)

        # numba's dispatcher has attributes that are none of a plain function.
        update_wrapper(checked, getattr(loop, "py_func", loop))
        return cast("Loop", checked)

    return decorate


def _picker(places: Sequence[int]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """What picks the arguments at some places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda given: tuple(given[place] for place in places)


def _fitted(
    given: tuple[Any, ...], arguments: Sequence[tuple[int, _Argument]], sizes: dict[str, int]
) -> tuple[Any, ...]:
    """What is given to a loop, as it takes it; ``sizes`` of letters is added to."""
    for place, argument in arguments:
        value = given[place]
        fit = argument.fit(value, sizes)
        if fit is not value:
            given = (*given[:place], fit, *given[place + 1 :])
    return given


def floats_of(name: str, values: Any, shape: Sequence[int | None]) -> NDArray[np.float64]:
    """``values`` as C-contiguous float64 of a given shape, themselves where they are that already.

    Parameters
    ----------
    shape : None for a size that does not matter.

    Raises
    ------
    ArrayError
        They are no numbers, or of another shape.
    """
    return cast("NDArray[np.float64]", _of(name, values, _FLOAT, shape))


def whole_of(name: str, values: Any, shape: Sequence[int | None]) -> NDArray[np.int64]:
    """The same of int64."""
    return cast("NDArray[np.int64]", _of(name, values, _INT, shape))


def flags_of(name: str, values: Any, shape: Sequence[int | None]) -> NDArray[np.bool_]:
    """The same of truth values."""
    return cast("NDArray[np.bool_]", _of(name, values, _BOOL, shape))


def offsets_of_rows(name: str, offsets: Any, n_rows: int) -> NDArray[np.int64]:
    """(R + 1,) row offsets of runs: from 0 to ``n_rows``, none less than the one before.

    Raises
    ------
    ArrayError
        They are none.
    """
    found = whole_of(name, offsets, (None,))
    _check_offsets(name, found, n_rows)
    return found


def _of(name: str, values: Any, dtype: np.dtype[Any], shape: Sequence[int | None]) -> NDArray[Any]:
    array = values if type(values) is np.ndarray and values.dtype is dtype else _converted(name, values, dtype)
    if array.ndim != len(shape):
        raise _other_shape(name, array, shape)
    for size, found in zip(shape, array.shape, strict=True):
        if size is not None and size != found:
            raise _other_shape(name, array, shape)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)


def _other_shape(name: str, array: NDArray[Any], shape: Sequence[int | None]) -> ArrayError:
    expected = ", ".join("any" if size is None else str(size) for size in shape)
    return ArrayError(f"{name} has shape {array.shape}; expected ({expected})")


class _Argument(Protocol):
    """What is asked of one argument of a loop."""

    @property
    def type(self) -> Laid:
        """What a loop is compiled for."""

    def fit(self, value: Any, sizes: dict[str, int]) -> Any:
        """The value as the loop takes it; ``sizes`` of letters is added to."""

    def fit_again(self, value: Any, sizes: dict[str, int]) -> Any:
        """The same of one whose shape and type are known to fit, and ``sizes`` with them."""


@dataclass(frozen=True, slots=True)
class _Whole:
    """A whole number of at least ``least``."""

    name: str
    least: int
    type: ClassVar[Laid] = Laid("int64")

    def fit(self, value: Any, sizes: dict[str, int]) -> int:
        del sizes
        is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not is_whole or not self.least <= value <= _MOST:
            raise ArrayError(f"{self.name} is {_shown(value)}; expected a whole number of at least {self.least}")
        return int(value)

    fit_again = fit


@dataclass(frozen=True, slots=True)
class _Real:
    """A finite number above ``above`` and at most ``most``."""

    name: str
    above: float
    most: float
    type: ClassVar[Laid] = Laid("float64")

    def fit(self, value: Any, sizes: dict[str, int]) -> float:
        del sizes
        is_number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        if not is_number or not self.above < value <= self.most or value == np.inf:
            limits = f"above {self.above:g}" + (f" and at most {self.most:g}" if self.most < np.inf else "")
            raise ArrayError(f"{self.name} is {_shown(value)}; expected a number {limits}")
        return float(value)

    fit_again = fit


@dataclass(frozen=True, slots=True)
class _Offsets:
    """(G + 1,) row offsets of G runs of N rows."""

    name: str
    runs: str
    rows: str
    dtype: ClassVar[np.dtype[Any]] = _INT
    type: ClassVar[Laid] = Laid("int64", ndim=1)

    def fit(self, value: Any, sizes: dict[str, int]) -> NDArray[Any]:
        offsets = whole_of(self.name, value, (None,))
        n_runs = len(offsets) - 1
        _check_offsets(self.name, offsets, sizes[self.rows])
        if sizes.setdefault(self.runs, n_runs) != n_runs:
            raise ArrayError(f"{self.name} of {n_runs} runs; expected {sizes[self.runs]}")
        return offsets

    def fit_again(self, value: Any, sizes: dict[str, int]) -> NDArray[Any]:
        if type(value) is not np.ndarray:
            return self.fit(value, sizes)
        _check_offsets(self.name, value, sizes[self.rows])
        return value


@dataclass(frozen=True, slots=True)
class _Array:
    """An array; of each size a factor, a letter or none, and how many there must be: -1 if it may be 0 anyhow."""

    name: str
    dtype: np.dtype[Any]
    sizes: tuple[tuple[int, str, int], ...]
    filled: bool
    below: str | None
    first: int

    @property
    def again(self) -> bool:
        """Whether its shape and type do not say all."""
        return self.below is not None

    @property
    def type(self) -> Laid:
        """What a loop is compiled for."""
        return Laid(self.dtype.name, ndim=len(self.sizes), filled=self.filled)

    def fit(self, value: Any, sizes: dict[str, int]) -> NDArray[Any]:
        if type(value) is not np.ndarray or value.dtype is not self.dtype:
            value = self._other(value)
        shape = value.shape
        if len(shape) != len(self.sizes):
            raise self._misshapen(shape, sizes)
        for (factor, letter, least), found in zip(self.sizes, shape, strict=True):
            if found == 0 and least < 0:
                continue
            known = sizes.setdefault(letter, found // factor) if letter else 1
            if found != factor * known or found < least:
                raise self._misshapen(shape, sizes)
        if self.filled and not value.flags.writeable:
            raise ArrayError(f"{self.name} is to be filled, and cannot be written to; give a copy")
        if not value.flags.carray if self.filled else not (value.flags.c_contiguous and value.flags.aligned):
            value = self._packed(value)
        return self.fit_again(value, sizes)

    def fit_again(self, value: Any, sizes: dict[str, int]) -> NDArray[Any]:
        if type(value) is not np.ndarray:
            return self.fit(value, sizes)
        if (
            self.below is not None
            and len(value)
            and not (value.min() >= self.first and value.max() < sizes[self.below])
        ):
            raise ArrayError(
                f"{self.name} from {value.min()} to {value.max()}; expected places below {sizes[self.below]}"
            )
        return cast("NDArray[Any]", value)

    def _other(self, value: Any) -> NDArray[Any]:
        """An array of the right type in place of something else."""
        if self.filled and not (isinstance(value, np.ndarray) and value.dtype == self.dtype):
            found = getattr(value, "dtype", type(value).__name__)
            raise ArrayError(f"{self.name} is to be filled; expected an array of {self.dtype}, found {found}")
        return _converted(self.name, value, self.dtype)

    def _packed(self, value: NDArray[Any]) -> NDArray[Any]:
        if self.filled:
            raise ArrayError(f"{self.name} is to be filled; expected a C-contiguous array")
        return np.require(value, requirements=("C", "A"))

    def _misshapen(self, shape: tuple[int, ...], sizes: dict[str, int]) -> ArrayError:
        letters = ", ".join(f"{'' if factor == 1 and letter else factor}{letter}" for factor, letter, _ in self.sizes)
        known = ", ".join(f"{name} = {sizes[name]}" for _, name, _ in self.sizes if name in sizes)
        return ArrayError(f"{self.name} has shape {shape}; expected ({letters}){f' with {known}' if known else ''}")


def _argument(name: str, what: str | int | tuple[float, float]) -> _Argument:
    if isinstance(what, int):
        return _Whole(name, what)
    if isinstance(what, tuple):
        return _Real(name, *what)
    words = what.split()
    if words[1:3] == ["runs", "of"]:
        return _Offsets(name, words[0], words[3])
    first = 0 if "among" in words else -1
    below = next((words[words.index(word) + 1] for word in ("among", "below") if word in words), None)
    dtype = _DTYPES.get(words[0], _FLOAT)
    sizes = tuple(_size(word) for word in words[dtype is not _FLOAT :] if _SIZE.fullmatch(word) and word != below)
    return _Array(name, dtype, sizes, "filled" in words, below, first)


def _size(word: str) -> tuple[int, str, int]:
    found = _SIZE.fullmatch(word)
    factor, letter, kind = ("", "", "") if found is None else found.groups()
    return int(factor or 1), letter, {"?": -1, "1+": 1}.get(kind, 0)


def _check_offsets(name: str, offsets: NDArray[np.int64], n_rows: int) -> None:
    if not len(offsets) or offsets[0] or offsets[-1] != n_rows:
        ends = f"from {offsets[0]} to {offsets[-1]}" if len(offsets) else "missing"
        raise ArrayError(f"{name} {ends}; expected row offsets from 0 to the number of rows, {n_rows}")
    if len(offsets) > 2 and (offsets[1:] < offsets[:-1]).any():
        run = int(np.argmax(offsets[1:] < offsets[:-1]))
        raise ArrayError(f"{name}: run {run} ends at row {offsets[run + 1]}, before it begins at row {offsets[run]}")


def unmasked(name: str, values: Any) -> Any:
    """``values``; of a masked array of numbers one with NaN where it is masked, as numpy would lay bare what is there.

    Raises
    ------
    ArrayError
        What is masked is no real number.
    """
    if not isinstance(values, np.ma.MaskedArray):
        return values
    if np.ma.is_masked(values) and values.dtype.kind not in "fiu":
        raise ArrayError(f"{name}: expected an array without a mask, or one of numbers")
    if not np.ma.is_masked(values):
        return values.data
    return np.where(np.ma.getmaskarray(values), np.nan, values.data)


def _converted(name: str, values: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """``values`` with another type, where that loses nothing but precision."""
    values = unmasked(name, values)
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ArrayError(f"{name}: expected an array of {dtype} ({' '.join(str(error).split()):.100})") from error
    if not array.size:
        return np.empty(array.shape, dtype)
    if array.dtype != dtype and (array.dtype == np.bool_ or not np.can_cast(array.dtype, dtype, "same_kind")):
        raise ArrayError(f"{name}: expected an array of {dtype}, found {array.dtype}")
    return array.astype(dtype, copy=False)


def _shown(value: Any) -> str:
    return f"{value!r:.60}"
