"""Whether a request went out on a connection that had been used before, and when.

A server closes a connection that has idled for long enough. A request that is on its way at that moment dies without a
byte, and nobody has read it: it may go out again. The client's transport says neither of the two things that tell this
death from others, so its tracing does.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

from processors.providers.openai_failures import causes_of

__all__ = ["SOON_S", "Sending", "sending", "with_notes"]

ENDED: Final = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError, ConnectionError)
SOON_S: Final = 1.0
"""A connection that idled too long dies as soon as it is written to; what dies later had been read."""


@dataclass(slots=True)
class Sending:
    """One request on its way."""

    reused: bool = False
    sent_s: float | None = None
    """When its headers had been written, by the loop's clock."""

    def died_unread(self, error: BaseException, now_s: float) -> bool:
        """Whether the connection was the cause of a failure before the first byte, and not the server."""
        if not self.reused or self.sent_s is None or now_s - self.sent_s > SOON_S:
            return False
        return any(isinstance(each, ENDED) for each in causes_of(error))


sending: ContextVar[Sending | None] = ContextVar("sending", default=None)
"""Whoever sends a request sets it; a request is sent by one task."""


def with_notes(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """A session on the connections of this one, which is not used any more, that notes how requests are sent."""
    notes = aiohttp.TraceConfig()
    notes.on_connection_reuseconn.append(note_reuse)
    notes.on_request_headers_sent.append(note_sent)
    no_cookies = aiohttp.DummyCookieJar()  # a call tells a provider nothing of the calls before it
    noting = aiohttp.ClientSession(connector=session.connector, trace_configs=[notes], cookie_jar=no_cookies)
    session.detach()
    return noting


async def note_reuse(*_: Any) -> None:
    if (request := sending.get()) is not None:
        request.reused = True


async def note_sent(*_: Any) -> None:
    if (request := sending.get()) is not None:
        request.sent_s = asyncio.get_running_loop().time()
