"""Functions that numba compiles, and keeps compiled where there is a place for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar, overload

from numba import njit

_Division = Literal["python", "numpy"]
_Function = TypeVar("_Function", bound=Callable[..., Any])


@overload
def compiled(function: _Function, /) -> _Function: ...
@overload
def compiled(*, error_model: _Division) -> Callable[[_Function], _Function]: ...
def compiled(function: Any = None, /, *, error_model: _Division = "python") -> Any:
    """Compile a function when it is first called, for arrays of the types it is called with; it runs without the GIL.

    What was compiled is kept beside the source file, or in the home where that cannot be written. Where neither can,
    as on a cluster with a read-only installation and no home, it is compiled anew in each process.

    Parameters
    ----------
    function : of arrays and numbers.
    error_model : ``numpy`` where a division by zero is infinity, not an error.
    """
    if function is None:
        return lambda one: _compiled(one, error_model)
    return _compiled(function, error_model)


def _compiled(function: Any, error_model: _Division) -> Any:
    try:
        return njit(function, cache=True, nogil=True, error_model=error_model)
    except RuntimeError:  # numba's "no locator available": there is no place to keep it
        return njit(function, nogil=True, error_model=error_model)
