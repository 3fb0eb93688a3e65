"""Kafka's five codecs, unpacked within a limit.

What a producer or a recompressing broker has packed may unpack to a thousand times its size, by mistake or by design.
So nothing is unpacked without a limit: gzip takes one, snappy says its size in front, and lz4 and zstd write into a
buffer of ours, which grows from a likely size to the limit and never beyond.

Java's snappy comes in blocks behind the header of the xerial library; others send one bare block. gzip, lz4 and zstd
come in standard frames, one or several.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import cramjam

__all__ = ["CannotUnpack", "unpacked"]

NONE, GZIP, SNAPPY, LZ4, ZSTD = range(5)
GZIP_WINDOW_BITS: Final = 31
XERIAL_MAGIC: Final = b"\x82SNAPPY\x00"
XERIAL_HEADER_BYTES: Final = 16
BLOCK_LENGTH_BYTES: Final = 4
LIKELY_RATIO: Final = 8
FIRST_BUFFER_BYTES_MIN: Final = 65_536
GROWTH: Final = 4


class CannotUnpack(Exception):
    """These bytes are not what the codec makes, or unpack to more than is allowed; reading them again is no use."""


def unpacked(codec: int, packed: memoryview, bytes_max: int) -> bytes | bytearray | memoryview:
    """What the records of a batch were packed from. Raises CannotUnpack."""
    try:
        match codec:
            case 0:
                return packed
            case 1:
                return gunzipped(packed, bytes_max)
            case 2:
                return b"".join(snappy_blocks(packed, bytes_max))
            case 3:
                return into_buffer(cramjam.lz4.decompress_into, packed, bytes_max)
            case 4:
                return into_buffer(cramjam.zstd.decompress_into, packed, bytes_max)
            case _:
                raise CannotUnpack(f"codec {codec} is none that Kafka has")
    except (cramjam.DecompressionError, zlib.error) as error:
        raise CannotUnpack(f"codec {codec} cannot unpack it, or it unpacks to more than {bytes_max} bytes") from error


def gunzipped(packed: memoryview, bytes_max: int) -> bytes:
    parts: list[bytes] = []
    left, room = bytes(packed), bytes_max
    while left:
        member = zlib.decompressobj(GZIP_WINDOW_BITS)
        parts.append(member.decompress(left, room + 1))  # 0 would mean "no limit"
        room -= len(parts[-1])
        if room < 0:
            raise CannotUnpack(f"it unpacks to more than {bytes_max} bytes")
        if not member.eof:
            raise CannotUnpack("its gzip stream is cut off")
        left = member.unused_data
    return b"".join(parts)


def snappy_blocks(packed: memoryview, bytes_max: int) -> Iterator[bytes]:
    room = bytes_max
    for block in xerial_blocks(packed) if bytes(packed[: len(XERIAL_MAGIC)]) == XERIAL_MAGIC else (bytes(packed),):
        room -= cramjam.snappy.decompress_raw_len(block)
        if room < 0:
            raise CannotUnpack(f"it unpacks to more than {bytes_max} bytes")
        yield bytes(cramjam.snappy.decompress_raw(block))


def xerial_blocks(packed: memoryview) -> Iterator[bytes]:
    start = XERIAL_HEADER_BYTES
    while start < len(packed):
        begin = start + BLOCK_LENGTH_BYTES
        length = int.from_bytes(packed[start:begin], "big")
        if begin + length > len(packed):
            raise CannotUnpack("its snappy blocks are cut off")
        yield bytes(packed[begin : begin + length])
        start = begin + length


def into_buffer(decompress_into: Callable[[bytes, Any], int], packed: memoryview, bytes_max: int) -> memoryview:
    """Unpack into a buffer that is made larger as often as needed."""
    source = bytes(packed)
    size = min(bytes_max, max(FIRST_BUFFER_BYTES_MIN, LIKELY_RATIO * len(source)))
    while True:
        buffer = bytearray(size)
        try:
            return memoryview(buffer)[: decompress_into(source, buffer)]
        except cramjam.DecompressionError:
            if size == bytes_max:
                raise
        size = min(bytes_max, GROWTH * size)
