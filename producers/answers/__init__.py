"""Answers read back from Python: a session's log, followed until a prompt's turns have ended.

Reads session logs, and makes the topic of a session that has none. Guarantees: the same records give the same answer,
so reading again is safe.
"""

__all__: list[str] = []
