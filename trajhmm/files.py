"""Whole files or none: writing to a temporary name, then renaming."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from trajhmm.errors import TrajHMMError
from trajhmm.naming import is_text

if TYPE_CHECKING:
    import pyarrow as pa

# What this package says of the run logs that it writes: a null is blank and a NaN was logged, so that nothing has to be
# guessed; and, of a part that `RunLogger` wrote, its number: where steps go back in a later part, the run was resumed.
BLANKS_ARE_BLANK = {b"trajhmm.null": b"blank"}
PART = b"trajhmm.part"


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` if the block succeeds, delete it if not.

    A reader of ``path`` sees the old file or the new one, never a part, whatever kills the writer.

    Raises
    ------
    TrajHMMError
        The folder is missing or not writable, or the disk is full.
    """
    target = Path(path)
    if target.is_dir():
        raise TrajHMMError(f"{target}: is a folder; expected the name of a file to write")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
    except OSError as error:
        raise TrajHMMError(f"{target}: cannot be written ({error.strerror or error})") from error
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(target)
    except OSError as error:
        raise TrajHMMError(f"{target}: cannot be written ({error.strerror or error})") from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_parquet(table: pa.Table, path: str | Path) -> None:
    """Write an Arrow table as zstd-compressed Parquet, whole or not at all."""
    import pyarrow.parquet as pq

    with replacing(path) as temporary, ExitStack() as opened:
        # Arrow takes no names that are not UTF-8.
        where = temporary if is_text(temporary) else opened.enter_context(temporary.open("wb"))
        pq.write_table(table, where, compression="zstd")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
