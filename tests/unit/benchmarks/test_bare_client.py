"""What the benchmark's client counts."""

from __future__ import annotations

from array import array

import pytest

from benchmarks.gateway.bare_client import BareClient
from schemas.codec import encode
from schemas.gateway_messages import Delta, End, Snapshot, SnapshotTurn

__all__: list[str] = []


def delta(seq: int, tokens: int, *, cursor: str = "") -> bytes:
    return encode(Delta(session="s", turn="t", attempt=1, seq=seq, n=tokens, text=" wwww" * tokens, c=cursor))


@pytest.fixture
async def client() -> BareClient:
    made = BareClient("u", 1, "normal", 1)
    made.expect("t", streaming=3, tokens_per_record=4)
    made.samples = array("q")
    return made


async def test_tokens_in_order_are_received_once(client: BareClient) -> None:
    """Joined or not; a record counts when its last token is there, under the number that the writer gave it."""
    for payload in (delta(0, 4), delta(4, 2), delta(6, 6)):
        client.take(payload)
    assert client.samples is not None

    assert (client.received, client.records, client.holes, client.duplicates, client.wrong) == (12, 3, 0, 0, 0)
    assert list(client.samples[::2]) == [1, 4, 7]


async def test_hole_is_counted_and_its_records_are_missing(client: BareClient) -> None:
    """A hole in mid-stream shows although the last token came."""
    client.take(delta(0, 4))
    client.take(delta(10, 6))

    assert (client.received, client.records, client.holes, client.duplicates) == (10, 2, 6, 0)


async def test_what_came_before_is_a_duplicate(client: BareClient) -> None:
    """It is received once, and counted apart."""
    client.take(delta(0, 4))
    client.take(delta(2, 4))
    client.take(delta(0, 2))

    assert (client.received, client.records, client.duplicates) == (6, 1, 4)


async def test_other_answers_and_wrong_texts_count_for_nothing(client: BareClient) -> None:
    """Another turn's tokens are not this one's; a text of another length is wrong."""
    client.take(delta(0, 4).replace(b'"turn":"t"', b'"turn":"u"'))
    client.take(delta(0, 4).replace(b"wwww", b"www", 1))

    assert (client.received, client.wrong) == (4, 1)


async def test_frame_of_several_messages_is_taken_whole(client: BareClient) -> None:
    """Deltas and the end in one array; the newest cursor is kept."""
    end = encode(End(session="s", turn="t", attempt=1, reason="complete", c="newest"))
    client.take(b"[" + delta(0, 4, cursor="older") + b"," + end + b"]")

    assert (client.received, client.cursor, client.ended.is_set()) == (4, "newest", True)


async def test_snapshot_tells_what_it_holds(client: BareClient) -> None:
    """Its tokens are received, and marked as told by a snapshot."""
    client.take(delta(0, 4))
    client.take(encode(Snapshot(session="s", turns=(SnapshotTurn(turn="t", prompt_id="p", next_seq=8),), c="c")))
    client.take(delta(8, 4))

    assert (client.received, client.by_snapshot, client.records, client.holes) == (12, 4, 3, 0)


async def test_ping_of_the_protocol_is_answered(client: BareClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever pings so (the plain design does) would close the connection otherwise."""
    written: list[bytes] = []
    monkeypatch.setattr(client, "write", written.append)
    client.attached = client.loop.create_future()
    client.pending, client.upgraded = b"", True
    client.data_received(b"\x89\x02hi")

    assert written == [b"\x8a\x82" + bytes(4) + b"hi"]
