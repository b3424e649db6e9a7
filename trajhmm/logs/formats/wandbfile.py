"""Weights & Biases: the ``.wandb`` file that a run writes beside what it sends, read without the library.

A file has a head of 7 bytes, then blocks of 32 KiB in the manner of LevelDB's log: records in pieces, each with a
CRC-32 over its type and content, its length and its type. A whole record is a message ``Record`` of protocol buffers,
of which the few fields named here are read.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from trajhmm.errors import LogError
from trajhmm.jsontext import loads
from trajhmm.logs.formats.format import Format
from trajhmm.logs.formats.lines import LONGEST
from trajhmm.logs.formats.points import Cells, attributes_in, number_in, table_of_run
from trajhmm.logs.formats.table import Table
from trajhmm.logs.runset import Note

# The four characters, a magic number and version 0.
_HEAD = b":W&B" + struct.pack("<HB", 0xBEE1, 0)
_BLOCK = 2**15
# Bytes of a file.
_LARGEST = 2**32
# Bytes that are looked at for zeros at a time.
_AT_ONCE = 2**22
_ZEROS = bytes(_AT_ONCE)
_PIECE = struct.Struct("<IHB")
_PADDING, _FULL, _FIRST, _MIDDLE, _LAST = range(5)

# Fields of the messages, by the numbers that they have in the library's protocol.
_RECORD_HISTORY, _RECORD_SUMMARY, _RECORD_CONFIG, _RECORD_STATS, _RECORD_RUN, _RECORD_EXIT = 2, 3, 5, 7, 17, 18
_HISTORY_ITEM, _HISTORY_STEP, _STEP_NUMBER = 1, 2, 1
_ITEM_KEY, _ITEM_NESTED_KEY, _ITEM_JSON = 1, 2, 16
_ITEM_BOOLEAN, _ITEM_INTEGER, _ITEM_NUMBER, _ITEM_TEXT, _ITEM_OTHER_JSON = 4, 5, 6, 7, 8
_UPDATE = 1
_RUN_ID, _RUN_CONFIG, _RUN_DISPLAY_NAME = 1, 4, 8
_EXIT_CODE = 1

# What the tool adds to each row.
_STEP = "_step"
_OWN = ("_timestamp", "_runtime", "_wandb", _STEP)
# Of a file's first records, those among which the one that names the run stands.
_FIRST_RECORDS = 64


def read_wandb(path: Path, name: str) -> Table:
    """Read the history of one file.

    Nested keys are joined by a dot, as the tool does; settings become attributes, the summary a note. The run is called
    as it is displayed; by its id where it has no name, or where another run beside it is displayed under the same.

    Raises
    ------
    LogError
        The file is no such file, or a record makes no sense.
    """
    notes: list[Note] = []
    history = _History()
    try:
        with _opened(path) as stream:
            for record in _records(stream, path, notes):
                history.take(record)
    except (ValueError, RecursionError, struct.error) as error:
        raise LogError(
            f"{path}: record {history.n_records} makes no sense ({error}); copy the file again, or export the history"
        ) from error
    rows = history.cells.rows(_name_of(history, path, name), attributes_in(history.config, "."), path)
    notes += history.cells.note(path)
    notes += [Note(kind="left-out", text=f"{path}: {text}, left out") for text in history.left_out()]
    if history.exit_code:
        notes.append(Note(kind="cut", text=f"{path}: the run ended with exit code {history.exit_code}"))
    return table_of_run(rows, path=path, notes=notes)


@dataclass(kw_only=True)
class _History:
    """What the records of a file tell."""

    cells: Cells = field(default_factory=Cells)
    config: dict[str, object] = field(default_factory=dict)
    summary: dict[str, None] = field(default_factory=dict)
    logged: set[str] = field(default_factory=set)
    run_id: str = ""
    display_name: str = ""
    exit_code: int = 0
    n_records: int = 0
    n_stats: int = 0

    def take(self, record: bytes) -> None:
        """Take in one record."""
        self.n_records += 1
        for number, content in _fields(record):
            if not isinstance(content, bytes):
                continue
            if number == _RECORD_HISTORY:
                self._take_row(content)
            elif number == _RECORD_CONFIG:
                self._take_config(content)
            elif number == _RECORD_RUN:
                self._take_run(content)
            elif number == _RECORD_SUMMARY:
                items = (item for one, item in _fields(content) if one == _UPDATE and isinstance(item, bytes))
                self.summary |= dict.fromkeys(".".join(_item(item)[0]) for item in items)
            elif number == _RECORD_STATS:
                self.n_stats += 1
            elif number == _RECORD_EXIT:
                self.exit_code = next(
                    (code for one, code in _fields(content) if one == _EXIT_CODE and isinstance(code, int)), 0
                )

    def _take_run(self, content: bytes) -> None:
        for number, value in _fields(content):
            if number == _RUN_CONFIG and isinstance(value, bytes):
                self._take_config(value)
        self.run_id, self.display_name = _named(content)

    def _take_config(self, content: bytes) -> None:
        for number, item in _fields(content):
            if number == _UPDATE and isinstance(item, bytes):
                keys, value = _item(item)
                if not keys[0].startswith("_"):
                    self.config[".".join(keys)] = value

    def _take_row(self, content: bytes) -> None:
        step: object = None
        items: list[tuple[tuple[str, ...], object]] = []
        for number, value in _fields(content):
            if number == _HISTORY_ITEM and isinstance(value, bytes):
                items.append(_item(value))
            elif number == _HISTORY_STEP and isinstance(value, bytes):
                step = next((inner for one, inner in _fields(value) if one == _STEP_NUMBER), 0)
        # Histograms, pictures and tables are objects that say what they are.
        objects = {keys[:-1]: str(value) for keys, value in items if keys[-1] == "_type" and len(keys) > 1}
        self.cells.n += 1
        for keys, cell in items:
            if keys == (_STEP,):
                step = cell
                continue
            within = next((keys[:depth] for depth in range(1, len(keys)) if keys[:depth] in objects), None)
            if keys[0] in _OWN:
                continue
            if within is not None:
                self.cells.left_out.setdefault(".".join(within), objects[within])
            elif isinstance(cell, dict):
                self.cells.left_out.setdefault(".".join(keys), str(cell.get("_type", "an object")))
            else:
                self.cells.put(".".join(keys), cell)
            self.logged.add(".".join(keys))
        self.cells.put("step", number_in(step))

    def left_out(self) -> Iterator[str]:
        """What the file holds that is no row."""
        totals = [key for key in self.summary if key not in self.logged and not key.startswith("_")]
        if totals:
            yield f"totals of the summary are no steps ({', '.join(totals[:6])}{', …' if len(totals) > 6 else ''})"
        if self.n_stats:
            yield f"{self.n_stats} samples of the system have no step"


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file and check how it begins.

    Raises
    ------
    LogError
        It cannot be read, at any time while it is open, or is no such file.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(len(_HEAD))
            if head != _HEAD:
                raise LogError(f"{path}: begins with {head!r}, not as files of Weights & Biases do; copy it again")
            if stream.seek(0, 2) > _LARGEST:
                raise LogError(f"{path}: more than {_LARGEST >> 30} GiB; export the run's history, and read that")
            yield stream
    except OSError as error:
        raise LogError(f"{path}: cannot be read ({error.strerror or error})") from error


def _records(stream: BinaryIO, path: Path, notes: list[Note]) -> Iterator[bytes]:
    """Yield whole records. A torn one at the end is left out; damage in between costs the rest of its block.

    Raises
    ------
    ValueError
        A record is larger than any that the tool writes.
    """
    size = stream.seek(0, 2)
    begun, damaged = bytearray(), 0
    inside = torn = False
    written = 0  # something other than zeros stands there
    for start in range(0, size, _BLOCK):
        stream.seek(start)
        block = stream.read(_BLOCK)
        at = len(_HEAD) if not start else 0
        while not torn and _BLOCK - at >= _PIECE.size and start + at < size:
            kind, content = _piece(block, at)
            if kind is None:
                inside = False
                torn = _is_cut_off(block, at, size - start) or (
                    start >= written and not any(block[at:]) and (written := _next_written(stream)) < 0
                )
                damaged += not torn
                break
            at += _PIECE.size + len(content)
            if kind in (_FULL, _FIRST):
                begun = bytearray(content)
            elif inside:
                begun += content
            else:
                continue
            if len(begun) > LONGEST:
                raise ValueError(f"it has more than {LONGEST >> 20} MiB")
            inside = kind in (_FIRST, _MIDDLE)
            if not inside:
                yield bytes(begun)
        if torn:
            break
    if damaged:
        notes.append(Note(kind="torn", text=f"{path}: {damaged} damaged blocks, what stands there is left out"))
    if torn or inside:
        notes.append(Note(kind="torn", text=f"{path}: last record is half-written, left out"))


def _piece(block: bytes, at: int) -> tuple[int | None, bytes]:
    """Type and content of the piece of a record at a place in a block; None where it is torn or damaged."""
    if at + _PIECE.size > len(block):
        return None, b""
    checksum, length, kind = _PIECE.unpack_from(block, at)
    content = block[at + _PIECE.size : at + _PIECE.size + length]
    whole = len(content) == length and _FULL <= kind <= _LAST
    if not whole or zlib.crc32(content, zlib.crc32(bytes((kind,)))) != checksum:
        return None, b""
    return kind, content


def _is_cut_off(block: bytes, at: int, left: int) -> bool:
    """Whether a file ends before a piece does, with so many bytes from the beginning of the block on."""
    if at + _PIECE.size > len(block):
        return True
    return at + _PIECE.size + int(_PIECE.unpack_from(block, at)[1]) >= left


def _next_written(stream: BinaryIO) -> int:
    """A place behind the next bytes that are not all zeros; -1 if there are none up to the end of the file."""
    _pass_hole(stream)
    while more := stream.read(_AT_ONCE):
        if more != _ZEROS[: len(more)]:
            return stream.tell()
    return -1


def _pass_hole(stream: BinaryIO) -> None:
    """Go on to what was written, where the file system knows that nothing was."""
    try:
        place = os.lseek(stream.fileno(), stream.tell(), os.SEEK_DATA)
    except OSError as error:
        if error.errno != errno.ENXIO:
            return
        place = stream.seek(0, 2)
    stream.seek(place)


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield number and content of each field of a message: an int, or bytes of what has a length or 4 or 8 of them.

    Raises
    ------
    ValueError
        The message is torn.
    """
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of the unknown type {kind}")
        if at + length > end:
            raise ValueError(f"a field of {length} bytes with {end - at} left")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    """A whole number of 7 bits a byte, and the place behind it."""
    byte = message[at] if at < len(message) else 0x80
    if byte < 0x80:
        return byte, at + 1
    value = 0
    for place, byte in enumerate(islice(message, at, at + 10)):
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at + place + 1
    raise ValueError("a number without an end")


def _item(message: bytes) -> tuple[tuple[str, ...], object]:
    """Keys, from the outer to the inner, and value of an item."""
    key = ""
    nested: list[str] = []
    value: object = None
    for number, content in _fields(message):
        if isinstance(content, int):
            if number == _ITEM_BOOLEAN:
                value = bool(content)
            elif number == _ITEM_INTEGER:
                value = (content >> 1) ^ -(content & 1)
        elif number == _ITEM_KEY:
            key = content.decode(errors="replace")
        elif number == _ITEM_NESTED_KEY:
            nested.append(content.decode(errors="replace"))
        elif number in (_ITEM_JSON, _ITEM_OTHER_JSON):
            value = loads(content)
        elif number == _ITEM_NUMBER:
            value = struct.unpack("<d", content)[0]
        elif number == _ITEM_TEXT:
            value = content.decode(errors="replace")
    return tuple(nested) or (key,), value


def _named(run: bytes) -> tuple[str, str]:
    """Id and displayed name that the record of a run holds."""
    words = {number: content for number, content in _fields(run) if isinstance(content, bytes)}
    run_id, display_name = words.get(_RUN_ID, b""), words.get(_RUN_DISPLAY_NAME, b"")
    return run_id.decode(errors="replace"), display_name.decode(errors="replace")


def _name_of(history: _History, path: Path, name: str) -> str:
    """What a run is called, so that files of one run agree, and those of several do not."""
    if not history.run_id:
        return history.display_name or name
    beside = _names_beside(path.parent) | _names_beside(path.parent.parent)
    mine = history.display_name or beside.get(history.run_id, "")
    others = {shown for run_id, shown in beside.items() if run_id != history.run_id}
    return mine if mine and mine not in others else history.run_id


def _names_beside(folder: Path) -> dict[str, str]:
    """What the runs in the folders of ``folder`` are displayed as, by id."""
    try:
        return _names_in(folder, folder.stat().st_mtime_ns)
    except OSError:
        return {}


@lru_cache(maxsize=8)
def _names_in(folder: Path, _changed: int) -> dict[str, str]:
    names: dict[str, str] = {}
    for path in sorted((*folder.glob("*run-*/run-*.wandb"), *folder.glob("*.wandb"))):
        run_id, display_name = _first_names(path)
        if run_id and (display_name or run_id not in names):
            names[run_id] = display_name
    return names


def _first_names(path: Path) -> tuple[str, str]:
    """Id and displayed name of the run in a file, empty where they are not told at its beginning."""
    try:
        if not path.is_file():
            return "", ""
        with path.open("rb") as stream:
            raw = stream.read(8 * _BLOCK)
        for record in islice(_records(BytesIO(raw), path, []), _FIRST_RECORDS):
            for number, content in _fields(record):
                if number == _RECORD_RUN and isinstance(content, bytes):
                    return _named(content)
    except (OSError, ValueError):
        pass
    return "", ""


WANDB = Format(
    name="wandb",
    title="Weights & Biases (.wandb)",
    names=r"\.wandb",
    read=read_wandb,
    takes=lambda _path, head: head.startswith(_HEAD),
)
