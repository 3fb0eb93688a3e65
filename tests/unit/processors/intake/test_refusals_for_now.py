"""A prompt that is refused for now: told, recorded, forgotten, and a new one when it is sent again.

Covers: processors.intake.prompt_intake.
"""

from __future__ import annotations

import msgspec
import pytest

from processors.ledger.decisions.reservation import FLOOR_TOKENS
from processors.sessions.decisions.admission import body_hash_of, queued_entry
from schemas.codec import decode_session_event
from schemas.journal import JournalEntry
from schemas.prompts import PromptCancelled, turns_of
from schemas.session_events import PromptRefused, SessionEvent, TurnQueued, TurnStarted
from schemas.tiers import Tier, Tiers
from tests.fakes.memory_log import Fate
from tests.fakes.one_target import COMPARED
from tests.fakes.one_worker import PARTITION, SESSION, USER, OneWorker, on_virtual_time, prompt, turn_of
from tests.fakes.scripted_provider import Script
from tests.fakes.topic_names import PROMPTS, TURNS
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

BUSY = prompt("p2", on_busy="reject")
BEGUN_US = 1_750_000_000_000_000
"""When virtual time begins."""


def slow(worker: OneWorker) -> None:
    """Let the answer to p1 take its time."""
    worker.provider.script_of = lambda request: Script(first_s=9.0 if request.messages[-1].content == "ask p1" else 0.1)


def on_log(worker: OneWorker) -> list[SessionEvent]:
    records = worker.log.partitions.get((worker.place.topic, worker.place.partition), [])
    return [decode_session_event(record.value or b"") for record in records]


def refusals(worker: OneWorker) -> list[PromptRefused]:
    return [event for event in on_log(worker) if isinstance(event, PromptRefused)]


def recorded(worker: OneWorker, prompt_id: str = "p2") -> list[tuple[int, str, str]]:
    """(attempt, run, reason) of each row of the prompt, rows written twice counted once."""
    rows = [
        (record.attempt, record.run if record.attempt == 0 else "", record.outcome.reason)
        for record in worker.records()
        if record.turn == turn_of(prompt_id) and record.outcome is not None
    ]
    return list(dict.fromkeys(rows))


def journalled(worker: OneWorker, prompt_id: str = "p2") -> list[bytes | None]:
    key = turn_of(prompt_id).encode()
    return [record.value for record in worker.log.records(TURNS, PARTITION) if record.key == key]


async def begun(worker: OneWorker) -> None:
    slow(worker)
    await worker.send(prompt())
    await worker.until(lambda: turn_of("p1") in worker.fold().turns)


def asked(worker: OneWorker, prompt_id: str = "p2") -> int:
    return sum(call.messages[-1].content == f"ask {prompt_id}" for call in worker.provider.calls)


@on_virtual_time
async def test_refused_and_sent_again(worker: OneWorker) -> None:
    """Each refusal is a row, and so is the answer; nothing of the refusals is remembered, and one call is made."""
    await begun(worker)
    await worker.send(BUSY, BUSY)
    await worker.until(lambda: len(recorded(worker)) == 2)
    first, second = refusals(worker)

    assert (first.turns, first.try_offset, second.try_offset) == ((turn_of("p2"),), 1, 2)
    assert (first.code, first.temporary) == ("session_busy", True)
    assert first.retry_after_s is not None
    assert worker.entry("p2") is None
    assert journalled(worker) == []
    await worker.until(lambda: worker.reason("p1") == "complete")
    await worker.send(BUSY, BUSY)
    await worker.until(lambda: worker.reason("p2") == "complete")
    await worker.until(lambda: len(recorded(worker)) == 3)

    assert [(attempt, run) for attempt, run, _ in recorded(worker)] == [(0, "refused-1"), (0, "refused-2"), (1, "")]
    assert [reason for *_, reason in recorded(worker)] == ["rejected", "rejected", "complete"]
    assert (asked(worker), worker.turn("p2").queued.try_offset) == (1, 3)


@on_virtual_time
async def test_queue_that_is_full_for_now(worker: OneWorker) -> None:
    """The prompt that found no room is answered when it is sent again."""
    await begun(worker)
    limit = worker.parts.limits.session_queue_max
    await worker.send(*(prompt(f"q{number}") for number in range(limit)), prompt("p2"))
    await worker.until(lambda: bool(refusals(worker)))
    await worker.until(lambda: worker.reason(f"q{limit - 1}") == "complete", 3_000)
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") == "complete")

    assert [event.code for event in refusals(worker)] == ["queue_full"]


@on_virtual_time
async def test_comparison_that_is_refused_for_now(worker: OneWorker) -> None:
    """All of its turns at once, each with its row."""
    compared = prompt("p2", on_busy="reject", models=("model-a", "model-b"))
    await begun(worker)
    await worker.send(compared)
    await worker.until(lambda: bool(refusals(worker)))
    (refused,) = refusals(worker)
    await worker.until(lambda: worker.reason("p1") == "complete")
    await worker.send(compared)
    await worker.until(lambda: len(worker.fold().turns) == 3 and not list(worker.fold().open_turns()))

    assert refused.turns == turns_of(compared)
    rows = [record.turn for record in worker.records() if record.run == "refused-1"]
    assert sorted(rows) == sorted(refused.turns)


@on_virtual_time
async def test_cancel_of_what_was_refused(worker: OneWorker) -> None:
    """It does not end the sending that comes next."""
    await begun(worker)
    await worker.send(BUSY, PromptCancelled(user=USER, session=SESSION, prompt_id="p2"))
    await worker.until(lambda: worker.reason("p1") == "complete")
    await worker.send(BUSY)
    await worker.until(lambda: worker.reason("p2") != "")

    assert worker.reason("p2") == "complete"


@on_virtual_time
async def test_record_that_fails_at_first(worker: OneWorker) -> None:
    """The command is taken in again: the refusal that is on the log is not told once more."""
    await begun(worker)
    worker.fates["tokenwire.records"] = [Fate.FAILS] * 3
    await worker.send(BUSY)
    await worker.until(lambda: bool(recorded(worker)))

    assert len(refusals(worker)) == 1
    assert recorded(worker) == [(0, "refused-1", "rejected")]


@pytest.mark.parametrize("lost", ["", "tokenwire.records", "tokenwire.turns"])
def test_worker_dies_in_the_middle(lost: str) -> None:
    """The record is delivered again, and stays refused though there is room by now; the next sending is answered."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        worker = OneWorker(LoopClock(loop))
        worker.owner.start()
        await begun(worker)
        worker.journal(entry_of_sending(-1, phase="cancelled_early", updated_at_us=0))
        if lost:
            worker.fates[lost] = [Fate.FAILS] * 99
        await worker.send(BUSY)
        await worker.until(lambda: bool(refusals(worker)))
        await worker.until(lambda: lost != "" or bool(recorded(worker)))
        await worker.owner.stop()
        worker.fates.clear()
        for _ in range(2):
            worker.log.put(PROMPTS, PARTITION, b"{}")
        worker.owner = worker.new_owner(2)
        worker.owner.start()
        await worker.until(lambda: worker.reason("p1") == "complete")
        await worker.send_to(worker.owner, 1, BUSY)
        await worker.until(lambda: (PARTITION, 2, 2) in worker.finished)
        assert (recorded(worker), worker.entry("p2")) == ([(0, "refused-1", "rejected")], None)
        assert (asked(worker), len(refusals(worker)), turn_of("p2") in worker.fold().turns) == (0, 1, False)
        await worker.send(BUSY)
        await worker.until(lambda: worker.reason("p2") == "complete")
        await worker.owner.stop()
        return worker

    worker = run_virtual(loop, play())

    assert asked(worker) == 1


def test_worker_dies_and_its_session_is_at_rest() -> None:
    """Whoever gets the record again asks the log before it writes: a reader that begins there would believe it."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        worker = OneWorker(LoopClock(loop))
        worker.owner.start()
        await begun(worker)
        stamped_us = worker.clock.now_us()
        await worker.send(BUSY)
        await worker.until(lambda: worker.reason("p1") == "complete")
        await worker.until(lambda: worker.owner.sessions.lane_of(USER, SESSION).idle)
        await worker.owner.stop()
        for _ in range(2):
            worker.log.put(PROMPTS, PARTITION, b"{}")
        before = len(on_log(worker))
        worker.owner = worker.new_owner(2)
        worker.owner.start()
        await worker.send_to(worker.owner, 1, BUSY, stamped_us=stamped_us)
        await worker.until(lambda: (PARTITION, 2, 2) in worker.finished)
        assert len(on_log(worker)) == before
        await worker.owner.stop()
        return worker

    assert asked(run_virtual(loop, play())) == 0


def entry_of_sending(try_offset: int, **changes: object) -> JournalEntry:
    entry = queued_entry(
        BUSY, 0, body_hash=body_hash_of(BUSY), accepted_at_us=BEGUN_US, now_us=BEGUN_US, try_offset=try_offset
    )
    return msgspec.structs.replace(entry, **changes)


def refusal(try_offset: int) -> PromptRefused:
    """As another worker writes it."""
    return PromptRefused(
        prompt_id="p2", code="session_busy", message="m", turns=(turn_of("p2"),), try_offset=try_offset, temporary=True
    )


def queueing(try_offset: int) -> TurnQueued:
    return TurnQueued(turn=turn_of("p2"), prompt_id="p2", input="ask p2", try_offset=try_offset)


def test_entry_that_a_woken_worker_brings_back() -> None:
    """The next owner finds it refused on the log: it is recorded and forgotten, and the prompt is new when it comes."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        worker = OneWorker(LoopClock(loop))
        worker.write(refusal(5))
        worker.journal(entry_of_sending(5))
        worker.offset = 7
        worker.owner.start()
        await worker.until(worker.owner.ready.is_set)
        assert (recorded(worker), worker.entry("p2")) == ([(0, "refused-5", "rejected")], None)
        assert journalled(worker)[-1] is None
        assert on_log(worker) == [refusal(5)]
        await worker.send(BUSY)
        await worker.until(lambda: worker.reason("p2") == "complete")
        await worker.owner.stop()
        return worker

    worker = run_virtual(loop, play())

    assert (asked(worker), worker.turn("p2").queued.try_offset) == (1, 7)


@on_virtual_time
async def test_turn_that_another_worker_takes_back_while_it_waits(worker: OneWorker) -> None:
    """Nobody is called for it; sent again once that is known, it is answered."""
    await begun(worker)
    await worker.send(prompt("p2"))
    await worker.until(lambda: turn_of("p2") in worker.fold().turns)
    worker.write(refusal(1))
    await worker.until(lambda: bool(recorded(worker)))
    await worker.until(lambda: worker.entry("p2") is None)
    assert (recorded(worker), asked(worker)) == ([(0, "refused-1", "rejected")], 0)
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") == "complete")

    assert asked(worker) == 1


@on_virtual_time
async def test_queued_as_another_worker_refuses_it(worker: OneWorker) -> None:
    """The refusal came first: the turn never waits, and nobody waits for it."""
    await begun(worker)
    worker.write(refusal(1))
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(recorded(worker)))

    assert (recorded(worker), worker.entry("p2")) == ([(0, "refused-1", "rejected")], None)
    assert (worker.reason("p1"), worker.owner.sessions.lane_of(USER, SESSION).open_turns) == ("", 1)


@on_virtual_time
async def test_sent_again_while_it_waits_and_then_taken_back(worker: OneWorker) -> None:
    """The sending that was refused is not the one that it answers by now."""
    await begun(worker)
    await worker.send(prompt("p2"), prompt("p2"))
    await worker.until(lambda: (entry := worker.entry("p2")) is not None and entry.try_offset == 2)
    worker.write(refusal(1))
    await worker.until(lambda: worker.reason("p2") == "complete")

    assert (asked(worker), worker.turn("p2").queued.try_offset) == (1, 2)
    assert [attempt for attempt, *_ in recorded(worker)] == [1]


@on_virtual_time
async def test_log_that_shows_a_later_sending(worker: OneWorker) -> None:
    """A woken worker has queued it: the refusal is of that one too, or its turn would stay open for ever."""
    await begun(worker)
    worker.write(queueing(50))
    await worker.send(BUSY)
    await worker.until(lambda: bool(recorded(worker)))

    assert [event.try_offset for event in refusals(worker)] == [1, 50]
    assert turn_of("p2") not in worker.fold().turns


@on_virtual_time
async def test_prompt_that_another_worker_has_begun(worker: OneWorker) -> None:
    """What has begun is ended, and billed; its id is used."""
    await begun(worker)
    worker.write(queueing(1), TurnStarted(turn=turn_of("p2"), attempt=1, run="other", model="m", provider="p"))
    await worker.send(BUSY)
    await worker.until(lambda: worker.reason("p2") == "rejected")
    await worker.until(lambda: (entry := worker.entry("p2")) is not None and entry.phase == "ended")

    assert [attempt for attempt, *_ in recorded(worker)] == [1]


@on_virtual_time
async def test_started_as_another_worker_refuses_it(worker: OneWorker) -> None:
    """The refusal came first: the start is void, nobody is called, and nothing is left of it here."""
    await worker.send(prompt())
    await worker.until(lambda: worker.reason("p1") == "complete")
    worker.write(refusal(1))
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(recorded(worker)))
    await worker.until(lambda: worker.owner.sessions.lane_of(USER, SESSION).idle)
    assert (asked(worker), recorded(worker), worker.entry("p2")) == (0, [(0, "refused-1", "rejected")], None)
    assert sum(isinstance(event, TurnStarted) and event.turn == turn_of("p2") for event in on_log(worker)) == 1
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") == "complete")


@on_virtual_time
async def test_comparison_with_room_for_one_of_its_models(worker: OneWorker) -> None:
    """The prompt is being answered, so its id is used: what finds no room ends, and the comparison is settled."""
    small = Tier(name="small", limits={"tokens_per_day": FLOOR_TOKENS + 300})
    worker.tiers = Tiers(tiers={small.name: small}, default=small.name)
    worker.provider.script_of = lambda _: Script(pace_s=5.0)
    compared = prompt("p1", models=COMPARED)
    await worker.send(compared)
    await worker.until(lambda: "p1" in worker.fold().comparisons)
    await worker.until(lambda: worker.owner.sessions.lane_of(USER, SESSION).idle)

    turns = [worker.fold().turns.get(turn) for turn in turns_of(compared)]
    reasons = [turn.ended.reason for turn in turns if turn is not None and turn.ended is not None]
    assert sorted(reasons) == ["complete", "rejected", "rejected"]
    assert not list(worker.owner.journal.open_entries())
