"""Incremental fetch sessions on one real broker and on three: joins, evictions, moved leaders; every record once.

Covers: gateway.fetching.leader_fetcher, infra.embedded.cluster, infra.kafka.fetch_request, infra.kafka.node_connection.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from gateway.fetching.decisions.resume_cursor import GapReason
from gateway.fetching.fetch_session_reader import FetchSessionReader
from infra.clock import SystemClock
from infra.embedded.broker import EmbeddedBroker
from infra.embedded.cluster import EmbeddedCluster
from infra.kafka.fetch_request import SessionFetchRequest
from infra.kafka.log_client import LogClient, LogRecord
from infra.kafka.node_connection import NodeConnection
from infra.settings import Settings
from schemas.identifiers import SessionKey, check_session_id, check_user_id, session_key_of
from schemas.topics import Layout
from tests.fakes.topic_names import session_place
from tests.integration.broker_fixture import new_broker
from tests.integration.gateway_line import SessionWriter, answer_events, gateway_settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

Kafka: TypeAlias = EmbeddedBroker | EmbeddedCluster

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


@pytest.fixture(params=["broker", "three_brokers"], ids=["one broker", "three brokers"])
def kafka(request: pytest.FixtureRequest) -> Kafka:
    found: Kafka = request.getfixturevalue(request.param)
    return found


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
async def test_sessions_join_in_the_middle(kafka: Kafka, tmp_path: Path, layout: Layout) -> None:
    """Each follower has its own records, once, though other sessions join while a request waits."""
    settings = await gateway_settings(kafka, tmp_path, layout)
    reader = FetchSessionReader(settings, SystemClock())
    several = isinstance(kafka, EmbeddedCluster)
    names = [f"{layout}-{number}" for number in range(SESSIONS // 2 if several else SESSIONS)]
    keys = {name: key_of(name) for name in names}
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
        nodes = [node for node in reader.fetchers if reader.leads(node)]

    assert (len(nodes) > 1) == several
    for name, follower in followers.items():
        assert follower.offsets == expected[name]
        assert follower.keys == {keys[name].encode()}


async def test_broker_forgets_the_fetch_session(kafka: Kafka, tmp_path: Path) -> None:
    """The reader is refused, begins anew with a full fetch, and has every record once."""
    settings = await gateway_settings(kafka, tmp_path)
    reader, follower = FetchSessionReader(settings, SystemClock()), Follower()
    async with SessionWriter(settings) as writer, running(reader):
        last = await writer.append("fetch", "forgotten", answer_events("t0", ["a"]))
        assert reader.follow(session_place(key_of("forgotten"), "dedicated"), key_of("forgotten"), 0, follower)
        for number in range(5):
            await follower.until(last)
            async with asyncio.timeout(WAIT_S):
                while refusals(reader) < number or not session_ids(reader):  # noqa: ASYNC110  # nobody tells
                    await asyncio.sleep(0.01)
            await close_fetch_sessions(reader)
            last = await writer.append("fetch", "forgotten", answer_events(f"t{number + 1}", ["b"]))
        await follower.until(last)
        refused = refusals(reader)

    assert refused in (4, 5)  # the last one may still be on its way
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
            without = sum(not session_ids(reader) for reader in readers)
    finally:
        await broker.stop()

    assert without >= READERS - 8
    for follower in followers:
        assert follower.offsets == list(range(last + 1))


async def test_leader_is_killed_comes_back_and_leads_again(three_brokers: EmbeddedCluster, tmp_path: Path) -> None:
    """While records are written every 20 ms: each follower has every record once, in order, through all of it."""
    settings = await gateway_settings(three_brokers, tmp_path)
    reader, names = FetchSessionReader(settings, SystemClock()), [f"moved-{number}" for number in range(9)]
    followers = {name: Follower() for name in names}
    async with SessionWriter(settings) as writer, running(reader), past_reader(settings) as past:
        lasts = dict(zip(names, await begin_all(writer, names), strict=True))
        for name in names:
            assert reader.follow(session_place(key_of(name), "dedicated"), key_of(name), 0, followers[name])
        await all_until(followers, lasts)
        victim = max(reader.fetchers, key=lambda node: len(reader.assignment.led_by(node)))
        led = leads(reader, victim)
        writing = asyncio.create_task(write_on(writer, names, lasts))
        broker = three_brokers.brokers[victim - 1]
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGKILL)
        await until_true(lambda: not reader.leads(victim))
        ends = await asyncio.gather(*(past.end(*place_of(name)) for name in names))
        await all_until(followers, {name: end - 1 for name, end in zip(names, ends, strict=True)})

        await broker.wait()
        await broker.stop()
        await broker.start()
        await until_true(lambda: leads(reader, victim) == led)
        writing.cancel()
        await asyncio.gather(writing, return_exceptions=True)
        ends = await asyncio.gather(*(past.end(*place_of(name)) for name in names))
        await all_until(followers, {name: end - 1 for name, end in zip(names, ends, strict=True)})

    for name, end in zip(names, ends, strict=True):
        offsets = followers[name].offsets  # what the writer had sent may have been acknowledged a little later
        assert offsets == list(range(len(offsets)))
        assert len(offsets) >= end


async def test_broker_that_hangs_costs_only_its_logs(three_brokers: EmbeddedCluster, tmp_path: Path) -> None:
    """Logs that others lead go on at once, also one that joins; its own go on, whole, once it does."""
    settings = await gateway_settings(three_brokers, tmp_path)
    reader, names = FetchSessionReader(settings, SystemClock()), [f"alone-{number}" for number in range(8)]
    followers = {name: Follower() for name in names}
    await asyncio.to_thread(make_unreplicated, settings, names)
    async with SessionWriter(settings) as writer, running(reader):
        lasts = dict(zip(names, await begin_all(writer, names), strict=True))
        for name in names:
            assert reader.follow(session_place(key_of(name), "dedicated"), key_of(name), 0, followers[name])
        await all_until(followers, lasts)
        hung = [name for name in names if place_of(name) in leads(reader, 1)]
        others = [name for name in names if name not in hung]
        joiner = others.pop()
        reader.unfollow(session_place(key_of(joiner), "dedicated"), key_of(joiner))
        pid = three_brokers.brokers[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            took_s = []
            for _ in range(3):
                lasts |= dict(zip(others, await begin_all(writer, others), strict=True))
                acknowledged_s = time.monotonic()
                await all_until(followers, {name: lasts[name] for name in others})
                took_s.append(time.monotonic() - acknowledged_s)
            late = Follower()
            assert reader.follow(session_place(key_of(joiner), "dedicated"), key_of(joiner), 0, late)
            await late.until(lasts[joiner])
        finally:
            os.kill(pid, signal.SIGCONT)
        lasts |= dict(zip(hung, await begin_all(writer, hung), strict=True))
        await all_until({name: followers[name] for name in hung}, {name: lasts[name] for name in hung})

    assert hung == names[::3]
    assert max(took_s) < 1.0
    for name in hung + others:
        assert followers[name].offsets == list(range(lasts[name] + 1))


def refusals(reader: FetchSessionReader) -> int:
    return sum(fetcher.refusals for fetcher in reader.fetchers.values())


def session_ids(reader: FetchSessionReader) -> dict[int, int]:
    """The fetch sessions that brokers keep for it, by node."""
    fetchers = reader.fetchers.values()
    return {fetcher.node: fetcher.session.session_id for fetcher in fetchers if fetcher.session.session_id}


async def close_fetch_sessions(reader: FetchSessionReader) -> None:
    """Epoch -1 ends a session; to its owner that looks like an eviction."""
    for node, session_id in session_ids(reader).items():
        request = SessionFetchRequest(
            {}, session_id=session_id, epoch=-1, wait_ms=0, bytes_max=1, partition_bytes_max=1
        )
        connection = NodeConnection(partial(reader.directory.address_of, node), reader.options)
        await connection.send(request)
        await connection.close()


@asynccontextmanager
async def running(reader: FetchSessionReader) -> AsyncIterator[None]:
    await reader.start()
    try:
        yield
    finally:
        await reader.stop()


def key_of(session: str) -> SessionKey:
    return session_key_of(check_user_id("fetch"), check_session_id(session))


# ---- Many sessions, written and read at once


async def begin_all(writer: SessionWriter, names: list[str]) -> list[int]:
    return await asyncio.gather(*(writer.append("fetch", name, answer_events("t0", ["a"])) for name in names))


def make_unreplicated(settings: Settings, names: list[str]) -> None:
    """Sessions' topics with one replica each, on each broker in turn: what one has, no other waits for."""
    client = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    topics = [
        NewTopic(place_of(name)[0], 1, replica_assignment=[[1 + number % 3]], config={"min.insync.replicas": "1"})
        for number, name in enumerate(names)
    ]
    for made in client.create_topics(topics).values():
        made.result(WAIT_S)


def place_of(name: str) -> tuple[str, int]:
    return session_place(key_of(name), "dedicated").topic, 0


async def write_on(writer: SessionWriter, names: list[str], lasts: dict[str, int]) -> None:
    """A record to each session, again and again; each waits for its own acknowledgement only."""

    async def write(name: str) -> None:
        while True:
            lasts[name] = await writer.append("fetch", name, answer_events("t1", ["b"]))
            await asyncio.sleep(0.02)  # the pace of a model

    await asyncio.gather(*(write(name) for name in names))


async def all_until(followers: dict[str, Follower], lasts: dict[str, int]) -> None:
    await asyncio.gather(*(followers[name].until(last) for name, last in lasts.items()))


def leads(reader: FetchSessionReader, node: int) -> set[tuple[str, int]]:
    return set(reader.assignment.led_by(node))


async def until_true(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not is_so():  # noqa: ASYNC110  # seen from outside
            await asyncio.sleep(0.02)


@asynccontextmanager
async def past_reader(settings: Settings) -> AsyncIterator[LogClient]:
    client = LogClient(settings)
    await client.start()
    try:
        yield client
    finally:
        await client.stop()
