"""Places at targets: who waits, in which order, and what they are told.

Covers: processors.targets.model_queues.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from infra.targets.model_catalogue import ServedModel
from processors.providers.provider import ProviderError, ProviderUnreachable
from processors.targets.decisions.circuit_breaker import BreakerLimits, BreakerPhase
from processors.targets.decisions.provider_router import CallNeeds
from processors.targets.decisions.queue_wait import TELL_EVERY_S
from processors.targets.target_pool import Call, CallWish, NoTarget
from schemas.prompts import Priority
from tests.fakes.permit_bus import PermitBus, PoolWorker, limited, model_of, on_virtual_loop

EVERYTHING = tuple(range(12))
FAILURES = BreakerLimits().consecutive_failures_max
DOWN: ProviderError = ProviderUnreachable("down")


class Told:
    """Remembers what one turn was told."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        self.etas_s: list[float | None] = []

    async def __call__(self, position: int, eta_s: float | None) -> None:
        self.positions.append(position)
        self.etas_s.append(eta_s)


def spawn(group: asyncio.TaskGroup, worker: PoolWorker, served: ServedModel, **options: Any) -> asyncio.Task[Call]:
    return group.create_task(worker.call(served, **options))


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@on_virtual_loop
async def test_first_come_first_served(bus: PermitBus) -> None:
    """One place, one after another in the order of their coming."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    order: list[int] = []

    async def ask(number: int) -> None:
        await worker.call(served)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(ask(number))

    assert order == [0, 1, 2, 3, 4]
    assert bus.clock.monotonic_s() == pytest.approx(5)


@on_virtual_loop
async def test_batch_waits_behind_interactive(bus: PermitBus) -> None:
    """Whatever came first; within a class by arrival."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    order: list[str] = []

    async def ask(name: str, priority: Priority) -> None:
        await worker.call(served, priority=priority)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask("running", "interactive"))
        await settled()
        for number in range(3):
            group.create_task(ask(f"batch-{number}", "batch"))
        await settled()
        for number in range(3):
            group.create_task(ask(f"chat-{number}", "interactive"))

    assert order == ["running", "chat-0", "chat-1", "chat-2", "batch-0", "batch-1", "batch-2"]


@on_virtual_loop
async def test_worker_is_full(bus: PermitBus) -> None:
    """Its places are given across models in one order: interactive first, then by arrival."""
    worker = bus.add(*EVERYTHING, calls_max=1)
    models = [model_of(limited(f"p{number}:m"), name=f"model-{number}") for number in range(3)]
    order: list[str] = []

    async def ask(model: int, priority: Priority) -> None:
        await worker.call(models[model], priority=priority)
        order.append(f"{priority}-{model}")

    async with asyncio.TaskGroup() as group:
        for model, priority in ((0, "interactive"), (0, "batch"), (1, "interactive"), (0, "interactive"), (2, "batch")):
            group.create_task(ask(model, priority))  # type: ignore[arg-type]  # the tuple's strings are of the type
            await settled()
        assert worker.pool.full
        assert worker.pool.calls == 1

    assert order == ["interactive-0", "interactive-1", "interactive-0", "batch-0", "batch-2"]
    assert not worker.pool.full


@on_virtual_loop
async def test_positions_are_true(bus: PermitBus) -> None:
    """Each counts those before it, never grows, and ends with 0: the next one."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=2))
    told = [Told() for _ in range(20)]
    async with asyncio.TaskGroup() as group:
        for ear in told:
            spawn(group, worker, served, on_wait=ear, length_s=4.0)
            await settled()

    assert [ear.positions for ear in told[:2]] == [[], []]
    for number, ear in enumerate(told[2:]):
        assert ear.positions[0] == number
        assert ear.positions == sorted(ear.positions, reverse=True)
        assert ear.positions[-1] == 0
        assert ear.etas_s[0] is None
    assert told[-1].etas_s[-1] is not None


@on_virtual_loop
async def test_estimate_comes_true(bus: PermitBus) -> None:
    """With calls of one length, the wait that is told is the wait that there is."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=2))
    await worker.call(served, length_s=6.0)
    waits: dict[int, float] = {}
    told = [Told() for _ in range(12)]

    async def ask(number: int) -> None:
        begun_s = bus.clock.monotonic_s()
        call = await worker.reserve(served, on_wait=told[number])
        waits[number] = bus.clock.monotonic_s() - begun_s
        await asyncio.sleep(6.0)
        worker.finish(call)

    async with asyncio.TaskGroup() as group:
        for number in range(12):
            group.create_task(ask(number))

    for number in range(2, 12):
        expected_s = told[number].etas_s[0]
        assert expected_s is not None
        assert abs(expected_s - waits[number]) <= 3.0  # places that end together are told as if they took turns


@on_virtual_loop
async def test_told_no_more_often_than_it_is_worth(bus: PermitBus) -> None:
    """A long queue moves in every second, and a turn is told once in a few of them."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    ear = Told()
    async with asyncio.TaskGroup() as group:
        for _ in range(100):
            spawn(group, worker, served)
        await settled()
        await worker.call(served, on_wait=ear)

    assert len(ear.positions) <= 2 + 100 / TELL_EVERY_S
    assert ear.positions[-1] == 0
    assert all(later <= 0.9 * earlier for earlier, later in zip(ear.positions[:-1], ear.positions[1:], strict=True))


@on_virtual_loop
async def test_rate_limit_is_told(bus: PermitBus) -> None:
    """When it lets the first one start, and how far apart the others."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(requests_per_minute=6))
    ears = [Told() for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        for ear in ears:
            spawn(group, worker, served, on_wait=ear)
            await settled()

    assert ears[0].positions == []
    assert ears[1].etas_s[0] == pytest.approx(10, abs=1)
    assert ears[4].positions[0] == 3
    assert ears[4].etas_s[0] == pytest.approx(40, abs=2)


@on_virtual_loop
async def test_end_of_a_call_wakes_no_crowd(bus: PermitBus) -> None:
    """500 wait: each end wakes the one that is served and the one that is next, and looks at no other."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    looks = 0
    views = worker.pool.views

    def counted(*arguments: Any, **options: Any) -> Any:
        nonlocal looks
        looks += 1
        return views(*arguments, **options)

    async with asyncio.TaskGroup() as group:
        first = await worker.reserve(served)
        for _ in range(500):
            spawn(group, worker, served, length_s=0.001)
        await settled()
        waiters = list(worker.pool.queue_of(served).waiters.values())
        for waiter in waiters:
            waiter.stirred.clear()
        worker.pool.views = counted  # type: ignore[method-assign]  # only counts
        worker.finish(first)

        assert looks <= 3
        assert [waiter.stirred.is_set() for waiter in waiters[:3]] == [True, True, False]
        assert not any(waiter.stirred.is_set() for waiter in waiters[3:])


@on_virtual_loop
async def test_cancelled_in_queue(bus: PermitBus) -> None:
    """The queue closes up; nothing stays reserved."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    first = await worker.reserve(served)
    waiting = [asyncio.ensure_future(worker.reserve(served)) for _ in range(3)]
    await settled()
    waiting[0].cancel()
    await settled()
    worker.finish(first)
    waiting[1].cancel()  # its place was given to it, and it does not know yet

    second = await waiting[2]
    worker.finish(second)
    assert worker.pool.calls == 0
    assert worker.pool.states["groq:llama"].in_flight == 0
    assert len(worker.pool.queue_of(served).order) == 0


@on_virtual_loop
async def test_deadline_in_queue(bus: PermitBus) -> None:
    """Whoever can't be served in time is told why, wherever it stands."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    first = await worker.reserve(served)
    waiting = [asyncio.ensure_future(worker.reserve(served, deadline_s=5.0)) for _ in range(2)]
    ended = await asyncio.gather(*waiting, return_exceptions=True)

    assert [str(error) for error in ended] == ["busy", "busy"]
    assert bus.clock.monotonic_s() == pytest.approx(5)
    worker.finish(first)
    limited_model = model_of(limited("slow:m", requests_per_minute=1), name="slow")
    await worker.call(limited_model)
    with pytest.raises(NoTarget, match="rate_limited"):
        await worker.reserve(limited_model, deadline_s=bus.clock.monotonic_s() + 5)


@on_virtual_loop
async def test_time_in_line_does_not_count(bus: PermitBus) -> None:
    """An hour behind others is no reason to give up; what is left for a target that fails is left whole."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    first = await worker.reserve(served)
    waiting = asyncio.ensure_future(worker.reserve(served, deadline_s=5.0, latest_s=10_000.0))
    await asyncio.sleep(3_600.0)
    worker.finish(first)
    second = await waiting

    assert second.patience is not None
    assert second.patience.deadline_s == pytest.approx(3_605.0)
    with pytest.raises(NoTarget, match="busy"):
        await worker.reserve(served, deadline_s=3_605.0, latest_s=4_000.0)
    assert bus.clock.monotonic_s() == pytest.approx(4_000.0)


@on_virtual_loop
async def test_target_that_fails_is_not_waited_for_longer(bus: PermitBus) -> None:
    """Where its breaker is open the wait counts: no time is added to it."""
    worker, served = bus.add(*EVERYTHING), model_of(limited())
    for _ in range(FAILURES):
        call = await worker.reserve(served)
        worker.calls.remove(call)
        worker.pool.finish(call, error=DOWN, tokens_used=0, spoke=False)
    state = worker.pool.states["groq:llama"]
    assert state.breaker.phase is BreakerPhase.OPEN
    now_s = bus.clock.monotonic_s()

    with pytest.raises(NoTarget, match="breaker_open"):
        await worker.reserve(served, deadline_s=now_s + 0.5, latest_s=now_s + 10_000.0)
    assert bus.clock.monotonic_s() <= now_s + 0.5


@on_virtual_loop
async def test_no_target_will_ever_do(bus: PermitBus) -> None:
    """It is said at once, without a wait behind others."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1, tokens_per_minute=1_000))
    await worker.reserve(served)

    with pytest.raises(NoTarget, match="never_fits"):
        await worker.reserve(served, tokens=5_000)
    assert bus.clock.monotonic_s() == 0


@on_virtual_loop
async def test_reserving_at_once_overtakes_nobody(bus: PermitBus) -> None:
    """It is for those whose turn it would be: not past equals, but past a batch."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    pool = worker.pool
    first = await worker.reserve(served)
    batch = asyncio.ensure_future(worker.reserve(served, priority="batch"))
    await settled()
    assert pool.try_reserve(CallWish(served, CallNeeds(), tokens=1)) is None

    pool.states["groq:llama"].in_flight -= 1  # a place nobody has been told of yet
    assert pool.try_reserve(CallWish(served, CallNeeds(), tokens=1, priority="batch")) is None
    assert (await batch).target.name == "groq:llama"
    pool.states["groq:llama"].in_flight += 1
    worker.finish(first)


@on_virtual_loop
async def test_large_call_is_not_starved(bus: PermitBus) -> None:
    """What the first in the queue waits for is kept for it, though smaller calls of another model would fit."""
    worker = bus.add(*EVERYTHING)
    target = limited(tokens_per_minute=12_000)
    large, small = model_of(target, name="large"), model_of(target, name="small")
    await worker.call(small, tokens=8_000)
    waiting = asyncio.ensure_future(worker.reserve(large, tokens=11_000))
    await settled()
    behind = [asyncio.ensure_future(worker.reserve(small, tokens=100)) for _ in range(3)]
    await settled()
    assert not any(task.done() for task in behind)

    await waiting
    assert not any(task.done() for task in behind)
    await asyncio.gather(*behind)


@on_virtual_loop
async def test_failing_to_tell_loses_nothing(bus: PermitBus) -> None:
    """Where telling raises, the place that came meanwhile is given back."""
    worker, served = bus.add(*EVERYTHING), model_of(limited(concurrent_max=1))
    first = await worker.reserve(served)

    async def raises(position: int, eta_s: float | None) -> None:
        worker.finish(first)
        raise OSError("nobody listens")

    with pytest.raises(OSError, match="nobody listens"):
        await worker.reserve(served, on_wait=raises)
    assert worker.pool.calls == 0
    assert worker.pool.try_reserve(CallWish(served, CallNeeds(), tokens=1)) is not None
