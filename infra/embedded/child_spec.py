"""What a supervisor needs to know of a child, and how it learns that the child is ready."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import aiohttp

from infra.ports import ListenAddress

__all__ = ["ChildSpec", "ReadyProbe", "check_order", "until_ready"]

PROBE_DEADLINE_S: Final = 2.0
PROBE_PAUSE_S: Final = 0.1

ReadyProbe: TypeAlias = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One child: how it is started, when it is ready, whom it needs."""

    name: str
    """Unique; names its log file and its lines."""
    argv: tuple[str, ...]
    """Program and arguments."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that it is given besides those that every program needs (`decisions/child_environment.py`)."""
    ready: ReadyProbe | str | None = None
    """A coroutine function that is True when ready, or the URL of a page that answers 200; None = once started."""
    depends_on: tuple[str, ...] = ()
    """Children that must be ready before it starts, and that stop only after it."""
    ready_deadline_s: float = 60.0
    """A child that is not ready by then is killed and counts as exited."""
    stop_deadline_s: float = 5.0
    """Time between SIGTERM and SIGKILL."""
    chosen_ports: tuple[ListenAddress, ...] = ()
    """Where it will listen on ports that we chose, not the operator: it is not started while another has one."""
    dispensable: bool = False
    """The others are of use without it: it is tried again for ever, and nothing waits for it once it has failed."""
    spare: bool = False
    """Not started before it is asked for (`Supervisor.start`)."""


def check_order(specs: tuple[ChildSpec, ...]) -> None:
    """Raise ValueError unless names are unique and each child comes after those that it depends on."""
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise ValueError(f"two children are called {spec.name}")
        for needed in spec.depends_on:
            if needed not in seen:
                raise ValueError(f"{spec.name} depends on {needed}, which does not come before it")
        seen.add(spec.name)


async def until_ready(spec: ChildSpec) -> None:
    """Return once the child is ready; the caller holds the deadline."""
    while spec.ready is not None:
        if await is_ready(spec.ready):
            return
        await asyncio.sleep(PROBE_PAUSE_S)


async def is_ready(probe: ReadyProbe | str) -> bool:
    if not isinstance(probe, str):
        return await probe()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=PROBE_DEADLINE_S)) as session,
            session.get(probe) as answer,
        ):
            return answer.status == 200
    except (aiohttp.ClientError, OSError, TimeoutError):
        return False
