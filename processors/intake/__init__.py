"""Commands on their way in: prompts, cancels, expired sessions, who reads along.

Reads deliveries of `tokenwire.prompts`, and the log itself where a piece of it was passed over or the journal is
damaged; writes the journal, the first records of turns, dead letters. Guarantees: a command may be taken in again, and
changes nothing then. Pure in here: `decisions`.
"""

__all__: list[str] = []
