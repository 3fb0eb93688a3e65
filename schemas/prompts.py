"""Commands on `tokenwire.prompts`: what clients and upstream services ask for.

Any Kafka client may publish them as JSON (key: the user id, partitioned by murmur2). Required fields have no
default; fields are only ever added, with one.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["ChatMessage", "ExpireSession", "OnBusy", "PromptCancelled", "PromptCommand", "PromptSubmitted"]

OnBusy: TypeAlias = Literal["enqueue"]
"""What happens to a prompt while another turn of its session runs. Further modes are added by name."""


class ChatMessage(msgspec.Struct, frozen=True, omit_defaults=True):
    """One message of a conversation, as chat models take it."""

    role: Literal["system", "user", "assistant"]
    content: str


class PromptSubmitted(msgspec.Struct, frozen=True, omit_defaults=True, tag="prompt.submitted", kw_only=True):
    """A prompt to be answered. `input` continues the session; `messages` replaces its whole history."""

    user: str
    session: str
    prompt_id: str
    """Idempotency key and cancel handle, scoped to the session."""
    input: str = ""
    messages: tuple[ChatMessage, ...] | None = None
    model: str = ""
    """A model name of the settings; empty means the default one."""
    max_tokens: int | None = None
    on_busy: OnBusy = "enqueue"
    metadata: dict[str, str] = {}
    tenant: str = ""
    submitted_at_us: int = 0
    """Wall clock of the producer, microseconds since 1970; 0 where a foreign producer left it out."""


class PromptCancelled(msgspec.Struct, frozen=True, omit_defaults=True, tag="prompt.cancelled", kw_only=True):
    """End this prompt's turn, whether it runs, waits or has not arrived yet."""

    user: str
    session: str
    prompt_id: str


class ExpireSession(msgspec.Struct, frozen=True, omit_defaults=True, tag="session.expired", kw_only=True):
    """Delete a session's topic once no turn of it is open. Only the user's partition owner acts on it."""

    user: str
    session: str


PromptCommand: TypeAlias = PromptSubmitted | PromptCancelled | ExpireSession
