"""Comparisons in busy sessions, and at workers that die, leave or have no cluster."""

from __future__ import annotations

import asyncio

import pytest

from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from schemas.prompts import CompareMode, OnBusy
from tests.fakes.memory_log import Fate
from tests.fakes.one_target import COMPARED
from tests.fakes.one_worker import PARTITION, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script
from tests.fakes.topic_names import TURNS
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual
from tests.unit.processors.turns.compared_answers import (
    ANSWER,
    PACES,
    compared,
    paced,
    reasons,
    times_settled,
    until_settled,
)

__all__: list[str] = []


@pytest.mark.parametrize("on_busy", ["enqueue", "parallel", "interrupt", "rollback"])
def test_comparison_in_a_busy_session(on_busy: OnBusy) -> None:
    """All of its turns do together what it asks for, and run side by side."""

    async def scene(worker: OneWorker) -> None:
        slow = Script(first_s=0.1, pace_s=9.0)
        worker.provider.script_of = lambda request: slow if request.model == "simulated" else paced(request)
        await worker.send(prompt("p0"))
        await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p0").next_seq > 0)
        await worker.send(compared(on_busy=on_busy))
        begun_s = worker.clock.monotonic_s()
        chosen = await until_settled(worker)

        busy_s = worker.clock.monotonic_s() - begun_s
        assert (reasons(worker), chosen) == (["complete"] * 3, 0)
        interrupts = on_busy in ("interrupt", "rollback")
        assert worker.reason("p0") == ("superseded" if interrupts else "complete")
        if interrupts:
            assert busy_s < max(PACES.values()) + 0.5
        order = [turn.queued.prompt_id for turn in worker.fold().turns.values()]
        assert order == ["p0", "p1", "p1", "p1"]

    on_virtual_time(scene)()


@pytest.mark.parametrize("on_busy", ["interrupt", "rollback"])
def test_comparison_that_is_interrupted(on_busy: OnBusy) -> None:
    """Rolled back, it leaves nothing; interrupted, the answer that was complete."""

    async def scene(worker: OneWorker) -> None:
        worker.provider.script_of = paced
        await worker.send(compared("merge"))
        await worker.until(lambda: reasons(worker) == ["", "complete", ""])
        await worker.send(prompt("p2", on_busy=on_busy))
        await worker.until(lambda: worker.reason("p2") != "", 2.0)

        told = [message.content for message in worker.provider.calls[-1].messages]
        assert told == ([] if on_busy == "rollback" else ["ask p1", ANSWER]) + ["ask p2"]
        assert reasons(worker) == ["superseded", "complete", "superseded"]
        assert times_settled(worker) == 1

    on_virtual_time(scene)()


@on_virtual_time
async def test_prompt_sent_again_of_which_a_part_is_missing(worker: OneWorker) -> None:
    """The entries that a dead worker did not write are added; the others are not written anew."""
    worker.provider.script_of = paced
    journal, written = worker.owner.journal.write, 0

    async def dying(entry: object) -> None:
        nonlocal written
        written += 1
        if written > 1:
            await asyncio.sleep(1e6)
        await journal(entry)  # type: ignore[arg-type]

    worker.owner.journal.write = dying  # type: ignore[method-assign]  # the process dies in between
    await worker.send(compared())
    await worker.until(lambda: written == 3)
    await worker.owner.stop()
    assert len(worker.log.records(TURNS, PARTITION)) == 1
    worker.owner = worker.new_owner(2)
    worker.owner.start()
    await worker.until(lambda: reasons(worker)[:1] == ["complete"])
    await worker.send_to(worker.owner, 0, compared())
    assert await until_settled(worker) == 0

    assert reasons(worker) == ["complete"] * 3
    assert sorted(call.model for call in worker.provider.calls) == list(COMPARED)


@pytest.mark.parametrize("mode", ["all", "first", "best", "merge"])
@pytest.mark.parametrize("before", ["settling", "closing"])
def test_worker_dies_before_the_turn_is_closed(mode: CompareMode, before: str) -> None:
    """The next owner closes it, and settles what was not settled, once."""
    loop = VirtualLoop()

    async def play() -> tuple[OneWorker, int]:
        worker = OneWorker(LoopClock(loop))
        worker.provider.script_of = paced

        settle = worker.owner.sessions.settle

        async def dying(lane: SessionLane, turn: OpenTurn) -> bool:
            if before == "closing":
                await settle(lane, turn)
            await asyncio.sleep(1e6)
            return False

        worker.owner.sessions.settle = dying
        worker.owner.start()
        await worker.send(compared(mode))
        await worker.until(lambda: reasons(worker).count("complete") == (1 if mode == "first" else 3))
        await asyncio.sleep(1)
        await worker.owner.stop()
        worker.owner = worker.new_owner(2)
        worker.owner.start()
        chosen = await until_settled(worker)
        await worker.until(lambda: not list(worker.owner.journal.open_entries()))
        await worker.owner.stop()
        return worker, chosen

    worker, chosen = run_virtual(loop, play())

    assert chosen == {"all": 0, "first": 1, "best": 0, "merge": 3}[mode]
    assert times_settled(worker) == 1
    assert len(worker.provider.calls) == (4 if mode == "merge" else 3) or mode == "first"
    assert len({(record.turn, record.attempt) for record in worker.records()}) == len(worker.provider.calls)


@on_virtual_time
async def test_partition_lost_while_a_comparison_runs(worker: OneWorker) -> None:
    """Its turns end here and are closed by the next owner, which settles it and merges."""
    worker.provider.script_of = paced
    await worker.send(compared("merge"))
    await worker.until(lambda: len(worker.provider.calls) == 3)
    await worker.owner.lease_running()
    await worker.owner.retire()
    retired, worker.owner = worker.owner, worker.new_owner(2)
    worker.owner.start()

    assert await until_settled(worker) == 3
    assert len(worker.provider.calls) == 4
    assert [turn.attempt for turn in worker.fold().turns.values()] == [1] * 4
    assert (times_settled(worker), retired.tasks.running) == (1, set())


@pytest.mark.parametrize("topic", ["session", "records", "turns"])
def test_cluster_away_while_a_comparison_ends(topic: str) -> None:
    """Everything is tried again; it is settled once."""

    async def scene(worker: OneWorker) -> None:
        worker.provider.script_of = paced
        await worker.send(compared("merge"))
        await worker.until(lambda: reasons(worker) == ["complete", "complete", ""])
        worker.fates["tokenwire." + topic] = [Fate.FAILS, Fate.UNKNOWN, Fate.FAILS, Fate.UNKNOWN]
        assert await until_settled(worker) == 3
        assert (reasons(worker), times_settled(worker)) == (["complete"] * 4, 1)

    on_virtual_time(scene)()


@on_virtual_time
async def test_more_models_than_may_be_compared(worker: OneWorker) -> None:
    """The prompt is rejected, with no more turns than a prompt may have."""
    await worker.send(prompt("p1", models=tuple(f"m{number}" for number in range(5_000))))
    await until_settled(worker)

    turns = worker.fold().turns.values()
    assert [turn.ended.reason for turn in turns if turn.ended] == ["rejected"] * 8
    assert {len(turn.queued.models) for turn in turns} == {8}
