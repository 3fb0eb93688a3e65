"""Commands on `tokenwire.prompts`: what clients and upstream services ask for.

Any Kafka client may publish them as JSON (key: the user id, partitioned by murmur2). Required fields have no
default; fields are only ever added, with one.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

from schemas.identifiers import PromptId, SessionId, TurnId, UserId, turn_id_of

__all__ = [
    "WATCHED_EVERY_S",
    "ChatMessage",
    "CompareMode",
    "ExpireSession",
    "OnBusy",
    "OnLeave",
    "Pace",
    "Priority",
    "PromptCancelled",
    "PromptCommand",
    "PromptSubmitted",
    "SessionWatched",
    "models_of",
    "turns_of",
]

OnBusy: TypeAlias = Literal["enqueue", "parallel", "reject", "interrupt", "rollback"]
"""What happens to a prompt while other turns of its session are open. `enqueue`: it waits for them; `parallel`: it runs
beside them; `reject`: it ends `rejected`; `interrupt`: they end `superseded` and what they said stays in the
conversation; `rollback`: they end `superseded` and are forgotten, questions and answers."""

OnLeave: TypeAlias = Literal["finish", "cancel"]
"""What happens to a turn while no device follows its session: it goes on, or it is cancelled after a grace time."""

CompareMode: TypeAlias = Literal["all", "first", "best", "merge"]
"""What becomes of the answers of several models. `all`: each stands; `first`: the first to be complete, the others are
cancelled; `best`: a scorer names one when all have ended; `merge`: a model makes one answer out of all of them."""

Pace: TypeAlias = Literal["provider", "reader"]
"""Who sets the pace of an answer: its provider, or the fastest of those who read it (reading from the provider pauses
while all of them are far behind)."""

Priority: TypeAlias = Literal["interactive", "batch"]
"""A `batch` prompt waits for a place at a provider behind every interactive one."""


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
    on_leave: OnLeave = "finish"
    pace: Pace = "provider"
    priority: Priority = "interactive"
    models: tuple[str, ...] = ()
    """Models to be asked side by side, in place of `model`: one turn each, labelled by its place in this list."""
    compare: CompareMode = "all"
    merge_model: str = ""
    """With `compare: merge`, the model that makes one answer of them; empty means the default one."""
    temperature: float | None = None
    """None: the provider's own."""
    cache: bool = False
    """The answer may come from the response cache of the tenant, and go into it, whatever the temperature."""
    metadata: dict[str, str] = {}
    tenant: str = ""
    submitted_at_us: int = 0
    """Wall clock of the producer, microseconds since 1970; 0 where a foreign producer left it out."""


class PromptCancelled(msgspec.Struct, frozen=True, omit_defaults=True, tag="prompt.cancelled", kw_only=True):
    """End this prompt's turn, whether it runs, waits or has not arrived yet."""

    user: str
    session: str
    prompt_id: str


WATCHED_EVERY_S: Final = 3.0
"""A gateway repeats its `SessionWatched` at least so often; much longer silence means that it died."""


class SessionWatched(msgspec.Struct, frozen=True, omit_defaults=True, tag="session.watched", kw_only=True):
    """A gateway's word about those who follow a session that has an open turn with `on_leave: cancel` or
    `pace: reader`: sent when it changes, and now and then while it does not, so that silence means the gateway died."""

    user: str
    session: str
    gateway: str
    """Names the gateway process."""
    devices: int
    """Connections on it that follow the session."""
    read_offset: int = -1
    """The fastest of them has been written everything before this offset of the session's log; -1: not known."""


class ExpireSession(msgspec.Struct, frozen=True, omit_defaults=True, tag="session.expired", kw_only=True):
    """Delete a session's topic once no turn of it is open. Only the user's partition owner acts on it."""

    user: str
    session: str


PromptCommand: TypeAlias = PromptSubmitted | PromptCancelled | SessionWatched | ExpireSession


def models_of(prompt: PromptSubmitted) -> tuple[str, ...]:
    """The models that answer it, by turn index; the one that merges the answers comes last."""
    if not prompt.models:
        return (prompt.model,)
    return (*prompt.models, prompt.merge_model) if prompt.compare == "merge" else prompt.models


def turns_of(prompt: PromptSubmitted) -> tuple[TurnId, ...]:
    """The ids of the turns that answer it, in the order of `models_of`."""
    user, session, prompt_id = UserId(prompt.user), SessionId(prompt.session), PromptId(prompt.prompt_id)
    return tuple(turn_id_of(user, session, prompt_id, index) for index in range(len(models_of(prompt))))
