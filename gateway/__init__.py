"""The gateway: session logs → any number of websockets, each at its own pace.

Reads session topics, writes prompts through `producers`. Guarantees: what a client is told, it is told in log order,
without a hole and without a duplicate, through any reconnect to any gateway (or it is told `gap`); a slow client
costs only itself; nobody sees another user's session. Pure: everything in `decisions/`.
"""

__all__: list[str] = []
