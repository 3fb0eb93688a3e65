"""The journal of a partition in memory and on its topic."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from processors.sessions.turn_journal import SWEEP_BATCH_MAX, TurnJournal
from processors.writing.log_appender import AppendFailed
from schemas.codec import encode
from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.ledger import Amount, RunAccount, TurnAccount
from tests.fakes.memory_log import Fate, MemoryAppender, MemoryLog, MemoryReader, Weather
from tests.fakes.topic_names import TURNS
from tests.fakes.virtual_clock import VirtualClock
from tests.fakes.virtual_loop import VirtualLoop, run_virtual

__all__: list[str] = []

CLOCK = VirtualClock()


def entry_of(turn: str, **changes: object) -> JournalEntry:
    entry = JournalEntry(
        turn=turn, user="u", session="s", prompt_id=turn, phase="running", attempt=1, updated_at_us=CLOCK.now_us()
    )
    return msgspec.structs.replace(entry, **changes)


class Stage:
    """A journal on a log."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.log = MemoryLog(self.clock)
        self.weather: list[Weather] = []
        self.journal = self.open()

    def open(self) -> TurnJournal:
        appender = MemoryAppender(self.log, lambda _: self.weather.pop(0) if self.weather else Weather())
        return TurnJournal(3, appender=appender, reader=MemoryReader(self.log), clock=self.clock)

    def put(self, *entries: JournalEntry) -> None:
        for entry in entries:
            self.log.put(TURNS, 3, encode(entry), key=entry.turn.encode())


def test_load() -> None:
    """The newest state of each turn, without those that were forgotten or can't be read."""
    stage = Stage()
    stage.put(entry_of("a"), entry_of("b"), entry_of("c", first_offset=7), entry_of("a", phase="ended"))
    stage.put(entry_of("a", attempt=9))
    stage.log.put(TURNS, 3, None, key=b"b")
    stage.log.put(TURNS, 3, b"{", key=b"d")
    run_virtual(VirtualLoop(), stage.journal.load())

    assert (set(stage.journal.open), set(stage.journal.ended)) == ({"c"}, {"a"})
    assert [entry.turn for entry in stage.journal.open_entries()] == ["c"]
    assert stage.journal.first_offset_of("u", "s") == 7
    assert stage.journal.first_offset_of("u", "other") == -1


def test_write_that_is_not_acknowledged() -> None:
    """It is not remembered, so that nothing rests on it; a successor finds it."""
    stage = Stage()

    async def play() -> None:
        stage.weather = [Weather(Fate.UNKNOWN)]
        with pytest.raises(AppendFailed):
            await stage.journal.write(entry_of("a"))
        assert stage.journal.get("a") is None
        successor = stage.open()
        await successor.load()
        assert successor.get("a") is not None

    run_virtual(VirtualLoop(), play())


def test_ending_acknowledged_before_an_older_entry() -> None:
    """The ending stays."""
    stage = Stage()

    async def play() -> None:
        stage.weather = [Weather(back_s=5.0), Weather()]
        older = asyncio.create_task(stage.journal.write(entry_of("a", cancel_requested=True)))
        await asyncio.sleep(0)
        await stage.journal.write(entry_of("a", phase="ended"))
        await older

    run_virtual(VirtualLoop(), play())
    entry = stage.journal.get("a")
    assert entry is not None
    assert entry.phase == "ended"


def test_first_offset_of_a_session() -> None:
    """It follows the oldest turn that is remembered, whatever is forgotten before."""
    journal = Stage().journal
    for turn, offset in (("a", 5), ("b", 20), ("c", 20), ("d", -1)):
        journal.remember(entry_of(turn, first_offset=-1))
        journal.remember(entry_of(turn, first_offset=offset))

    assert journal.first_offset_of("u", "s") == 5
    journal.forget("a")
    assert journal.first_offset_of("u", "s") == 20
    journal.forget("b")
    journal.forget("d")
    journal.forget("unknown")
    assert journal.first_offset_of("u", "s") == 20
    journal.forget("c")
    assert journal.first_offset_of("u", "s") == -1
    assert journal.first_offsets == {}


def test_sweep() -> None:
    """Ended turns are forgotten after a day, a batch at a time; open ones and younger ones stay."""
    stage = Stage()
    stage.put(entry_of("open"), entry_of("early", phase="cancelled_early"))
    stage.put(*(entry_of(f"t{number}", phase="ended") for number in range(SWEEP_BATCH_MAX + 10)))

    async def play() -> list[int]:
        await stage.journal.load()
        stage.clock.advance(ENDED_KEPT_S / 2)
        await stage.journal.write(entry_of("young", phase="ended", updated_at_us=stage.clock.now_us()))
        early = await stage.journal.sweep()
        stage.clock.advance(ENDED_KEPT_S / 2 + 1)
        return [early, *[await stage.journal.sweep() for _ in range(3)]]

    assert run_virtual(VirtualLoop(), play()) == [0, SWEEP_BATCH_MAX, 11, 0]
    assert (set(stage.journal.open), set(stage.journal.ended)) == ({"open"}, {"young"})
    assert stage.log.records(TURNS, 3)[-1].value is None


def test_ended_turns_are_kept_whole() -> None:
    """Whatever an entry says, it is the same after it was packed, at less than half the bytes of the topic."""
    journal = Stage().journal
    entry = JournalEntry(
        turn="t" * 32,
        user="user",
        session="a session",
        prompt_id="p",
        phase="ended",
        body_hash="ab" * 32,
        accepted_at_us=1_790_000_000_000_000,
        cancel_requested=True,
        stop="left",
        index=2,
        attempt=3,
        run="r" * 32,
        crashes=1,
        failures=2,
        alone=True,
        lease_until_us=1_790_000_000_000_001,
        first_offset=17,
        last_offset=40_000,
        reason="cancelled",
        updated_at_us=1_790_000_000_000_002,
    )
    journal.remember(entry)
    held, used = Amount(1_000, 512, 7), Amount(1_000, 20, 3)
    run = RunAccount(turn="c", run="r2", session="s", at_us=5, held=held, used=used, settled_at_us=9)
    counted = JournalEntry(
        turn="c", user="u", session="s", prompt_id="p", phase="ended", counted_at_us=4, runs=(run, run)
    )
    journal.remember(counted)
    bare = JournalEntry(turn="b", user="u", session="s", prompt_id="p", phase="cancelled_early")
    journal.remember(bare)

    assert journal.get(entry.turn) == entry
    assert journal.get("b") == bare
    assert journal.get("c") == counted
    assert list(journal.turn_accounts()) == [("u", TurnAccount(turn="c", counted_at_us=4, runs=(run, run)))]
    assert 2 * len(journal.ended[entry.turn]) < len(encode(entry))
