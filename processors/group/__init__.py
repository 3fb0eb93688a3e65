"""The worker's place in its consumer group: which partitions it owns, and who works on each.

Reads `tokenwire.prompts` through Faust; writes leases, the journal's entries of what it hands over, and offsets.
Guarantees: one owner for each partition, offsets committed in order, and none before its command is taken in. Nothing
in here is pure.
"""

__all__: list[str] = []
