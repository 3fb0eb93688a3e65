"""Why a prompt was not taken, in fields: for programs, for the sentence that people read, and for the gateway, which
answers a repetition of it by itself."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["LimitSource", "Refusal"]

LimitSource: TypeAlias = Literal["user", "tenant", "session", "provider", "in_flight"]
"""Whose limit it is. `in_flight`: there is enough, but prompts of the user that run now may need it."""


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A limit that was met."""

    code: str
    """Which limit, by its name in `tokenwire.toml` (`nano_usd_per_month`: money, in billionths of a dollar); `blocked`;
    `unpriced`; `moved`."""
    limit: int = 0
    used: int = 0
    """Counted against the limit now, with what is reserved."""
    remaining: int = 0
    asked: int = 0
    """What the prompt needs of it, at least."""
    limit_source: LimitSource = "user"
    remedy: str = ""
    temporary: bool = False
    """The same prompt can be taken later."""
    retry_after_s: float | None = None
    """When time alone frees enough; sent again then, and nothing else having happened, the prompt is taken. None: time
    alone does not."""
    closed_for_s: float = 0.0
    """For so long it is refused again whatever ends meanwhile, and so is what asks for more: it may be told again
    unasked. A grant, a reset or another tier opens it."""
