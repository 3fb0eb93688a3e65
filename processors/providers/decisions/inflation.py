"""Compressed bytes in, plain ones out, a bounded piece at a time.

We ask for plain answers, but a proxy may compress all the same. A few kilobytes of gzip can hold gigabytes: nothing
here ever makes more than PIECE_BYTES_MAX of them at once, and only as they are asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, Final

__all__ = ["PIECE_BYTES_MAX", "Inflater", "inflater_of"]

PIECE_BYTES_MAX: Final = 65_536
ANY_HEADER: Final = 47  # zlib's own number for "gzip or zlib, whichever it is"
NO_HEADER: Final = -15  # zlib's own number for bare deflate, which many call `deflate`
GZIP_FIRST: Final = 0x1F
ZLIB_METHOD: Final = 8
PADDING: Final = b"\0"
ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
"""One of them, once: what is compressed twice over stays as it is, and is no answer."""


class Inflater:
    """The inflater of one body: compressed in one piece or several, one after the other, and perhaps not as it says."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding
        self._stream: Any = None
        """What reads the piece that has begun."""
        self._is_plain = False

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The plain pieces of these bytes. Raises zlib.error."""
        while received:
            if self._stream is None and not self._is_plain and not (received := received.lstrip(PADDING)):
                return
            if self._stream is None:
                self.begin(received[0])
            if self._is_plain:
                yield received
                return
            piece = self._stream.decompress(received, PIECE_BYTES_MAX)
            received = self._stream.unconsumed_tail or self._stream.unused_data
            if self._stream.eof:
                self._stream = None
            if piece:
                yield piece

    def begin(self, first: int) -> None:
        """The first byte says what follows: gzip and zlib have a header, plain text has none of their bytes there."""
        if first == GZIP_FIRST or first & 0x0F == ZLIB_METHOD:
            self._stream = zlib.decompressobj(ANY_HEADER)
        elif self._encoding == "deflate":
            self._stream = zlib.decompressobj(NO_HEADER)
        else:
            self._is_plain = True


def inflater_of(content_encoding: str) -> Inflater | None:
    """What reads a body of this encoding; None where it is plain, or nothing that we read."""
    encoding = content_encoding.strip().lower()
    return Inflater(encoding) if encoding in ENCODINGS else None
