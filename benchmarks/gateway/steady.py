"""`steady`: many clients connected, some of them reading; what a connection costs, what is lost, how late it comes.

Clients that wait are measured as the growth from before they came to when all are there; some have come, read and gone
before, so that what a gateway takes once is not charged to them. After all have left it is looked at again when
the gateway has let go of their sessions, and compared with the start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final
from uuid import uuid4

from benchmarks.gateway.client_fleet import ClientFleet, client_fleet
from benchmarks.gateway.load import TOKEN_BYTES, Load
from benchmarks.gateway.parts import Ground, RunningGateway, prepared_topics, running_gateway
from benchmarks.gateway.processes import kernel_slab_mib, kernel_socket_mib, resident_mib
from benchmarks.gateway.search import highest
from benchmarks.gateway.wave import READERS, Wave, run_wave
from gateway.hubs.session_hubs import IDLE_GRACE_S

__all__ = [
    "AFTER_LEAVING_S",
    "IDLE",
    "WARM_UP_S",
    "Memory",
    "Plan",
    "Steady",
    "connected",
    "measure_steady",
    "memory_after",
    "warmed",
]

WARM_UP_CLIENTS: Final = 100
WARM_UP_S: Final = 15.0
"""A broker that has just started spends more on compiling itself than on its work."""
WARM_UP_RECORDS_PER_S: Final = 1_000.0
SETTLE_S: Final = 3.0
IDLE: Final = "idle"
AFTER_LEAVING_S: Final = IDLE_GRACE_S + 10.0
"""The gateway keeps a session for so long after its last client, looks once a second, and gives back when all are gone
and once more a little later."""
RATES_S: Final = 10.0
"""A trial of a rate."""
RATE_FACTOR: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The options that most scenarios share."""

    clients: int
    streaming: int
    records_per_s: float
    tokens_per_record: int
    seconds: float
    processes: int
    token_bytes: int = TOKEN_BYTES
    after_leaving_s: float = AFTER_LEAVING_S
    settle_s: float = SETTLE_S
    warm_up: int = WARM_UP_CLIENTS
    warm_up_s: float = WARM_UP_S

    def load(self, ground: Ground, run: str, turn: str, **other: float) -> Load:
        """A wave of it; `other` fields of `Load` replace the plan's."""
        values = {
            "streaming": self.streaming,
            "records_per_s": self.records_per_s,
            "tokens_per_record": self.tokens_per_record,
            "seconds": self.seconds,
            "token_bytes": self.token_bytes,
        } | other
        return Load(run=run, turn=turn, layout=ground.layout, **values)  # type: ignore[arg-type]  # checked by its fields


@dataclass(slots=True, kw_only=True)
class Memory:
    """Resident memory of the gateway, in MiB."""

    clients: int
    fresh: float = 0.0
    """Before the first client ever."""
    start: float = 0.0
    """After the warm-up and with all topics made, before the clients came."""
    connected: float = 0.0
    kib_per_idle_connection: float = 0.0
    socket_mib_start: float = 0.0
    """The kernel's, for all TCP sockets of the machine, both ends."""
    socket_mib_connected: float = 0.0
    slab_mib_start: float = 0.0
    """The kernel's small objects of the whole machine: sockets and open files of both ends among them."""
    slab_mib_connected: float = 0.0
    kib_per_streaming_connection: float = 0.0
    """Growth from before anybody came to the most during the wave, over all clients."""
    left: float = 0.0
    left_ratio: float = 0.0
    """To `start`."""
    read_after_leaving_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Steady:
    """What was seen."""

    layout: str
    memory: Memory
    wave: Wave | None = None
    highest: Wave | None = None
    trials: list[Wave] = field(default_factory=list)


async def measure_steady(ground: Ground, plan: Plan, *, find_highest: bool, say: Callable[[str], None]) -> Steady:
    """Run it once."""
    run = uuid4().hex[:8]
    async with (
        running_gateway(ground) as gateway,
        client_fleet(run, gateway.port, plan.processes) as fleet,
    ):
        memory = await connected(ground, gateway, fleet, plan, run)
        seen = Steady(layout=ground.layout, memory=memory)
        if plan.streaming:
            say("streaming")
            seen.wave = await run_wave(ground, gateway, fleet, plan.load(ground, run, "t0"))
            grown_kib = (seen.wave.resident_mib_most - memory.start) * 1_024
            memory.kib_per_streaming_connection = round(grown_kib / max(1, plan.clients), 2)
        if plan.streaming and find_highest:

            async def trial(rate: float) -> Wave:
                turn = f"t{len(seen.trials) + 1}"
                load = plan.load(ground, run, turn, records_per_s=rate, seconds=min(RATES_S, plan.seconds))
                return await run_wave(ground, gateway, fleet, load)

            first = plan.records_per_s * RATE_FACTOR
            seen.highest = await highest(trial, first, seen.trials, say, known=seen.wave, grows=True)
        await memory_after(memory, gateway, fleet, plan)
    return seen


async def warmed(ground: Ground, gateway: RunningGateway, fleet: ClientFleet, plan: Plan) -> None:
    """Some clients come, read for a while and go; what they saw counts for nothing."""
    run = "warm-" + uuid4().hex[:8]
    await prepared_topics(ground, run, range(plan.warm_up))
    await fleet.connect(READERS, range(plan.warm_up), run=run)
    if plan.warm_up_s:
        rate = max(plan.records_per_s, WARM_UP_RECORDS_PER_S)
        load = plan.load(ground, run, "w", streaming=plan.warm_up, seconds=plan.warm_up_s, records_per_s=rate)
        await run_wave(ground, gateway, fleet, load)
    await fleet.tell("leave", group=READERS)


async def connected(ground: Ground, gateway: RunningGateway, fleet: ClientFleet, plan: Plan, run: str) -> Memory:
    """Warm up, make the topics, look at the memory, attach all clients, look again."""
    memory = Memory(clients=plan.clients, fresh=round(resident_mib(gateway.pid), 1))
    await warmed(ground, gateway, fleet, plan)
    await prepared_topics(ground, run, range(plan.clients))
    await asyncio.sleep(plan.after_leaving_s)  # until what the warm-up took is given back
    memory.start, memory.socket_mib_start = round(resident_mib(gateway.pid), 1), round(kernel_socket_mib(), 1)
    memory.slab_mib_start = round(kernel_slab_mib(), 1)
    told = await fleet.connect(READERS, range(plan.streaming))
    waiting = await fleet.connect(IDLE, range(plan.streaming, plan.clients))
    if told["attached"] + waiting["attached"] < plan.clients:
        raise SystemExit(f"only {told['attached'] + waiting['attached']:,} of {plan.clients:,} clients got in")
    await asyncio.sleep(plan.settle_s)
    memory.connected, memory.socket_mib_connected = round(resident_mib(gateway.pid), 1), round(kernel_socket_mib(), 1)
    memory.slab_mib_connected = round(kernel_slab_mib(), 1)
    memory.kib_per_idle_connection = round((memory.connected - memory.start) * 1_024 / max(1, plan.clients), 2)
    return memory


async def memory_after(memory: Memory, gateway: RunningGateway, fleet: ClientFleet, plan: Plan) -> None:
    """Everybody leaves; look once the gateway has let go of their sessions."""
    for group in (READERS, IDLE):
        await fleet.tell("leave", group=group)
    await asyncio.sleep(plan.after_leaving_s)
    memory.left, memory.read_after_leaving_s = round(resident_mib(gateway.pid), 1), plan.after_leaving_s
    memory.left_ratio = round(memory.left / memory.start, 2)
