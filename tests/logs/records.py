"""Records of a `.wandb` file, byte by byte."""

import struct
import zlib

HEAD = b":W&B" + struct.pack("<HB", 0xBEE1, 0)


def varint(number):
    out = b""
    while number > 0x7F:
        out += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return out + bytes((number,))


def field(number, content):
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    if isinstance(content, float):
        return varint(number << 3 | 1) + struct.pack("<d", content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def piece(content, kind=1):
    return struct.pack("<IHB", zlib.crc32(bytes((kind,)) + content), len(content), kind) + content
