"""What a writer knows of its log at each append."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from infra.kafka.log_client import LogUnavailable
from infra.kafka.session_topics import SessionLog
from processors.sessions.session_writer import LogReplaced, SessionWriter
from schemas.codec import encode
from schemas.identifiers import SessionKey
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from schemas.topics import Layout
from schemas.turn_fold import Verdict
from tests.fakes.memory_log import Fate, MemoryAppender, MemoryLog, MemoryReader, Weather
from tests.fakes.topic_names import session_place
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

KEY = SessionKey("k" * 32)
QUEUED = TurnQueued(turn="t", prompt_id="p")
STARTED = TurnStarted(turn="t", attempt=1, run="r1")
FOREIGN = TurnStarted(turn="t", attempt=1, run="foreign")
ENDED = TurnEnded(turn="t", attempt=1, run="r1", reason="complete", at_us=5)


class Stage:
    """A log, and any number of writers to it."""

    def __init__(self, layout: Layout = "dedicated") -> None:
        self.loop = VirtualLoop()
        self.log = MemoryLog(LoopClock(self.loop), layout=layout)
        self.place = session_place(KEY, layout)
        self.log.create(self.place.topic)
        self.weather: list[Weather] = []
        self.reads = 0
        self.epoch = self.log.epochs[self.place.topic]

    def writer(self) -> SessionWriter:
        appender = MemoryAppender(self.log, lambda _: self.weather.pop(0) if self.weather else Weather())
        return SessionWriter(
            KEY,
            SessionLog(self.place, self.epoch),
            appender=appender,
            reader=MemoryReader(self.log, self.note_read),
            is_gone=self.is_gone,
        )

    async def is_gone(self) -> bool:
        return self.log.epochs.get(self.place.topic) != self.epoch

    def note_read(self, _: str) -> Weather:
        self.reads += 1
        return Weather()

    def foreign(self, *events: SessionEvent, key: bytes = KEY.encode()) -> None:
        for event in events:
            self.log.put(self.place.topic, self.place.partition, encode(event), key=key)


async def verdicts(writer: SessionWriter, *events: SessionEvent, certain: bool = True) -> list[Verdict]:
    return (await writer.append(events, since_ms=0, certain=certain))[0]


def test_single_writer_of_a_new_log() -> None:
    """Every verdict follows from the offsets alone: nothing is read."""
    stage = Stage()
    writer = stage.writer()

    async def play() -> list[Verdict]:
        return [*await verdicts(writer, QUEUED, STARTED), *await verdicts(writer, ENDED, ENDED)]

    assert run_virtual(stage.loop, play()) == [Verdict.EFFECTIVE] * 3 + [Verdict.AFTER_END]
    assert stage.reads == 0


def test_somebody_wrote_in_between() -> None:
    """The log is read back, and the other's start wins."""
    stage = Stage()
    writer = stage.writer()

    async def play() -> list[Verdict]:
        await verdicts(writer, QUEUED)
        stage.foreign(FOREIGN)
        return await verdicts(writer, STARTED)

    assert run_virtual(stage.loop, play()) == [Verdict.OTHER_RUN]
    assert writer.fold.turns["t"].run == "foreign"


@pytest.mark.parametrize("layout", ["dedicated", "shared"])
def test_append_that_lands_twice(layout: Layout) -> None:
    """A start and an end count, though the copy whose offset is known does not."""
    stage = Stage(layout)
    writer = stage.writer()

    async def play() -> list[Verdict]:
        stage.weather = [Weather(Fate.TWICE)] * 2
        return [*await verdicts(writer, QUEUED, STARTED), *await verdicts(writer, ENDED)]

    assert run_virtual(stage.loop, play()) == [Verdict.REPEATED, Verdict.EFFECTIVE, Verdict.EFFECTIVE]


def test_start_that_lands_twice_with_another_between() -> None:
    """Only the newest run counts."""
    stage = Stage()
    writer = stage.writer()

    async def play() -> list[Verdict]:
        await verdicts(writer, QUEUED)
        stage.foreign(STARTED, TurnStarted(turn="t", attempt=2, run="foreign"))
        return await verdicts(writer, STARTED)

    assert run_virtual(stage.loop, play()) == [Verdict.OTHER_RUN]


@pytest.mark.parametrize("order", list(itertools.permutations([0.1, 0.2, 0.3])))
@pytest.mark.parametrize("layout", ["dedicated", "shared"])
def test_concurrent_appends_acknowledged_in_any_order(layout: Layout, order: tuple[float, ...]) -> None:
    """Each append is given the verdict on its own record, and the fold follows the log."""
    stage = Stage(layout)
    writer = stage.writer()

    def tokens(seq: int) -> TokensEmitted:
        return TokensEmitted(turn="t", attempt=1, run="r1", seq=seq, chunks=("a",))

    async def play() -> list[list[Verdict]]:
        await verdicts(writer, QUEUED, STARTED)
        stage.weather = [Weather(back_s=back_s) for back_s in order]
        other = TurnQueued(turn="t2", prompt_id="p2")
        appends = (verdicts(writer, tokens(0)), verdicts(writer, other), verdicts(writer, tokens(5)))
        return list(await asyncio.gather(*appends))

    assert run_virtual(stage.loop, play()) == [[Verdict.EFFECTIVE], [Verdict.EFFECTIVE], [Verdict.HOLE]]
    assert writer.fold.next_offset == 5
    assert writer.read_verdicts == {}


def test_new_writer_of_an_old_log() -> None:
    """It folds from the time of the turn on before it says anything."""
    stage = Stage()

    async def play() -> tuple[list[Verdict], int]:
        stage.foreign(TurnQueued(turn="old", prompt_id="old"))
        await asyncio.sleep(60)
        stage.foreign(QUEUED, FOREIGN)
        writer = stage.writer()
        since_ms = LoopClock(stage.loop).now_us() // 1_000
        found, offset = await writer.append([TurnStarted(turn="t", attempt=2, run="r2")], since_ms=since_ms)
        assert "old" not in writer.fold.turns
        assert [run.run for run in writer.fold.turns["t"].void_runs] == ["foreign"]
        return found, offset

    assert run_virtual(stage.loop, play()) == ([Verdict.EFFECTIVE], 3)


def test_other_sessions_in_a_shared_log() -> None:
    """They are passed over; unreadable records and empty ones as well."""
    stage = Stage("shared")
    writer = stage.writer()

    async def play() -> list[Verdict]:
        stage.foreign(QUEUED, key=b"another")
        stage.log.put(stage.place.topic, stage.place.partition, b"{", key=KEY.encode())
        stage.log.put(stage.place.topic, stage.place.partition, None, key=KEY.encode())
        assert await verdicts(writer, STARTED, certain=False) == [Verdict.EFFECTIVE]
        return await verdicts(writer, QUEUED, STARTED)

    assert run_virtual(stage.loop, play()) == [Verdict.EFFECTIVE, Verdict.EFFECTIVE]
    assert len(writer.fold.turns) == 1


@pytest.mark.parametrize("anew", [False, True])
def test_log_that_was_deleted(*, anew: bool) -> None:
    """The writer finds out, whether or not it was created anew, and says that it is of no use any more."""
    stage = Stage()
    writer = stage.writer()

    async def play() -> None:
        await verdicts(writer, QUEUED, STARTED)
        stage.log.delete(stage.place.topic)
        if anew:
            stage.log.create(stage.place.topic)
        with pytest.raises(LogReplaced):
            await verdicts(writer, ENDED)
        assert writer.lost

    run_virtual(stage.loop, play())


def test_sync_of_a_log_that_was_deleted() -> None:
    """The same."""
    stage = Stage()
    writer = stage.writer()
    stage.log.delete(stage.place.topic)

    with pytest.raises(LogReplaced):
        run_virtual(stage.loop, writer.sync(since_ms=0))


def test_sync_of_a_log_that_its_broker_does_not_know() -> None:
    """It is there, as the cluster says: what was folded still holds, and the same may be asked again."""
    stage = Stage()
    writer = stage.writer()
    stage.log.delete(stage.place.topic)
    stage.log.epochs[stage.place.topic] = stage.epoch

    with pytest.raises(LogUnavailable):
        run_virtual(stage.loop, writer.sync(since_ms=0))
    assert not writer.lost


def test_records_that_nobody_asks_about_leave_nothing_behind() -> None:
    """Tokens that need no verdict are read back with the next record that does, and then forgotten."""
    stage = Stage("shared")
    writer = stage.writer()

    async def play() -> list[Verdict]:
        await verdicts(writer, QUEUED, STARTED)
        for seq in range(20):
            tokens = TokensEmitted(turn="t", attempt=1, run="r1", seq=seq, chunks=("a",))
            await verdicts(writer, tokens, certain=False)
        await writer.sync(since_ms=0)
        return await verdicts(writer, ENDED)

    assert run_virtual(stage.loop, play()) == [Verdict.EFFECTIVE]
    assert writer.read_verdicts == {}
    assert writer.fold.turns["t"].next_seq == 20
