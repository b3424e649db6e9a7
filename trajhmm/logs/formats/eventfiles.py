"""TensorBoard's event files, compiled: records between checksums, and the few fields of their messages that matter.

A file is a row of records: the length of the data as 8 bytes, a checksum of those as 4, the data, a checksum of the
data as 4, all little-endian (``tensorflow/core/lib/io/record_writer.h``); the checksum is CRC-32C, rotated and shifted.
The data are protocol buffers: ``Event {wall_time = 1, step = 2, summary = 5 {value = 1 {tag = 1, simple_value = 2,
tensor = 8, metadata = 9 {plugin_data = 1 {plugin_name = 1, content = 2}}}}}``.

No length in a file is trusted: nothing is read behind the end of what holds it, and every loop goes forward. Places
(``at``, ``stop``) are offsets into ``data``, (n,) uint8. A place of -1 says that something is not whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from trajhmm.compiled import compiled
from trajhmm.naming import Attribute

if TYPE_CHECKING:
    # In compiled code it is what any number is.
    int64 = int
else:
    from numpy import int64

Bytes = NDArray[np.uint8]
Ints = NDArray[np.int64]

# Bytes of a record beside its data: length and checksum before it, checksum behind.
_BEFORE, _AROUND = 12, 16
# Bytes of the smallest value with a number: two for its field, three for a tag of one letter, five for the number. The
# hyperparameters of a session take more.
_SMALLEST_POINT = 10
# Tags for which there is room at first; a power of two.
_TAGS = 64

# Wire types of protocol buffers.
_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5

# ``DataType`` of tensors whose elements are numbers: bytes of one, and the field that holds it if not ``content``.
FLOAT, DOUBLE, HALF, BFLOAT16 = 1, 2, 19, 14
_CONTENT = 4
_SIZES = np.zeros(24, dtype=np.int64)
_FIELDS = np.zeros(24, dtype=np.int64)
for _kind, _size, _number in (
    (FLOAT, 4, 5),
    (DOUBLE, 8, 6),
    (3, 4, 7),  # int32
    (4, 1, 7),  # uint8
    (5, 2, 7),  # int16
    (6, 1, 7),  # int8
    (9, 8, 10),  # int64
    (10, 1, 11),  # bool
    (BFLOAT16, 2, 13),
    (17, 2, 7),  # uint16
    (HALF, 2, 13),
    (22, 4, 16),  # uint32
    (23, 8, 17),  # uint64
):
    _SIZES[_kind], _FIELDS[_kind] = _size, _number


def _crc_tables() -> Ints:
    """(8, 256) CRC-32C of a byte with 0 to 7 zero bytes behind it."""
    tables = np.zeros((8, 256), dtype=np.int64)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        tables[0, byte] = crc
    for behind in range(1, 8):
        tables[behind] = tables[0, tables[behind - 1] & 255] ^ (tables[behind - 1] >> 8)
    return tables


_CRC = _crc_tables()
# A length that no record has.
_TOO_LONG = 2**40


class Parsed(NamedTuple):
    """What some records hold: n points, T tags, H sessions of hyperparameters.

    Attributes
    ----------
    records, steps, tags : (n,) int64 of each point the number of its record, its step, and the number of its tag.
    kinds, bits : (n,) int64 type of the number as tensors name it, and its bits.
    names : (T, 2) int64 where the tag stands.
    others : (T,) int64 how many values of the tag are no single numbers.
    sessions : (H, 2) int64 where the plugin's content stands.
    n_records, n_damaged, n_senseless : records that are whole; those whose checksum is wrong; those that are no events.
    n_lost : bytes that belong to no record.
    """

    records: Ints
    steps: Ints
    tags: Ints
    kinds: Ints
    bits: Ints
    names: Ints
    others: Ints
    sessions: Ints
    n_records: int
    n_damaged: int
    n_senseless: int
    n_lost: int


@compiled
def _load(data: Bytes, at: int, size: int) -> int:
    """The ``size`` bytes at a place as a whole number."""
    value = int64(0)
    for i in range(size):
        value |= int64(data[at + i]) << (8 * i)
    return value


@compiled
def checksum(data: Bytes, at: int, stop: int) -> int:
    """Masked CRC-32C of some bytes, eight at a time."""
    crc = int64(0xFFFFFFFF)
    while stop - at >= 8:
        crc ^= _load(data, at, 4)
        crc = (
            _CRC[7, crc & 255]
            ^ _CRC[6, (crc >> 8) & 255]
            ^ _CRC[5, (crc >> 16) & 255]
            ^ _CRC[4, crc >> 24]
            ^ _CRC[3, data[at + 4]]
            ^ _CRC[2, data[at + 5]]
            ^ _CRC[1, data[at + 6]]
            ^ _CRC[0, data[at + 7]]
        )
        at += 8
    while at < stop:
        crc = _CRC[0, (crc ^ data[at]) & 255] ^ (crc >> 8)
        at += 1
    crc ^= 0xFFFFFFFF
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@compiled
def length_at(data: Bytes, at: int) -> int:
    """Bytes of data of the record that begins at a place; -1 if none does."""
    if len(data) - at < _BEFORE:
        return -1
    length = _load(data, at, 8)
    if length < 0 or length >= _TOO_LONG:
        return -1
    return length if checksum(data, at, at + 8) == _load(data, at + 8, 4) else -1


@compiled
def _next_record(data: Bytes, at: int) -> int:
    """The next place, from ``at`` on, at which a record begins; -1 if there is none."""
    while len(data) - at >= _BEFORE:
        # Where a file was made longer than what was written to it there are zeros, and the checksum of none is zero.
        behind = at
        while behind < len(data) and data[behind] == 0:
            behind += 1
        if behind - at >= _BEFORE:
            at = behind - _BEFORE + 1
        elif length_at(data, at) >= 0:
            return at
        else:
            at += 1
    return -1


@compiled
def whole(data: Bytes, ended: bool, most: int) -> int:  # noqa: FBT001 (numba takes arguments by position)
    """How many bytes at the beginning are whole records, at most so many, and what lies between them.

    At the end of a file (``ended``) a last record whose checksum is wrong may still be half-written.
    """
    at = int64(0)
    for _ in range(most):
        length = length_at(data, at)
        if length < 0:
            if len(data) - at < _BEFORE:
                break
            found = _next_record(data, at + 1)
            if found < 0:
                # A record may begin in the last bytes.
                return at if ended else len(data) - _BEFORE + 1
            at = found
            continue
        if length > len(data) - at - _AROUND:
            break
        stop = at + _BEFORE + length
        last = ended and stop + 4 == len(data)
        if last and checksum(data, at + _BEFORE, stop) != _load(data, stop, 4):
            break
        at = stop + 4
    return at


@compiled
def _varint(data: Bytes, at: int, stop: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place behind it."""
    value = int64(0)
    for i in range(10):
        if at + i >= stop:
            break
        value |= int64(data[at + i] & 127) << (7 * i)
        if data[at + i] < 128:
            return value, at + i + 1
    return value, -1


@compiled
def field(data: Bytes, at: int, stop: int) -> tuple[int, int, int, int, int]:
    """A field of a message: its number, wire type, value, and the places at which its bytes begin and end.

    The value is a number; of a field of bytes it is their count. The next field begins where the bytes end.
    """
    key, begin = _varint(data, at, stop)
    if begin < 0 or key < 8:
        return 0, 0, 0, -1, -1
    wire = key & 7
    value = int64(0)
    if wire == _VARINT:
        value, end = _varint(data, begin, stop)
        return key >> 3, wire, value, begin, end
    if wire == _BYTES:
        size, begin = _varint(data, begin, stop)
    elif wire == _EIGHT_BYTES:
        size = int64(8)
    elif wire == _FOUR_BYTES:
        size = int64(4)
    else:
        return 0, 0, 0, -1, -1
    if begin < 0 or size < 0 or size > stop - begin:
        return 0, 0, 0, -1, -1
    value = size if wire == _BYTES else _load(data, begin, size)
    return key >> 3, wire, value, begin, begin + size


@compiled
def _is_one(data: Bytes, at: int, stop: int) -> int:
    """1 if a tensor of this shape has one element, 0 if not."""
    one = 1
    while at < stop:
        number, wire, _, begin, at = field(data, at, stop)
        if at < 0:
            return 0
        if number == 2 and wire == _BYTES:
            size, place = int64(0), begin
            while place < at:
                inner, inner_wire, value, _, place = field(data, place, at)
                if place < 0:
                    return 0
                if inner == 1 and inner_wire == _VARINT:
                    size = value
            if size != 1:
                one = 0
    return one


@compiled
def _elements(data: Bytes, wire: int, value: int, at: int, stop: int, size: int) -> tuple[int, int]:
    """Count the elements in a field that holds one of them, or several packed; and the bits of the last."""
    if wire != _BYTES:
        return 1, value
    n, bits = 0, int64(0)
    if size:
        n = (stop - at) // size
        return n, _load(data, stop - size, size) if n else bits
    while at < stop:
        bits, at = _varint(data, at, stop)
        if at < 0:
            return 0, bits
        n += 1
    return n, bits


@compiled
def _tensor(data: Bytes, start: int, stop: int) -> tuple[int, int]:
    """Type and bits of the one number in a tensor; the type is 0 if it holds anything else."""
    kind = int64(0)
    one = 1
    at = start
    while at < stop:
        number, wire, value, begin, at = field(data, at, stop)
        if at < 0:
            return 0, 0
        if number == 1 and wire == _VARINT:
            kind = value
        elif number == 2 and wire == _BYTES:
            one = _is_one(data, begin, at)
    if not one or kind < 0 or kind >= len(_SIZES) or _SIZES[kind] == 0:
        return 0, 0
    n, bits = 0, int64(0)
    fixed = _SIZES[kind] if kind in (FLOAT, DOUBLE) else 0
    single = _FOUR_BYTES if fixed == 4 else (_EIGHT_BYTES if fixed == 8 else _VARINT)
    at = start
    while at < stop:
        number, wire, value, begin, at = field(data, at, stop)
        if number == _CONTENT and wire == _BYTES and value:
            if value != _SIZES[kind]:
                return 0, 0
            return kind, _load(data, begin, value)
        if number == _FIELDS[kind] and wire in (_BYTES, single):
            more, last = _elements(data, wire, value, begin, at, fixed)
            if more:
                n, bits = n + more, last
    return (kind, bits) if n == 1 else (0, bits)


@compiled
def _plugin(data: Bytes, start: int, stop: int) -> tuple[int, int, int, int]:
    """Places of the name of the plugin that a value is for, and of what it says to it: empty if it says none."""
    name, name_end, content, content_end = start, start, start, start
    at = start
    while at < stop:
        number, wire, _, begin, at = field(data, at, stop)
        if at < 0:
            break
        if number == 1 and wire == _BYTES:
            place = begin
            while place < at:
                inner, inner_wire, _, low, place = field(data, place, at)
                if place < 0:
                    break
                if inner == 1 and inner_wire == _BYTES:
                    name, name_end = low, place
                elif inner == 2 and inner_wire == _BYTES:
                    content, content_end = low, place
    return name, name_end, content, content_end


_SCALARS = np.frombuffer(b"scalars", dtype=np.uint8)
_HPARAMS = np.frombuffer(b"hparams", dtype=np.uint8)


@compiled
def _is(data: Bytes, start: int, stop: int, word: Bytes) -> bool:
    if stop - start != len(word):
        return False
    for i in range(len(word)):  # noqa: SIM110 (numba compiles no generators in all())
        if data[start + i] != word[i]:
            return False
    return True


@compiled
def _value(data: Bytes, start: int, stop: int) -> tuple[int, int, int, int, int, int]:
    """One value of a summary: places of its tag, type and bits of its number, places of a session's hyperparameters.

    The type is 0 if it is no single number. The tag begins at -1 if the value is not whole.
    """
    tag, tag_end, kind, bits = start, start, int64(0), int64(0)
    tensor, tensor_end, meta, meta_end = start, start, start, start
    at = start
    while at < stop:
        number, wire, value, begin, at = field(data, at, stop)
        if at < 0:
            return -1, -1, 0, 0, 0, 0
        if number == 1 and wire == _BYTES:
            tag, tag_end = begin, at
        elif number == 2 and wire == _FOUR_BYTES:
            kind, bits, tensor_end = int64(FLOAT), value, tensor
        elif 3 <= number <= 8 and number != 7 and wire == _BYTES:
            # One of a value's kinds takes the place of another before it; 7 is a name.
            kind, tensor, tensor_end = int64(0), begin, at if number == 8 else begin
        elif number == 9 and wire == _BYTES:
            meta, meta_end = begin, at
    name, name_end, content, content_end = _plugin(data, meta, meta_end)
    if _is(data, name, name_end, _HPARAMS):
        return tag, tag_end, 0, 0, content, content_end
    # Writers need not name the plugin with every point.
    if tensor < tensor_end and (name == name_end or _is(data, name, name_end, _SCALARS)):
        kind, bits = _tensor(data, tensor, tensor_end)
    return tag, tag_end, kind, bits, 0, 0


@compiled
def _slot(data: Bytes, at: int, stop: int, names: Ints, slots: Ints) -> int:
    """The slot that holds the number of a tag, or where it belongs."""
    code = int64(stop - at)
    for i in range(at, stop):
        code = (code ^ int64(data[i])) * int64(0x100000001B3)
    slot = (code ^ (code >> 29)) & (len(slots) - 1)
    while slots[slot] >= 0:
        known = slots[slot]
        if names[known, 1] - names[known, 0] == stop - at:
            same = True
            for i in range(stop - at):
                if data[names[known, 0] + i] != data[at + i]:
                    same = False
                    break
            if same:
                break
        slot = (slot + 1) & (len(slots) - 1)
    return slot


@compiled
def _with_room(data: Bytes, names: Ints, others: Ints) -> tuple[Ints, Ints, Ints]:
    """The same tags with room for as many again, and their slots."""
    n_tags = len(names)
    more_names, more_others = np.empty((2 * n_tags, 2), np.int64), np.zeros(2 * n_tags, np.int64)
    more_names[:n_tags], more_others[:n_tags] = names, others
    slots = np.full(4 * len(more_names), -1)
    for tag in range(n_tags):
        slots[_slot(data, names[tag, 0], names[tag, 1], more_names, slots)] = tag
    return more_names, more_others, slots


@compiled
def parse(data: Bytes) -> Parsed:  # noqa: C901, PLR0912, PLR0915 (what a loop fills in is not handed on)
    """Read all records that are whole."""
    most = len(data) // _SMALLEST_POINT + 1
    records, steps, tags = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    kinds, bits = np.empty(most, np.int64), np.empty(most, np.int64)
    sessions = np.empty((most, 2), np.int64)
    names, others, slots = np.empty((_TAGS, 2), np.int64), np.zeros(_TAGS, np.int64), np.full(4 * _TAGS, -1)
    n, n_tags, n_sessions, n_records, n_damaged, n_senseless, n_lost = 0, 0, 0, 0, 0, 0, 0
    at = int64(0)
    while at < len(data):
        length = length_at(data, at)
        if length < 0 or length > len(data) - at - _AROUND:
            found = _next_record(data, at + 1) if length < 0 else -1
            found = len(data) if found < 0 else found
            n_lost += found - at
            at = found
            continue
        start, stop = at + _BEFORE, at + _BEFORE + length
        at = stop + 4
        n_records += 1
        if checksum(data, start, stop) != _load(data, stop, 4):
            n_damaged += 1
            continue
        first, first_session, step, sense = n, n_sessions, int64(0), True
        place = start
        while sense and place < stop:
            number, wire, value, begin, place = field(data, place, stop)
            sense = place >= 0
            if number == 2 and wire == _VARINT:
                step = value
            elif 3 <= number <= 9 and number != 5 and wire == _BYTES:
                # An event is one thing: a graph or a message takes the place of a summary before it.
                n, n_sessions = first, first_session
            elif number == 5 and wire == _BYTES:
                inner, inner_stop = begin, place
                while sense and inner < inner_stop:
                    number, wire, _, low, inner = field(data, inner, inner_stop)
                    sense = inner >= 0
                    if number != 1 or wire != _BYTES:
                        continue
                    tag, tag_end, kind, number_bits, content, content_end = _value(data, low, inner)
                    sense = tag >= 0
                    if not sense:
                        continue
                    if content < content_end:
                        sessions[n_sessions, 0], sessions[n_sessions, 1] = content, content_end
                        n_sessions += 1
                        continue
                    if n_tags == len(names):
                        names, others, slots = _with_room(data, names, others)
                    slot = _slot(data, tag, tag_end, names, slots)
                    if slots[slot] < 0:
                        names[n_tags, 0], names[n_tags, 1], slots[slot] = tag, tag_end, n_tags
                        n_tags += 1
                    tag = int64(slots[slot])
                    if kind == 0 or names[tag, 0] == names[tag, 1]:
                        others[tag] += 1
                        continue
                    records[n], tags[n], kinds[n], bits[n] = n_records, tag, kind, number_bits
                    n += 1
        if not sense:
            n_senseless += 1
            n, n_sessions = first, first_session
        steps[first:n] = step
    return Parsed(
        records[:n],
        steps[:n],
        tags[:n],
        kinds[:n],
        bits[:n],
        names[:n_tags],
        others[:n_tags],
        sessions[:n_sessions],
        n_records,
        n_damaged,
        n_senseless,
        n_lost,
    )


@compiled
def rows_of(
    apart: Ints,
    steps: Ints,
    tags: Ints,
    n_tags: int,
    joined: bool,  # noqa: FBT001
) -> tuple[Ints, Ints, Ints]:
    """Put points into rows.

    Points one after the other are a row while ``apart`` stays the same and no tag repeats. If ``joined``, rows of one
    step are one wherever they stand, until a tag is logged at a step that is not above its last: a run that was
    resumed, or a tag that was logged twice. There a new stretch of rows begins.

    Parameters
    ----------
    apart, steps, tags : (n,)
    n_tags : how many tags there are.

    Returns
    -------
    tuple
        (n,) the row of each point, and (m,) the step and (m,) the stretch of each row; rows are in order of their first
        points.
    """
    n, m = len(steps), 0
    rows, row_steps, stretches = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    piece, piece_of = 0, np.full(n_tags, -1)
    stretch, stretch_of = int64(0), np.full(n_tags, -1)
    last = np.empty(n_tags, np.int64)
    n_slots = 1
    while joined and n_slots < 2 * n:
        n_slots *= 2
    slots, slot_stretches = np.full(n_slots, -1), np.empty(n_slots, np.int64)
    first = 0
    while first < n:
        behind = first
        while behind < n and apart[behind] == apart[first] and piece_of[tags[behind]] != piece:
            piece_of[tags[behind]] = piece
            behind += 1
        piece += 1
        step, row = steps[first], m
        if joined:
            for i in range(first, behind):
                if stretch_of[tags[i]] == stretch and last[tags[i]] >= step:
                    stretch += 1
                    break
            for i in range(first, behind):
                stretch_of[tags[i]], last[tags[i]] = stretch, step
            code = (step + stretch * int64(0x632BE59BD9B4E019)) * int64(0x1E3779B97F4A7C15)
            slot = (code ^ (code >> 29)) & (n_slots - 1)
            while slots[slot] >= 0 and (slot_stretches[slot] != stretch or row_steps[slots[slot]] != step):
                slot = (slot + 1) & (n_slots - 1)
            if slots[slot] < 0:
                slots[slot], slot_stretches[slot] = m, stretch
            row = slots[slot]
        if row == m:
            row_steps[m], stretches[m] = step, stretch
            m += 1
        rows[first:behind] = row
        first = behind
    return rows, row_steps[:m], stretches[:m]


_SIGNED = {3: "<i4", 4: "<u1", 5: "<i2", 6: "<i1", 9: "<i8", 10: "<u1", 17: "<u2", 22: "<u4", 23: "<u8"}


def numbers_of(kinds: Ints, bits: Ints) -> NDArray[np.float64]:
    """(n,) float64: what the bits of numbers of some types say."""
    numbers = np.empty(len(bits))
    raw = bits.astype("<i8").view("<u8")
    for kind in np.unique(kinds).tolist():
        of_kind = kinds == kind
        some = raw[of_kind]
        if kind == FLOAT:
            numbers[of_kind] = some.astype("<u4").view("<f4")
        elif kind == DOUBLE:
            numbers[of_kind] = some.view("<f8")
        elif kind == HALF:
            numbers[of_kind] = some.astype("<u2").view("<f2")
        elif kind == BFLOAT16:
            numbers[of_kind] = (some.astype("<u4") << 16).view("<f4")
        else:
            size = np.dtype(_SIGNED[kind]).itemsize
            numbers[of_kind] = some.astype(f"<u{size}").view(_SIGNED[kind])
    return numbers


def hyperparameters(data: Bytes, start: int, stop: int) -> dict[str, Attribute]:
    """Numbers and texts that the hparams plugin was told at the start of a session; what is not whole is left out.

    ``HParamsPluginData {session_start_info = 3 {hparams = 1 {key = 1, value = 2 {number = 2, text = 3, truth = 4}}}}``
    """
    found: dict[str, Attribute] = {}
    for info in _inside(data, start, stop, 3):
        for entry in _inside(data, *info, 1):
            key = b"".join(data[slice(*place)].tobytes() for place in _inside(data, *entry, 1)).decode(errors="replace")
            for place in _inside(data, *entry, 2):
                number, _, value, begin, end = field(data, *place)
                if end < 0 or not key:
                    continue
                if number == 2 and end - begin == 8:
                    found[key] = float(data[begin:end].view("<f8")[0])
                elif number == 3:
                    found[key] = data[begin:end].tobytes().decode(errors="replace")
                elif number == 4:
                    found[key] = float(value)
    return found


def _inside(data: Bytes, at: int, stop: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Where the fields of bytes of one number stand in a message."""
    while at < stop:
        number, wire, _, begin, at = field(data, at, stop)
        if at < 0:
            return
        if number == wanted and wire == _BYTES:
            yield begin, at
