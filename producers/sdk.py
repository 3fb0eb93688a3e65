"""The face for upstream services: publish a prompt with plain arguments.

    async with Producer() as producer:
        receipt = await producer.submit("Why is the sky blue?", user="alice", session="s1")

Settings come from `TOKENWIRE_*`, or from arguments of the same names (`Producer(kafka="host:9092")`). Ids left out are
drawn; pass your own `prompt_id` where you may have to send again: the same id in the same session counts once.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import msgspec

from infra.settings import Settings, load_settings
from producers.prompt_producer import Acknowledged, BlockingPromptProducer, PromptProducer
from schemas.errors import InvalidField
from schemas.prompts import ChatMessage, PromptCancelled, PromptSubmitted

__all__ = ["BlockingProducer", "Messages", "Producer", "Receipt", "prompt_of"]

Messages: TypeAlias = Sequence[ChatMessage | Mapping[str, str]]
"""A whole conversation, as chat models take it: {"role": "user", "content": "…"} and so on."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """The broker has the prompt: it will end exactly once, whatever happens."""

    user: str
    session: str
    prompt_id: str
    turn: str
    topic: str
    partition: int
    offset: int


class Producer:
    """Publishes prompts from asyncio. Start it once (or use `async with`) and share it."""

    def __init__(self, settings: Settings | None = None, **changes: object) -> None:
        self._producer = PromptProducer(settings or load_settings(None, **changes))

    async def start(self) -> None:
        """Connect. Raises BrokerUnavailable, AccessDenied, TopicMissing."""
        await self._producer.start()

    async def stop(self) -> None:
        """Wait a few seconds for prompts on their way, then disconnect."""
        await self._producer.stop()

    async def submit(
        self,
        text: str = "",
        *,
        user: str,
        session: str | None = None,
        prompt_id: str | None = None,
        messages: Messages | None = None,
        model: str = "",
        max_tokens: int | None = None,
        metadata: Mapping[str, str] | None = None,
        tenant: str = "",
        deadline_s: float | None = None,
    ) -> Receipt:
        """Publish a prompt; return once the broker has it.

        `text` continues the session; `messages`, instead of it, is the whole conversation. Raises InvalidField for
        what the caller can mend, else a ProducerError (`producers.errors`), which says whether to send again.

        Cancellation: the prompt may be published all the same; send it again with the same prompt_id to be certain.
        """
        prompt = prompt_of(
            text,
            user=user,
            session=session,
            prompt_id=prompt_id,
            messages=messages,
            model=model,
            max_tokens=max_tokens,
            metadata=metadata,
            tenant=tenant,
        )
        return receipt_of(prompt, await self._producer.submit(prompt, deadline_s=deadline_s))

    async def cancel(self, *, user: str, session: str, prompt_id: str) -> None:
        """End a prompt's turn, whether it runs, waits or has not arrived yet. Raises as `submit` does."""
        await self._producer.cancel(PromptCancelled(user=user, session=session, prompt_id=prompt_id))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class BlockingProducer:
    """The same without asyncio. Start it once (or use `with`) and share it between threads."""

    def __init__(self, settings: Settings | None = None, **changes: object) -> None:
        self._producer = BlockingPromptProducer(settings or load_settings(None, **changes))

    def start(self) -> None:
        """Connect. Raises BrokerUnavailable, AccessDenied, TopicMissing."""
        self._producer.start()

    def stop(self) -> None:
        """Wait a few seconds for prompts on their way, then disconnect."""
        self._producer.stop()

    def submit(
        self,
        text: str = "",
        *,
        user: str,
        session: str | None = None,
        prompt_id: str | None = None,
        messages: Messages | None = None,
        model: str = "",
        max_tokens: int | None = None,
        metadata: Mapping[str, str] | None = None,
        tenant: str = "",
        deadline_s: float | None = None,
    ) -> Receipt:
        """Publish a prompt; return once the broker has it. Raises as `Producer.submit` does."""
        prompt = prompt_of(
            text,
            user=user,
            session=session,
            prompt_id=prompt_id,
            messages=messages,
            model=model,
            max_tokens=max_tokens,
            metadata=metadata,
            tenant=tenant,
        )
        return receipt_of(prompt, self._producer.submit(prompt, deadline_s=deadline_s))

    def cancel(self, *, user: str, session: str, prompt_id: str) -> None:
        """End a prompt's turn, whether it runs, waits or has not arrived yet. Raises as `submit` does."""
        self._producer.cancel(PromptCancelled(user=user, session=session, prompt_id=prompt_id))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def prompt_of(
    text: str,
    *,
    user: str,
    session: str | None = None,
    prompt_id: str | None = None,
    messages: Messages | None = None,
    model: str = "",
    max_tokens: int | None = None,
    metadata: Mapping[str, str] | None = None,
    tenant: str = "",
) -> PromptSubmitted:
    """A prompt from plain arguments, ids drawn where left out. Raises InvalidField."""
    return PromptSubmitted(
        user=user,
        session=f"s-{secrets.token_hex(8)}" if session is None else session,
        prompt_id=f"p-{secrets.token_hex(8)}" if prompt_id is None else prompt_id,
        input=text,
        messages=None if messages is None else chat_messages(messages),
        model=model,
        max_tokens=max_tokens,
        metadata=dict(metadata or {}),
        tenant=tenant,
    )


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


def receipt_of(prompt: PromptSubmitted, acknowledged: Acknowledged) -> Receipt:
    return Receipt(
        user=prompt.user,
        session=prompt.session,
        prompt_id=prompt.prompt_id,
        turn=acknowledged.turns[0],
        topic=acknowledged.topic,
        partition=acknowledged.partition,
        offset=acknowledged.offset,
    )
