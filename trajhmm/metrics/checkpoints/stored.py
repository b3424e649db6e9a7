"""`StoredTensor`: a tensor in a file; and what the readers of such files have in common."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from trajhmm.errors import CheckpointError
from trajhmm.naming import is_text, plain_text

FLOATING = ("F64", "F32", "F16", "BF16")
# Bytes in which an archive lists its members, and within which its end says where the list is; a flag of members.
_LONGEST_LIST, _END_OF_ZIP, _ENCRYPTED = 2**24, 2**16 + 100, 1


@dataclass(frozen=True, kw_only=True, eq=False)
class StoredTensor:
    """A tensor in a file: its shape, whether it holds floating-point numbers, and how to load it."""

    shape: tuple[int, ...]
    floating: bool
    load: Callable[[], NDArray[Any]]


def wide(get: Callable[[str], NDArray[Any]], name: str) -> NDArray[Any]:
    """Get an array, one of half precision as float32."""
    array = get(name)
    return array.astype(np.float32) if array.dtype == np.float16 else array


def refuse_type(path: Path, name: str, dtype: str) -> NDArray[Any]:
    """Refuse to load a tensor of a type that holds no plain numbers.

    Raises
    ------
    CheckpointError
        Always.
    """
    expected = ", ".join(FLOATING)
    raise CheckpointError(f"{path}: {name} is stored as {dtype}; expected {expected}: save the weights unquantised")


def check_name(path: Path) -> None:
    """Refuse a file whose name its reader cannot take.

    Raises
    ------
    CheckpointError
        The name is not UTF-8.
    """
    if not is_text(path):
        raise CheckpointError(f"{path}: its name is no UTF-8 text, which its reader takes; rename it")


def check_directory(file: BinaryIO, path: Path) -> None:
    """Refuse an archive whose list of members alone would fill the memory.

    Raises
    ------
    CheckpointError
        The list is longer than that of any weights.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_OF_ZIP))
    end = file.read()
    at = end.rfind(b"PK\5\6")
    listed = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    if listed == 2**32 - 1 and (at := end.rfind(b"PK\6\6", 0, at)) >= 0:
        listed = int.from_bytes(end[at + 40 : at + 48], "little")
    if listed > _LONGEST_LIST:
        raise CheckpointError(f"{path}: lists its members in {listed:,} bytes; expected at most {_LONGEST_LIST:,}")


def is_encrypted(member: zipfile.ZipInfo) -> bool:
    """Whether a member of an archive cannot be read without a password."""
    return bool(member.flag_bits & _ENCRYPTED)


def needs_pickle(path: Path, what: str, remedy: str) -> CheckpointError:
    """The error of a file that holds something which only code of the file could make."""
    return CheckpointError(f"{path}: refused, as reading it would run code from the file ({what}); {remedy}")


def torn(path: Path, kind: str, error: Exception) -> CheckpointError:
    """The error of a file that cannot be read to its end, with the first line of the reason."""
    lines = plain_text(error).strip().splitlines()
    reason = (lines[0] if lines else type(error).__name__).rstrip(".")
    return CheckpointError(f"{path}: not a whole {kind}, torn or half-written ({reason[:90]}); copy it again")
