"""Worker processes reduced to their target pools, and the prompts topic reduced to the words between them.

Each worker owns some of the partitions. A word arrives in order within its partition, after a while; it can be lost on
the way, or come a second time, as after a commit that was not made.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from infra.targets.model_catalogue import ServedModel, Target
from processors.targets.decisions.patience import Patience
from processors.targets.decisions.provider_router import CallNeeds
from processors.targets.target_pool import CALLS_MAX, Call, CallWish, TargetPool
from processors.writing.log_appender import AppendFailed
from schemas.permits import PermitCommand
from schemas.topics import USER_PARTITIONS
from tests.fakes.scripted_provider import ScriptedProvider
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__ = ["NOBODY", "BusWeather", "PermitBus", "PoolWorker", "limited", "model_of", "on_virtual_loop"]

HOP_S: Final = 0.01
PATIENCE_S: Final = 3_600.0


def limited(name: str = "groq:llama", *, rank: int = 0, **limits: Any) -> Target:
    """A target with these limits."""
    return Target(
        name=name,
        provider=name.partition(":")[0],
        base_url=None,
        key_env="",
        model="llama",
        weights="llama",
        rank=rank,
        context_tokens=100_000,
        connect_s=5,
        leave_s=5,
        first_token_s=5,
        between_tokens_s=5,
        total_s=60,
        **limits,
    )


def model_of(*targets: Target, name: str = "chat") -> ServedModel:
    """A model that these targets serve."""
    return ServedModel(name=name, targets=targets, weights="llama", answer_tokens_max=100)


async def NOBODY(position: int, eta_s: float | None) -> None:  # a constant that is called
    """Is told a place in line, and tells nobody."""


@dataclass(slots=True)
class BusWeather:
    """What becomes of the next words, in order: `lost`, `twice`, `fails`, or anything else for a calm one."""

    fates: list[str] = field(default_factory=list)
    hop_s: float = HOP_S


class PoolWorker:
    """One worker: its pool, and the calls that it has under way."""

    def __init__(self, bus: PermitBus, *, calls_max: int = CALLS_MAX, targets: Iterable[Target] = ()) -> None:
        self.bus = bus
        self.known = {target.name: target for target in targets}
        self.pool = TargetPool(
            lambda _: ScriptedProvider(),
            bus.clock,
            calls_max=calls_max,
            send_permit=bus.send,
            find_target=lambda name: self.known.get(name),
        )
        assert self.pool.desk is not None
        self.desk = self.pool.desk
        self.calls: list[Call] = []
        self.dead = False

    async def reserve(self, served: ServedModel, *, tokens: int = 10, **options: Any) -> Call:
        """A call, waited for."""
        now_s = self.bus.clock.monotonic_s()
        deadline_s = options.pop("deadline_s", now_s + PATIENCE_S)
        patience, on_wait = (
            Patience(deadline_s, options.pop("latest_s", deadline_s), now_s),
            options.pop("on_wait", NOBODY),
        )
        call = await self.pool.reserve(CallWish(served, CallNeeds(), tokens, **options), patience, on_wait)
        self.calls.append(call)
        return call

    def finish(self, call: Call, tokens_used: int = 10) -> None:
        """The call has ended well."""
        self.calls.remove(call)
        self.pool.finish(call, error=None, tokens_used=tokens_used, spoke=True)

    async def call(self, served: ServedModel, length_s: float = 1.0, **options: Any) -> Call:
        """A call from its beginning to its end."""
        call = await self.reserve(served, **options)
        try:
            await asyncio.sleep(length_s)
        finally:
            self.finish(call)
        return call


class PermitBus:
    """The workers and who owns what."""

    def __init__(self, clock: LoopClock, weather: BusWeather | None = None) -> None:
        self.clock = clock
        self.weather = weather or BusWeather()
        self.workers: list[PoolWorker] = []
        self.owners: dict[int, PoolWorker] = {}
        self.words: list[tuple[int, PermitCommand]] = []

    def add(self, *owned: int, **options: Any) -> PoolWorker:
        """A worker that owns these partitions."""
        worker = PoolWorker(self, **options)
        self.workers.append(worker)
        self.share({**self.owners, **dict.fromkeys(owned, worker)})
        return worker

    def share(self, owners: dict[int, PoolWorker]) -> None:
        """Give the partitions to these workers from now on."""
        self.owners = owners
        for worker in self.workers:
            owned = frozenset(partition for partition, owner in owners.items() if owner is worker)
            worker.pool.set_share(owned, USER_PARTITIONS)

    async def send(self, partition: int, command: PermitCommand) -> None:
        """Carry a word, as the appender does: it is on the log when this returns, and is read a while later."""
        self.words.append((partition, command))
        fate = self.weather.fates.pop(0) if self.weather.fates else ""
        await asyncio.sleep(self.weather.hop_s)
        if fate == "fails":
            raise AppendFailed("the broker is away")
        for _ in range({"lost": 0, "twice": 2}.get(fate, 1)):
            asyncio.get_running_loop().call_later(self.weather.hop_s, self.arrive, partition, command)

    def arrive(self, partition: int, command: PermitCommand) -> None:
        owner = self.owners.get(partition)
        if owner is not None and not owner.dead:
            owner.desk.take(command, partition)

    @property
    def under_way(self) -> int:
        """Calls that any worker makes."""
        return sum(len(worker.calls) for worker in self.workers)


def on_virtual_loop(scene: Callable[[PermitBus], Any]) -> Callable[[], None]:
    """Make a test of a scene with workers that it adds."""

    def test() -> None:
        loop = VirtualLoop()

        async def play() -> None:
            bus = PermitBus(LoopClock(loop))
            try:
                await scene(bus)
            finally:
                for worker in bus.workers:
                    await worker.pool.aclose()

        run_virtual(loop, play())

    test.__doc__ = scene.__doc__
    test.__name__ = scene.__name__
    return test
