"""Puts what could not be processed where an operator finds it, with the reason and the place it came from."""

from __future__ import annotations

import asyncio
import hashlib

import structlog

from infra.clock import Clock
from infra.kafka.lost_range import KnownRanges, LostRange
from infra.telemetry.metric_names import WORKER_DEAD_LETTERS
from infra.telemetry.metrics import Metrics
from processors.writing.log_appender import LogAppender
from schemas.codec import encode
from schemas.dead_letters import DEAD_LETTER_VALUE_BYTES_MAX, DeadLetter, names_in
from schemas.prompts import PromptSubmitted

__all__ = ["DeadLetterWriter"]

log = structlog.get_logger(__name__)


class DeadLetterWriter:
    """The writer of `tokenwire.deadletters`."""

    def __init__(self, appender: LogAppender, clock: Clock, metrics: Metrics) -> None:
        self._appender = appender
        self._clock = clock
        self._counted = metrics.counter(WORKER_DEAD_LETTERS)
        self._lost_known = KnownRanges()
        self._telling_of_lost = asyncio.Lock()
        """Two readers may meet the same range at once."""

    async def write_lost(self, lost: LostRange) -> None:
        """Tell of offsets that cannot be read, once. Raises AppendFailed."""
        async with self._telling_of_lost:
            if lost in self._lost_known:
                return
            await self.write(
                reason="unreadable",
                message=lost.sentence(),
                topic=lost.topic,
                partition=lost.partition,
                offset=lost.start,
                key=None,
                value=None,
            )
            self._lost_known.add(lost)

    async def keep_prompt(self, prompt: PromptSubmitted, partition: int, *, reason: str, message: str) -> None:
        """Keep a prompt of this partition that was taken in and cannot be answered. Raises AppendFailed."""
        await self.write(
            reason=reason,
            message=message,
            topic=self._appender.names.prompts,
            partition=partition,
            offset=-1,
            key=prompt.user.encode(),
            value=encode(prompt),
            user=prompt.user,
            session=prompt.session,
            prompt_id=prompt.prompt_id,
        )

    async def write(
        self,
        *,
        reason: str,
        message: str,
        topic: str,
        partition: int,
        offset: int,
        key: bytes | None,
        value: bytes | None,
        user: str = "",
        session: str = "",
        prompt_id: str = "",
    ) -> None:
        """Append a dead letter and wait for the acknowledgement. Raises AppendFailed."""
        whole = value or b""
        if not user:
            user, session, prompt_id = names_in(key, value)
        letter = DeadLetter(
            reason=reason,
            message=message,
            topic=topic,
            partition=partition,
            offset=offset,
            key=key[:1_024] if key else None,
            value=whole[:DEAD_LETTER_VALUE_BYTES_MAX] if value is not None else None,
            value_bytes=len(whole),
            value_sha256=hashlib.sha256(whole).hexdigest(),
            user=user,
            session=session,
            prompt_id=prompt_id,
            at_us=self._clock.now_us(),
        )
        await self._appender.append(self._appender.names.dead_letters, 0, encode(letter))
        self._counted.labels(reason=reason).inc()
        log.warning("dead_letter", reason=reason, topic=topic, partition=partition, offset=offset)
