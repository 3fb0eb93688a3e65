"""Records → ClickHouse: the process that keeps latency and cost.

Reads `tokenwire.records`; writes rows of ClickHouse and dead letters for what it cannot read. Guarantees: every record
is inserted, and counted once however often it was sent. Pure in here: `decisions`.
"""

__all__: list[str] = []
