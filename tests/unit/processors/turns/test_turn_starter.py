"""Turns one after another: failures, runs that another worker voids, and what is left to the next owner.

Covers: processors.attempts.turn_runner, processors.turns.attempt_loop.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from processors.providers.provider import ProviderCut, ProviderUnreachable
from processors.sessions.decisions.recovery import LEASE_US
from processors.targets.decisions.provider_router import CallNeeds
from processors.targets.target_pool import CallWish
from processors.turns.attempt_loop import FAILURES_MAX
from schemas.prompts import PromptCancelled
from schemas.session_events import TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from tests.fakes.memory_log import Fate
from tests.fakes.one_target import one_model
from tests.fakes.one_worker import SESSION, USER, OneWorker, on_virtual_time, prompt, turn_of
from tests.fakes.scripted_provider import Script, answer_chunks

__all__: list[str] = []

SLOW = Script(first_s=0.5, pace_s=5.0)
TEXT = "".join(answer_chunks("ask p2"))
FOREIGN = TurnStarted(turn=turn_of("p2"), attempt=2, run="foreign")


async def running(worker: OneWorker) -> None:
    """Let the turn of p2 get as far as its first chunk."""
    worker.provider.script_of = lambda _: SLOW
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p2").next_seq > 0)


@on_virtual_time
async def test_run_voided_by_a_worker_that_goes_silent(worker: OneWorker) -> None:
    """A frozen worker took the turn over and is stopped: the rightful owner waits for it, then ends the turn."""
    await running(worker)
    worker.write(FOREIGN)
    await worker.until(lambda: worker.reason("p2") != "")

    turn = worker.turn("p2")
    assert (worker.reason("p2"), turn.text, turn.attempt) == ("complete", TEXT, 3)
    assert worker.clock.monotonic_s() > LEASE_US / 1e6
    await worker.until(lambda: len(worker.outcomes()) == 3)
    assert sorted(worker.outcomes().values()) == ["complete", "void", "void"]


@on_virtual_time
async def test_run_voided_by_a_worker_that_ends_the_turn(worker: OneWorker) -> None:
    """It is closed here as well, and the next prompt's turn begins."""
    await running(worker)
    await worker.send(prompt("p3"))
    worker.write(FOREIGN)
    await asyncio.sleep(12)
    assert worker.reason("p3") == ""
    worker.write(
        TokensEmitted(turn=turn_of("p2"), attempt=2, run="foreign", seq=0, chunks=("other",), gaps_us=(1,)),
        TurnEnded(turn=turn_of("p2"), attempt=2, run="foreign", reason="complete"),
    )
    await worker.until(lambda: worker.reason("p3") != "")

    assert worker.outcomes()[2, "foreign"] == "complete"
    assert (worker.turn("p2").text, worker.reason("p3")) == ("other", "complete")
    entry = worker.entry("p2")
    assert entry is not None
    assert entry.phase == "ended"


@on_virtual_time
async def test_cancel_of_a_turn_that_another_worker_took_over(worker: OneWorker) -> None:
    """It ends that worker's run, billed for what it wrote."""
    await running(worker)
    worker.write(FOREIGN)
    await worker.until(
        lambda: any(turn.followed for lane in worker.owner.sessions.lanes.values() for turn in lane.turns)
    )
    worker.write(TokensEmitted(turn=turn_of("p2"), attempt=2, run="foreign", seq=0, chunks=("some ", "words")))
    await asyncio.sleep(1)
    await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p2"))
    await worker.until(lambda: worker.reason("p2") != "", 5.0)

    ended = worker.turn("p2").ended
    assert ended is not None
    assert (ended.reason, ended.attempt, ended.run, ended.text_sha256) == ("cancelled", 2, "foreign", "")
    assert ended.usage.output_tokens == 2
    assert ended.cost_nano_usd > 0


@on_virtual_time
async def test_prompt_that_another_worker_starts_first(worker: OneWorker) -> None:
    """Its run stands: it is followed, not outbid."""
    worker.slow_s = 0.1
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.owner.ready.is_set() and bool(worker.log.epochs.get(worker.place.topic)))
    worker.write(
        TurnQueued(turn=turn_of("p2"), prompt_id="p2", input="ask p2"),
        TurnStarted(turn=turn_of("p2"), attempt=1, run="foreign"),
    )
    await asyncio.sleep(3)
    worker.write(TurnEnded(turn=turn_of("p2"), attempt=1, run="foreign", reason="complete"))
    await asyncio.sleep(5)

    assert worker.provider.calls == []
    assert worker.reason("p2") == "complete"


@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.UNKNOWN])
def test_append_lost_in_mid_answer(fate: Fate) -> None:
    """A new attempt takes the run's place, and both are on record."""

    async def scene(worker: OneWorker) -> None:
        await running(worker)
        worker.fates["tokenwire.session"] = [fate]
        await worker.until(lambda: worker.reason("p2") != "")
        await worker.until(lambda: len(worker.outcomes()) == 2)

        assert (worker.reason("p2"), worker.turn("p2").text) == ("complete", TEXT)
        assert worker.turn("p2").attempt == 2

    on_virtual_time(scene)()


@on_virtual_time
async def test_appends_acknowledged_at_the_second_time(worker: OneWorker) -> None:
    """Every record lies twice on the log (a producer was replaced): one attempt, one ending, all closed (R4)."""
    worker.fates["tokenwire.session"] = [Fate.TWICE] * 99
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") != "")
    await asyncio.sleep(1)

    entry = worker.entry("p2")
    assert entry is not None
    assert (worker.reason("p2"), worker.turn("p2").attempt, entry.phase) == ("complete", 1, "ended")
    assert list(worker.outcomes().values()) == ["complete"]
    assert entry.last_offset == worker.turn("p2").last_offset


@pytest.mark.parametrize("topic", ["records", "turns"])
def test_cluster_away_after_the_ending(topic: str) -> None:
    """The turn keeps its one ending; record and journal follow when they can, and no further attempt begins."""

    async def scene(worker: OneWorker) -> None:
        await running(worker)
        worker.fates["tokenwire." + topic] = [Fate.FAILS] * 3
        await worker.until(lambda: worker.reason("p2") != "")
        await worker.until(lambda: (entry := worker.entry("p2")) is not None and entry.phase == "ended")

        assert worker.turn("p2").attempt == 1
        assert list(worker.outcomes().values()) == ["complete"]
        assert len(worker.provider.calls) == 1

    on_virtual_time(scene)()


@on_virtual_time
async def test_prompt_that_our_own_code_fails_on(worker: OneWorker) -> None:
    """R17: after three attempts it ends in error, its prompt is a dead letter, and its session goes on."""
    faulty = Script(fails_at=0, failure=ZeroDivisionError("ours"))
    worker.provider.script_of = lambda request: faulty if "p1" in request.messages[-1].content else Script()
    await worker.send(prompt("p1"), prompt("p2"))
    await worker.until(lambda: worker.reason("p2") != "")

    assert (worker.reason("p1"), worker.reason("p2")) == ("error", "complete")
    assert len(worker.provider.calls) == FAILURES_MAX + 1
    assert [letter.prompt_id for letter in worker.dead_letters()] == ["p1"]
    assert len(worker.outcomes()) == FAILURES_MAX + 1


@on_virtual_time
async def test_turn_that_cannot_even_be_given_up(worker: OneWorker) -> None:
    """Its session's lane goes on without it, and nothing of the partition's ends."""

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    worker.parts.dead_letters.write = broken  # type: ignore[method-assign]  # a fault cannot be provoked from outside
    faulty = Script(fails_at=0, failure=ZeroDivisionError("ours"))
    worker.provider.script_of = lambda request: faulty if "p1" in request.messages[-1].content else Script()
    await worker.send(prompt("p1"), prompt("p2"))
    await worker.until(lambda: worker.reason("p2") != "")

    assert (worker.reason("p1"), worker.reason("p2")) == ("", "complete")


@pytest.mark.parametrize(
    ("script", "reason", "code"),
    [
        (Script(fails_at=0, failure=ProviderUnreachable("away")), "error", "provider_unreachable"),
        (Script(fails_at=1, failure=ProviderCut("cut")), "incomplete", "provider_cut"),
        (Script(finish_reason=None), "incomplete", "provider_cut"),
        (Script(finish_reason="length"), "incomplete", "max_output_tokens"),
    ],
)
def test_call_that_does_not_come_to_its_end(script: Script, reason: str, code: str) -> None:
    """The turn says so, with what was written, and is billed for it."""

    async def scene(worker: OneWorker) -> None:
        worker.provider.script_of = lambda _: script
        await worker.send(prompt("p2"))
        await worker.until(lambda: worker.reason("p2") != "")

        turn = worker.turn("p2")
        assert turn.ended is not None
        assert turn.ended.error is not None
        assert (turn.ended.reason, turn.ended.error.code) == (reason, code)
        assert bool(turn.ended.usage.output_tokens) == bool(turn.text)
        assert turn.ended.usage.estimated

    on_virtual_time(scene)()


@pytest.mark.parametrize("by_another", [False, True])
def test_session_log_deleted_under_a_running_turn(*, by_another: bool) -> None:
    """R19: a log is created anew, and both the running turn and the one in its lane end on it."""
    on_virtual_time(lambda worker: log_deleted(worker, by_another=by_another))()


async def log_deleted(worker: OneWorker, *, by_another: bool) -> None:
    worker.provider.script_of = lambda _: Script(first_s=3.0)
    await worker.send(prompt("p1"), prompt("p2"))
    await worker.until(lambda: len(worker.fold().turns) == 2)
    worker.log.delete(worker.place.topic)
    if by_another:
        worker.log.create(worker.place.topic)
    await worker.until(lambda: worker.reason("p2") != "")

    assert (worker.reason("p1"), worker.reason("p2")) == ("complete", "complete")
    await worker.until(lambda: not list(worker.owner.journal.open_entries()))


@pytest.mark.parametrize("after", ["start", "launch"])
def test_task_stopped_before_its_first_step(after: str) -> None:
    """Spawned and cancelled in one tick, at a rebalance: its place here and at the target are given back."""

    async def scene(worker: OneWorker) -> None:
        starter, pool = worker.owner.starter, worker.parts.runner.pool
        begin = getattr(starter, after)

        def begun_and_cancelled(*arguments: Any) -> None:
            begin(*arguments)
            arguments[1].task.cancel()

        setattr(starter, after, begun_and_cancelled)
        await worker.send(prompt("p2", models=("a", "b") if after == "launch" else ()))
        await worker.until(
            lambda: worker.entry("p2") is not None and not worker.owner.sessions.lane_of(USER, SESSION).turns
        )

        assert pool.calls == 0
        assert all(state.in_flight == 0 for state in pool.states.values())
        assert worker.provider.calls == []

    on_virtual_time(scene)()


@on_virtual_time
async def test_place_given_back_twice(worker: OneWorker) -> None:
    """The second time changes nothing."""
    pool, catalogue = worker.parts.runner.pool, one_model()
    call = pool.try_reserve(CallWish(catalogue.models[catalogue.default], CallNeeds(), tokens=1))
    assert pool.calls == 1
    assert call is not None
    pool.give_back(call)
    pool.give_back(call)

    assert pool.calls == 0
