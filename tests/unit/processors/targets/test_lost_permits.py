"""Permits whose words are lost or come late, whose asker dies, whose part of the limit moves.

Covers: processors.targets.permit_desk.
"""

from __future__ import annotations

import asyncio

import pytest

from processors.targets.decisions.permit_rules import LEASE_S, RENEW_S
from processors.targets.target_pool import NoTarget
from schemas.permits import PermitAsked, PermitGranted, PermitReturned
from tests.fakes.permit_bus import HOP_S, PermitBus, limited, model_of, on_virtual_loop
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
async def test_every_word_twice(bus: PermitBus) -> None:
    """Changes nothing: no second place, no second charge."""
    bus.weather.fates = ["twice"] * 100
    holder, asker = two_workers(bus)
    for _ in range(3):
        call = await asker.reserve(SERVED)
        await later()
        assert in_flight(holder) == 1
        asker.finish(call)
        await later()
        assert in_flight(holder) == 0
    assert words(bus, PermitGranted) <= 6


@pytest.mark.parametrize("fates", [["lost"], ["", "lost"], ["fails"], ["", "fails"], ["", "lost", "lost", "lost"]])
def test_word_lost(fates: list[str]) -> None:
    """The ask, or the answer: it is asked again, and answered again."""

    @on_virtual_loop
    async def scene(bus: PermitBus) -> None:
        bus.weather.fates = list(fates)
        holder, asker = two_workers(bus)
        call = await asker.reserve(SERVED)
        assert bus.clock.monotonic_s() <= 3 * RENEW_S + 1
        assert in_flight(holder) == 1
        asker.finish(call)
        await later()
        assert in_flight(holder) == 0

    scene()


@on_virtual_loop
async def test_return_lost(bus: PermitBus) -> None:
    """The lease ends, and the place comes back."""
    holder, asker = two_workers(bus)
    call = await asker.reserve(SERVED)
    bus.weather.fates = ["lost"]
    asker.finish(call)
    begun_s = bus.clock.monotonic_s()
    await holder.call(SERVED, length_s=0.0)

    assert bus.clock.monotonic_s() == pytest.approx(begun_s + LEASE_S, abs=1)


@on_virtual_loop
async def test_asker_dies(bus: PermitBus) -> None:
    """In the queue or with a permit: the place comes back within a lease."""
    holder, asker = two_workers(bus)
    await asker.reserve(SERVED)
    other = bus.add(*OTHERS[:3], targets=(ONE,))
    waiting = asyncio.ensure_future(other.reserve(SERVED))
    await later()
    for worker in (asker, other):
        worker.dead = True
        await worker.pool.aclose()
    waiting.cancel()
    await holder.call(SERVED, length_s=0.0)

    assert LEASE_S - 1 <= bus.clock.monotonic_s() <= LEASE_S + 1
    await asyncio.sleep(LEASE_S)
    holder.pool.dispatch()
    assert holder.desk.grants.calls == {}
    assert holder.desk.grants.queues == {}


@on_virtual_loop
async def test_long_call_keeps_its_permit(bus: PermitBus) -> None:
    """It is renewed as long as the call runs."""
    holder, asker = two_workers(bus)
    call = await asker.reserve(SERVED)
    await asyncio.sleep(10 * LEASE_S)

    assert in_flight(holder) == 1
    assert words(bus, PermitAsked) == pytest.approx(10 * LEASE_S / RENEW_S, abs=3)
    asker.finish(call)


@on_virtual_loop
async def test_cancelled_while_asking(bus: PermitBus) -> None:
    """The ask is withdrawn, whatever it has become by then."""
    holder, asker = two_workers(bus)
    for pause_s in (0.0, HOP_S, 2.5 * HOP_S, 3.5 * HOP_S):
        waiting = asyncio.ensure_future(asker.reserve(SERVED))
        await asyncio.sleep(pause_s)
        waiting.cancel()
        await later(10)
        assert holder.desk.grants.calls == {}
        assert asker.desk.asks.open == {}
        assert in_flight(holder) == asker.pool.calls == 0


@on_virtual_loop
async def test_part_moves_while_asking(bus: PermitBus) -> None:
    """The next holder hears of the ask when it is repeated."""
    holder, asker = two_workers(bus)
    first = await holder.reserve(SERVED)
    waiting = asyncio.ensure_future(asker.reserve(SERVED))
    await later()
    successor = bus.add(targets=(ONE,))
    bus.share(dict.fromkeys(OTHERS, asker) | {HOLDER: successor})

    call = await waiting
    assert bus.under_way == 2  # the bound: the limit, and what the former holder has under way
    assert in_flight(successor) == 1
    holder.finish(first)
    asker.finish(call)
    await later()
    assert in_flight(successor) == in_flight(holder) == 0


@on_virtual_loop
async def test_part_moves_while_a_permit_is_out(bus: PermitBus) -> None:
    """The next holder counts the call as soon as it hears of it, and lets nobody beside it."""
    holder, asker = two_workers(bus)
    call = await asker.reserve(SERVED)
    successor = bus.add(targets=(ONE,))
    bus.share(dict.fromkeys(OTHERS, asker) | {HOLDER: successor})
    assert in_flight(holder) == 0
    await asyncio.sleep(RENEW_S + 1)
    assert in_flight(successor) == 1
    waiting = asyncio.ensure_future(successor.reserve(SERVED))
    await later()
    assert not waiting.done()

    asker.finish(call)
    successor.finish(await waiting)


@on_virtual_loop
async def test_part_comes_to_the_asker(bus: PermitBus) -> None:
    """It needs no permit any more, and counts the call that it made with one."""
    holder, asker = two_workers(bus)
    call = await asker.reserve(SERVED)
    waiting = asyncio.ensure_future(asker.reserve(SERVED))
    await later()
    bus.share(dict.fromkeys(range(12), asker))
    await later()
    assert not waiting.done()
    asker.finish(call)

    asker.finish(await waiting)
    await later()
    assert asker.desk.asks.open == {}
    assert in_flight(asker) == in_flight(holder) == 0


@on_virtual_loop
async def test_answer_goes_to_a_partition_that_moved(bus: PermitBus) -> None:
    """Its new owner leaves it alone; the asker asks again from where it now is."""
    holder, asker = two_workers(bus)
    first = await holder.reserve(SERVED)
    waiting = asyncio.ensure_future(asker.reserve(SERVED))
    await later()
    other = bus.add(targets=(ONE,))
    bus.share({HOLDER: holder, **dict.fromkeys(OTHERS[:1], other), **dict.fromkeys(OTHERS[1:], asker)})
    holder.finish(first)

    call = await waiting
    assert words(bus, PermitReturned) == 0
    assert in_flight(holder) == 1
    asker.finish(call)


@on_virtual_loop
async def test_holder_does_not_answer(bus: PermitBus) -> None:
    """Another target is used after a moment; without one, the ask is repeated until somebody is there."""
    second = limited("together:llama", rank=1)
    both = model_of(ONE, second)
    _, asker = two_workers(bus, ONE, second)
    bus.share(dict.fromkeys(OTHERS, asker))
    call = await asker.reserve(both)
    assert call.target.name == "together:llama"
    assert bus.clock.monotonic_s() == pytest.approx(1.0)

    with pytest.raises(NoTarget, match="no_permit"):
        await asker.reserve(SERVED, deadline_s=20.0)
    assert asker.desk.asks.open == {}
