"""Workers that hold no part of a limit ask the one that does.

Covers: processors.targets.permit_asks, processors.targets.permit_desk, processors.targets.permit_grants,
processors.targets.place_dispatch, processors.targets.target_states.
"""

from __future__ import annotations

import asyncio

import pytest

from infra.targets.model_catalogue import ServedModel
from processors.targets.decisions.permit_rules import RENEW_S
from processors.targets.decisions.provider_router import CallNeeds
from processors.targets.decisions.rate_shares import RateLimits, parts_of
from processors.targets.target_pool import CallWish, NoTarget
from schemas.permits import PermitGranted, PermitRefused, PermitReturned
from tests.fakes.permit_bus import HOP_S, PermitBus, PoolWorker, limited, model_of, on_virtual_loop
from tests.unit.processors.targets.permit_scenes import (
    HOLDER,
    ONE,
    OTHERS,
    SERVED,
    in_flight,
    later,
    two_workers,
    words,
)

__all__: list[str] = []


@on_virtual_loop
async def test_call_with_a_permit(bus: PermitBus) -> None:
    """It costs two hops there and two back, counts at the holder while it runs, and leaves nothing behind."""
    holder, asker = two_workers(bus)
    call = await asker.reserve(SERVED)

    assert bus.clock.monotonic_s() == pytest.approx(4 * HOP_S)
    assert (in_flight(holder), in_flight(asker)) == (1, 1)
    assert holder.pool.try_reserve(CallWish(SERVED, CallNeeds(), tokens=1)) is None
    asker.finish(call)
    await later()
    assert (in_flight(holder), in_flight(asker)) == (0, 0)
    assert holder.desk.grants.calls == {}
    assert asker.desk.asks.open == {}
    assert holder.pool.calls == asker.pool.calls == 0


@on_virtual_loop
async def test_prompts_of_both_workers_are_answered(bus: PermitBus) -> None:
    """One place for two workers: never two calls at once, and the users of neither wait for all of the other's."""
    holder, asker = two_workers(bus)
    order: list[str] = []
    most = 0

    async def ask(worker: PoolWorker, name: str) -> None:
        nonlocal most
        call = await worker.reserve(SERVED)
        most = max(most, bus.under_way)
        await asyncio.sleep(1.0)
        worker.finish(call)
        order.append(name)

    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(ask(holder, f"holder-{number}"))
            group.create_task(ask(asker, f"asker-{number}"))
            await asyncio.sleep(0.1)

    assert most == 1
    assert len(order) == 20
    assert [name for name in order if name.startswith("asker")] == [f"asker-{number}" for number in range(10)]
    for number in range(10):  # in the order of their coming, wherever they came to
        assert abs(order.index(f"holder-{number}") - order.index(f"asker-{number}")) <= 3


@on_virtual_loop
async def test_batch_elsewhere_waits_behind_interactive_here(bus: PermitBus) -> None:
    """And the other way round."""
    holder, asker = two_workers(bus)
    first = await holder.reserve(SERVED)
    batch = asyncio.ensure_future(asker.reserve(SERVED, priority="batch"))
    await later()
    chat = asyncio.ensure_future(holder.reserve(SERVED))
    await later()
    holder.finish(first)
    await later()
    assert (chat.done(), batch.done()) == (True, False)
    holder.finish(await chat)
    asker.finish(await batch)


@on_virtual_loop
async def test_other_target_is_used_where_the_holder_has_no_room(bus: PermitBus) -> None:
    """An impatient ask is answered at once; the refused target is left alone for a moment."""
    second = limited("together:llama", rank=1)
    both = model_of(ONE, second)
    holder, asker = two_workers(bus, ONE, second)
    first = await asker.reserve(both)
    assert first.target.name == ONE.name
    again = await asker.reserve(both)

    assert (again.target.name, again.reason) == ("together:llama", "rate_limited")
    assert words(bus, PermitRefused) == 1
    assert asker.pool.try_reserve(CallWish(both, CallNeeds(), tokens=1)) is not None
    asker.finish(first)
    await asyncio.sleep(2)
    assert asker.pool.try_reserve(CallWish(both, CallNeeds(), tokens=1)) is None  # whoever does not wait can't ask
    third = await asker.reserve(both)
    assert third.target.name == ONE.name
    assert in_flight(holder) == 1


@on_virtual_loop
async def test_files_differ(bus: PermitBus) -> None:
    """Who is asked for a target that it does not know, or that does not fit its limits, refuses."""
    holder, asker = bus.add(HOLDER), bus.add(*OTHERS)
    with pytest.raises(NoTarget):
        await asker.reserve(SERVED, deadline_s=4.0)
    assert words(bus, PermitRefused) >= 1

    holder.known = {ONE.name: limited(tokens_per_minute=100)}
    with pytest.raises(NoTarget):
        await asker.reserve(SERVED, tokens=500, deadline_s=bus.clock.monotonic_s() + 9.0)
    assert holder.desk.grants.calls == {}


@on_virtual_loop
async def test_more_than_the_holder_has(bus: PermitBus) -> None:
    """Nobody is asked."""
    small = limited(tokens_per_minute=12_000)
    _, asker = two_workers(bus, small)

    with pytest.raises(NoTarget, match="never_fits"):
        await asker.reserve(model_of(small), tokens=12_001)
    assert bus.words == []


@on_virtual_loop
async def test_tokens_are_charged_and_settled_at_the_holder(bus: PermitBus) -> None:
    """What was not used may be granted again; what was, is held against the minute."""
    small = limited(tokens_per_minute=12_000)
    holder, asker = two_workers(bus, small)
    served = model_of(small)
    call = await asker.reserve(served, tokens=11_000)
    asker.finish(call, tokens_used=1_000)
    await asyncio.sleep(10.0)
    holder.finish(await holder.reserve(served, tokens=10_000), tokens_used=10_000)
    begun_s = bus.clock.monotonic_s()
    await asker.call(served, tokens=9_000, length_s=0.0)

    assert bus.clock.monotonic_s() - begun_s > 40


@on_virtual_loop
async def test_worker_is_full_while_it_asks(bus: PermitBus) -> None:
    """A place at a provider is not kept for a call that can't be made."""
    holder = bus.add(HOLDER, targets=(ONE,))
    asker = bus.add(*OTHERS, calls_max=1, targets=(ONE,))
    own = model_of(limited("free:m"), name="own")
    waiting = asyncio.ensure_future(asker.reserve(SERVED))
    await asyncio.sleep(HOP_S)
    running = await asker.reserve(own)
    await later()

    assert in_flight(holder) == 0
    asker.finish(running)
    asker.finish(await waiting)


@on_virtual_loop
async def test_batch_is_overtaken_while_it_asks(bus: PermitBus) -> None:
    """Its ask is withdrawn, and the interactive prompt asks in its place."""
    holder, asker = two_workers(bus)
    first = await holder.reserve(SERVED)
    batch = asyncio.ensure_future(asker.reserve(SERVED, priority="batch"))
    await later()
    chat = asyncio.ensure_future(asker.reserve(SERVED))
    await later()
    assert [ask.priority for ask in asker.desk.asks.open.values()] == ["interactive"]

    holder.finish(first)
    asker.finish(await chat)
    asker.finish(await batch)


@on_virtual_loop
async def test_worker_without_partitions(bus: PermitBus) -> None:
    """No answer could reach it: it asks once it owns something again."""
    holder, asker = two_workers(bus)
    bus.share({HOLDER: holder})
    waiting = asyncio.ensure_future(asker.reserve(SERVED))
    await asyncio.sleep(2 * RENEW_S)
    assert bus.words == []
    bus.share({HOLDER: holder, **dict.fromkeys(OTHERS, asker)})

    asker.finish(await waiting)


class ServerForOne:
    """Answers one caller at a time and lets the others wait, unseen."""

    FIRST_S = 0.2

    def __init__(self, bus: PermitBus) -> None:
        self.bus = bus
        self.place = asyncio.Semaphore(1)
        self.waited_s: list[float] = []

    async def call(self, worker: PoolWorker, served: ServedModel, length_s: float) -> None:
        """One answer, from the position in the queue to its end."""
        call = await worker.reserve(served)
        sent_s = self.bus.clock.monotonic_s()
        async with self.place:
            self.waited_s.append(self.bus.clock.monotonic_s() - sent_s)
            await asyncio.sleep(self.FIRST_S)
            worker.pool.heard(call, sent_s=sent_s, chunks=1, input_tokens=100)
            await asyncio.sleep(length_s)
        worker.finish(call)


@on_virtual_loop
async def test_learned_limit_below_the_number_of_workers(bus: PermitBus) -> None:
    """A target that takes one call, and two workers that learn so: one of them asks the other before each call, and
    nobody waits at the target any more. What the asker's calls show, the other one learns from."""
    target = limited(concurrent_start=1)
    here = parts_of(RateLimits(), 12, target=target.name)[0]
    holder = bus.add(here, targets=[target])
    asker = bus.add(*(partition for partition in range(12) if partition != here), targets=[target])
    server, served = ServerForOne(bus), model_of(target)
    await server.call(holder, served, 1.0)
    await server.call(asker, served, 1.0)
    await server.call(asker, served, 1.0)

    async def ask(worker: PoolWorker, lengths_s: list[float]) -> None:
        for length_s in lengths_s:
            await server.call(worker, served, length_s)

    async with asyncio.TaskGroup() as group:
        for worker in (holder, asker):
            for number in range(3):
                group.create_task(ask(worker, [1.5 + 0.3 * number] * 12))

    assert asker.pool.states[target.name].limit.asks_another(bus.clock.monotonic_s())
    assert not holder.pool.states[target.name].limit.asks_another(bus.clock.monotonic_s())
    assert words(bus, PermitGranted) >= 12
    returned = [word for _, word in bus.words if isinstance(word, PermitReturned) and word.first_token_s]
    assert returned
    assert {word.outcome for word in returned} == {"ended"}
    late = [waited_s for waited_s in server.waited_s[-30:] if waited_s > 0.25]
    assert len(late) <= 12  # more is tried out every 10 s, and then two calls wait
    assert holder.pool.states[target.name].limit.limit in (1, 2)
    await later()
    assert holder.desk.grants.calls == {}
