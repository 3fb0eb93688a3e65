"""From prompt to tokens, and from records to analytics.

Reads commands from `tokenwire.prompts` and answers from model providers; writes session logs, the journal, records
and ClickHouse rows. Guarantees: every accepted prompt ends exactly once, one paid call per attempt. Pure in here:
everything below `decisions`.
"""

__all__: list[str] = []
