"""Files that grow: whole lines, or records, from where reading stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from typing import BinaryIO

from trajhmm.errors import LogError

# Bytes at the start, and before a place, by which a file is known again.
_EDGE = 2**10
# Bytes that are read at a time: what is made of them takes many times as much memory.
_PIECE = 2**22
# Bytes of a record, of a line, and of what stands before the first row, at most: a file that was made longer than what
# was written to it holds zeros to its end.
LONGEST, LONGEST_LINE, LONGEST_HEADER = 2**28, 2**26, 2**23


# Of some bytes, and whether they end the file: how many at their beginning are whole lines or records.
Cut = Callable[[bytes | bytearray, bool], int]


def without_end(size: int) -> str:
    """What is wrong with a file in which nothing ends in so many bytes."""
    return (
        f"no line or record ends in {size >> 20} MiB: no log, or not written to its end; cut it off behind its last row"
    )


def never(_line: bytes) -> bool:
    """Whether a row of cells without a line break is whole cannot be told: 0.12 may become 0.125."""
    return False


def first_line(data: bytes | bytearray, ended: bool) -> int:  # noqa: ARG001, FBT001 (as the type says)
    """Cut behind the first line that is not blank, which names columns."""
    at = len(data) - len(data.lstrip())
    return data.find(b"\n", at) + 1


def whole_lines(is_whole: Callable[[bytes], bool] = never) -> Cut:
    """Cut behind the last line break; at the end of a file behind its last line too, if that is whole."""

    def cut(data: bytes | bytearray, ended: bool) -> int:  # noqa: FBT001 (two values, as the type says)
        at = data.rfind(b"\n") + 1
        return len(data) if ended and data[at:].strip() and is_whole(bytes(data[at:])) else at

    return cut


@dataclass(frozen=True, kw_only=True)
class Lines:
    """Whole lines out of a text file, or whole records out of a binary one.

    Attributes
    ----------
    header : the beginning of the file up to the line that names columns; empty in formats without one.
    raw : the lines, each with its line break, save the last of a file.
    first : number of the first of them in the file.
    texts : columns that are text whatever these lines hold, as earlier ones were.
    carry : what reading must know of earlier lines, as `Table.carry` of those told it; empty at the start of a file.
    """

    header: bytes
    raw: bytes
    first: int
    texts: frozenset[str] = frozenset()
    carry: Mapping[str, float] = field(default_factory=dict)

    def halves(self) -> tuple[Lines, ...]:
        """The first half of the lines and the other; nothing of a single line."""
        middle = len(self.raw) // 2
        end = self.raw.find(b"\n", middle) + 1
        if end in (0, len(self.raw)):
            end = self.raw.rfind(b"\n", 0, middle) + 1
        if not end:
            return ()
        behind = replace(self, raw=self.raw[end:], first=self.first + self.raw.count(b"\n", 0, end))
        return replace(self, raw=self.raw[:end]), behind


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place in a file, at the start of a line or record.

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


class GrowingFile:
    """A file that is open for reading, to whose end lines or records are being added.

    Parameters
    ----------
    stream : the file.
    header : how many bytes at the beginning of the file go before the first row, 0 while they are not whole; or whether
        they are the first line that is not blank.
    cut : see `Cut`; a last line without a line break may still be half-written.
    """

    def __init__(self, stream: BinaryIO, *, header: Cut | bool, cut: Cut) -> None:
        self._stream, self._cut = stream, cut
        self._header: Cut | None = (first_line if header else None) if isinstance(header, bool) else header
        self._head = stream.read(_EDGE)

    def begins_as_before(self, place: Place) -> bool:
        """Whether the file still holds, before ``place``, what it held when the place was made."""
        return place.fingerprint == self._fingerprint(place.offset, self._before(place.offset))

    def heading(self) -> bytes:
        """What goes before the first row, once it is whole; empty before, and in formats without it.

        Raises
        ------
        LogError
            It does not end, see `LONGEST_HEADER`.
        """
        if self._header is None:
            return b""
        size = self._behind_header(self._header).header
        self._stream.seek(0)
        return self._stream.read(size)

    def lines_behind(self, place: Place) -> Iterator[tuple[Lines, Place]]:
        """Yield what is whole behind ``place``, some at a time, and the place behind it.

        Raises
        ------
        LogError
            A line or record does not end, see `LONGEST`.
        """
        if self._header is not None and not place.header:
            place = self._behind_header(self._header)
            if not place.header:
                return
        self._stream.seek(0)
        header = self._stream.read(place.header)
        before = self._before(place.offset)
        while raw := self._whole():
            first, offset = place.lines + 1, place.offset + len(raw)
            before = (before + raw)[-_EDGE:]
            place = Place(
                offset=offset,
                lines=place.lines + raw.count(b"\n"),
                header=place.header,
                fingerprint=self._fingerprint(offset, before),
            )
            yield Lines(header=header, raw=raw, first=first), place

    def _behind_header(self, header: Cut) -> Place:
        """The place behind the header; the start of the file if there is no whole one."""
        self._stream.seek(0)
        data, end = self._read_to(header, LONGEST_HEADER)
        return Place(offset=end, lines=data.count(b"\n", 0, end), header=end)

    def _whole(self) -> bytes:
        """Read on to the end of a line or record, and stay there."""
        data, cut = self._read_to(self._cut, LONGEST)
        self._stream.seek(cut - len(data), 1)
        return bytes(memoryview(data)[:cut])

    def _read_to(self, cut: Cut, longest: int) -> tuple[bytearray, int]:
        """Read on until something is whole, and tell how much of what was read."""
        data = bytearray()
        while True:
            read = self._stream.read(_PIECE)
            data += read
            end = cut(data, len(read) < _PIECE)
            if end or not read:
                return data, end
            if len(data) > longest:
                name = getattr(self._stream, "name", "file")
                raise LogError(f"{name}: {without_end(longest)}")

    def _before(self, offset: int) -> bytes:
        """The bytes before ``offset``, where the stream then stands."""
        self._stream.seek(max(0, offset - _EDGE))
        return self._stream.read(min(offset, _EDGE))

    def _fingerprint(self, offset: int, before: bytes) -> str:
        return blake2b(self._head[:offset] + before, digest_size=16).hexdigest()
