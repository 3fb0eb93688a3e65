"""The reader without any broker; with brokers: tests/integration/test_fetch_session_reader.py.

Covers: gateway.sockets.gateway_metrics.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.fetching.decisions.resume_cursor import GapReason
from gateway.fetching.fetch_session_reader import FetchSessionReader
from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.clock import SystemClock
from infra.kafka.fetch_request import FetchedPartition
from infra.kafka.log_client import LogRecord
from infra.kafka.lost_range import LostRange
from infra.kafka.record_batches import TRIES_MAX, empty_batch
from infra.ports import find_free_port
from infra.settings import load_settings
from schemas.identifiers import check_session_id, check_user_id, session_key_of
from tests.fakes.topic_names import session_place

KEY = session_key_of(check_user_id("alice"), check_session_id("s1"))
PLACE = session_place(KEY, "dedicated")


class Patient:
    """Hears nothing, and is not told that anything is lost."""

    def deliver(self, records: Sequence[LogRecord]) -> None:
        raise AssertionError(records)

    def lost(self, reason: GapReason) -> None:
        raise AssertionError(reason)

    def expects_records(self) -> bool:
        return True


async def until_reachable(reader: FetchSessionReader, expected: bool) -> None:
    async with asyncio.timeout(5.0):
        while reader.reachable is not expected:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


async def test_no_broker_answers() -> None:
    """It says so after a few tries, and is silent about it once nobody needs one; followers wait."""
    reader = FetchSessionReader(load_settings({}, kafka=f"127.0.0.1:{find_free_port()}"), SystemClock())
    await reader.start()
    try:
        assert reader.reachable
        assert reader.follow(PLACE, KEY, 3, Patient())
        await until_reachable(reader, False)
        assert reader.position(PLACE) == 3
        reader.unfollow(PLACE, KEY)
        await until_reachable(reader, True)
        assert reader.position(PLACE) is None
    finally:
        await reader.stop()


async def test_bytes_of_all_answers_are_bounded() -> None:
    """Many leaders are each asked for less; those that lead nothing do not count."""
    reader = FetchSessionReader(load_settings({}, kafka=f"127.0.0.1:{find_free_port()}"), SystemClock())
    nodes = range(1, 11)
    for number in nodes:
        reader.fetcher(number)
    idle = reader.bytes_max()
    for number in nodes:
        reader.assignment.follow(("t", number), 0.0)
    reader.assignment.learned(
        [("t", number) for number in nodes], {("t", number): number for number in nodes}, nodes, 0.0
    )
    busy = reader.bytes_max()
    await reader.stop()

    assert idle == 1_048_576
    assert 10 * busy <= 4_194_304


class Lost(Patient):
    """Notes that its log does not go on."""

    def __init__(self) -> None:
        self.reasons: list[GapReason] = []

    def lost(self, reason: GapReason) -> None:
        self.reasons.append(reason)


async def test_followed_log_that_cannot_be_read() -> None:
    """After enough tries its follower is told, and whoever counts hears from which offset on, and why."""
    told: list[LostRange] = []
    settings = load_settings({}, kafka=f"127.0.0.1:{find_free_port()}")
    reader, follower = FetchSessionReader(settings, SystemClock(), on_lost=told.append), Lost()
    assert reader.follow(PLACE, KEY, 3, follower)
    damaged = bytearray(empty_batch(3, 6))
    damaged[20] ^= 1  # of the checksum
    for _ in range(TRIES_MAX):
        assert not told
        reader.take(FetchedPartition((PLACE.topic, PLACE.partition), 0, 0, bytes(damaged), end=9), 3)

    assert follower.reasons == ["log_lost"]
    assert [(lost.topic, lost.partition, lost.start, lost.reason) for lost in told] == [
        (PLACE.topic, PLACE.partition, 3, "its checksum is wrong")
    ]


def test_range_is_counted_once() -> None:
    """Whoever meets it, and however often."""
    metrics = GatewayMetrics(SystemClock())
    for start in (3, 3, 9):
        metrics.passed_over(LostRange("t", 0, start, start + 1, "its checksum is wrong", end_is_known=True))

    assert b"tokenwire_gateway_unreadable_ranges_total 2.0" in metrics.exposition()
