"""Compressed bytes in, plain ones out, a bounded piece at a time.

We ask for plain answers, but a proxy may compress all the same. A few kilobytes of gzip can hold gigabytes: nothing
here ever makes more than PIECE_BYTES_MAX of them at once, and only as they are asked for.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

__all__ = ["PIECE_BYTES_MAX", "Inflater", "inflater_of"]

PIECE_BYTES_MAX: Final = 65_536
ANY_HEADER: Final = 47  # zlib's own number for "gzip or zlib, whichever it is"
ENCODINGS: Final = frozenset({"gzip", "x-gzip", "deflate"})
"""One of them, once: what is compressed twice over stays as it is, and is no answer."""


class Inflater:
    """One body."""

    def __init__(self) -> None:
        self.stream = zlib.decompressobj(ANY_HEADER)

    def feed(self, received: bytes) -> Iterator[bytes]:
        """The plain pieces of these bytes. Raises zlib.error."""
        while received and not self.stream.eof:
            piece = self.stream.decompress(received, PIECE_BYTES_MAX)
            received = self.stream.unconsumed_tail
            if piece:
                yield piece


def inflater_of(content_encoding: str) -> Inflater | None:
    """What reads a body of this encoding; None where it is plain, or nothing that we read."""
    return Inflater() if content_encoding.strip().lower() in ENCODINGS else None
