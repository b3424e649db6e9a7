"""`Store`: a folder of entries, one file each, bounded in size; whatever is wrong with it, it is as if empty."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import io
import json
import os
import re
import secrets
import stat
import tempfile
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from trajhmm.cache.packed import Packed
from trajhmm.stored import StoredError, parsed, read_bounded

# Bytes of all entries together, beyond which those that were not used for longest go; and of one.
MOST_BYTES, MOST_OF_ONE = 256 * 2**20, 64 * 2**20
# What a process that was killed left behind goes after so many seconds.
_LEFT_BEHIND = 3600.0
_SEAL, _ENDING, _TEMPORARY = "seal", ".npz", ".tmp"
# What this store wrote, by its name: nothing else in the folder is let go of, whoever else keeps things there.
_ENTRY = re.compile(r"[0-9a-f]{64}\.npz")
_PREFIX = "trajhmm-"
_SEAL_BYTES = 32
# What goes wrong with files, and with what is in them.
_TROUBLE = (OSError, ValueError, TypeError, KeyError, EOFError, MemoryError, zipfile.BadZipFile, zlib.error)


class Store:
    """Results in parts, by key.

    An entry is an ``.npz`` file: the arrays, the rest as JSON, and a seal over both and the key. The seal is made with
    a secret in the folder that only its owner can read, so that what somebody else put there is not taken for ours.

    Parameters
    ----------
    folder : where entries are; made when the first is written.
    most_bytes : of all entries together.
    """

    def __init__(self, folder: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self.folder = folder
        self.most_bytes = most_bytes

    def get(self, key: str) -> Packed | None:
        """What was put under a key; None if there is nothing, or nothing that can be trusted."""
        path = self._path(key)
        try:
            secret = self._secret(make=False)
            if secret is None:
                return None
            raw = read_bounded(path, MOST_OF_ONE)
        except _TROUBLE:
            return None
        try:
            found = _opened(raw, key, secret)
        except _TROUBLE:
            self.drop(key)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)
        return found

    def put(self, key: str, packed: Packed) -> None:
        """Keep something under a key, whole or not at all; nothing happens where that cannot be."""
        if sum(array.nbytes for array in packed.arrays) > min(MOST_OF_ONE, self.most_bytes) // 2:
            return
        with contextlib.suppress(*_TROUBLE):
            secret = self._secret(make=True)
            if secret is None:
                return
            handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_TEMPORARY, dir=self.folder)
            temporary = Path(name)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(_closed(packed, key, secret))
                temporary.replace(self._path(key))
            finally:
                temporary.unlink(missing_ok=True)
            self._trim()

    def drop(self, key: str) -> None:
        """Forget what is under a key."""
        with contextlib.suppress(OSError):
            self._path(key).unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_ENDING}"

    def _secret(self, *, make: bool) -> bytes | None:
        """What entries are sealed with; None where there is none, or one that others can read or have put there."""
        path = self.folder / _SEAL
        if make and not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Which only its owner can read.
            handle, name = tempfile.mkstemp(prefix=_PREFIX, suffix=_TEMPORARY, dir=self.folder)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(secrets.token_bytes(_SEAL_BYTES))
                try:
                    os.link(name, path)
                except FileExistsError:  # another process was first
                    pass
                except OSError:  # links are not known everywhere
                    Path(name).replace(path)
            finally:
                Path(name).unlink(missing_ok=True)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return None
        mine = not hasattr(os, "geteuid") or (status.st_uid == os.geteuid() and not status.st_mode & 0o077)
        if not mine or not stat.S_ISREG(status.st_mode):
            return None
        secret = read_bounded(path, _SEAL_BYTES)
        return secret if len(secret) == _SEAL_BYTES else None

    def _trim(self) -> None:
        """Let go of what was not used for longest, down to the bound, and of what was never finished."""
        entries = []
        with os.scandir(self.folder) as found:
            for one in found:
                with contextlib.suppress(OSError):
                    status = one.stat(follow_symlinks=False)
                    if _ENTRY.fullmatch(one.name):
                        entries.append((status.st_mtime, status.st_size, one.path))
                    elif (
                        one.name.startswith(_PREFIX)
                        and one.name.endswith(_TEMPORARY)
                        and time.time() - status.st_mtime > _LEFT_BEHIND
                    ):
                        Path(one.path).unlink()
        size = sum(size for _, size, _ in entries)
        for _, bytes_of_one, path in sorted(entries):
            if size <= self.most_bytes:
                return
            with contextlib.suppress(OSError):
                Path(path).unlink()
                size -= bytes_of_one


def _closed(packed: Packed, key: str, secret: bytes) -> bytes:
    """An entry, as bytes."""
    tree = json.dumps(packed.tree, separators=(",", ":")).encode()
    parts: dict[str, Any] = {f"array_{place}": array for place, array in enumerate(packed.arrays)}
    parts["tree"] = np.frombuffer(tree, dtype=np.uint8)
    parts["seal"] = np.frombuffer(_seal(packed, tree, key, secret), dtype=np.uint8)
    written = io.BytesIO()
    np.savez(written, **parts)
    return written.getvalue()


def _opened(raw: bytes, key: str, secret: bytes) -> Packed:
    """What an entry holds.

    Raises
    ------
    StoredError, and others
        It is none, or not that of this key, or not ours.
    """
    with zipfile.ZipFile(io.BytesIO(raw)) as members:
        # Nothing is compressed, so that nothing can be larger than the file.
        if any(one.compress_type != zipfile.ZIP_STORED or one.file_size > len(raw) for one in members.infolist()):
            raise StoredError("compressed")
    with np.load(io.BytesIO(raw), allow_pickle=False) as parts:
        names = set(parts.files)
        arrays = tuple(parts[f"array_{place}"] for place in range(len(names) - 2))
        tree, seal = parts["tree"].tobytes(), parts["seal"].tobytes()
    packed = Packed(tree=None, arrays=arrays)
    if not hmac.compare_digest(seal, _seal(packed, tree, key, secret)):
        raise StoredError("not sealed here")
    return packed._replace(tree=parsed(tree))


def _seal(packed: Packed, tree: bytes, key: str, secret: bytes) -> bytes:
    sealed = hmac.new(secret, digestmod=hashlib.sha256)
    for part in (key.encode(), tree):
        sealed.update(f"{len(part)}:".encode() + part)
    for array in packed.arrays:
        head = f"{array.dtype.str}{array.shape}{array.flags.f_contiguous and not array.flags.c_contiguous}:"
        sealed.update(head.encode() + array.tobytes())
    return sealed.digest()
