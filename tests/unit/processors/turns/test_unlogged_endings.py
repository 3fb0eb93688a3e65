"""A session that the cluster keeps no log for: its turns end, and whoever comes after finds nothing open.

Covers: processors.writing.activity_teller.
"""

from __future__ import annotations

import asyncio

from schemas.activity import SessionActivity
from schemas.codec import decode_activity
from schemas.journal import JournalEntry
from schemas.prompts import ExpireSession, PromptCancelled, SessionWatched
from tests.fakes.one_worker import SESSION, USER, OneWorker, on_virtual_time, prompt, turn_of
from tests.fakes.scripted_provider import Script
from tests.fakes.topic_names import ACTIVITY
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []


def refused_turns(worker: OneWorker) -> list[str]:
    """The prompts that ended for want of a log, as analytics has them."""
    return [
        record.prompt_id
        for record in worker.records()
        if record.outcome is not None and record.outcome.error_code == "session_refused"
    ]


def journalled(worker: OneWorker, prompt_id: str = "p1") -> str:
    """How the journal has the turn."""
    entry = worker.entry(prompt_id)
    return "" if entry is None else f"{entry.phase} {entry.reason}"


@on_virtual_time
async def test_prompt_of_a_refused_session(worker: OneWorker) -> None:
    """It ends once, however often it is sent; the offsets behind it pass."""
    worker.topics.refuses = True
    await worker.send(prompt(), prompt(), PromptCancelled(user=USER, session=SESSION, prompt_id="p1"))
    await worker.send(ExpireSession(user=USER, session=SESSION))
    await worker.until(lambda: bool(worker.finished) and worker.finished[-1][1] == 4)

    assert journalled(worker) == "ended error"
    assert refused_turns(worker) == ["p1"]
    (letter,) = worker.dead_letters()
    assert (letter.reason, letter.prompt_id) == ("session_refused", "p1")
    assert "it is full" in letter.message
    assert worker.provider.calls == []


@on_virtual_time
async def test_session_that_is_allowed_again(worker: OneWorker) -> None:
    """The next prompt is answered."""
    worker.topics.refuses = True
    await worker.send(prompt())
    await worker.until(lambda: journalled(worker) == "ended error")
    worker.topics.refuses = False
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") == "complete")


@on_virtual_time
async def test_log_lost_under_a_running_turn(worker: OneWorker) -> None:
    """The turn can't be told anew, so it ends in the journal and on the records."""
    worker.provider.script_of = lambda _: Script(first_s=3.0)
    await worker.send(prompt())
    await worker.until(lambda: bool(worker.provider.calls))
    worker.topics.refuses = True
    worker.log.delete(worker.place.topic)
    await worker.until(lambda: journalled(worker) == "ended error")

    assert "p1" in refused_turns(worker)


@on_virtual_time
async def test_S22_no_room_for_another_session(worker: OneWorker) -> None:
    """The prompt ends rejected and is forgotten; gateways hear of it; sent again once there is room, it is answered."""
    worker.topics.is_full = True
    await worker.send(prompt(), PromptCancelled(user=USER, session="s9", prompt_id="p9"))
    await worker.until(lambda: bool(worker.finished) and worker.finished[-1][1] == 2)
    await worker.until(lambda: bool(refusals(worker)))
    (word,) = refusals(worker)
    outcomes = [record.outcome for record in worker.records() if record.outcome is not None]
    runs = [record.run for record in worker.records()]

    assert (word.prompt_id, word.retry_after_s) == ("p1", 60.0)
    assert [(outcome.reason, outcome.error_code) for outcome in outcomes] == [("rejected", "unavailable")]
    assert runs == ["refused-0"]
    assert journalled(worker) == ""
    assert worker.dead_letters() == []
    assert not worker.log.epochs.keys() & {worker.place.topic}
    worker.topics.is_full = False
    await worker.send(prompt())
    await worker.until(lambda: worker.reason("p1") == "complete")


@on_virtual_time
async def test_S22_only_a_prompt_makes_a_log(worker: OneWorker) -> None:
    """Neither a cancel of what never was, nor the end of a session that never was, nor word of who follows it."""
    await worker.send(
        PromptCancelled(user=USER, session=SESSION, prompt_id="p1"),
        ExpireSession(user=USER, session=SESSION),
        SessionWatched(user=USER, session=SESSION, gateway="g", devices=1),
    )
    await worker.until(lambda: bool(worker.finished) and worker.finished[-1][1] == 3)

    assert worker.place.topic not in worker.log.epochs


def refusals(worker: OneWorker) -> list[SessionActivity]:
    """What gateways were told of sessions that have no log."""
    words = [
        decode_activity(record.value or b"")
        for (topic, _), records in worker.log.partitions.items()
        if topic == ACTIVITY
        for record in records
    ]
    return [word for word in words if word.kind == "refused"]


def test_turn_left_behind_by_a_worker() -> None:
    """A new owner ends it, and goes on to take commands in."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        await asyncio.sleep(10)
        worker = OneWorker(LoopClock(loop))
        now_us = worker.clock.now_us()
        worker.journal(
            JournalEntry(
                turn=turn_of(),
                user=USER,
                session=SESSION,
                prompt_id="p1",
                phase="running",
                attempt=1,
                run="r1",
                prompt=prompt(),
                accepted_at_us=now_us,
                updated_at_us=now_us,
            )
        )
        worker.topics.refuses = True
        worker.owner.start()
        try:
            await worker.until(worker.owner.ready.is_set)
            await worker.send(prompt("p2"))
            await worker.until(lambda: journalled(worker, "p2") == "ended error")
        finally:
            await worker.owner.stop()
        return worker

    worker = run_virtual(loop, play())

    assert journalled(worker) == "ended error"
    assert sorted(refused_turns(worker)) == ["p1", "p2"]
    assert not worker.parts.broken.is_set()
