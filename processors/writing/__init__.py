"""What a worker writes, with the broker's acknowledgement: records, words to gateways, dead letters.

Reads nothing; writes every topic of the line. Guarantees: what was acknowledged is on the log, perhaps twice. Nothing
in here is pure.
"""

__all__: list[str] = []
