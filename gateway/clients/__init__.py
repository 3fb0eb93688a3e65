"""One client's conversation: what it asks, what of its sessions it is told, and from where.

Reads its messages, a session's past from the log or from ClickHouse; writes prompts through `producers`. Guarantees:
every request ends in an answer; within a session requests are done in order; a client is told each record once, from
whichever source. Pure: what is in `decisions/` (what a client may say and when, long prompts that come in parts).
"""

__all__: list[str] = []
