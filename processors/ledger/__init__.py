"""Each user's account: what is reserved for turns that run, what is used, and whether a prompt still fits the limits.

Reads and writes nothing yet: `decisions/` is pure, and is wired to the journal and `tokenwire.ledger` by the parts
around it ([decision 89](../../docs/decisions/0089-accounts-are-kept-by-run-in-absolute-amounts.md)). Guarantees: no
limit is passed beyond the bounds of [limits.md](../../docs/limits.md), and each run is settled once.
"""

__all__: list[str] = []
