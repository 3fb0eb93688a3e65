"""One append in flight, and what happens to chunks when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence

import pytest

from infra.kafka.session_topics import SessionLog
from processors.attempts.token_publisher import PENDING_BYTES_MAX, RunVoided, TokenPublisher
from processors.sessions.session_writer import SessionWriter
from processors.writing.log_appender import AppendFailed, unknown_is_gone
from schemas.codec import decode_session_event
from schemas.identifiers import SessionKey
from schemas.session_events import TokensEmitted, TurnQueued, TurnStarted
from schemas.topics import RECORD_BYTES_MAX
from tests.fakes.memory_log import Fate, MemoryAppender, MemoryLog, MemoryReader, Weather
from tests.fakes.topic_names import session_place
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

KEY = SessionKey("k" * 32)
PLACE = session_place(KEY, "dedicated")
BIG = "x" * 8_192


class Stage:
    """A session's log with one run begun, and a publisher on it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.clock = LoopClock(loop)
        self.log = MemoryLog(self.clock)
        self.log.create(PLACE.topic)
        self.fates: list[Fate] = []
        self.append_s = 0.1
        appender = MemoryAppender(self.log, self.weather)
        self.writer = SessionWriter(
            KEY,
            SessionLog(PLACE, "e"),
            appender=appender,
            reader=MemoryReader(self.log),
            is_gone=unknown_is_gone,
        )
        self.logged: list[str] = []
        self.publisher = TokenPublisher(
            self.writer, self.clock, turn="t", attempt=1, run="r1", since_ms=0, on_logged=self.note_logged
        )

    def note_logged(self, chunks: Sequence[str], gaps_us: Sequence[int]) -> None:
        assert len(chunks) == len(gaps_us)
        self.logged += chunks

    def weather(self, _: str) -> Weather:
        return Weather(self.fates.pop(0) if self.fates else Fate.LANDS, there_s=self.append_s)

    async def begin(self) -> None:
        queued = TurnQueued(turn="t", prompt_id="p")
        await self.writer.append([queued, TurnStarted(turn="t", attempt=1, run="r1")], since_ms=0)

    def tokens(self) -> list[TokensEmitted]:
        events = [decode_session_event(record.value or b"") for record in self.log.records(PLACE.topic, 0)]
        return [event for event in events if isinstance(event, TokensEmitted)]


def staged(scene: Callable[[Stage], Coroutine[None, None, None]]) -> Callable[[], None]:
    def test() -> None:
        loop = VirtualLoop()

        async def play() -> None:
            stage = Stage(loop)
            await stage.begin()
            async with asyncio.timeout(600):
                await scene(stage)

        run_virtual(loop, play())

    test.__doc__ = scene.__doc__
    return test


async def offer(publisher: TokenPublisher, *chunks: str) -> None:
    await publisher.offer(list(chunks), [1] * len(chunks))


@staged
async def test_chunks_that_arrive_during_an_append(stage: Stage) -> None:
    """The first leaves at once and alone, the others together in the next record, without a hole."""
    async with stage.publisher as publisher:
        await offer(publisher, "a")
        await asyncio.sleep(0.05)
        await offer(publisher, "b", "c")
        await offer(publisher, "d")
        await publisher.finish()

    assert [(event.seq, event.chunks) for event in stage.tokens()] == [(0, ("a",)), (1, ("b", "c", "d"))]
    assert stage.publisher.published_at_us > 0


@staged
async def test_nothing_offered(stage: Stage) -> None:
    """Nothing is appended."""
    async with stage.publisher as publisher:
        await publisher.finish()

    assert stage.tokens() == []


@staged
async def test_more_than_may_wait(stage: Stage) -> None:
    """The offer waits for the log, so that what is queued stays within its bound; records stay small."""
    began_s = stage.clock.monotonic_s()
    async with stage.publisher as publisher:
        for _ in range(100):
            await offer(publisher, BIG)
            assert publisher.pending_bytes <= PENDING_BYTES_MAX + len(BIG) + 32
        assert stage.clock.monotonic_s() > began_s + 1
        await publisher.finish()

    assert sum(len(event.chunks) for event in stage.tokens()) == 100
    assert all(len(record.value or b"") < RECORD_BYTES_MAX for record in stage.log.records(PLACE.topic, 0))


@staged
async def test_append_fails_while_an_offer_waits(stage: Stage) -> None:
    """The offer ends with the failure."""
    async with stage.publisher as publisher:
        stage.append_s = 5.0
        stage.fates = [Fate.FAILS]
        with pytest.raises(AppendFailed):
            await offer(publisher, *[BIG] * 80)


@staged
async def test_append_failed_before_a_large_offer(stage: Stage) -> None:
    """It raises at once instead of waiting for room that nobody will make."""
    async with stage.publisher as publisher:
        stage.fates = [Fate.FAILS]
        await offer(publisher, *[BIG] * 30)
        await asyncio.sleep(1)
        with pytest.raises(AppendFailed):
            await offer(publisher, *[BIG] * 10)


@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.UNKNOWN])
def test_last_append_fails(fate: Fate) -> None:
    """Finishing says so."""

    async def scene(stage: Stage) -> None:
        async with stage.publisher as publisher:
            stage.fates = [fate]
            await offer(publisher, "a")
            with pytest.raises(AppendFailed):
                await publisher.finish()

    staged(scene)()


@staged
async def test_run_taken_over(stage: Stage) -> None:
    """The publisher learns it from the verdict and writes nothing more."""
    await stage.writer.append([TurnStarted(turn="t", attempt=2, run="r2")], since_ms=0)
    async with stage.publisher as publisher:
        await offer(publisher, "a")
        with pytest.raises(RunVoided):
            await publisher.finish()
        with pytest.raises(RunVoided):
            await offer(publisher, "b")

    assert len(stage.tokens()) == 1
    assert stage.logged == []


@staged
async def test_append_that_lands_twice(stage: Stage) -> None:
    """The repetition counts as its first."""
    async with stage.publisher as publisher:
        stage.fates = [Fate.TWICE]
        await offer(publisher, "a")
        await publisher.finish()

    assert stage.writer.fold.turns["t"].next_seq == 1
    assert stage.logged == ["a"]


@staged
async def test_chunks_are_told_once_the_log_has_them(stage: Stage) -> None:
    """Not while their append is on its way, and never where it failed or was another run's."""
    async with stage.publisher as publisher:
        await offer(publisher, "a")
        await asyncio.sleep(0.05)
        await offer(publisher, "b", "c")
        assert stage.logged == []
        await asyncio.sleep(0.1)
        assert stage.logged == ["a"]
        stage.fates = [Fate.UNKNOWN]
        await offer(publisher, "d")
        with pytest.raises(AppendFailed):
            await publisher.finish()

    assert stage.logged == ["a", "b", "c"]


@staged
async def test_left_before_the_end(stage: Stage) -> None:
    """Leaving the block ends the task; what was under way may land."""
    async with stage.publisher as publisher:
        await offer(publisher, "a")
    pump = stage.publisher.pump

    assert pump is not None
    assert pump.done()
