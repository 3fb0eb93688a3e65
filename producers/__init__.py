"""Prompt → Kafka, and the way back: publishing prompts and reading answers from Python.

Reads `TOKENWIRE_*` settings and a session's log; writes `tokenwire.prompts` and nothing else. Guarantees: what was
acknowledged is on the broker's log, once; waiting prompts are bounded in number and bytes; every error says whose
fault it is and what to do next. Deciding what a prompt may look like is `schemas.prompt_limits`, which is pure.
"""

__all__: list[str] = []
