"""Compressed bodies: whatever the pieces they come in, the text is the same, and no piece of it is large."""

from __future__ import annotations

import gzip
import itertools
import zlib
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.providers.decisions.inflation import PIECE_BYTES_MAX, inflater_of

__all__: list[str] = []


def bare(text: bytes) -> bytes:
    made = zlib.compressobj(wbits=-15)
    return made.compress(text) + made.flush()


WAYS: Final[dict[str, tuple[str, Callable[[bytes], bytes]]]] = {
    "gzip": ("gzip", gzip.compress),
    "gzip by its old name": (" X-GZIP ", gzip.compress),
    "zlib": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare),
    "gzip that is plain": ("gzip", bytes),
}


def pieces_of(body: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    return (body[begin:end] for begin, end in itertools.pairwise(places))


@given(way=st.sampled_from(sorted(WAYS)), text=st.text("{ data: delta }\n", min_size=1), cuts=st.lists(st.integers(0)))
def test_any_pieces(way: str, text: str, cuts: list[int]) -> None:
    """A server may cut its body anywhere."""
    encoding, compress = WAYS[way]
    inflater = inflater_of(encoding)
    assert inflater is not None
    body = compress(f"data{text}".encode())

    assert (
        b"".join(plain for piece in pieces_of(body, cuts) for plain in inflater.feed(piece)) == f"data{text}".encode()
    )


@given(texts=st.lists(st.binary(min_size=1), min_size=1, max_size=5), padding=st.integers(0, 9))
def test_several_pieces_of_gzip(texts: list[bytes], padding: int) -> None:
    """One after the other in one body, zeros between them, as gzip allows."""
    inflater = inflater_of("gzip")
    assert inflater is not None
    body = (b"\0" * padding).join(gzip.compress(text) for text in texts)

    assert b"".join(inflater.feed(body)) == b"".join(texts)


def test_bomb_is_opened_a_piece_at_a_time() -> None:
    """Ten megabytes in ten kilobytes: never more of them at once than a piece."""
    inflater = inflater_of("gzip")
    assert inflater is not None
    sizes = [len(piece) for piece in inflater.feed(gzip.compress(bytes(10_000_000)))]

    assert sum(sizes) == 10_000_000
    assert max(sizes) <= PIECE_BYTES_MAX


@pytest.mark.parametrize("encoding", ["", "identity", "br", "zstd", "gzip, gzip"])
def test_what_is_not_read(encoding: str) -> None:
    """Plain bodies, and what no answer of ours comes in."""
    assert inflater_of(encoding) is None
