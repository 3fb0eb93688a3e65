"""A prompt from plain arguments: what the SDK and the command line let callers say, in one place.

Ids left out are drawn. What only types would have kept out (a misspelt choice, one text where a list is meant) is told
before anything is sent, naming the field: callers need no type checker.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias, TypedDict, Unpack, get_args

import msgspec

from schemas.errors import InvalidField
from schemas.prompts import ChatMessage, CompareMode, OnBusy, OnLeave, Pace, Priority, PromptSubmitted

__all__ = ["Messages", "PromptOptions", "prompt_of"]

Messages: TypeAlias = Sequence[ChatMessage | Mapping[str, str]]
"""A whole conversation, as chat models take it: {"role": "user", "content": "…"} and so on."""

CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "compare": get_args(CompareMode),
    "on_busy": get_args(OnBusy),
    "on_leave": get_args(OnLeave),
    "pace": get_args(Pace),
    "priority": get_args(Priority),
}


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
    """A prompt from plain arguments, ids drawn where left out. Raises InvalidField."""
    session, prompt_id = options.get("session"), options.get("prompt_id")
    messages, models = options.get("messages"), options.get("models", ())
    if isinstance(models, str):
        raise InvalidField("models", "is one text", "send a list of names")
    prompt = PromptSubmitted(
        user=user,
        session=f"s-{secrets.token_hex(8)}" if session is None else session,
        prompt_id=f"p-{secrets.token_hex(8)}" if prompt_id is None else prompt_id,
        input=text,
        messages=None if messages is None else chat_messages(messages),
        model=options.get("model", ""),
        models=tuple(models),
        compare=options.get("compare", "all"),
        merge_model=options.get("merge_model", ""),
        max_tokens=options.get("max_tokens"),
        temperature=options.get("temperature"),
        on_busy=options.get("on_busy", "enqueue"),
        on_leave=options.get("on_leave", "finish"),
        pace=options.get("pace", "provider"),
        priority=options.get("priority", "interactive"),
        cache=options.get("cache", False),
        metadata=dict(options.get("metadata") or {}),
        tenant=options.get("tenant", ""),
    )
    for field, allowed in CHOICES.items():
        if getattr(prompt, field) not in allowed:
            raise InvalidField(field, "is not one of its choices", f"say {', '.join(allowed)}")
    return prompt


def chat_messages(messages: Messages) -> tuple[ChatMessage, ...]:
    try:
        return msgspec.convert(
            [msgspec.to_builtins(message) for message in messages], tuple[ChatMessage, ...], strict=True
        )
    except (msgspec.ValidationError, TypeError) as error:
        raise InvalidField(
            "messages",
            "do not have the shape of a conversation",
            'send {"role": "system", "user" or "assistant", "content": text} each',
        ) from error
