"""Sockets: who finds room at the door, and how a client that reads slowly is written to.

Reads and writes websocket frames. Guarantees: no socket is read before there is room for it; what one client is owed
and what all are owed stay within their caps. Pure: what is in `decisions/` (at what pace a connection is told, who may
come in and stay).
"""

__all__: list[str] = []
