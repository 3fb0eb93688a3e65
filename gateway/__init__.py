"""The gateway: session logs → any number of websockets, each at its own pace.

A prompt goes down through its rooms, and its tokens come up: `process` makes the parts and listens, `clients` holds one
client's conversation, `sockets` writes to it at its own pace, `hubs` reads each session once for all who follow it,
`fetching` gets the logs from Kafka. Beside them: `access` (who may come in), `client` (the other end, for Python) and
`web` (the chat page, and the other end for JavaScript). A room imports from those after it.

Reads session topics, writes prompts through `producers`. Guarantees: what a client is told, it is told in log order,
without a hole and without a duplicate, through any reconnect to any gateway (or it is told `gap`); a slow client
costs only itself; nobody sees another user's session. Pure: everything in a `decisions/`.
"""

__all__: list[str] = []
