"""The face for upstream services: publish a prompt with plain arguments.

    async with Producer() as producer:
        receipt = await producer.submit("Why is the sky blue?", user="alice", session="s1")

Settings come from `TOKENWIRE_*`, or from arguments of the same names (`Producer(kafka="host:9092")`). Ids left out are
drawn; pass your own `prompt_id` where you may have to send again: the same id in the same session counts once.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import TracebackType
from typing import Self, Unpack

from infra.settings import Settings, load_settings
from producers.prompt_options import Messages, PromptOptions, prompt_of
from producers.prompt_producer import Acknowledged, BlockingPromptProducer, PromptProducer
from schemas.prompts import PromptCancelled, PromptSubmitted, turns_of

__all__ = ["BlockingProducer", "Messages", "Producer", "Receipt", "prompt_of"]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The broker has the prompt: it will end exactly once, whatever happens."""

    user: str
    session: str
    prompt_id: str
    turn: str
    """The turn that answers it; of several models, the first one's."""
    topic: str
    partition: int
    offset: int
    turns: tuple[str, ...] = ()
    """Every turn that answers it, in the order of its models; with `compare="merge"` the merging one last."""


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
        self, text: str = "", *, user: str, deadline_s: float | None = None, **options: Unpack[PromptOptions]
    ) -> Receipt:
        """Publish a prompt; return once the broker has it.

        `text` continues the session; `messages`, instead of it, is the whole conversation. `models=[…]` asks several
        side by side. All options: `tokenwire.PromptOptions`. Raises InvalidField for what the caller
        can mend, else a ProducerError, which says whether to send again.

        Cancellation: the prompt may be published all the same; send it again with the same prompt_id to be certain.
        """
        prompt = prompt_of(text, user=user, **options)
        return receipt_of(prompt, await self._producer.submit(prompt, deadline_s=deadline_s))

    async def cancel(self, *, user: str, session: str, prompt_id: str, deadline_s: float | None = None) -> None:
        """End a prompt's turns, whether they run, wait or have not arrived yet. Raises as `submit` does."""
        command = PromptCancelled(user=user, session=session, prompt_id=prompt_id)
        await self._producer.cancel(command, deadline_s=deadline_s)

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
        self, text: str = "", *, user: str, deadline_s: float | None = None, **options: Unpack[PromptOptions]
    ) -> Receipt:
        """Publish a prompt; return once the broker has it. Takes and raises what `Producer.submit` does."""
        prompt = prompt_of(text, user=user, **options)
        return receipt_of(prompt, self._producer.submit(prompt, deadline_s=deadline_s))

    def cancel(self, *, user: str, session: str, prompt_id: str, deadline_s: float | None = None) -> None:
        """End a prompt's turns, whether they run, wait or have not arrived yet. Raises as `submit` does."""
        command = PromptCancelled(user=user, session=session, prompt_id=prompt_id)
        self._producer.cancel(command, deadline_s=deadline_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def receipt_of(prompt: PromptSubmitted, acknowledged: Acknowledged) -> Receipt:
    turns = turns_of(prompt)
    return Receipt(
        user=prompt.user,
        session=prompt.session,
        prompt_id=prompt.prompt_id,
        turn=turns[0],
        topic=acknowledged.topic,
        partition=acknowledged.partition,
        offset=acknowledged.offset,
        turns=turns,
    )
