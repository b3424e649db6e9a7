"""Names of a room that are found when they are first used: loading one part of it does not load the others."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def found_lazily(room: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a room's ``__init__``; type checkers are told of the names by imports of their own.

    Parameters
    ----------
    room : full name of the package.
    homes : modules in it, each with the names that live there.
    """
    home_of = {name: home for home, names in homes.items() for name in names}

    def find(name: str) -> Any:
        if name not in home_of:
            raise AttributeError(f"module {room!r} has no attribute {name!r}")
        found = getattr(importlib.import_module(f"{room}.{home_of[name]}"), name)
        setattr(sys.modules[room], name, found)
        return found

    return find
