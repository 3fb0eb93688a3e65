"""What an answer is packed in."""

from __future__ import annotations

import os

import pytest

from infra.clickhouse.decisions.answer_packing import ENCODINGS
from infra.embedded.answer_packing import BLOCK_BYTES_MAX, block_packed, encoded
from tests.fakes.unpacking_client import DECODERS, unpacked

__all__: list[str] = []

GOLDEN = bytes.fromhex(
    "88f4de500394830fee5f6d46528320188229000000c8000000af546f6b656e77697265200a009900b400e069726520546f6b656e7769726520"
)
"""`Tokenwire ` twenty times, as ClickHouse's own Go library (ch-go 0.75) packs it."""


def test_block_of_another_maker_has_our_checksum() -> None:
    """The sixteen bytes in front are those that others write and check."""
    assert unpacked(GOLDEN) == b"Tokenwire " * 20
    assert unpacked(block_packed(b"Tokenwire " * 20)) == b"Tokenwire " * 20


@pytest.mark.parametrize("size", [0, 1, BLOCK_BYTES_MAX, BLOCK_BYTES_MAX + 1])
def test_large_bodies_are_several_blocks(size: int) -> None:
    """Each is of a size that clients take, and together they are the body; of nothing nothing is made."""
    body = os.urandom(1_000) * (size // 1_000) + bytes(size % 1_000)

    assert unpacked(block_packed(body)) == body
    assert bool(block_packed(body)) == bool(body)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_each_encoding_is_one_that_clients_undo(encoding: str) -> None:
    """Encoded and undone by the other side's rules it is the body."""
    assert DECODERS[encoding](encoded(b"a text " * 500, encoding)) == b"a text " * 500
