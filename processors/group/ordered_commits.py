"""Faust's consumer, with commits that can't pass unfinished work, and its producer; neither creates a topic by asking.

Faust computes the offset to commit from the messages acked so far; with gaps, and after a rebalance, it can pass
messages that nobody finished, which a crash then loses. Here the offset comes from the partition's owner alone, is
bound to the group generation in which the messages were fetched, and an ack only releases memory.

Faust lets the broker keep a fetch for 1.5 s. While a partition's last records have not been taken over yet, aiokafka
leaves it out of the next fetch, so what comes to it in that time waits for that fetch to end: a cancel, or the next
prompt, for 1.5 s. So a fetch is kept for FETCH_WAIT_MS only.

After a rebalance Faust drops what a fetch brings before the streams go on, and relies on the seek to the committed
offsets to have it again; but aiokafka's seek leaves a partition where it is that has no commit, or one of 0. The first
prompts of a partition would be passed over, and the next commit would hide it. Here such a partition goes back to its
beginning, and its owner is told where each one reads on, so that it sees what is missing.

Faust reads what transactions have not committed, and ends at a batch that it can't read. Here only committed prompts
are read, and what can't be read is passed over (`infra/kafka/readable_client.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, Protocol

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer, Producer
from faust.types import TP

from infra.kafka.lost_range import LostRange
from infra.kafka.readable_client import read_what_can_be_read
from infra.kafka.sparse_metadata import without_creation

__all__ = ["FaustProducer", "OrderedCommitsConsumer", "PartitionListener"]


LOG_BEGINNING: Final = 0
"""Where a partition without a commit is read from: an offset that retention has deleted leads to the first one kept."""


class PartitionListener(Protocol):
    """Who is told which partitions this process owns."""

    async def on_leaving(self) -> None:
        """The group is about to hand all partitions out anew."""

    async def on_owned(self, partitions: set[int], generation: int, member: str) -> None:
        """The partitions of the prompts topic that are owned from now on; all others are lost. `member`: by the name
        that the group has given this process."""

    def on_lost(self, lost: LostRange) -> None:
        """Offsets of the prompts topic that can't be read were passed over."""

    def on_sought(self, positions: Mapping[int, int]) -> None:
        """Where each partition of the prompts topic is read on, once it is known; nothing came from it before."""


FETCH_WAIT_MS: Final = 200


class PromptsConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]  # faust is not typed
    """Faust's consumer thread, whose fetches are kept for no longer than FETCH_WAIT_MS."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if not isinstance(getattr(consumer, "_fetch_max_wait_ms", None), int):
            raise RuntimeError("this version of aiokafka keeps the longest wait of a fetch elsewhere")
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        without_creation(consumer._client)
        read_what_can_be_read(
            consumer,
            lambda lost: self.consumer.passed_over(lost),
            is_dense=lambda topic: topic == self.consumer.topic,  # the prompts, which are not compacted
        )
        return consumer

    def member(self) -> str:
        """The group's name for this process, while partitions are being assigned; another one after it was left out."""
        return str(self._ensure_consumer()._coordinator.member_id)

    async def seek_to_committed(self) -> dict[Any, int]:
        """Read every partition on from its commit, without one from its beginning; by partition, the offset."""
        sought: dict[Any, int] = await self.call_thread(seek_to_committed, self._ensure_consumer())
        return sought


async def seek_to_committed(consumer: Any) -> dict[Any, int]:
    """Seek an aiokafka consumer; aiokafka's own call moves only partitions whose commit is above 0."""
    committed = await consumer.seek_to_committed()
    sought = {place: offset or LOG_BEGINNING for place, offset in committed.items()}
    for place, offset in sought.items():
        if offset == LOG_BEGINNING:
            consumer.seek(place, offset)
    return sought


class FaustProducer(Producer):  # type: ignore[misc]  # faust is not typed
    """Faust's own producer. Nothing is sent through it, but Faust starts it, and it asks the broker for metadata."""

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer = super()._new_producer(transactional_id)
        without_creation(producer.client)
        return producer


class OrderedCommitsConsumer(Consumer):  # type: ignore[misc]  # faust is not typed
    """Commits what `mark_finished` says, and nothing else. `listener` and `topic` are set before it starts."""

    listener: PartitionListener
    topic: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._finished: dict[TP, int] = {}

    def _new_consumer_thread(self) -> PromptsConsumerThread:
        return PromptsConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def passed_over(self, lost: LostRange) -> None:
        """Tell the listener, which lives on the loop of the worker; called on the loop of the consumer's thread."""
        self.loop.call_soon_threadsafe(self.listener.on_lost, lost)

    def mark_finished(self, partition: int, next_offset: int, generation: int) -> None:
        """Everything below `next_offset` is finished; ignored if the generation is over."""
        if generation == self.app.consumer_generation_id:
            self._finished[TP(self.topic, partition)] = next_offset

    def ack(self, message: Any) -> bool:
        """Release the message; what is committed is decided by `mark_finished`."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter(list(self._finished))

    def _new_offset(self, tp: TP) -> int | None:
        return self._finished.get(tp)

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek, and tell the owners where their partitions read on."""
        sought: Mapping[TP, int] = await super().seek_to_committed()
        self.listener.on_sought(
            {place.partition: offset for place, offset in sought.items() if place.topic == self.topic}
        )
        return sought

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        await self.listener.on_leaving()
        self._finished.clear()  # a new owner, or we ourselves, will be handed from the committed offset on

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self._finished.clear()
        owned = {tp.partition for tp in assigned if tp.topic == self.topic}
        await self.listener.on_owned(owned, generation_id, self._thread.member())
        await super().on_partitions_assigned(assigned, generation_id)
