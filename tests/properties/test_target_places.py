"""Places at targets under any interleaving of arrivals, ends, cancels, new limits, moves of parts and lost words.

The real pools of up to three workers on a virtual loop; what is drawn is what happens to them and when.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from infra.targets.model_catalogue import ServedModel
from processors.providers.provider import ProviderError, ProviderOverloaded, ProviderTimedOut
from processors.targets.decisions.permit_rules import LEASE_S
from processors.targets.decisions.priority_queue import PriorityQueue, Standing
from processors.targets.decisions.rate_window import WINDOW_S
from processors.targets.target_pool import NoTarget
from schemas.prompts import Priority
from tests.fakes.permit_bus import BusWeather, PermitBus, PoolWorker, limited, model_of
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

PARTITIONS = range(12)

priorities: st.SearchStrategy[Priority] = st.sampled_from(["interactive", "batch"])
gaps_s = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 3))
arrivals = st.tuples(st.just("call"), gaps_s, st.integers(0, 2), priorities, st.floats(0, 4))
cancels = st.tuples(st.just("cancel"), gaps_s, st.integers(0, 99))
moves = st.tuples(st.just("move"), gaps_s, st.lists(st.integers(0, 2), min_size=12, max_size=12))
new_limits = st.tuples(st.just("limit"), gaps_s, st.integers(1, 4))
ends: st.SearchStrategy[ProviderError | None] = st.sampled_from(
    [None, None, None, ProviderTimedOut("first_token", 5.0), ProviderOverloaded("slow down")]
)
fates = st.lists(st.sampled_from(["", "", "", "lost", "twice", "fails"]), max_size=60)


@dataclass
class Scene:
    """Workers, one target's limit, and what may run at once at this moment."""

    bus: PermitBus
    limit: int
    bound: int
    most: int = 0
    was_passed: bool = False

    def __post_init__(self) -> None:
        self.served = model_of(limited(concurrent_max=self.limit))

    def relimit(self, limit: int) -> None:
        """Another file is in force everywhere."""
        self.limit = limit
        target = limited(concurrent_max=limit)
        self.served = model_of(target)
        for worker in self.bus.workers:
            worker.known = {target.name: target}
            worker.pool.targets.of(target)

    async def call(self, worker: PoolWorker, priority: Priority, length_s: float) -> None:
        call = await worker.reserve(self.served, priority=priority, tokens=1)
        self.most = max(self.most, self.bus.under_way)
        self.was_passed = self.was_passed or self.bus.under_way > self.bound
        try:
            await asyncio.sleep(length_s)
        finally:
            worker.finish(call)

    @property
    def places_taken(self) -> int:
        """Calls that have a place, even if they have not had their turn to begin, and permits that are on their way."""
        in_use = {ask.permit for worker in self.bus.workers for ask in worker.desk.asks.open.values()}
        granted = {
            call.permit
            for worker in self.bus.workers
            for call in worker.desk.grants.calls.values()
            if call.phase == "granted"
        }
        placed = sum(worker.pool.calls for worker in self.bus.workers)
        return max(self.bus.under_way, placed) + len(granted | in_use)

    async def nothing_is_left(self) -> None:
        """Once leases are over, every place is free, every queue empty and every permit forgotten."""
        await asyncio.sleep(2 * LEASE_S)
        for worker in self.bus.workers:
            worker.pool.dispatch()
            assert worker.calls == []
            assert worker.pool.calls == 0
            assert worker.desk.asks.open == {}
            assert worker.desk.grants.calls == {}
            assert worker.desk.grants.queues == {}
            assert all(len(queue.order) == len(queue.waiters) == 0 for queue in worker.pool.queues.values())
            assert all(state.in_flight == 0 for state in worker.pool.states.values())


def played(workers: int, limit: int, acts: list[Any], fates: list[str], *, at_end: str = "wait") -> Scene:
    """Play a story to its end; every invariant that holds at every moment is checked in it."""
    loop = VirtualLoop()
    clock = LoopClock(loop)

    async def play() -> Scene:
        bus = PermitBus(clock, BusWeather(list(fates)))
        target = limited(concurrent_max=limit)
        for number in range(workers):
            bus.add(*PARTITIONS[number::workers], targets=[target])
        scene = Scene(bus, limit, bound=limit)
        tasks: list[asyncio.Task[None]] = []
        for act in acts:
            await asyncio.sleep(act[1])
            happen(scene, act, tasks)
        if at_end == "cancel":
            for task in tasks:
                task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            assert error is None or isinstance(error, asyncio.CancelledError | NoTarget), error
        await scene.nothing_is_left()
        return scene

    return run_virtual(loop, play())


def happen(scene: Scene, act: Any, tasks: list[asyncio.Task[None]]) -> None:
    workers = scene.bus.workers
    match act:
        case ("call", _, number, priority, length_s):
            tasks.append(asyncio.ensure_future(scene.call(workers[number % len(workers)], priority, length_s)))
        case ("cancel", _, number) if tasks:
            tasks[number % len(tasks)].cancel()
        case ("limit", _, limit):
            scene.relimit(limit)
            # a call that has its place, and has not had its turn to begin, counts as one that runs
            scene.bound = max(limit, workers[0].pool.calls) if len(workers) == 1 else limit + scene.places_taken
        case ("move", _, owners):
            scene.bus.share({at: workers[owner % len(workers)] for at, owner in enumerate(owners)})
            scene.bound = scene.limit + scene.places_taken
        case _:
            pass  # nothing is there to cancel


@given(st.integers(1, 4), st.lists(st.one_of(arrivals, arrivals, cancels, new_limits), max_size=50), st.booleans())
@settings(deadline=None)
def test_one_worker(limit: int, acts: list[Any], stops: bool) -> None:
    """Never more calls at once than the limit, or than ran already when it shrank; nothing is left behind."""
    scene = played(1, limit, acts, [], at_end="cancel" if stops else "wait")

    assert not scene.was_passed
    event(f"at once: {scene.most}")


@given(
    st.integers(2, 3),
    st.integers(1, 4),
    st.lists(st.one_of(arrivals, arrivals, arrivals, cancels), min_size=5, max_size=40),
    fates,
    st.booleans(),
)
@settings(deadline=None)
def test_permits(workers: int, limit: int, acts: list[Any], fates: list[str], stops: bool) -> None:
    """As long as nobody's part moves, all workers together stay within the limit, whatever is lost or comes twice."""
    scene = played(workers, limit, acts, fates, at_end="cancel" if stops else "wait")

    assert not scene.was_passed
    event(f"at once: {scene.most}, words: {len(scene.bus.words) > 0}")


@given(
    st.integers(2, 3),
    st.integers(1, 4),
    st.lists(st.one_of(arrivals, arrivals, arrivals, cancels, moves, new_limits), min_size=5, max_size=40),
    fates,
)
@settings(deadline=None)
def test_moving_parts(workers: int, limit: int, acts: list[Any], fates: list[str]) -> None:
    """After a move: at most the limit, and what was under way or granted at that moment."""
    scene = played(workers, limit, acts, fates)

    assert not scene.was_passed
    event(f"beyond the limit: {scene.most > limit}")


@given(
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(1, 3)),
    st.lists(
        st.tuples(gaps_s, st.integers(0, 2), priorities, st.floats(0, 20), st.floats(0, 20), ends),
        min_size=5,
        max_size=40,
    ),
    fates,
)
@settings(deadline=None)
def test_learned_limits(workers: int, start: int | None, calls: list[Any], fates: list[str]) -> None:
    """However late first tokens are and however calls end, alone or with another worker's permit: each call has its
    place in the end, and no place and no permit is lost."""
    loop = VirtualLoop()
    clock = LoopClock(loop)

    async def play() -> list[PoolWorker]:
        bus = PermitBus(clock, BusWeather(list(fates)))
        target = limited(concurrent_start=start)
        for number in range(workers):
            bus.add(*PARTITIONS[number::workers], targets=[target])
        scene = Scene(bus, 1, bound=1)
        scene.served = model_of(target)
        async with asyncio.TaskGroup() as group:
            for gap_s, number, *story in calls:
                await asyncio.sleep(gap_s)
                group.create_task(told_call(bus.workers[number % workers], scene.served, *story))
        await scene.nothing_is_left()
        for worker in bus.workers:
            assert all(state.limit.running == 0 for state in worker.pool.states.values())
        return bus.workers

    played_workers = run_virtual(loop, play())
    limits = [state.limit for worker in played_workers for state in worker.pool.states.values()]
    assert all(limit.limit is None or limit.limit >= 1 for limit in limits)
    event(f"learned: {any(limit.limit != start for limit in limits)}")
    event(f"asked another: {any(limit.shared_until_s > 0 for limit in limits)}")


async def told_call(worker: PoolWorker, served: ServedModel, *story: Any) -> None:
    """A call whose pool is told how it goes."""
    priority, first_s, length_s, error = story
    call = await worker.reserve(served, priority=priority, tokens=1)
    sent_s = worker.bus.clock.monotonic_s()
    await asyncio.sleep(first_s)
    if error is None:
        worker.pool.heard(call, sent_s=sent_s, chunks=1, input_tokens=100)
        await asyncio.sleep(length_s)
    worker.calls.remove(call)
    worker.pool.finish(call, error=error, tokens_used=1, spoke=error is None, chunks=int(length_s * 10))


@given(st.integers(1, 3), st.lists(st.one_of(arrivals, cancels), min_size=1, max_size=25), st.integers(1, 400))
@settings(deadline=None)
def test_stopped_at_any_moment(workers: int, acts: list[Any], steps: int) -> None:
    """Whatever await it is at, a task that is cancelled leaves nothing reserved."""
    loop = VirtualLoop()
    clock = LoopClock(loop)

    async def play() -> None:
        bus = PermitBus(clock)
        for number in range(workers):
            bus.add(*PARTITIONS[number::workers], targets=[limited(concurrent_max=1)])
        scene = Scene(bus, 1, 1)
        tasks: list[asyncio.Task[None]] = []
        for act in acts:
            happen(scene, (act[0], 0.0, *act[2:]), tasks)
        for step in range(steps):
            await asyncio.sleep(0 if step % 3 else 0.003)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await scene.nothing_is_left()
        assert not scene.was_passed

    run_virtual(loop, play())


@given(
    st.integers(1, 20),
    st.lists(
        st.tuples(st.one_of(st.just(0.0), st.floats(0, 20)), priorities, st.floats(0, 2)), min_size=1, max_size=40
    ),
)
@settings(deadline=None)
def test_rate(requests: int, calls: list[tuple[float, Priority, float]]) -> None:
    """No window of 60 s sees more calls begin than the limit; everybody is served in the end."""
    loop = VirtualLoop()
    clock = LoopClock(loop)

    async def play() -> list[float]:
        bus = PermitBus(clock)
        worker = bus.add(*PARTITIONS)
        served = model_of(limited(requests_per_minute=requests))
        begun_s: list[float] = []

        async def ask(priority: Priority, length_s: float) -> None:
            call = await worker.reserve(served, priority=priority)
            begun_s.append(clock.monotonic_s())
            await asyncio.sleep(length_s)
            worker.finish(call)

        async with asyncio.TaskGroup() as group:
            for gap_s, priority, length_s in calls:
                await asyncio.sleep(gap_s)
                group.create_task(ask(priority, length_s))
        await worker.pool.aclose()
        return begun_s

    begun_s = run_virtual(loop, play())

    assert len(begun_s) == len(calls)
    for first_s in begun_s:
        end_s = Fraction(first_s) + Fraction(WINDOW_S)  # rounded as a float it could lie beyond the window
        assert sum(first_s <= other_s <= end_s for other_s in begun_s) <= requests


@given(st.lists(st.tuples(st.one_of(st.just(0.0), st.floats(0, 1)), priorities), min_size=1, max_size=30))
@settings(deadline=None)
def test_order(arrivals: list[tuple[float, Priority]]) -> None:
    """With one place: nobody starts while one of a better class, or an earlier one of its own, waits."""
    loop = VirtualLoop()
    clock = LoopClock(loop)
    waiting: dict[int, Priority] = {}

    async def play() -> None:
        worker = PermitBus(clock).add(*PARTITIONS)
        served = model_of(limited(concurrent_max=1))

        async def ask(number: int, priority: Priority) -> None:
            waiting[number] = priority
            call = await worker.reserve(served, priority=priority)
            del waiting[number]
            ahead = [other for other, kind in waiting.items() if kind == priority and other < number]
            assert ahead == []
            assert priority == "interactive" or came_at_once(number)
            await asyncio.sleep(0.5)
            worker.finish(call)

        def came_at_once(number: int) -> bool:
            """No interactive prompt waits, but those of this very instant: the place was given before they came."""
            queue, now_s = worker.pool.queue_of(served), clock.monotonic_s()
            return not any(w.wish.priority == "interactive" and w.arrived_s < now_s for w in queue.waiters.values())

        async with asyncio.TaskGroup() as group:
            for number, (gap_s, priority) in enumerate(arrivals):
                await asyncio.sleep(gap_s)
                group.create_task(ask(number, priority))
        await worker.pool.aclose()

    run_virtual(loop, play())


@given(st.lists(st.tuples(priorities, st.floats(0, 9), st.booleans()), max_size=40))
def test_line(acts: list[tuple[Priority, float, bool]]) -> None:
    """Beside a sorted list that is made anew each time: the same order, the same places."""
    queue = PriorityQueue()
    model: list[tuple[Priority, float, int]] = []
    rank: Callable[[Any], tuple[bool, float, int]] = lambda one: (one[0] == "batch", one[1], one[2])  # noqa: E731  # a key
    standings: dict[tuple[Priority, float, int], Standing] = {}
    for number, (priority, arrived_s, leaves) in enumerate(acts):
        if leaves and model:
            gone = model.pop(number % len(model))
            assert queue.leave(standings[gone])
            continue
        member = (priority, arrived_s, number)
        standings[member] = queue.join(priority, arrived_s, number)
        model.append(member)
        model.sort(key=rank)

        assert [queue.before(standings[member]) for member in model] == list(range(len(model)))
        assert queue.first == standings[model[0]]
    assert len(queue) == len(model)
