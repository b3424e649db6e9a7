"""Text files that grow: whole lines, from where reading stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import BinaryIO

# Bytes at the start, and before a place, by which a file is known again.
_EDGE = 2**10
# Bytes that are read at a time: what is made of them takes many times as much memory.
_PIECE = 2**22


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Whole lines out of a text file.

    Attributes
    ----------
    header : the line that names columns; empty in formats without one.
    raw : the lines, each with its line break, save the last of a file.
    first : number of the first of them in the file.
    texts : columns that are text whatever these lines hold, as earlier ones were.
    """

    header: bytes
    raw: bytes
    first: int
    texts: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in a text file, at the start of a line.

    Attributes
    ----------
    offset, lines : bytes and lines before it.
    header : bytes up to the end of the header line; 0 where there is none.
    fingerprint : of bytes at the start of the file and before the place.
    """

    offset: int = 0
    lines: int = 0
    header: int = 0
    fingerprint: str = ""


class GrowingText:
    """A text file that is open for reading, to whose end lines are being added.

    Parameters
    ----------
    stream : the file.
    header : whether its first line that is not empty names columns.
    is_whole : whether a last line without a line break is whole, or may still be half-written.
    """

    def __init__(self, stream: BinaryIO, *, header: bool, is_whole: Callable[[bytes], bool]) -> None:
        self._stream, self._has_header, self._is_whole = stream, header, is_whole
        self._head = stream.read(_EDGE)

    def begins_as_before(self, place: Place) -> bool:
        """Whether the file still holds, before ``place``, what it held when the place was made."""
        return place.fingerprint == self._fingerprint(place.offset, self._before(place.offset))

    def lines_behind(self, place: Place) -> Iterator[tuple[Lines, Place]]:
        """Yield whole lines behind ``place``, some at a time, and the place behind them."""
        if self._has_header and not place.header:
            place = self._behind_header()
            if not place.header:
                return
        self._stream.seek(0)
        header = self._stream.read(place.header)
        before = self._before(place.offset)
        while raw := self._whole_lines():
            first, offset = place.lines + 1, place.offset + len(raw)
            before = (before + raw)[-_EDGE:]
            place = Place(
                offset=offset,
                lines=place.lines + raw.count(b"\n"),
                header=place.header,
                fingerprint=self._fingerprint(offset, before),
            )
            yield Lines(header=header, raw=raw, first=first), place

    def _behind_header(self) -> Place:
        """The place behind the header; the start of the file if there is no whole one."""
        self._stream.seek(0)
        for number, line in enumerate(self._stream, start=1):
            if line.strip():
                end = self._stream.tell() if line.endswith(b"\n") else 0
                return Place(offset=end, lines=number, header=end)
        return Place()

    def _whole_lines(self) -> bytes:
        """Read on to the end of a line, and stay there."""
        read = self._stream.read(_PIECE)
        data, cut = read, read.rfind(b"\n") + 1
        while read and not cut:
            read = self._stream.read(_PIECE)
            cut = len(data) + read.rfind(b"\n") + 1 if b"\n" in read else 0
            data += read
        ended = len(read) < _PIECE
        if ended and data[cut:].strip() and self._is_whole(data[cut:]):
            cut = len(data)
        self._stream.seek(cut - len(data), 1)
        return data[:cut]

    def _before(self, offset: int) -> bytes:
        """The bytes before ``offset``, where the stream then stands."""
        self._stream.seek(max(0, offset - _EDGE))
        return self._stream.read(min(offset, _EDGE))

    def _fingerprint(self, offset: int, before: bytes) -> str:
        return blake2b(self._head[:offset] + before, digest_size=16).hexdigest()
