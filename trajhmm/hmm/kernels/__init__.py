"""Compiled loops: densities of rows, recursions over time, moments. Arrays in, arrays out; nothing knows a run's name.

N rows of runs on top of each other, K states, D metrics. A *stretch* is any number of consecutive rows; ``fresh`` marks
the rows at which a run begins, so that one call goes over many runs, or over a part of one.
"""

from trajhmm.errors import TrajHMMError

try:
    import numba  # noqa: F401
except ImportError as error:
    raise TrajHMMError(
        f"trajhmm compiles its loops with numba, which cannot be imported here ({error}); numba has wheels for CPython "
        "on Linux, macOS and Windows: pip install numba"
    ) from error
