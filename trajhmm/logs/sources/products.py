"""Files that this package writes beside logs: known by their columns, and no logs themselves."""

from __future__ import annotations

import re
from functools import lru_cache

_PROBABILITY = re.compile(r"p_\d+")
_EXACTLY = {
    frozenset({"run", "step", "state"}): "states",
    frozenset({"run", "step", "state", "probability"}): "states",
    frozenset({"run", "step", "converged"}): "convergence steps",
    frozenset({"run", "step", "score", "threshold", "risk", "state"}): "warning scores",
}
_AMONG_OTHERS = {
    frozenset({"run", "onset", "collapse_step"}): "a truth table",
    frozenset({"state", "runs_with", "runs_without", "coefficient"}): "detours",
    frozenset({"state", "converged_with", "converged_without"}): "evidence for detours",
}


@lru_cache
def product_of(columns: tuple[str, ...]) -> str | None:
    """Say what a file with these columns holds if this package wrote it; None if it may be a log."""
    names = frozenset(name for name in columns if not _PROBABILITY.fullmatch(name))
    for among, product in _AMONG_OTHERS.items():
        if among <= names:
            return product
    return _EXACTLY.get(names)
