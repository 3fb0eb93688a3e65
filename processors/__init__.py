"""From prompt to tokens, and from records to analytics.

Reads commands from `tokenwire.prompts` and answers from model providers; writes session logs, the journal, records
and ClickHouse rows. Guarantees: every accepted prompt ends exactly once, one paid call per attempt.

The folders lie in the order in which a prompt meets them: `group`, `intake`, `turns`, `attempts`, `sessions`,
`targets`, `providers`, and `ledger` (what users may use) and `writing` below all; `analytics` stands beside them. Pure
in here: every `decisions`.
"""

__all__: list[str] = []
