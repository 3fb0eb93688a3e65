"""Whom a worker calls, and whether anybody is there: said once, when it starts.

A mistyped address shows only with the first prompt otherwise, as a failure that looks like the provider's own. What is
tried is a connection and no more: some servers answer questions only between two answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import structlog

from infra.network_environment import is_loopback
from infra.targets.model_catalogue import Target
from processors.providers.openai_endpoint import OPENAI_BASE_URL

__all__ = ["origins_of", "tell_reach"]

CONNECT_S: Final = 5.0
PORTS: Final = {"http": 80, "https": 443}

log = structlog.get_logger(__name__)


def origins_of(targets: Iterable[Target]) -> dict[str, str]:
    """Scheme, host and port of each provider: neither a user nor a key that stands in its address."""
    origins: dict[str, str] = {}
    for target in targets:
        url = urlsplit(target.base_url or OPENAI_BASE_URL)
        host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
        origins[target.provider] = f"{url.scheme}://{host}:{url.port or PORTS.get(url.scheme, 443)}"
    return origins


async def tell_reach(targets: Iterable[Target]) -> None:
    """Log whom this worker calls, and a warning for each provider whose address takes no connection.

    Cancellation: nothing is left open.
    """
    origins = origins_of(targets)
    log.info("worker_calls", providers=origins)
    for origin in dict.fromkeys(origins.values()):
        if not is_behind_proxy(origin) and not await takes_connections(origin):
            named = [provider for provider, each in origins.items() if each == origin]
            log.warning(
                "provider_unreachable",
                providers=named,
                address=origin,
                message="nobody answers there yet; prompts wait for it, or go to another target",
            )


def is_behind_proxy(origin: str) -> bool:
    """Whether calls go by way of a proxy, which alone knows who can be reached."""
    url = urlsplit(origin)
    return not is_loopback(origin) and url.scheme in getproxies() and not proxy_bypass(url.hostname or "")


async def takes_connections(origin: str) -> bool:
    url = urlsplit(origin)
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(url.hostname, url.port)
    except OSError:  # a time-out is one
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True
