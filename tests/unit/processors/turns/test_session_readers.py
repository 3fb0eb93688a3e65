"""Who follows a session, and what it does to its turns: in virtual time, on a worker that is real.

Covers: processors.sessions.reader_brake.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from processors.sessions.decisions.presence import GONE_AFTER_S
from processors.sessions.decisions.reader_pace import ABSENT_S, STALLED_S
from processors.turns.session_readers import LOOK_EVERY_S
from schemas.prompts import WATCHED_EVERY_S, PromptCancelled, PromptSubmitted, SessionWatched
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import SESSION, USER, OneWorker, Scene, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

GRACE_S = 30.0
FOREVER = Script(first_s=0.5, pace_s=600.0)
LONG = max((f"ask {number}" for number in range(99)), key=lambda words: len(answer_chunks(words)))
CHUNKS = len(answer_chunks(LONG))


def paced(scene: Scene) -> Callable[[], None]:
    """As `on_virtual_time`, on a worker that pauses a provider 20 bytes ahead of its readers."""

    def test() -> None:
        loop = VirtualLoop()

        async def play() -> None:
            worker = OneWorker(LoopClock(loop), reader_behind_bytes_max=20)
            worker.owner.start()
            try:
                await scene(worker)
            finally:
                await worker.owner.stop()

        run_virtual(loop, play())

    return test


def leaving(prompt_id: str = "p1", **fields: Any) -> PromptSubmitted:
    return prompt(prompt_id, on_leave="cancel", **fields)


async def begun(worker: OneWorker, chunks: int = 1) -> None:
    """Until the turn of p1 has so many chunks."""
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn().next_seq >= chunks)


async def says(worker: OneWorker, devices: int, *, read_offset: int = -1, gateway: str = "g1") -> None:
    await worker.send(
        SessionWatched(user=USER, session=SESSION, gateway=gateway, devices=devices, read_offset=read_offset)
    )


async def stays(worker: OneWorker, for_s: float, **said: Any) -> None:
    """A device is there for so long, as its gateway tells now and then."""
    until_s = worker.clock.monotonic_s() + for_s
    while worker.clock.monotonic_s() < until_s:
        await says(worker, 1, **said)
        await asyncio.sleep(WATCHED_EVERY_S)


@on_virtual_time
async def test_turn_that_was_left_ends_after_the_grace_time(worker: OneWorker) -> None:
    """What was said is kept and billed, the call is closed, the journal knows why."""
    worker.provider.script_of = lambda _: FOREVER
    await worker.send(leaving())
    await stays(worker, 100.0)
    still_open = worker.reason()
    await says(worker, 0)
    left_s = worker.clock.monotonic_s()
    await worker.until(lambda: worker.reason() != "")
    took_s = worker.clock.monotonic_s() - left_s

    assert (still_open, worker.reason(), worker.provider.open_calls) == ("", "cancelled", 0)
    assert GRACE_S <= took_s <= GRACE_S + 3 * LOOK_EVERY_S
    ended = worker.turn().ended
    assert ended is not None
    assert ended.error is not None
    assert (ended.error.code, ended.usage.output_tokens > 0) == ("left", True)
    assert worker.turn().text == answer_chunks("ask p1")[0]


@on_virtual_time
async def test_gateway_that_falls_silent_has_no_devices(worker: OneWorker) -> None:
    """It died: its last word holds for a while, then the grace time runs; another gateway's word ends it."""
    worker.provider.script_of = lambda _: FOREVER
    await worker.send(leaving())
    await says(worker, 2)
    await asyncio.sleep(GONE_AFTER_S + GRACE_S - 2.0)
    await says(worker, 1, gateway="g2")
    await asyncio.sleep(GONE_AFTER_S + GRACE_S - 2.0)
    before = worker.reason()
    await worker.until(lambda: worker.reason() != "", 10.0)

    assert (before, worker.reason()) == ("", "cancelled")


@on_virtual_time
async def test_other_turns_stay_whoever_leaves(worker: OneWorker) -> None:
    """Only a turn that asked for it is cancelled; one in line is, too."""
    worker.provider.script_of = lambda _: Script(first_s=0.5, pace_s=200.0)
    await worker.send(prompt("p1"), leaving("p2"))
    await worker.until(lambda: worker.reason("p2") != "", 60.0)
    waited = worker.provider.calls
    await asyncio.sleep(100.0)

    assert (worker.reason("p2"), len(waited), worker.turn("p2").attempt) == ("cancelled", 1, 0)
    assert worker.reason("p1") == ""


@on_virtual_time
async def test_new_owner_begins_the_grace_time_anew(worker: OneWorker) -> None:
    """It knows nothing of what gateways told the one before it."""
    worker.provider.script_of = lambda _: FOREVER
    await worker.send(leaving())
    await begun(worker)
    await asyncio.sleep(GRACE_S - 5.0)
    await worker.owner.stop()
    worker.owner = worker.new_owner(2)
    worker.owner.start()
    await asyncio.sleep(GRACE_S - 5.0)
    before = worker.reason()
    await worker.until(lambda: worker.reason() != "", 60.0)

    assert (before, worker.reason()) == ("", "cancelled")


@on_virtual_time
async def test_turn_journalled_as_left_is_ended_by_the_next_owner(worker: OneWorker) -> None:
    """The worker died between the journal and the end."""
    worker.provider.script_of = lambda _: FOREVER
    await worker.send(leaving())
    await begun(worker)
    worker.fates["session"] = [Fate.FAILS] * 1_000
    await worker.until(lambda: (entry := worker.entry()) is not None and entry.cancel_requested)
    entry = worker.entry()
    await worker.owner.stop()
    worker.fates.clear()
    worker.owner = worker.new_owner(2)
    worker.owner.start()
    await worker.until(lambda: worker.reason() != "", 60.0)

    assert entry is not None
    assert (entry.stop, worker.reason(), len(worker.provider.calls)) == ("left", "cancelled", 1)


@on_virtual_time
async def test_worker_that_cannot_hear_leaves_nobody(worker: OneWorker) -> None:
    """The broker is away for minutes: gateways cannot say that their devices are there. Then the grace time begins."""
    worker.provider.script_of = lambda _: FOREVER
    await worker.send(leaving())
    await stays(worker, 20.0)
    away = [Fate.FAILS] * 100_000
    worker.read_fates["prompts"] = away
    await asyncio.sleep(300.0)
    away.clear()
    await asyncio.sleep(WATCHED_EVERY_S)
    await stays(worker, 60.0)

    assert worker.reason() == ""
    await worker.until(lambda: worker.reason() != "", GONE_AFTER_S + GRACE_S + 10.0)


@on_virtual_time
async def test_commands_that_wait_may_be_words(worker: OneWorker) -> None:
    """While the consumer is behind, silence says nothing."""
    worker.provider.script_of = lambda _: FOREVER
    await worker.send(leaving())
    worker.log.put("tokenwire.prompts", worker.owner.partition, b"1")
    worker.log.put("tokenwire.prompts", worker.owner.partition, b"2")
    await asyncio.sleep(200.0)
    behind = worker.reason()
    await says(worker, 0)
    await worker.until(lambda: worker.reason() != "", GRACE_S + 10.0)

    assert behind == ""


@on_virtual_time
async def test_device_that_comes_back_at_the_last_moment_is_seen(worker: OneWorker) -> None:
    """The session's lock was held when the grace time ended; by the time it is free somebody is there."""
    worker.provider.script_of = lambda _: FOREVER
    await worker.send(leaving())
    await begun(worker)
    lane = next(iter(worker.owner.sessions.lanes.values()))
    async with lane.alone():
        await worker.until(lambda: any(each.leaving for each in worker.owner.readers.sessions.values()))
        await says(worker, 1)
        await asyncio.sleep(0.1)
    await asyncio.sleep(1.0)

    assert worker.reason() == ""


@on_virtual_time
async def test_word_about_a_session_without_such_a_turn_changes_nothing(worker: OneWorker) -> None:
    """No lane, no topic, no task is made for it."""
    await says(worker, 1)
    await worker.until(lambda: bool(worker.finished))

    assert (worker.owner.sessions.lanes, worker.owner.readers.looking, worker.log.epochs.get(worker.place.topic)) == (
        {},
        None,
        None,
    )


@paced
async def test_provider_is_paused_while_its_readers_are_behind(worker: OneWorker) -> None:
    """No chunk is asked for meanwhile; reading on resumes it; the answer is whole."""
    await worker.send(prompt("p1", input=LONG, pace="reader"))
    await begun(worker, 3)
    await stays(worker, 60.0, read_offset=0)
    paused_at = worker.turn().next_seq
    await stays(worker, 60.0, read_offset=1_000)

    assert 3 <= paused_at <= 6 < CHUNKS
    assert (worker.reason(), worker.turn().text) == ("complete", "".join(answer_chunks(LONG)))


@paced
async def test_readers_of_a_worker_that_stood_still(worker: OneWorker) -> None:
    """They are not taken for gone or stuck: nobody could have heard them. The answer stays paused until they tell."""
    worker.awake.start()
    await worker.send(prompt("p1", input=LONG, pace="reader"))
    await begun(worker)
    await stays(worker, 5.0)
    paused_at = worker.turn().next_seq
    assert 0 < paused_at < CHUNKS
    worker.stand_still(10 * STALLED_S)
    await asyncio.sleep(WATCHED_EVERY_S)

    assert worker.turn().next_seq == paused_at
    await stays(worker, 5.0, read_offset=len(worker.log.records(worker.place.topic, worker.place.partition)))
    assert worker.turn().next_seq > paused_at


@paced
async def test_answer_without_readers_goes_on_unpaced(worker: OneWorker) -> None:
    """After a short while where nobody is there, after a longer one where a reader does not come further."""
    await worker.send(prompt("p1", input=LONG, pace="reader"))
    await worker.until(lambda: worker.reason() != "", ABSENT_S + 5.0)
    await worker.send(prompt("p2", input=LONG, pace="reader"))
    await stays(worker, STALLED_S - 10.0, read_offset=0)
    waits = worker.reason("p2")
    await stays(worker, 20.0, read_offset=0)

    assert waits == ""
    assert worker.reason("p2") == "complete"


@paced
async def test_paused_answer_can_be_cancelled(worker: OneWorker) -> None:
    """At once."""
    await worker.send(prompt("p1", input=LONG, pace="reader"))
    await stays(worker, 30.0, read_offset=0)
    begun_s = worker.clock.monotonic_s()
    await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p1"))
    await worker.until(lambda: worker.reason() != "")

    assert (worker.reason(), worker.provider.open_calls) == ("cancelled", 0)
    assert worker.clock.monotonic_s() - begun_s < 1.0


@paced
async def test_append_that_fails_while_paused_is_not_waited_over(worker: OneWorker) -> None:
    """The attempt is given up and the next one begins, paced as before."""
    await worker.send(prompt("p1", input=LONG, pace="reader"))
    await begun(worker, 2)
    worker.fates["session"] = [Fate.FAILS]
    await stays(worker, 20.0, read_offset=0)
    attempt = worker.turn().attempt
    await stays(worker, 60.0, read_offset=1_000)

    assert attempt == 2
    assert (worker.reason(), worker.turn().text) == ("complete", "".join(answer_chunks(LONG)))
