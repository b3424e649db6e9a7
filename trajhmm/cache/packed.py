"""Plain results as JSON and arrays, and back: each part has to be of the type that it was annotated with."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

from trajhmm.stored import StoredError, brief


class Packed(NamedTuple):
    """A result in parts.

    Attributes
    ----------
    tree : as JSON knows it; an array in it is its number.
    arrays : of numbers or truth values; one that stands in several places is there once.
    """

    tree: Any
    arrays: tuple[NDArray[Any], ...]


def pack(value: Any) -> Packed:
    """Take a result of frozen dataclasses apart."""
    arrays: dict[int, NDArray[Any]] = {}
    tree = _packed(value, arrays)
    return Packed(tree=tree, arrays=tuple(arrays.values()))


def unpack(packed: Packed, hint: Any) -> Any:
    """Put together what `pack` took apart.

    Raises
    ------
    StoredError
        It is not of the type ``hint``.
    """
    try:
        return _unpacked(packed.tree, packed.arrays, hint)
    except StoredError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise StoredError(f"not what was kept: {error}") from error


def _packed(value: Any, arrays: dict[int, NDArray[Any]]) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise TypeError(f"arrays of {value.dtype} cannot be kept")
        arrays.setdefault(id(value), value)
        return list(arrays).index(id(value))
    if isinstance(value, np.generic):
        return value.item()
    if dataclasses.is_dataclass(value):
        return {one.name: _packed(getattr(value, one.name), arrays) for one in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_packed(item, arrays) for item in value]
    if isinstance(value, Mapping):
        return [[_packed(key, arrays), _packed(item, arrays)] for key, item in value.items()]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{type(value).__name__} cannot be kept")


def _unpacked(tree: Any, arrays: tuple[NDArray[Any], ...], hint: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hasattr(origin, "__value__"):  # the name of another type, as NDArray is from NumPy 2.5 on
        hint = origin.__value__[inner]
        origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        (other,) = (one for one in inner if one is not type(None))
        return None if tree is None else _unpacked(tree, arrays, other)
    if dataclasses.is_dataclass(hint):
        return _dataclass(tree, arrays, hint)
    if origin is np.ndarray:
        return _array(tree, arrays, inner)
    if origin is tuple and inner[1:] == (Ellipsis,):
        return tuple(_unpacked(item, arrays, inner[0]) for item in _list(tree))
    if origin is dict:
        pairs = [_list(pair) for pair in _list(tree)]
        return {_unpacked(key, arrays, inner[0]): _unpacked(item, arrays, inner[1]) for key, item in pairs}
    return _single(tree, hint)


def _single(tree: Any, hint: Any) -> Any:
    """A text, a number, or one of several."""
    if get_origin(hint) is Literal:
        fits = type(tree) is str and tree in get_args(hint)
    else:
        fits = type(tree) in ((float, int) if hint is float else (hint,))
    if not fits:
        raise StoredError(f"{brief(tree)}: expected {hint}")
    return tree


def _dataclass(tree: Any, arrays: tuple[NDArray[Any], ...], hint: Any) -> Any:
    hints = _hints_of(hint)
    if type(tree) is not dict or list(tree) != list(hints):
        raise StoredError(f"{brief(tree)}: expected the parts of {hint.__name__}")
    return hint(**{name: _unpacked(tree[name], arrays, one) for name, one in hints.items()})


@cache
def _hints_of(kind: Any) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {one.name: hints[one.name] for one in dataclasses.fields(kind)}


def _array(tree: Any, arrays: tuple[NDArray[Any], ...], inner: tuple[Any, ...]) -> NDArray[Any]:
    if type(tree) is not int or not 0 <= tree < len(arrays):
        raise StoredError(f"{brief(tree)}: expected the number of an array")
    (scalar,) = get_args(inner[1])
    if arrays[tree].dtype != np.dtype(scalar):
        raise StoredError(f"array of {arrays[tree].dtype}: expected {np.dtype(scalar)}")
    return arrays[tree]


def _list(tree: Any) -> list[Any]:
    if type(tree) is not list:
        raise StoredError(f"{brief(tree)}: expected a list")
    return tree
