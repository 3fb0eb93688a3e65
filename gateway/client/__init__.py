"""The other end of the gateway's websocket: a client for Python programs (`tokenwire.connect`).

Reads and writes the wire protocol of `schemas/client_messages.py` and `gateway_messages.py`. Guarantees: no message is
passed on twice, none is left out in silence, a prompt is sent until the gateway has answered it, and what is not read
slows down only this client. Pure: what is in `decisions/`; here are sockets and clocks. Nothing of the gateway is
imported.
"""

__all__: list[str] = []
