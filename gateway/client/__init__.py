"""The other end of the gateway's websocket: a client for Python programs (`tokenwire.connect`).

Reads and writes the wire protocol of `schemas/client_messages.py`. Guarantees: no message is passed on twice, none is
left out in silence, a prompt is sent until the gateway has answered it, and what is not read slows down only this
client. What is decided is in `gateway/decisions` (`session_follow`, `reconnect_plan`); here are sockets and clocks.
"""

from __future__ import annotations

__all__: list[str] = []
