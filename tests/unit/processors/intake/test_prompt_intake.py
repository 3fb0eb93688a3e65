"""A prompt that comes while others of its session are open: what becomes of it, and of them.

Covers: processors.attempts.turn_calls, processors.sessions.open_turn, processors.sessions.session_lane.
"""

from __future__ import annotations

import asyncio

import pytest

from processors.attempts.turn_route import TurnRoute
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from schemas.journal import JournalEntry
from schemas.prompts import ChatMessage, OnBusy, PromptCancelled
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import SESSION, USER, OneWorker, on_virtual_time, prompt, turn_of
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

SLOW = Script(first_s=0.1, pace_s=5.0)


def slow_first(worker: OneWorker, *prompt_ids: str) -> None:
    """Let the answers to these prompts come slowly."""
    asked = {f"ask {prompt_id}" for prompt_id in prompt_ids or ("p2",)}
    worker.provider.script_of = lambda request: SLOW if request.messages[-1].content in asked else Script()


async def speaking(worker: OneWorker, prompt_id: str = "p2") -> None:
    """Let a turn get as far as its first chunk."""
    turn = turn_of(prompt_id)
    await worker.until(lambda: (found := worker.fold().turns.get(turn)) is not None and found.next_seq > 0)


async def ended(worker: OneWorker, *prompt_ids: str, limit_s: float = 300.0) -> None:
    await worker.until(lambda: all(worker.reason(prompt_id) for prompt_id in prompt_ids), limit_s)


def told(worker: OneWorker) -> list[str]:
    """What the model was told with the newest call."""
    return [message.content for message in worker.provider.calls[-1].messages]


def code_of(worker: OneWorker, prompt_id: str) -> str:
    found = worker.turn(prompt_id).ended
    return found.error.code if found is not None and found.error is not None else ""


def entry_of(worker: OneWorker, prompt_id: str) -> JournalEntry:
    entry = worker.entry(prompt_id)
    assert entry is not None
    return entry


@on_virtual_time
async def test_prompt_that_waits(worker: OneWorker) -> None:
    """It says after how many, and after how long where turns have ended before."""
    await worker.send(prompt("p0"))
    await ended(worker, "p0")
    await asyncio.sleep(1)
    slow_first(worker)
    await worker.send(prompt("p2"))
    await speaking(worker)
    await worker.send(prompt("p3"), prompt("p4"))
    await worker.until(lambda: len(worker.fold().turns) == 4)

    third, fourth = worker.turn("p3").queued, worker.turn("p4").queued
    assert (third.position, fourth.position) == (1, 2)
    assert third.eta_s is not None
    assert fourth.eta_s is not None
    assert 0 <= third.eta_s < fourth.eta_s
    await ended(worker, "p4")
    assert [call.messages[-1].content for call in worker.provider.calls] == ["ask p0", "ask p2", "ask p3", "ask p4"]


@on_virtual_time
async def test_prompt_beside_others(worker: OneWorker) -> None:
    """It starts at once and ends before the one it runs beside; one that waits still waits for both before it."""
    slow_first(worker)
    await worker.send(prompt("p2"), prompt("p3"), prompt("p4", on_busy="parallel"))
    await ended(worker, "p4", limit_s=2.0)
    assert (worker.turn("p4").queued.position, worker.reason("p2"), worker.turn("p3").attempt) == (0, "", 0)
    await ended(worker, "p2", "p3")
    await asyncio.sleep(1)
    await worker.send(prompt("p5"))
    await ended(worker, "p5")

    asked = ["ask p2", "ask p3", "ask p4"]
    assert told(worker) == [text for ask in asked for text in (ask, "".join(answer_chunks(ask)))] + ["ask p5"]


@on_virtual_time
async def test_more_prompts_beside_each_other_than_may_be(worker: OneWorker) -> None:
    """Those beyond the limit wait for a place, and are told so."""
    limit = worker.parts.limits.session_parallel_max
    worker.provider.script_of = lambda _: Script(first_s=5.0)
    await worker.send(*(prompt(f"p{number}", on_busy="parallel") for number in range(limit + 2)))
    await worker.until(lambda: len(worker.fold().turns) == limit + 2)
    await asyncio.sleep(1)

    assert worker.provider.open_calls == limit
    assert [worker.turn(f"p{number}").queued.position for number in (0, limit - 1, limit)] == [0, 0, limit]
    await ended(worker, f"p{limit + 1}")
    await worker.until(lambda: worker.owner.sessions.lane_of(USER, SESSION).idle)
    assert {worker.reason(f"p{number}") for number in range(limit + 2)} == {"complete"}


@on_virtual_time
async def test_prompt_that_is_not_to_wait(worker: OneWorker) -> None:
    """It is refused for now; in a session at rest it is answered."""
    slow_first(worker)
    await worker.send(prompt("p2"), prompt("p3", on_busy="reject"))
    await worker.until(lambda: "p3" in worker.fold().refused)
    error = worker.fold().refused["p3"].event
    assert error is not None
    assert (error.code, error.temporary) == ("session_busy", True)
    assert error.retry_after_s is not None
    assert error.retry_after_s > 0
    await ended(worker, "p2")
    await worker.send(prompt("p4", on_busy="reject"))
    await ended(worker, "p4")

    assert worker.reason("p4") == "complete"


@pytest.mark.parametrize(("on_busy", "forgotten"), [("interrupt", False), ("rollback", True)])
def test_prompt_that_ends_the_others(on_busy: OnBusy, *, forgotten: bool) -> None:
    """Running and waiting turns end superseded within a second; what was said stays, or is forgotten."""

    async def scene(worker: OneWorker) -> None:
        await worker.send(prompt("p0"))
        await ended(worker, "p0")
        slow_first(worker)
        await worker.send(prompt("p2"), prompt("p3"))
        await speaking(worker)
        await worker.send(prompt("p4", on_busy=on_busy))
        await ended(worker, "p2", "p3", limit_s=1.0)
        await ended(worker, "p4", limit_s=2.0)

        before = ["ask p0", "".join(answer_chunks("ask p0"))]
        partial = worker.turn("p2")
        assert partial.ended is not None
        assert [worker.reason(f"p{number}") for number in (2, 3, 4)] == ["superseded", "superseded", "complete"]
        assert (partial.ended.forgotten, code_of(worker, "p3")) == (forgotten, "superseded")
        assert partial.ended.usage.output_tokens > 0
        assert told(worker) == [*before, *([] if forgotten else ["ask p2", partial.text]), "ask p4"]
        assert len(worker.provider.calls) == 3
        worker.conversations.bytes_max = 0
        worker.conversations.shrink()  # the log says the same
        await asyncio.sleep(1)
        await worker.send(prompt("p5"))
        await ended(worker, "p5")
        assert told(worker)[-2:] == ["".join(answer_chunks("ask p4")), "ask p5"]
        assert ("ask p2" in told(worker)) != forgotten

    on_virtual_time(scene)()


@on_virtual_time
async def test_line_that_is_full_and_a_prompt_that_ends_it(worker: OneWorker) -> None:
    """It is taken in: those before it make room."""
    slow_first(worker, "p0")
    limit = worker.parts.limits.session_queue_max
    await worker.send(*(prompt(f"p{number}") for number in range(limit + 1)))
    await worker.send(prompt("full"), prompt("next", on_busy="interrupt"))
    await ended(worker, "next", limit_s=5.0)

    assert (list(worker.fold().refused), worker.reason("next")) == (["full"], "complete")
    assert {worker.reason(f"p{number}") for number in range(limit + 1)} == {"superseded"}


@pytest.mark.parametrize("on_busy", ["interrupt", "rollback"])
def test_worker_dies_before_the_others_have_ended(on_busy: OnBusy) -> None:
    """The next owner ends them as the journal says, and answers the new prompt."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        worker = OneWorker(LoopClock(loop))
        worker.owner.start()
        slow_first(worker)
        await worker.send(prompt("p2"), prompt("p3"))
        await speaking(worker)
        worker.fates["tokenwire.session"] = [Fate.FAILS] * 9
        await worker.send(prompt("p4", on_busy=on_busy))
        await worker.until(lambda: entry_of(worker, "p2").cancel_requested and entry_of(worker, "p3").cancel_requested)
        await worker.owner.stop()
        worker.fates.clear()
        worker.owner = worker.new_owner(2)
        worker.owner.start()
        await worker.send_to(worker.owner, 2, prompt("p4", on_busy=on_busy))
        await ended(worker, "p2", "p3", "p4")
        await worker.owner.stop()
        return worker

    worker = run_virtual(loop, play())

    endings = [worker.turn(prompt_id).ended for prompt_id in ("p2", "p3")]
    assert [(end.reason, end.forgotten) for end in endings if end] == [("superseded", on_busy == "rollback")] * 2
    assert worker.reason("p4") == "complete"
    assert ("ask p2" in told(worker)) == (on_busy == "interrupt")


@on_virtual_time
async def test_whole_conversation_beside_others(worker: OneWorker) -> None:
    """It replaces what was queued before it, however late that ends."""
    slow_first(worker)
    messages = (ChatMessage("user", "Anew!"),)
    await worker.send(prompt("p2"), prompt("p3", input="", messages=messages, on_busy="parallel"))
    await ended(worker, "p3", "p2")
    await asyncio.sleep(1)
    await worker.send(prompt("p4"))
    await ended(worker, "p4")

    assert told(worker) == ["Anew!", "".join(answer_chunks("Anew!")), "ask p4"]


@on_virtual_time
async def test_cancel_of_a_turn_that_waits_for_the_worker(worker: OneWorker) -> None:
    """It needs no place among the running turns to end."""
    worker.provider.script_of = lambda _: Script(first_s=50.0)
    await worker.send(*(prompt(f"p{number}", session=f"s{number}") for number in range(worker.calls_max)))
    await worker.until(lambda: worker.parts.runner.pool.full)
    await worker.send(prompt("p99"))
    await worker.until(lambda: bool(worker.fold().turns))
    await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p99"))
    await ended(worker, "p99", limit_s=1.0)

    assert worker.reason("p99") == "cancelled"


@on_virtual_time
async def test_partition_lost_while_turns_run_side_by_side(worker: OneWorker) -> None:
    """All of them were leased and end here; those that wait are the new owner's."""
    slow_first(worker, "p2", "p3")
    await worker.send(prompt("p2"), prompt("p3", on_busy="parallel"), prompt("p4"))
    await speaking(worker, "p3")
    await worker.owner.lease_running()
    assert {entry_of(worker, name).lease_until_us > 0 for name in ("p2", "p3")} == {True}
    await worker.owner.retire()
    successor = worker.new_owner(2)
    successor.start()
    await ended(worker, "p2", "p3", "p4")

    assert [worker.turn(name).attempt for name in ("p2", "p3", "p4")] == [1, 1, 1]
    assert len(worker.provider.calls) == 3
    await successor.stop()
    assert worker.owner.tasks.running == set()


@on_virtual_time
async def test_last_place_taken_by_a_turn_of_the_same_session(worker: OneWorker) -> None:
    """A prompt that is being taken in does not wait for it: the turn may wait for the session's lock in turn."""
    calls, holders = worker.parts.runner.calls, list[asyncio.Task[None]]()
    route_of = calls.route_of

    pool = worker.parts.runner.pool

    async def until_free(lane: SessionLane, places: int) -> None:
        async with lane.lock:
            pool.calls -= places
            pool.dispatch()

    async def taken_meanwhile(lane: SessionLane, turn: OpenTurn) -> TurnRoute:
        if not holders:
            places = pool.calls_max - pool.calls
            pool.calls += places
            holders.append(asyncio.create_task(until_free(lane, places)))
        return await route_of(lane, turn)

    calls.route_of = taken_meanwhile  # type: ignore[method-assign]  # so that it happens just then
    await worker.send(prompt("p1"))
    await ended(worker, "p1", limit_s=5.0)

    assert worker.reason("p1") == "complete"


def test_worker_dies_while_it_turns_a_comparison_away() -> None:
    """The next one turns the rest of it away as well."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        worker = OneWorker(LoopClock(loop))
        worker.provider.script_of = lambda _: Script(first_s=1.0)
        worker.owner.start()
        await worker.send(prompt("p0"), prompt("p1"))
        await worker.until(lambda: len(worker.fold().turns) == 2)
        lane, settle = worker.owner.sessions.lane_of(USER, SESSION), worker.owner.comparisons.settle

        async def dying(lane: SessionLane, turn: OpenTurn) -> bool:
            if turn.entry.index == 1:
                await asyncio.sleep(1e6)
            return await settle(lane, turn)

        lane.settle = dying
        compared = prompt("full", models=("model-a", "model-b", "model-c"), input="long" * 9_999)
        await worker.send(compared)
        await worker.until(lambda: sum(turn.ended is not None for turn in worker.fold().turns.values()) >= 2)
        await worker.owner.stop()
        worker.owner = worker.new_owner(2)
        worker.owner.start()
        await ended(worker, "p0", "p1")
        await worker.send_to(worker.owner, 2, compared)
        await ended(worker, "full")
        await worker.until(lambda: worker.owner.sessions.lane_of(USER, SESSION).idle)
        await worker.owner.stop()
        return worker

    worker = run_virtual(loop, play())

    turns = [turn for turn in worker.fold().turns.values() if turn.queued.prompt_id == "full"]
    assert [turn.ended.error.code for turn in turns if turn.ended and turn.ended.error] == ["prompt_too_large"] * 3
    assert worker.fold().comparisons["full"].turn == ""
    assert not list(worker.owner.journal.open_entries())
