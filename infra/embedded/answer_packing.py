"""Packs the bytes of an answer for the wire: as ClickHouse's compressed blocks, in an encoding of HTTP, or both.

Blocks are of LZ4 whatever `network_compression_method` says: each names its method, and LZ4 is the one that all clients
read. A block is a checksum (CityHash128 as of version 1.0.2), the method, both sizes, and the bytes.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import cramjam

__all__ = ["block_packed", "encoded"]

BLOCK_BYTES_MAX: Final = 1_048_576
"""Unpacked: as large as ClickHouse makes its own."""
METHOD_LZ4: Final = 0x82
HEAD: Final = struct.Struct("<BII")
CHECKSUM: Final = struct.Struct("<QQ")
LOW_WORD: Final = (1 << 64) - 1
BROTLI_LEVEL: Final = 4
ENCODERS: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "zstd": lambda body: bytes(cramjam.zstd.compress(body, level=1)),
    "lz4": lambda body: bytes(cramjam.lz4.compress(body)),
    "gzip": lambda body: bytes(cramjam.gzip.compress(body, level=1)),
    "br": lambda body: bytes(cramjam.brotli.compress(body, level=BROTLI_LEVEL)),
    "deflate": lambda body: zlib.compress(body, level=1),
}


def encoded(body: bytes, encoding: str) -> bytes:
    """In one of the encodings of `decisions/answer_packing.py`."""
    return ENCODERS[encoding](body)


def block_packed(body: bytes) -> bytes:
    """As ClickHouse's compressed blocks (`compress=1`)."""
    return b"".join(packed_blocks(body))


def packed_blocks(body: bytes) -> Iterator[bytes]:
    from clickhouse_cityhash.cityhash import CityHash128  # of the extra `embedded`, as the engine is

    whole = memoryview(body)
    for begin in range(0, len(body), BLOCK_BYTES_MAX):
        plain = whole[begin : begin + BLOCK_BYTES_MAX]
        packed = bytes(cramjam.lz4.compress_block(plain, store_size=False))
        block = HEAD.pack(METHOD_LZ4, HEAD.size + len(packed), len(plain)) + packed
        checksum = CityHash128(block)
        yield CHECKSUM.pack(checksum >> 64, checksum & LOW_WORD) + block
