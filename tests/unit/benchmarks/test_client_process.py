"""What a process of clients waits for."""

from __future__ import annotations

import asyncio

from benchmarks.gateway.bare_client import BareClient
from benchmarks.gateway.client_process import Crowd

__all__: list[str] = []


async def test_end_is_awaited_of_those_who_read() -> None:
    """Whoever is only connected has no answer that could end."""
    crowd = Crowd("r", 1)
    reader, idle = BareClient("a", 0, "normal", 1), BareClient("b", 1, "normal", 1)
    crowd.groups["readers"] = [reader, idle]
    for client in (reader, idle):
        client.expect("t", streaming=1)
        client.gone.clear()
    reader.ended.set()

    async with asyncio.timeout(5):
        assert await crowd.obey({"do": "ended", "group": "readers", "within_s": 60}) == {"ended": 1}
