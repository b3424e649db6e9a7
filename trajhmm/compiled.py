"""Functions that numba compiles, and keeps compiled where there is a place for it."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar, overload

from numba import njit, types

from trajhmm.arrays import Laid

_Division = Literal["python", "numpy"]
_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def compiled(function: _Function, /) -> _Function: ...
@overload
def compiled(*, error_model: _Division = ..., reorder: bool = ...) -> Callable[[_Function], _Function]: ...
def compiled(function: Any = None, /, *, error_model: _Division = "python", reorder: bool = False) -> Any:
    """Compile a function when it is first called, for arrays of the types it is called with; it runs without the GIL.

    What was compiled is kept beside the source file, or in the home where that cannot be written. Where neither can,
    as on a cluster with a read-only installation and no home, it is compiled anew in each process.

    Parameters
    ----------
    function : of arrays and numbers.
    error_model : ``numpy`` where a division by zero is infinity, not an error.
    reorder : whether sums and products may be taken in another order, several terms at once.
    """
    if function is None:
        return lambda one: _compiled(one, error_model, reorder=reorder)
    return _compiled(function, error_model, reorder=reorder)


def _compiled(function: Any, error_model: _Division, *, reorder: bool) -> Any:
    how: dict[str, Any] = {"nogil": True, "error_model": error_model}
    if reorder:
        how["fastmath"] = {"reassoc", "contract"}
    try:
        return njit(function, cache=True, **how)
    except RuntimeError:  # numba's "no locator available": there is no place to keep it
        return njit(function, **how)


_settling, _settled = threading.Lock(), weakref.WeakSet[Any]()
_NUMBERS = {"bool": Laid("bool"), "int": Laid("int64"), "float": Laid("float64")}


def settle(function: Any, arguments: Sequence[Laid | None]) -> None:
    """Compile a function for these arguments, and for no others ever.

    Left to itself numba compiles anew for each mixture of layouts and flags that it meets: seconds for somebody whose
    array is a data frame's.

    Parameters
    ----------
    function : what `compiled` returned.
    arguments : one for each, in order; None for the number that the function's annotation says.
    """
    if not hasattr(function, "disable_compile"):  # NUMBA_DISABLE_JIT
        return
    names = function.py_func.__code__.co_varnames
    told = function.py_func.__annotations__
    laid = [_NUMBERS[told[name]] if one is None else one for name, one in zip(names, arguments, strict=False)]
    with _settling:  # threads may come at once
        if function not in _settled:
            function.compile(tuple(map(_type, laid)))
            function.disable_compile()
            _settled.add(function)


def _type(one: Laid) -> Any:
    number = getattr(types, one.dtype if one.dtype != "bool" else "boolean")
    return number if one.ndim is None else types.Array(number, one.ndim, "C", readonly=not one.filled)
