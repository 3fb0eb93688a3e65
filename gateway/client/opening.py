"""`tokenwire.connect`: a line for as long as a block lasts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from gateway.client.asking import checked_token, checked_urls
from gateway.client.connection import TokenSource
from gateway.client.errors import LineClosed
from gateway.client.line import Line
from schemas.close_codes import NORMAL

__all__ = ["open_line"]

INBOX_BYTES_MAX: Final = 1_048_576


@asynccontextmanager
async def open_line(
    url: str | Sequence[str], *, token: TokenSource, inbox_bytes_max: int = INBOX_BYTES_MAX, connect_s: float = 30.0
) -> AsyncIterator[Line]:
    """Connect to a gateway, or to the first of several that lets us in, and stay connected until the block ends.

    `url`: such as ws://127.0.0.1:8080/v1/connect; several are tried in turn. `token`: as `tokenwire token` prints
    it, or an async function that gets one (or a connect ticket) for each connection; OSError and TimeoutError of such a
    function are tried again, anything else ends the line.
    `inbox_bytes_max`: bytes of messages that wait to be read; beyond it the socket is not read, and the gateway serves
    this client from the log at its own pace. `connect_s`: longest time until the first welcome.

    Raises InvalidField for an address or token that cannot be one, LineClosed where no gateway wants this client,
    TimeoutError.
    Cancellation: the socket is closed; turns go on. What was asked for last is seen to the gateway first, which
    may take two seconds, as at any other end of the block.
    """
    line = Line(checked_urls(url), token if callable(token) else checked_token(token), inbox_bytes_max)
    connection = line.connection
    running = asyncio.create_task(connection.run(), name="tokenwire-line")
    try:
        async with asyncio.timeout(connect_s):
            await connection.welcomed.wait()
        if line.inbox.fault is not None and not line.connections:
            raise line.inbox.fault
        yield line
    finally:
        await line.leave(LineClosed(NORMAL.number, "closed here"))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
