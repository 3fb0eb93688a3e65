"""Pieces of the past: few at a time, in the order of asking, no more of them than there is need for."""

from __future__ import annotations

import asyncio

import pytest

from gateway.fetching.catch_up_reader import CatchUpReader
from infra.kafka.log_client import Fetched, LogBounds, LogRecord, LogUnavailable, OffsetOutOfRange
from infra.kafka.session_topics import SessionLog
from schemas.session_events import TurnQueued
from schemas.topics import LogPlace
from tests.fakes.followed_log import FollowedLog
from tests.unit.gateway.gateway_parts import key_of

KEY = key_of("s1")


class GatedSource:
    """Answers when the test lets it, and knows how many asked at once."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.asked: list[int] = []
        self.at_once = 0
        self.most_at_once = 0

    async def fetch(self, topic: str, partition: int, offset: int, *, wait_ms: int = 0, bytes_max: int = 0) -> Fetched:
        """One record."""
        self.asked.append(offset)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await self.gate.wait()
        self.at_once -= 1
        return Fetched([LogRecord(offset, 0, KEY.encode(), b"")], 1_000, offset + 1)

    async def bounds(self, topic: str, partition: int) -> LogBounds:
        """Not asked for here."""
        return LogBounds(0, 1_000)


async def test_many_that_are_behind_take_turns() -> None:
    """One piece per connection at once; whoever asked first is served first; a cancelled wait costs nothing."""
    sources = [GatedSource(), GatedSource()]
    reader = CatchUpReader(sources)
    log = SessionLog(LogPlace("t", 0, shared=False), "e")
    asking = [asyncio.create_task(reader.piece(log, KEY, offset, 1_000)) for offset in range(10)]
    await asyncio.sleep(0)
    asking[5].cancel()
    for source in sources:
        source.gate.set()
    await asyncio.gather(*asking, return_exceptions=True)

    assert [source.most_at_once for source in sources] == [1, 1]
    assert sorted(sources[0].asked + sources[1].asked) == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    assert sources[0].asked == sorted(sources[0].asked)
    assert reader.newly_read() == 9
    assert reader.newly_read() == 0
    assert len(reader.free) == 2


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
async def test_piece_holds_the_sessions_own_records(layout: str) -> None:
    """Up to the end that was named, with the place to read on from."""
    log = FollowedLog("shared" if layout == "shared" else "dedicated")
    other = next(key for n in range(10_000) if log.place(key := key_of(f"o{n}")).partition == log.place(KEY).partition)
    event = [TurnQueued(turn="t", prompt_id="p", input="?")]
    log.append(KEY, event)
    log.append(other, event)
    log.append(KEY, event)
    reader = CatchUpReader([log])
    piece = await reader.piece(SessionLog(log.place(KEY), "e"), KEY, 0, 2)

    assert [record.offset for record in piece.records] == ([0] if layout == "shared" else [0, 1])
    assert piece.next_offset == 2


async def test_log_that_does_not_hold_what_is_asked_for() -> None:
    """Cut by retention, or not shown by its leader yet: said, never passed over."""
    log = FollowedLog()
    place = log.place(KEY)
    log.append(KEY, [TurnQueued(turn="t", prompt_id=f"p{n}", input="?") for n in range(4)])
    log.starts[place.topic, place.partition] = 2
    reader = CatchUpReader([log])
    session_log = SessionLog(place, "e")

    with pytest.raises(OffsetOutOfRange):
        await reader.piece(session_log, KEY, 0, 4)
    with pytest.raises(LogUnavailable):
        await reader.piece(session_log, KEY, 4, 6)
    assert await reader.start_of(session_log) == 2
    assert len(reader.free) == 1
