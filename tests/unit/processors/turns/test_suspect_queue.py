"""Suspects of one worker: who begins when, what the journal says meanwhile, and what ends every wait."""

from __future__ import annotations

import asyncio

import msgspec

from processors.providers.provider import ChatRequest, ProviderUnreachable
from processors.sessions.decisions.admission import body_hash_of
from processors.sessions.decisions.recovery import HOLD_S, newer_entry
from processors.turns.suspect_queue import QUIET_START_S
from schemas.codec import decode_journal_entry, decode_session_event
from schemas.identifiers import PromptId, SessionId, UserId, session_key_of, turn_id_of
from schemas.journal import JournalEntry
from schemas.prompts import PromptCancelled
from schemas.session_events import TurnWaiting
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import PARTITION, USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script
from tests.fakes.topic_names import TURNS
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []


def entry_of(worker: OneWorker, name: str, *, crashes: int) -> JournalEntry:
    """An open turn that a predecessor left, in a session of its own."""
    asked = prompt(name, session=name)
    return JournalEntry(
        turn=turn_id(name),
        user=USER,
        session=name,
        prompt_id=name,
        phase="queued",
        prompt=asked,
        body_hash=body_hash_of(asked),
        accepted_at_us=worker.clock.now_us(),
        crashes=crashes,
    )


def turn_id(name: str) -> str:
    return turn_id_of(UserId(USER), SessionId(name), PromptId(name))


async def take_up(worker: OneWorker, name: str, *, crashes: int) -> None:
    """Let a running owner find an open turn of so many crashes: its prompt comes again."""
    entry = entry_of(worker, name, crashes=crashes)
    worker.journal(entry)
    worker.owner.journal.remember(entry)
    await worker.send(prompt(name, session=name))


class Watched:
    """A worker whose calls are noted, with the time and with what the journal says of who is alone."""

    def __init__(self, worker: OneWorker, lasts_s: dict[str, float]) -> None:
        self.worker = worker
        self.lasts_s = lasts_s
        self.begun: dict[str, float] = {}
        self.alone: dict[str, bool] = {}
        worker.provider.script_of = self.script_of

    def script_of(self, request: ChatRequest) -> Script:
        name = request.messages[-1].content.removeprefix("ask ")
        self.begun.setdefault(name, round(self.worker.clock.monotonic_s(), 1))
        self.alone.setdefault(name, self.journalled(name).alone)
        return Script(first_s=self.lasts_s.get(name, 0.5), pace_s=0.0)

    def journalled(self, name: str) -> JournalEntry:
        """What a successor would find."""
        found: JournalEntry | None = None
        for record in self.worker.log.records(TURNS, PARTITION):
            entry = decode_journal_entry(record.value or b"")
            if entry.turn == turn_id(name):
                found = newer_entry(found, entry)
        assert found is not None
        return found

    def ended(self, *names: str) -> bool:
        return all(self.journalled(name).phase == "ended" for name in names)


def play(left: dict[str, int], lasts_s: dict[str, float], *, seconds: float = 120.0, attempts_max: int = 3) -> Watched:
    """Let a new owner start on turns with so many crashes each, whose answers last so long."""
    loop = VirtualLoop()

    async def scene() -> Watched:
        worker = OneWorker(LoopClock(loop), attempts_max=attempts_max)
        watched = Watched(worker, lasts_s)
        for name, crashes in left.items():
            worker.journal(entry_of(worker, name, crashes=crashes))
        worker.owner.start()
        await asyncio.sleep(seconds)
        assert watched.ended(*left)
        await worker.owner.stop()
        return watched

    return run_virtual(loop, scene())


def test_suspects_go_one_at_a_time_and_first() -> None:
    """Each has the worker to itself, as the journal says; an ordinary turn waits for the first, then goes between."""
    watched = play({"plain": 1, "one": 2, "two": 2}, {"one": 5.0, "two": 5.0})

    assert watched.alone == {"one": True, "plain": False, "two": True}
    assert watched.begun["one"] < 0.5
    assert 5 <= watched.begun["plain"] < 5.5
    assert watched.begun["two"] >= watched.begun["plain"] + 0.5, "it waits for whoever was let in"


def test_no_suspect_no_wait() -> None:
    """Turns of a worker that died once begin side by side at once."""
    watched = play({"a": 1, "b": 1, "c": 0}, {"a": 5.0})

    assert max(watched.begun.values()) < 0.5
    assert not any(watched.alone.values())


def test_ordinary_turn_that_lasts() -> None:
    """The suspect waits for it so long and no longer, then runs beside it, and is not to blame for what happens."""

    @on_virtual_time
    async def scene(worker: OneWorker) -> None:
        watched = Watched(worker, {"long": 60.0, "new": 1.0})
        await worker.send(prompt("long", session="long"))
        await worker.until(lambda: "long" in watched.begun)
        await take_up(worker, "suspect", crashes=2)
        await asyncio.sleep(2)
        await worker.send(prompt("new", session="new"))
        await worker.until(lambda: watched.ended("suspect", "new"))

        assert HOLD_S <= watched.begun["suspect"] < HOLD_S + 0.5
        assert watched.alone["suspect"] is False
        assert HOLD_S <= watched.begun["new"] < HOLD_S + 0.5, "the door opens for everybody"

    scene()


def test_suspect_that_lasts() -> None:
    """Once its time is over others begin, after the journal no longer says that it is alone."""
    watched = play({"suspect": 2, "plain": 0}, {"suspect": 40.0})

    assert watched.alone == {"suspect": True, "plain": False}
    assert HOLD_S <= watched.begun["plain"] < HOLD_S + 0.5


def test_time_doubles_with_every_crash() -> None:
    """What was not alone long enough is left alone for longer."""
    watched = play({"suspect": 4, "plain": 0}, {"suspect": 100.0}, seconds=150)

    assert 4 * HOLD_S <= watched.begun["plain"] < 4 * HOLD_S + 0.5


def test_prompt_that_is_allowed_one_crash() -> None:
    """It is run again alone all the same: that crash may have been anybody's."""
    watched = play({"suspect": 1}, {}, attempts_max=1)

    assert watched.alone == {"suspect": True}


def test_worker_without_suspects_is_not_kept_from_new_prompts() -> None:
    """Only a journal that holds suspects makes a quiet start."""

    @on_virtual_time
    async def scene(worker: OneWorker) -> None:
        watched = Watched(worker, {})
        worker.owner.parts.suspects.expect([entry_of(worker, "x", crashes=1)], attempts_max=3)
        await worker.send(prompt("a", session="a"))
        await worker.until(lambda: watched.begun.get("a") is not None)
        assert watched.begun["a"] < 0.1
        started_s = worker.clock.monotonic_s()
        dying = msgspec.structs.replace(entry_of(worker, "x", crashes=1), phase="running")
        worker.owner.parts.suspects.expect([dying], attempts_max=3)
        await worker.send(prompt("b", session="b"))
        await worker.until(lambda: "b" in watched.begun)
        assert QUIET_START_S - 0.1 < watched.begun["b"] - started_s < QUIET_START_S + 0.2

    scene()


def test_cancels_end_every_wait() -> None:
    """One in the line, one that waits for its solitude and one at the door: each ends within a second."""
    loop = VirtualLoop()

    async def scene() -> None:
        worker = OneWorker(LoopClock(loop))
        watched = Watched(worker, {"long": 100.0})
        worker.owner.start()
        await worker.owner.ready.wait()
        await worker.send(prompt("long", session="long"))
        await worker.until(lambda: "long" in watched.begun)
        for name in ("first", "second"):
            await take_up(worker, name, crashes=5)
        await asyncio.sleep(1)
        await worker.send(prompt("door", session="door"))
        await asyncio.sleep(1)
        for name in ("second", "door", "first"):
            await worker.send(PromptCancelled(user=USER, session=name, prompt_id=name))
        await asyncio.sleep(1)
        for name in ("first", "second", "door"):
            assert watched.journalled(name).reason == "cancelled", name
        assert list(watched.begun) == ["long"]
        await worker.send(prompt("after", session="after"))
        await asyncio.sleep(1)
        assert "after" in watched.begun, "nobody keeps the door closed"
        await worker.owner.stop()

    run_virtual(loop, scene())


def test_failed_attempt_of_a_suspect() -> None:
    """Until it is tried again others may begin, so the journal does not say any more that it is alone."""
    loop = VirtualLoop()

    async def scene() -> None:
        worker = OneWorker(LoopClock(loop))
        watched = Watched(worker, {"plain": 1.0})
        plain_script = watched.script_of
        alone_meanwhile: list[bool] = []

        def script_of(request: ChatRequest) -> Script:
            script = plain_script(request)
            if "plain" in request.messages[-1].content:
                alone_meanwhile.append(watched.journalled("suspect").alone)
            if len(worker.provider.calls) == 1:
                return Script(fails_at=0, failure=ProviderUnreachable("away"))
            return script

        worker.provider.script_of = script_of
        worker.journal(entry_of(worker, "suspect", crashes=2))
        worker.journal(entry_of(worker, "plain", crashes=0))
        worker.fates["tokenwire.turns"] = [Fate.LANDS, Fate.FAILS, Fate.FAILS]  # the second entry takes three tries
        worker.owner.start()
        await asyncio.sleep(60)
        assert watched.ended("suspect", "plain")
        assert watched.alone["suspect"] is True
        assert alone_meanwhile == [False]
        await worker.owner.stop()

    run_virtual(loop, scene())


def test_partition_lost_while_a_suspect_runs_or_waits() -> None:
    """Its place is free at once: other partitions of the worker go on, and nothing is written to the journal."""
    loop = VirtualLoop()

    async def scene() -> None:
        worker = OneWorker(LoopClock(loop))
        watched = Watched(worker, {"one": 100.0})
        for name in ("one", "two"):
            worker.journal(entry_of(worker, name, crashes=2))
        worker.owner.start()
        await worker.until(lambda: "one" in watched.begun)
        await worker.owner.stop()
        suspects = worker.parts.suspects

        assert (suspects.running, suspects.first, suspects.head.locked()) == (set(), None, False)
        assert watched.journalled("one").alone, "whoever comes next counts a crash of a turn that was alone"
        await asyncio.sleep(QUIET_START_S)
        assert not suspects.closers

    run_virtual(loop, scene())


def test_suspect_that_is_left_to_its_worker() -> None:
    """Its partition moved: its time ends without a word on a journal that is another owner's by now."""
    loop = VirtualLoop()

    async def scene() -> None:
        worker = OneWorker(LoopClock(loop))
        watched = Watched(worker, {"one": 3 * HOLD_S})
        worker.journal(entry_of(worker, "one", crashes=2))
        worker.owner.start()
        await worker.until(lambda: "one" in watched.begun)
        await worker.owner.lease_running()
        await worker.owner.retire()
        written = len(worker.log.records(TURNS, PARTITION))
        await asyncio.sleep(2 * HOLD_S)

        assert watched.journalled("one").phase == "running"
        assert len(worker.log.records(TURNS, PARTITION)) == written
        await worker.owner.stop()

    run_virtual(loop, scene())


def test_what_the_sessions_are_told() -> None:
    """One start and one end each; whoever waits is told its place in the line."""
    watched = play({"one": 2, "two": 2, "three": 2}, {})

    waits: list[int] = []
    for name in ("one", "two", "three"):
        key = session_key_of(UserId(USER), SessionId(name))
        topic = next(topic for topic, _ in watched.worker.log.partitions if key in topic)
        kinds = [record.value for record in watched.worker.log.records(topic, 0)]
        assert sum(b"turn.started" in (value or b"") for value in kinds) == 1
        assert sum(b"turn.ended" in (value or b"") for value in kinds) == 1
        events = [decode_session_event(value or b"") for value in kinds]
        waits += [event.position for event in events if isinstance(event, TurnWaiting)]
    assert sorted(waits) == [1, 2]
