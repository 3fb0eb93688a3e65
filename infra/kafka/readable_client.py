"""Makes an aiokafka consumer one that nothing on a log can stop; Faust's is one, too.

aiokafka's consumer raises at a batch that it cannot read, stays in front of it, and comes to it again after a restart:
one bad batch ends a worker for ever. It also unpacks without a limit. So each answer to its fetches is read here first:
what can be read is handed on unpacked, and in place of what cannot comes a batch without records over the same offsets,
which takes the consumer past it. Before that it is asked for as often as `log_client.py` does.

The consumer reads committed records only. CRCs are checked here, so it need not check them again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import structlog
from aiokafka.errors import CorruptRecordException, NoError, RequestTimedOutError, for_code
from aiokafka.protocol.fetch import FetchRequest

from infra.kafka.lost_range import (
    BLANK,
    LEADER_BACKOFF,
    LEFT_OUT,
    PROBE_BYTES,
    REFUSED,
    LostRange,
    brings_records,
    next_readable,
    unthrottled,
)
from infra.kafka.record_batches import (
    READ_COMMITTED,
    UNPACKED_BYTES_MAX,
    ReadableBytes,
    Unreadable,
    empty_batch,
    readable_bytes,
)
from infra.kafka.sparse_metadata import SparseMetadataClient

__all__ = ["ReadableClient", "read_what_can_be_read"]

log = structlog.get_logger(__name__)

VERSION_MIN: Final = 4
OK: Final = 0


class ReadableClient(SparseMetadataClient):
    """The client of one consumer."""

    on_lost: Callable[[LostRange], None]
    is_dense: Callable[[str], bool]
    failures: dict[tuple[str, int], tuple[int, int, int]]
    """Where a partition cannot be read, how often that is tried, and how often it was."""

    async def send(self, node_id: int, request: Any, **options: Any) -> Any:
        """As aiokafka's; the answer to a fetch holds only what can be read. Raises KafkaError."""
        response = await super().send(node_id, request, **options)
        if isinstance(request, FetchRequest) and response.API_VERSION >= VERSION_MIN:
            asked = {(topic, place[0]): place[1] for topic, places in request.topics for place in places}
            await self.make_readable(node_id, asked, response)
        return response

    async def make_readable(self, node_id: int, asked: dict[tuple[str, int], int], response: Any) -> None:
        room, again = UNPACKED_BYTES_MAX, False
        nothing = LEFT_OUT if response.throttle_time_ms or brings_records(response) else BLANK
        topics = []
        for topic, answers in response.topics:
            readable = []
            for answer in answers:
                offset = asked[topic, answer[0]]
                found = self.read(topic, answer, offset, room, nothing=nothing)
                room -= len(found.content)
                if found.unreadable is not None and not found.content:
                    found = await self.past(node_id, (topic, answer[0]), offset, found, end=answer[3])
                    again = again or not (found.content or found.unreadable is LEFT_OUT)
                error = OK if found.unreadable is not None else answer[1]
                readable.append((answer[0], error, *answer[2:-1], found.content))
            topics.append((topic, readable))
        response.topics = topics
        if again:
            await asyncio.sleep(LEADER_BACKOFF.pause_s())

    def read(
        self, topic: str, answer: tuple[Any, ...], offset: int, room: int, *, nothing: Unreadable
    ) -> ReadableBytes:
        """What one partition's answer holds. Without room left, nothing: it is asked for again.

        `nothing`: what an empty answer means where more lies there.
        """
        error, stable_end, raw = for_code(answer[1]), answer[3], answer[-1]
        if error is CorruptRecordException:
            return ReadableBytes(b"", offset, REFUSED)
        if error is not NoError or room <= 0:
            return ReadableBytes(b"", offset)
        if not raw and offset < stable_end:
            return ReadableBytes(b"", offset, nothing)
        return readable_bytes(raw or b"", offset, end=stable_end, dense=self.is_dense(topic))

    async def past(
        self, node_id: int, place: tuple[str, int], offset: int, found: ReadableBytes, *, end: int
    ) -> ReadableBytes:
        """Nothing, so that it is asked for again; or, after enough of that, what takes the consumer past it."""
        fault = found.unreadable
        assert fault is not None
        *before, tries = self.failures.get(place, (0, 0, 0))
        tries = tries + 1 if before == [offset, fault.tries_max] else 1
        self.failures[place] = offset, fault.tries_max, tries
        if tries < fault.tries_max:
            return found
        del self.failures[place]
        lost = LostRange.of(*place, offset, fault)
        if lost.end is None:
            if await self.is_readable(node_id, place, offset):  # asked for alone
                return found
            end = max(end, offset + 1)  # a broker that refuses to answer does not say where the log ends
            lost = lost.ending(await next_readable(offset, end, partial(self.is_readable, node_id, place)))
        log.error("batch_unreadable", **lost.told())
        self.on_lost(lost)
        return ReadableBytes(empty_batch(offset, lost.next_offset), lost.next_offset, fault)

    async def is_readable(self, node_id: int, place: tuple[str, int], offset: int) -> bool:
        topic, partition = place
        request = FetchRequest(0, 1, PROBE_BYTES, READ_COMMITTED, [(topic, [(partition, offset, PROBE_BYTES)])])
        response = await unthrottled(
            partial(super().send, node_id, request),
            lambda answer: 0.0 if brings_records(answer) else answer.throttle_time_ms / 1_000,
        )
        if response is None:
            raise RequestTimedOutError(f"{topic}/{partition} is throttled: what can be read there is not known yet")
        for _, answers in response.topics:
            for answer in answers:
                found = self.read(topic, answer, offset, UNPACKED_BYTES_MAX, nothing=BLANK)
                return found.next_offset > offset
        return False


def read_what_can_be_read(
    consumer: Any, on_lost: Callable[[LostRange], None], *, is_dense: Callable[[str], bool]
) -> None:
    """Do so with a consumer whose client is a SparseMetadataClient already, before it is started.

    `on_lost` is called on the consumer's own event loop, each time a range is passed over. `is_dense` says of a topic
    whether offsets that are missing there are lost.
    Raises RuntimeError: it is no consumer that we know.
    """
    known = {"_check_crcs": bool, "_isolation_level": str, "_client": SparseMetadataClient}
    if not all(isinstance(getattr(consumer, name, None), kind) for name, kind in known.items()):
        raise RuntimeError("this version of aiokafka keeps what its consumer checks elsewhere")
    consumer._check_crcs = False
    consumer._isolation_level = "read_committed"
    client = consumer._client
    client.__class__ = ReadableClient
    client.on_lost, client.is_dense, client.failures = on_lost, is_dense, {}
