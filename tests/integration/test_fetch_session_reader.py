"""The incremental fetch session on a real broker: joins, evictions, outages; every record once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from aiokafka.client import ConnectionGroup

from gateway.decisions.resume_cursor import GapReason
from gateway.fetch_session_reader import FetchSessionReader
from gateway.kafka_fetch import SessionFetchRequest
from gateway.leader_fetcher import LeaderFetcher
from infra.clock import SystemClock
from infra.embedded.broker import EmbeddedBroker
from infra.kafka.log_client import LogRecord
from schemas.identifiers import SessionKey, check_session_id, check_user_id, session_key_of
from schemas.topics import Layout, session_place
from tests.integration.broker_fixture import new_broker
from tests.integration.gateway_line import SessionWriter, answer_events, gateway_settings

SESSIONS = 20
READERS = 12
WAIT_S = 15.0


class Follower:
    """Keeps the offsets it is given."""

    def __init__(self) -> None:
        self.begins = 0
        """What lies before is passed over, as a hub does."""
        self.offsets: list[int] = []
        self.keys: set[bytes | None] = set()
        self.came = asyncio.Event()

    def deliver(self, records: Sequence[LogRecord]) -> None:
        self.offsets.extend(record.offset for record in records if record.offset >= self.begins)
        self.keys |= {record.key for record in records}
        self.came.set()

    def lost(self, reason: GapReason) -> None:
        raise AssertionError(reason)

    def expects_records(self) -> bool:
        return True

    async def until(self, last: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while not self.offsets or self.offsets[-1] < last:
                self.came.clear()
                await self.came.wait()


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
async def test_sessions_join_in_the_middle(broker: EmbeddedBroker, tmp_path: Path, layout: Layout) -> None:
    """Each follower has its own records, once, though other sessions join while a request waits."""
    settings = await gateway_settings(broker, tmp_path, layout)
    reader = FetchSessionReader(settings, SystemClock())
    keys = {f"{layout}-{number}": key_of(f"{layout}-{number}") for number in range(SESSIONS)}
    followers = {name: Follower() for name in keys}
    expected: dict[str, list[int]] = {}
    async with SessionWriter(settings) as writer, running(reader):
        for name, key in keys.items():
            place = session_place(key, layout)
            last = await writer.append("fetch", name, answer_events("t1", ["a", "b"]))
            joins_at = max(last + 1, reader.position(place) or 0)
            followers[name].begins = joins_at
            assert reader.follow(place, key, joins_at, followers[name])
            last = await writer.append("fetch", name, answer_events("t2", ["c"], prompt_id="p2"))
            expected[name] = list(range(last - 3, last + 1))
            await followers[name].until(last)

    for name, follower in followers.items():
        assert follower.offsets == expected[name]
        assert follower.keys == {keys[name].encode()}


async def test_broker_forgets_the_fetch_session(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """The reader is refused, begins anew with a full fetch, and has every record once."""
    settings = await gateway_settings(broker, tmp_path)
    reader, follower = FetchSessionReader(settings, SystemClock()), Follower()
    async with SessionWriter(settings) as writer, running(reader):
        last = await writer.append("fetch", "forgotten", answer_events("t0", ["a"]))
        assert reader.follow(session_place(key_of("forgotten"), "dedicated"), key_of("forgotten"), 0, follower)
        for number in range(5):
            await follower.until(last)
            async with asyncio.timeout(WAIT_S):
                while reader.refusals < number or sole(reader).session.session_id == 0:  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.01)
            await close_fetch_session(reader)
            last = await writer.append("fetch", "forgotten", answer_events(f"t{number + 1}", ["b"]))
        await follower.until(last)

    assert reader.refusals in (4, 5)  # the last one may still be on its way
    assert follower.offsets == list(range(last + 1))


async def test_broker_keeps_no_fetch_sessions(tmp_path: Path) -> None:
    """More readers than it has room for: some fetch in full each time, and all have every record once."""
    narrow = {"max.incremental.fetch.session.cache.slots": "8"}
    broker = new_broker(tmp_path / "broker", extra_properties=narrow)
    await broker.start()
    try:
        settings = await gateway_settings(broker, tmp_path)
        readers = [FetchSessionReader(settings, SystemClock()) for _ in range(READERS)]
        place, followers = session_place(key_of("s1"), "dedicated"), [Follower() for _ in readers]
        async with AsyncExitStack() as stack:
            writer = await stack.enter_async_context(SessionWriter(settings))
            last = await writer.append("fetch", "s1", answer_events("t0", ["a"]))
            for reader, follower in zip(readers, followers, strict=True):
                await stack.enter_async_context(running(reader))
                assert reader.follow(place, key_of("s1"), 0, follower)
            for number in range(5):
                last = await writer.append("fetch", "s1", answer_events(f"t{number + 1}", ["b"]))
                await asyncio.gather(*(follower.until(last) for follower in followers))
            without = sum(sole(reader).session.session_id == 0 for reader in readers)
    finally:
        await broker.stop()

    assert without >= READERS - 8
    for follower in followers:
        assert follower.offsets == list(range(last + 1))


def sole(reader: FetchSessionReader) -> LeaderFetcher:
    """The fetcher of the only broker."""
    (fetcher,) = reader.fetchers.values()
    return fetcher


async def close_fetch_session(reader: FetchSessionReader) -> None:
    """Epoch -1 ends a session; to its owner that looks like an eviction."""
    assert reader.client is not None
    request = SessionFetchRequest(
        {}, session_id=sole(reader).session.session_id, epoch=-1, wait_ms=0, bytes_max=1, partition_bytes_max=1
    )
    await reader.client.send(reader.client.get_random_node(), request, group=ConnectionGroup.COORDINATION)


@asynccontextmanager
async def running(reader: FetchSessionReader) -> AsyncIterator[None]:
    await reader.start()
    try:
        yield
    finally:
        await reader.stop()


def key_of(session: str) -> SessionKey:
    return session_key_of(check_user_id("fetch"), check_session_id(session))
