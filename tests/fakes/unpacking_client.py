"""A client's side of packed answers: it checks ClickHouse's compressed blocks, and takes encodings of HTTP apart."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

import cramjam
from clickhouse_cityhash.cityhash import CityHash128

__all__ = ["DECODERS", "unpacked"]

DECODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: bytes(cramjam.zstd.decompress(body)),
    "lz4": lambda body: bytes(cramjam.lz4.decompress(body)),
    "gzip": lambda body: bytes(cramjam.gzip.decompress(body)),
    "br": lambda body: bytes(cramjam.brotli.decompress(body)),
    "deflate": zlib.decompress,
}


def unpacked(blocks: bytes) -> bytes:
    """What is in the blocks."""
    found, at = b"", 0
    while at < len(blocks):
        high, low, method, packed_size, size = struct.unpack_from("<QQBII", blocks, at)
        block = blocks[at + 16 : at + 16 + packed_size]
        assert (high << 64) + low == CityHash128(block), "the checksum is another"
        assert (method, len(block)) == (0x82, packed_size)
        found += bytes(cramjam.lz4.decompress_block(block[9:], output_len=size))
        at += 16 + packed_size
    return found
