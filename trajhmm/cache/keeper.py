"""`Cache`: work something out, or find it as it was worked out before."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from trajhmm.cache.packed import pack, unpack
from trajhmm.cache.store import Store
from trajhmm.stored import StoredError

Result = TypeVar("Result")

# Where entries stand, and the switch: `off` for none.
FOLDER_VARIABLE, SWITCH_VARIABLE = "TRAJHMM_CACHE_DIR", "TRAJHMM_CACHE"
# Rooms, and modules beside them, whose code gives what is kept: another line in one of them, and nothing is found.
_ROOMS = ("features", "hmm", "dynamics", "cache", "bounds", "shares")


@dataclass(frozen=True, kw_only=True, eq=False)
class Cache:
    """Finds results again by what they depend on.

    Attributes
    ----------
    store : where they are; None where none are kept.
    facts : what all of them depend on, as JSON.
    """

    store: Store | None
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_user(cls) -> Cache:
        """The cache in ``$TRAJHMM_CACHE_DIR``, or where caches of this user belong; none if ``TRAJHMM_CACHE=off``."""
        if os.environ.get(SWITCH_VARIABLE, "").lower() in ("off", "0", "no", "false"):
            return NO_CACHE
        folder = _folder()
        return NO_CACHE if folder is None else cls(store=Store(folder))

    def about(self, **facts: Any) -> Cache:
        """The same for results that depend on ``facts`` as well."""
        return replace(self, facts={**self.facts, **facts})

    def keep(self, kind: str, hint: Any, work_out: Callable[[], Result], **settings: Any) -> Result:
        """Find a result again, or work it out and keep it.

        Parameters
        ----------
        kind : of result.
        hint : its type, which what is found has to have.
        work_out : gives it, where it is not found.
        settings : on which it depends, beside the facts; as JSON.
        """
        if self.store is None:
            return work_out()
        key = digest_of({"kind": kind, "facts": self.facts, "settings": settings, "code": _code()})
        parts = self.store.get(key)
        if parts is not None:
            try:
                return cast("Result", unpack(parts, hint))
            except StoredError:
                self.store.drop(key)
        result = work_out()
        self.store.put(key, pack(result))
        return result


NO_CACHE = Cache(store=None)
"""Keeps nothing."""


def digest_of(*parts: Any) -> str:
    """SHA-256, in hexadecimal, of arrays and of values that JSON knows."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).view(np.uint8).reshape(-1).data if part.size else b"")
        else:
            text = json.dumps(part, sort_keys=True, separators=(",", ":")).encode()
            digest.update(f"{len(text)}:".encode() + text)
    return digest.hexdigest()


@cache
def _code() -> dict[str, str]:
    """What works results out: these rooms, line by line, and the libraries that they stand on."""
    from importlib.metadata import PackageNotFoundError, version

    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for room in _ROOMS:
        for path in sorted((package / room).rglob("*.py")) or [package / f"{room}.py"]:
            digest.update(f"{path.relative_to(package).as_posix()}\n".encode() + path.read_bytes())
    libraries = {"python": sys.version.split()[0], "numpy": np.__version__}
    for name in ("trajhmm", "scipy", "statsmodels", "numba"):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:  # run from its source, or frozen
            libraries[name] = ""
    return {"rooms": digest.hexdigest(), **libraries}


def _folder() -> Path | None:
    """Where this user's entries belong; None without a home."""
    if named := os.environ.get(FOLDER_VARIABLE):
        return Path(named)
    if (common := os.environ.get("XDG_CACHE_HOME")) and Path(common).is_absolute():
        return Path(common) / "trajhmm"
    try:
        home = Path.home()
    except RuntimeError:
        return None
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "trajhmm"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "trajhmm" / "Cache"
    return home / ".cache" / "trajhmm"
