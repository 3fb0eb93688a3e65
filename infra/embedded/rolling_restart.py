"""Children that stand in for each other, started anew one after the other, so that one always serves.

Two orders. `restart_in_turn`: each is stopped, started and waited for before the next one is touched; the others serve
meanwhile. `replace_in_turn`: for children that may run beside their successor, such as those that share a port: a
spare place is started first, then each old one is stopped and its place is where the next one's successor starts. As
many as before serve at every moment, and each old one is stopped once.

A successor that does not become ready ends it: whoever was not touched yet goes on as it is.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

__all__ = ["Step", "replace_in_turn", "restart_in_turn"]

Stage: TypeAlias = Literal["stopping", "stopped", "starting", "ready"]


@dataclass(frozen=True, slots=True)
class Step:
    """What happens to one child."""

    name: str
    stage: Stage
    seconds: float = 0.0
    """How long it took, at "stopped" and "ready"."""
    killed: bool = False
    """It did not stop in its time."""


class Children(Protocol):
    """What is needed of a supervisor (`infra.embedded.supervisor.Supervisor`)."""

    async def stop(self, name: str) -> bool:
        """Stop one; False: it had to be killed."""
        ...

    async def start(self, name: str) -> None:
        """Start one that is down, and wait until it is ready. Raises NotStarted."""
        ...


async def restart_in_turn(children: Children, names: Sequence[str]) -> AsyncIterator[Step]:
    """Stop and start each. Raises NotStarted.

    Read on at least to the next "ready": a caller that leaves before it leaves a child stopped.

    Cancellation: a child may be stopped; those that were not told of yet are left as they are.
    """
    for name in names:
        async for step in stopped(children, name):
            yield step
        async for step in started(children, name):
            yield step


async def replace_in_turn(children: Children, running: Sequence[str], spare: str) -> AsyncIterator[Step]:
    """Start a successor for each, then stop it; the last one's place is the next spare. Raises NotStarted.

    Cancellation: one more than before may run; those that were not told of yet are left as they are.
    """
    for name in running:
        async for step in started(children, spare):
            yield step
        async for step in stopped(children, name):
            yield step
        spare = name


async def stopped(children: Children, name: str) -> AsyncIterator[Step]:
    yield Step(name, "stopping")
    began_s = time.monotonic()
    in_time = await children.stop(name)
    yield Step(name, "stopped", time.monotonic() - began_s, killed=not in_time)


async def started(children: Children, name: str) -> AsyncIterator[Step]:
    yield Step(name, "starting")
    began_s = time.monotonic()
    await children.start(name)
    yield Step(name, "ready", time.monotonic() - began_s)
