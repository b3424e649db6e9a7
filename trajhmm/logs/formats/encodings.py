"""Text as systems write it: UTF-8 with and without a mark, UTF-16, compressed."""

from __future__ import annotations

import gzip
import zlib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

from trajhmm.errors import LogError
from trajhmm.logs.formats.lines import LONGEST_LINE, Cut, without_end

# Bytes that are read at a time of a text that is read as a whole.
_PIECE = 2**22
# Bytes that a compressed text may hold, and how many times its size: logs shrink to a tenth, bombs to a thousandth.
_MOST_UNPACKED, _TIMES_PACKED = 2**25, 40
# Bytes of a file of settings that are read.
_SMALL = 2**20
# Characters that are looked at where no mark tells the encoding.
_LOOKED_AT = 16


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a text file for reading bytes, of what it holds if it is compressed.

    Raises
    ------
    LogError
        It cannot be read, at any time while it is open.
    """
    try:
        with cast("BinaryIO", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb") as stream:
            yield stream
    except (OSError, EOFError, zlib.error) as error:
        raise LogError(f"{path}: cannot be read as text ({error})") from error


def whole_text(path: Path) -> bytes:
    """All that a text file holds, of what it holds if it is compressed.

    Raises
    ------
    LogError
        It cannot be read; has a stretch without a line break that no line is as long as, as where a file was made
        longer than what was written to it; or unpacks to far more than its size.
    """
    most = max(_MOST_UNPACKED, _TIMES_PACKED * path.stat().st_size) if path.suffix.lower() == ".gz" else None
    pieces: list[bytes] = []
    total = since_break = 0
    with opened(path) as stream:
        while piece := stream.read(_PIECE):
            pieces.append(piece)
            total += len(piece)
            at = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
            since_break = since_break + len(piece) if at < 0 else len(piece) - at
            if since_break > LONGEST_LINE:
                raise LogError(f"{path}: {without_end(LONGEST_LINE)}")
            if most is not None and total > most:
                raise LogError(
                    f"{path}: unpacks to more than {most >> 20} MiB, far beyond its own size; unpack it to read it"
                )
    return b"".join(pieces)


def beginning_of(path: Path) -> str:
    """The text at the beginning of a file that is small, such as one of settings; empty where there is no such file.

    Raises
    ------
    LogError
        It cannot be read.
    """
    if not path.is_file():
        return ""
    with opened(path) as stream:
        return without_mark(stream.read(_SMALL)).decode(errors="replace")


def utf16_of(head: bytes | bytearray) -> str | None:
    """Which UTF-16 a text is in, given its first bytes: by its mark, or as every other byte is 0; None if in none."""
    if head.startswith(BOM_UTF16_LE):
        return "utf-16-le"
    if head.startswith(BOM_UTF16_BE):
        return "utf-16-be"
    high, low = head[: 2 * _LOOKED_AT : 2], head[1 : 2 * _LOOKED_AT : 2]
    if low and not any(low) and all(high):
        return "utf-16-le"
    if low and not any(high) and all(low):
        return "utf-16-be"
    return None


def utf8(raw: bytes, encoding: str) -> bytes:
    """A text in UTF-16 as UTF-8 without a mark; what stands for no character is marked as such."""
    whole = raw[: len(raw) // 2 * 2].decode(encoding, errors="replace")
    return whole.removeprefix("\ufeff").encode()


def without_mark(raw: bytes | bytearray) -> bytes:
    """A text without the mark of UTF-8 at its beginning."""
    return bytes(raw.removeprefix(BOM_UTF8))


def wide_lines(data: bytes | bytearray, ended: bool) -> int:  # noqa: ARG001, FBT001 (as `Cut` says)
    """Cut UTF-16 of either kind behind its last line break."""
    at = max(_last(data, b"\n\0"), _last(data, b"\0\n"))
    return at + 2


def widened(cut: Cut) -> Cut:
    """The same cut at the beginning of a text in UTF-16."""

    def wide(data: bytes | bytearray, ended: bool) -> int:  # noqa: FBT001 (as `Cut` says)
        encoding = utf16_of(data)
        if encoding is None:
            return 0
        text = data[: len(data) // 2 * 2].decode(encoding, errors="replace").encode()
        return len(text[: cut(text, ended)].decode().encode(encoding))

    return wide


def _last(data: bytes | bytearray, pair: bytes) -> int:
    """Where a pair of bytes last stands at an even place; -2 if nowhere."""
    at = data.rfind(pair)
    while at > 0 and at % 2:
        at = data.rfind(pair, 0, at + 1)
    return at if at >= 0 else -2
