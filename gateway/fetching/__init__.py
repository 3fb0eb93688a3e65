"""Session logs: finding them, following their ends at the brokers that lead them, reading their past.

Reads Kafka; writes nothing. Guarantees: records of a log come in order, none twice, none left out without a word; an
outage closes nothing. Pure: what is in `decisions/` (positions and cursors, who leads which log, which sessions are
fetched, which turns are open).
"""

__all__: list[str] = []
