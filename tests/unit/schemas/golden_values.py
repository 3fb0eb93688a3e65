"""Values that golden events have in common."""

from __future__ import annotations

from typing import Final

from schemas.prompts import ChatMessage
from schemas.session_events import TurnError, Usage

__all__ = ["AT_US", "CURSOR", "ERROR", "MESSAGES", "USAGE"]

AT_US: Final = 1_750_000_000_123_456
CURSOR: Final = "k1.AAECAwQFBgc.c2lnbmF0dXJl"
MESSAGES: Final = (
    ChatMessage(role="system", content="Be brief."),
    ChatMessage(role="user", content='Grüße, 世界 — "why" is\nthe sky blue? 🙂'),
)
USAGE: Final = Usage(
    input_tokens=12,
    output_tokens=34,
    cached_tokens=5,
    reasoning_tokens=6,
    cache_write_tokens=2,
    estimated=True,
    stated_cost_nano_usd=4300,
)
ERROR: Final = TurnError(code="provider_overloaded", message="asked us to slow down", temporary=True, retry_after_s=1.5)
