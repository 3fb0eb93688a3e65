"""One attempt of a turn: the search for a target, the call, its tokens onto the log, its end and its record.

Reads batches of a provider's chunks and the session's conversation; writes the session's log and the records.
Guarantees: one paid call for each attempt, two where it hedges, and none before the log shows that it counts. Pure in
here: `decisions`.
"""

__all__: list[str] = []
