"""Publishing prompts: check, stamp, publish once, return after the broker's acknowledgement.

`PromptProducer` is for asyncio, `BlockingPromptProducer` for everybody else; both are a face of one `KafkaPublisher`.
Partition and key: every command of a user is keyed by the user id and partitioned by murmur2, so that one worker is
the only writer of that user (`schemas.topics`).
"""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import msgspec

from infra.clock import Clock, SystemClock
from infra.kafka.connection import librdkafka_options
from infra.settings import Settings
from producers.errors import ProducerError, PublishTimedOut
from producers.kafka_publisher import KafkaPublisher, OutgoingRecord, PublishBounds, Settlement, Written
from schemas.access import TicketUsed, UserLoggedOut
from schemas.codec import encode
from schemas.identifiers import check_prompt_id, check_session_id, check_user_id, turn_id_of
from schemas.prompt_limits import PromptLimits, check_prompt
from schemas.prompts import PromptCancelled, PromptSubmitted, SessionWatched, turns_of
from schemas.topics import USER_PARTITIONS

__all__ = ["Acknowledged", "BlockingPromptProducer", "PromptProducer"]

START_S: Final = 10.0
"""Longest wait for the cluster at start."""
SETTLED_LATE_S: Final = 1.0
"""How late librdkafka may be in giving a record up."""


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker has the command: where it is, and the turns that it starts (of a cancel: the first that it ends)."""

    topic: str
    partition: int
    offset: int
    turns: tuple[str, ...]


class PromptForm:
    """Checks and stamps a command and says where it goes: what both producers do before anything is sent."""

    def __init__(self, settings: Settings, limits: PromptLimits | None, clock: Clock | None) -> None:
        self._limits = limits or PromptLimits(prompt_bytes_max=settings.prompt_bytes_max)
        self._clock = clock or SystemClock()
        self.names = settings.topic_names

    def submitted(self, prompt: PromptSubmitted) -> OutgoingRecord:
        """Raises InvalidField."""
        check_prompt(prompt, self._limits)
        if not prompt.submitted_at_us:
            prompt = msgspec.structs.replace(prompt, submitted_at_us=self._clock.now_us())
        return OutgoingRecord(self.names.prompts, prompt.user.encode(), encode(prompt))

    def cancelled(self, command: PromptCancelled) -> OutgoingRecord:
        """Raises InvalidField."""
        check_user_id(command.user)
        check_session_id(command.session)
        check_prompt_id(command.prompt_id)
        return OutgoingRecord(self.names.prompts, command.user.encode(), encode(command))

    def access(self, event: UserLoggedOut | TicketUsed) -> OutgoingRecord:
        """Where it is read by every gateway, in one order."""
        if isinstance(event, TicketUsed):
            return OutgoingRecord(self.names.tickets, event.ticket.encode(), encode(event))
        return OutgoingRecord(self.names.access, event.key, encode(event))

    def watched(self, command: SessionWatched) -> OutgoingRecord:
        """Raises InvalidField."""
        check_user_id(command.user)
        check_session_id(command.session)
        return OutgoingRecord(self.names.prompts, command.user.encode(), encode(command))


class PromptProducer:
    """Publishes prompts from asyncio. Start it once, share it: any number of submits may be under way.

    `limits` are what a prompt may look like (models included, where they are known); `bounds` what may wait.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        limits: PromptLimits | None = None,
        bounds: PublishBounds | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._bounds = bounds or bounds_of(settings)
        self._form = PromptForm(settings, limits, clock)
        self._publisher = KafkaPublisher(librdkafka_options(settings), self._bounds)

    async def start(self, *, deadline_s: float = START_S) -> None:
        """Connect and see that the topic is there. Raises BrokerUnavailable, AccessDenied, TopicMissing.

        Cancellation: the producer is left stopped (a look-up on its way ends behind).
        """
        try:
            await asyncio.to_thread(self._publisher.open)
            prompts = self._form.names.prompts
            await asyncio.to_thread(self._publisher.require_topic, prompts, USER_PARTITIONS, deadline_s)
        except BaseException:  # a cancel too: librdkafka's threads would run on
            await asyncio.to_thread(self._publisher.close)
            raise

    async def stop(self) -> None:
        """Wait, at most `bounds.drain_s`, for prompts on their way; those without an answer then raise.

        Cancellation: stopping goes on behind.
        """
        await asyncio.to_thread(self._publisher.close)

    async def submit(self, prompt: PromptSubmitted, *, deadline_s: float | None = None) -> Acknowledged:
        """Publish a prompt; return once the broker has it. The same prompt_id again is the same prompt.

        Raises InvalidField (the prompt, nothing was sent), ProducerBusy and ProducerClosed (at once, nothing was
        sent), PublishTimedOut (outcome unknown: send again with the same prompt_id), PublishRefused.

        Cancellation: the prompt may be published all the same; sending it again is safe.
        """
        record = self._form.submitted(prompt)
        return acknowledged(prompt, await self._published(record, deadline_s))

    async def cancel(self, command: PromptCancelled, *, deadline_s: float | None = None) -> Acknowledged:
        """Publish the wish to end a prompt's turn. Raises as `submit` does.

        Cancellation: the wish may be published all the same; repeating it is safe.
        """
        record = self._form.cancelled(command)
        return acknowledged(command, await self._published(record, deadline_s))

    async def watched(self, command: SessionWatched, *, deadline_s: float | None = None) -> None:
        """Publish a gateway's word about those who follow a session. Raises as `submit` does.

        Cancellation: the word may be published all the same; the next one corrects it.
        """
        written(await self._published(self._form.watched(command), deadline_s))

    async def tell_access(self, event: UserLoggedOut | TicketUsed, *, deadline_s: float | None = None) -> None:
        """Publish a gateway's word about who may come in. Raises as `submit` does.

        Cancellation: the word may be published all the same.
        """
        written(await self._published(self._form.access(event), deadline_s))

    async def _published(self, record: OutgoingRecord, deadline_s: float | None) -> Settlement:
        loop = asyncio.get_running_loop()
        settled: asyncio.Future[Settlement] = loop.create_future()

        def on_settled(settlement: Settlement) -> None:
            # A loop that was closed meanwhile has nobody left who could listen.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, settled, settlement)

        self._publisher.publish(record, on_settled)
        limit_s = wait_limit(self._bounds, deadline_s)
        try:
            async with asyncio.timeout(limit_s):
                return await settled
        except TimeoutError:
            return not_acknowledged(limit_s)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()


class BlockingPromptProducer:
    """The same for callers without an event loop. Safe to share between threads."""

    def __init__(
        self,
        settings: Settings,
        *,
        limits: PromptLimits | None = None,
        bounds: PublishBounds | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._bounds = bounds or bounds_of(settings)
        self._form = PromptForm(settings, limits, clock)
        self._publisher = KafkaPublisher(librdkafka_options(settings), self._bounds)

    def start(self, *, deadline_s: float = START_S) -> None:
        """Connect and see that the topic is there. Raises BrokerUnavailable, AccessDenied, TopicMissing."""
        self._publisher.open()
        try:
            self._publisher.require_topic(self._form.names.prompts, USER_PARTITIONS, deadline_s)
        except BaseException:  # Ctrl-C too: librdkafka's threads would run on
            self._publisher.close()
            raise

    def stop(self) -> None:
        """Wait, at most `bounds.drain_s`, for prompts on their way; those without an answer then raise."""
        self._publisher.close()

    def submit(self, prompt: PromptSubmitted, *, deadline_s: float | None = None) -> Acknowledged:
        """Publish a prompt; return once the broker has it. Raises as `PromptProducer.submit` does."""
        record = self._form.submitted(prompt)
        return acknowledged(prompt, self._published(record, deadline_s))

    def cancel(self, command: PromptCancelled, *, deadline_s: float | None = None) -> Acknowledged:
        """Publish the wish to end a prompt's turn. Raises as `submit` does."""
        record = self._form.cancelled(command)
        return acknowledged(command, self._published(record, deadline_s))

    def _published(self, record: OutgoingRecord, deadline_s: float | None) -> Settlement:
        settled: Future[Settlement] = Future()
        self._publisher.publish(record, settled.set_result)
        limit_s = wait_limit(self._bounds, deadline_s)
        try:
            return settled.result(limit_s)
        except TimeoutError:
            return not_acknowledged(limit_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def bounds_of(settings: Settings) -> PublishBounds:
    return PublishBounds(
        queue_messages_max=settings.publish_queue_max,
        queue_kib_max=settings.publish_queue_kib_max,
        publish_s=settings.publish_s,
    )


def wait_limit(bounds: PublishBounds, deadline_s: float | None) -> float:
    """Without a deadline of the caller's, librdkafka's own comes first: it knows more of what happened."""
    return bounds.publish_s + SETTLED_LATE_S if deadline_s is None else deadline_s


def settle(settled: asyncio.Future[Settlement], settlement: Settlement) -> None:
    if not settled.done():
        settled.set_result(settlement)


def not_acknowledged(limit_s: float) -> PublishTimedOut:
    return PublishTimedOut(f"no acknowledgement from Kafka within {limit_s:g} s; send again with the same prompt_id")


def acknowledged(command: PromptSubmitted | PromptCancelled, settlement: Settlement) -> Acknowledged:
    place = written(settlement)
    if isinstance(command, PromptSubmitted):
        return Acknowledged(place.topic, place.partition, place.offset, turns_of(command))
    user, session = check_user_id(command.user), check_session_id(command.session)
    turns = (turn_id_of(user, session, check_prompt_id(command.prompt_id)),)
    return Acknowledged(place.topic, place.partition, place.offset, turns)


def written(settlement: Settlement) -> Written:
    match settlement:
        case Written():
            return settlement
        case ProducerError():
            raise settlement
