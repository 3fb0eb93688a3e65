"""Appends over producers that break."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    UnknownTopicOrPartitionError,
)

from infra.settings import load_settings
from processors.writing.log_appender import (
    APPEND_BACKOFF,
    APPEND_S,
    GONE_AFTER_S,
    AppendFailed,
    AppendRefused,
    LogAppender,
    LogGone,
)
from schemas.topics import PROMPT_CARRIER_BYTES_MAX
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []


@dataclass
class Metadata:
    """What a producer says of a record it delivered."""

    offset: int


class ScriptedProducer:
    """Raises what it is told for each send, then delivers."""

    def __init__(self, *failures: type[Exception]) -> None:
        self.failures = list(failures)
        self.delivered: list[bytes | None] = []
        self.stopped = False

    async def send(self, _: str, value: bytes | None, **__: object) -> asyncio.Future[Metadata]:
        """A record's future."""
        future: asyncio.Future[Metadata] = asyncio.get_running_loop().create_future()
        if self.failures:
            future.set_exception(self.failures.pop(0)())
        else:
            self.delivered.append(value)
            future.set_result(Metadata(len(self.delivered) - 1))
        return future

    async def send_and_wait(self, topic: str, value: bytes | None, **named: object) -> Metadata:
        """A record's future, awaited."""
        return await (await self.send(topic, value, **named))

    async def stop(self) -> None:
        """Note it."""
        self.stopped = True


class ScriptedAppender(LogAppender):
    """Connects these producers, one after another; None: no broker answers."""

    def __init__(self, loop: VirtualLoop, *producers: ScriptedProducer | None) -> None:
        super().__init__(load_settings({}), LoopClock(loop))
        self.producers = list(producers)

    async def connected_producer(self) -> Any:
        producer = self.producers.pop(0) if len(self.producers) > 1 else self.producers[0]
        if producer is None:
            raise KafkaConnectionError
        return producer


def appended(*producers: ScriptedProducer | None, values: tuple[bytes | None, ...] = (b"a", b"b")) -> list[int]:
    loop = VirtualLoop()

    async def play() -> list[int]:
        appender = ScriptedAppender(loop, *producers)
        await appender.start()
        return await appender.append_all("t", 0, values)

    return run_virtual(loop, play())


def test_append() -> None:
    """The offsets come in order."""
    assert appended(ScriptedProducer()) == [0, 1]
    assert appended(ScriptedProducer(), values=(None,)) == [0]


def test_time_that_an_append_takes() -> None:
    """From the first try to the acknowledgement is told; an append that fails tells nothing."""
    loop, took_s = VirtualLoop(), list[float]()

    async def play() -> None:
        appender = ScriptedAppender(loop, ScriptedProducer(UnknownTopicOrPartitionError, MessageSizeTooLargeError))
        appender.on_appended = took_s.append
        await appender.start()
        with pytest.raises(AppendRefused):
            await appender.append("t", 0, b"a")
        await appender.append("t", 0, b"a")
        appender.producer.failures = [UnknownTopicOrPartitionError]
        await appender.append("t", 0, b"a")

    run_virtual(loop, play())
    assert took_s == pytest.approx([0.0, APPEND_BACKOFF.pause_s()])


@pytest.mark.parametrize("failure", [OutOfOrderSequenceNumber, KafkaTimeoutError])
def test_producer_that_breaks(failure: type[Exception]) -> None:
    """Another takes its place and all is sent again, whole; the broken one is stopped."""
    broken, fresh = ScriptedProducer(failure), ScriptedProducer()

    assert appended(broken, fresh) == [0, 1]
    assert (broken.stopped, fresh.delivered) == (True, [b"a", b"b"])


def test_no_broker_for_another_producer() -> None:
    """The old one is tried again."""
    assert appended(ScriptedProducer(KafkaTimeoutError), None) == [1, 2]


def test_many_appends_over_one_broken_producer() -> None:
    """It is replaced once."""
    loop = VirtualLoop()
    broken, fresh, never = ScriptedProducer(*[KafkaTimeoutError] * 5), ScriptedProducer(), ScriptedProducer()

    async def play() -> None:
        appender = ScriptedAppender(loop, broken, fresh, never)
        await appender.start()
        await asyncio.gather(*(appender.append("t", 0, b"%d" % number) for number in range(5)))

    run_virtual(loop, play())
    assert (broken.stopped, fresh.stopped, len(fresh.delivered), never.delivered) == (True, False, 5, [])


def test_broker_that_stays_away() -> None:
    """The append fails in the end, and its outcome is unknown."""
    loop = VirtualLoop()

    async def play() -> float:
        appender = ScriptedAppender(loop, ScriptedProducer(*[KafkaTimeoutError] * 9_999), None)
        await appender.start()
        with pytest.raises(AppendFailed):
            await appender.append("t", 0, b"a")
        return loop.time()

    assert APPEND_S < run_virtual(loop, play()) < APPEND_S + 5


def test_topic_that_is_gone() -> None:
    """It is said within seconds, and the producer that serves every other topic stays."""
    loop = VirtualLoop()
    producer = ScriptedProducer(*[UnknownTopicOrPartitionError] * 9_999)

    async def play() -> float:
        appender = ScriptedAppender(loop, producer)
        await appender.start()
        with pytest.raises(LogGone):
            await appender.append("t", 0, b"a")
        return loop.time()

    assert GONE_AFTER_S < run_virtual(loop, play()) < GONE_AFTER_S + 1
    assert not producer.stopped


@pytest.mark.parametrize("failure", [UnknownTopicOrPartitionError, LeaderNotAvailableError])
def test_topic_that_is_there_and_led_by_nobody(failure: type[Exception]) -> None:
    """It is waited for, as any outage is, by the producer that serves every other topic."""
    loop = VirtualLoop()
    producer = ScriptedProducer(*[failure] * 9_999)

    async def is_gone() -> bool:
        return False

    async def play() -> float:
        appender = ScriptedAppender(loop, producer)
        await appender.start()
        with pytest.raises(AppendFailed) as failed:
            await appender.append_all("t", 0, [b"a"], is_gone=is_gone)
        assert not isinstance(failed.value, LogGone)
        return loop.time()

    assert APPEND_S < run_virtual(loop, play()) < APPEND_S + 5
    assert not producer.stopped


def test_topic_that_is_not_known_yet() -> None:
    """A moment later it is."""
    assert appended(ScriptedProducer(UnknownTopicOrPartitionError)) in ([0, 1], [1, 2])


def test_record_that_no_log_takes() -> None:
    """It is refused at once, by our own limit or by the broker's."""
    with pytest.raises(AppendRefused):
        appended(ScriptedProducer(), values=(b"x" * (PROMPT_CARRIER_BYTES_MAX + 1),))
    with pytest.raises(AppendRefused):
        appended(ScriptedProducer(MessageSizeTooLargeError), values=(b"a",))


def test_stopped() -> None:
    """Nothing is appended any more, and nobody waits."""
    loop = VirtualLoop()

    async def play() -> None:
        appender = ScriptedAppender(loop, ScriptedProducer())
        await appender.start()
        await appender.stop()
        await appender.stop()
        appender.forget("t")
        with pytest.raises(AppendFailed):
            await appender.append("t", 0, b"a")

    run_virtual(loop, play())
