"""Row G4 of the faults: everybody comes back at once. At full size: `python -m benchmarks.gateway storm`."""

from __future__ import annotations

import socket as sockets
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from tests.faults.memory_gateway import MemoryGateway

__all__: list[str] = []

AT_ONCE: Final = 400
"""Four times what asyncio would have the kernel keep."""
CONNECT_S_MAX: Final = 2.0


async def test_G4_connections_wait_in_the_kernel_while_the_gateway_is_busy(tmp_path: Path) -> None:
    """G4: hundreds connect while the gateway accepts nobody, and none is dropped, to wait for ever longer times."""
    async with MemoryGateway.opened(tmp_path) as gateway:
        with ExitStack() as stack:
            connected = 0
            for _ in range(AT_ONCE):  # the gateway is on this loop, which stands still meanwhile
                raw = stack.enter_context(sockets.socket())
                raw.settimeout(CONNECT_S_MAX)
                raw.connect(("127.0.0.1", gateway.port))
                connected += 1

            assert connected == AT_ONCE
