"""A prompt from plain arguments: what the SDK and the command line let callers say, in one place.

Ids left out are drawn. What only types would have kept out (a misspelt choice or option, one text where a list is
meant) is told before anything is sent, naming the field: callers need no type checker.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import TypeAlias, TypedDict, Unpack

from schemas.plain_values import refuse_unknown, struct_of
from schemas.prompts import ChatMessage, CompareMode, OnBusy, OnLeave, Pace, Priority, PromptSubmitted

__all__ = ["Messages", "PromptOptions", "prompt_of"]

Messages: TypeAlias = Sequence[ChatMessage | Mapping[str, str]]
"""A whole conversation, as chat models take it: {"role": "user", "content": "…"} and so on."""


class PromptOptions(TypedDict, total=False):
    """What can be said of a prompt besides its text and user; `docs/prompts.md` explains each."""

    session: str | None
    """The conversation; None: a new one."""
    prompt_id: str | None
    """Idempotency key and cancel handle; None: a new one."""
    messages: Messages | None
    """The whole conversation, in place of the text."""
    model: str
    models: Sequence[str]
    """Models to be asked side by side, in place of `model`."""
    compare: CompareMode
    """What becomes of their answers."""
    merge_model: str
    max_tokens: int | None
    temperature: float | None
    on_busy: OnBusy
    """What to do while other turns of the session are open."""
    on_leave: OnLeave
    pace: Pace
    priority: Priority
    cache: bool
    """The answer may come from the tenant's response cache."""
    metadata: Mapping[str, str] | None
    tenant: str


def prompt_of(text: str, *, user: str, **options: Unpack[PromptOptions]) -> PromptSubmitted:
    """A prompt from plain arguments, ids drawn where left out; None says the same as nothing. Raises InvalidField."""
    refuse_unknown(options, PromptOptions.__annotations__)
    said = {name: value for name, value in options.items() if value is not None}
    said.setdefault("session", f"s-{secrets.token_hex(8)}")
    said.setdefault("prompt_id", f"p-{secrets.token_hex(8)}")
    return struct_of(PromptSubmitted, {"user": user, "input": text, **said})
