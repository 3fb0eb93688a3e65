"""The sessions of a partition and what is known of their turns: lanes, logs, the journal, the conversation.

Reads and writes the sessions' logs and `tokenwire.turns`. Guarantees: a session has one writer, which knows at each
append whether it still is the one; a decision never rests on an entry that a successor would not find. Pure in here:
`decisions`.
"""

__all__: list[str] = []
