"""Whole files or none: writing to a temporary name, then renaming; never over what is being read."""

from __future__ import annotations

import csv
import os
import re
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from trajhmm.errors import TrajHMMError
from trajhmm.naming import is_text, plain_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# What this package says of the run logs that it writes: a null is blank and a NaN was logged, so that nothing has to be
# guessed; and, of a part that `RunLogger` wrote, its number: where steps go back in a later part, the run was resumed.
BLANKS_ARE_BLANK = {b"trajhmm.null": b"blank"}
PART = b"trajhmm.part"

# Where the system keeps the files that this process has open, by number: /dev/stdout is a link into it.
_OPEN_FILES = r"/dev/fd|/proc/(self|{process})(/task/\d+)?/fd"
_MOST_LINKS = 40
# Bytes of a file's name to which a temporary one may add.
_LONGEST_NAME = 200
# What spreadsheets take for a formula at the beginning of a cell, behind any apostrophes; a number is none.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


@dataclass(frozen=True, kw_only=True, eq=False)
class _UnderWay:
    """What a command is to write, and what it has read so far."""

    outputs: tuple[Path, ...]
    read: dict[tuple[int, int], Path] = field(default_factory=dict)


_under_way: ContextVar[_UnderWay | None] = ContextVar("what a command reads and writes", default=None)
_renamed_later: ContextVar[list[tuple[Path, Path]] | None] = ContextVar("files to rename together", default=None)


@contextmanager
def writing(outputs: Iterable[str | Path]) -> Iterator[None]:
    """In this block nothing is written over what `reads` tells of; ``outputs`` are known to be written."""
    token = _under_way.set(_UnderWay(outputs=tuple(map(Path, outputs))))
    try:
        yield
    finally:
        _under_way.reset(token)


def reads(paths: Iterable[str | Path]) -> None:
    """Say which files are read; within `writing` they are not written over, by whatever name or link.

    Raises
    ------
    TrajHMMError
        One of them is among the outputs.
    """
    under_way = _under_way.get()
    if under_way is None:
        return
    for path in map(Path, paths):
        if (identity := _identity(path)) is not None:
            under_way.read.setdefault(identity, path)
    for output in under_way.outputs:
        _refuse_what_is_read(output)


def check_writable(path: str | Path, *, folder: bool = False, called: str = "file") -> None:
    """Refuse what cannot be written before work on it begins.

    Parameters
    ----------
    path : to be written; with ``folder``, where files are to be written.
    called : what it is to be, for the message.

    Raises
    ------
    TrajHMMError
        It is a folder and should be a file, or the other way round; it is a socket or a disk, or may not be written;
        nor may its folder; or it is being read.
    """
    target = Path(path)
    try:
        if folder and target.exists() and not target.is_dir():
            raise TrajHMMError(f"{target}: is a file; expected the name of a folder")
        if not folder:
            _refuse(target, called)
        if folder or not is_stream(target):
            _check_folder(target if folder else target.parent)
    except OSError as error:
        raise _cannot(target, error) from error


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to ``path`` if the block succeeds, delete it if not.

    A reader of ``path`` sees the old file or the new one, never a part, whatever kills the writer. What is no file but
    a pipe, a terminal or ``/dev/null`` is written to once all is there, and stays what it is.

    Raises
    ------
    TrajHMMError
        The folder is missing or not writable, the disk is full, or the file is being read, see `writing`.
    """
    target = Path(path)
    try:
        _refuse(target)
        stream = is_stream(target)
        folder = Path(tempfile.gettempdir()) if stream else target.parent
        folder.mkdir(parents=True, exist_ok=True)
        long = len(os.fsencode(target.name)) > _LONGEST_NAME
        handle, name = tempfile.mkstemp(prefix=f".{'long' if long else target.name}.", suffix=".tmp", dir=folder)
    except OSError as error:
        raise _cannot(target, error) from error
    os.close(handle)
    temporary = Path(name)
    later = None if stream else _renamed_later.get()
    try:
        yield temporary
        if stream:
            _pour(temporary, target)
            return
        _settle(temporary, target)
        if later is None:
            temporary.replace(target)
        else:
            later.append((temporary, target))
    except OSError as error:
        raise _cannot(target, error) from error
    finally:
        if later is None or (temporary, target) not in later:
            _remove(temporary)


@contextmanager
def together() -> Iterator[None]:
    """What is written in this block takes the place of old files at its end, all of it, or nothing if it fails."""
    renamed: list[tuple[Path, Path]] = []
    token = _renamed_later.set(renamed)
    try:
        yield
        for temporary, target in renamed:
            try:
                temporary.replace(target)
            except OSError as error:
                raise _cannot(target, error) from error
    finally:
        _renamed_later.reset(token)
        for temporary, _ in renamed:
            _remove(temporary)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all; what is no text in it by its number."""
    with replacing(path) as temporary:
        temporary.write_bytes(plain_text(text).encode())


def write_parquet(table: pa.Table, path: str | Path) -> None:
    """Write an Arrow table as zstd-compressed Parquet, whole or not at all."""
    import pyarrow.parquet as pq

    with replacing(path) as temporary, ExitStack() as opened:
        # Arrow takes no names that are not UTF-8.
        where = temporary if is_text(temporary) else opened.enter_context(temporary.open("wb"))
        pq.write_table(table, where, compression="zstd")


def write_csv(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table for people as CSV, whole or not at all; text that a spreadsheet would run is `guarded`."""
    safe = table.rename(columns=guarded)
    for place, kind in enumerate(safe.dtypes):
        if kind.kind not in "biufcmM":
            safe.isetitem(place, safe.iloc[:, place].map(guarded).array)
    text = safe.to_csv(index=False, lineterminator="\n")
    if "\r" in text:  # which ends a line to those who read it, unless it is quoted
        text = safe.to_csv(index=False, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    write_text(path, text)


def read_csv(path: str | Path) -> pd.DataFrame:
    """Read a table that `write_csv` wrote: its text as it was.

    Raises
    ------
    OSError, ValueError
        It cannot be read, or is no table.
    """
    import pandas as pd

    table = pd.read_csv(path).rename(columns=unguarded)
    for place, kind in enumerate(table.dtypes):
        if kind.kind not in "biufcmM":
            table.isetitem(place, table.iloc[:, place].map(unguarded).array)
    return table


def guarded(cell: object) -> object:
    """A cell of a table that spreadsheets take for what it is: text that looks like a formula behind an apostrophe."""
    if isinstance(cell, str) and _FORMULA.match(cell) and not _NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def unguarded(cell: object) -> object:
    """What `guarded` made a cell of."""
    return cell[1:] if isinstance(cell, str) and cell.startswith("'") and _FORMULA.match(cell) else cell


def _identity(path: Path) -> tuple[int, int] | None:
    """By which a file is known whatever it is called; None if it is no file that can be lost."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _refuse_what_is_read(target: Path) -> None:
    under_way = _under_way.get()
    identity = None if under_way is None or not under_way.read else _identity(target)
    if under_way is not None and identity is not None and (read := under_way.read.get(identity)) is not None:
        also = "" if read == target else f" as {read}"
        raise TrajHMMError(f"{target}: is being read{also}, and would be lost; name another file to write")


def _refuse(target: Path, called: str = "file") -> None:
    """Refuse to replace what is no file, may not be written, or is being read.

    Raises
    ------
    TrajHMMError, OSError
        Saying why.
    """
    _refuse_what_is_read(target)
    if target.is_dir():
        raise TrajHMMError(f"{target}: is a folder; expected the name of a {called} to write")
    if not target.exists() or _open_file(target) is not None:
        return
    mode = target.stat().st_mode
    if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
        kind = "socket" if stat.S_ISSOCK(mode) else "disk"
        raise TrajHMMError(f"{target}: is a {kind}; expected the name of a {called} to write")
    if not os.access(target, os.W_OK):
        raise PermissionError(13, "Permission denied")


def _check_folder(folder: Path) -> None:
    """Raise an `OSError` if files in a folder, there already or to be made, could not be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise NotADirectoryError(20, "Not a directory")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError(13, "Permission denied")


def _open_file(path: Path) -> int | None:
    """The number of the open file that a path such as ``/dev/stdout`` or ``/dev/fd/3`` stands for; None for others."""
    open_files = _OPEN_FILES.replace("{process}", str(os.getpid()))
    for _ in range(_MOST_LINKS):
        if path.name.isdecimal() and re.fullmatch(open_files, os.path.realpath(path.parent)):
            return int(path.name)
        if not path.is_symlink():
            return None
        path = path.parent / path.readlink()
    return None


def is_stream(target: Path) -> bool:
    """Whether to write into what is there, not to put a file in its place."""
    return _open_file(target) is not None or (target.exists() and not target.is_file())


def _pour(temporary: Path, stream: Path) -> None:
    """Copy into a pipe or a device; a pipe that nobody reads would be waited for, and is an error."""
    number = _open_file(stream)
    try:
        handle = os.open(stream, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY) if number is None else os.dup(number)
    except OSError as error:
        if stream.is_fifo():
            raise TrajHMMError(f"{stream}: nobody reads this pipe; start its reader first") from error
        raise
    if number is None:
        os.set_blocking(handle, True)
    elif sys.stdout is not None:
        sys.stdout.flush()
    with os.fdopen(handle, "wb") as into, temporary.open("rb") as written:
        shutil.copyfileobj(written, into)


def _settle(temporary: Path, target: Path) -> None:
    """See that all is on the disk, and may be read by those who might read the old file, if there is one."""
    with temporary.open("rb") as written:
        os.fsync(written.fileno())
    try:
        mode = stat.S_IMODE(target.stat().st_mode) & 0o777
    except OSError:
        mode = 0o666 & ~_umask()
    with suppress(PermissionError):
        temporary.chmod(mode)


def _remove(temporary: Path) -> None:
    with suppress(OSError):
        temporary.unlink(missing_ok=True)


def _cannot(target: Path, error: OSError) -> TrajHMMError:
    return TrajHMMError(f"{target}: cannot be written ({error.strerror or error})")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
