"""The sessions that this gateway follows: each record decoded, folded and encoded once for all who read along.

Reads what `fetching` delivers; writes reports on who follows to the prompts topic. Guarantees: a connection joins a
session without a hole; what is kept of a session is bounded. Pure: what is in `decisions/` (records as messages and
frames, cursors' places in a session, snapshots, when a worker is told who follows).
"""

__all__: list[str] = []
