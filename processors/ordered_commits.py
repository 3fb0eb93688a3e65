"""The Faust consumer, with commits that can't pass unfinished work.

Faust computes the offset to commit from the messages acked so far; with gaps, and after a rebalance, it can pass
messages that nobody finished, which a crash then loses. Here the offset comes from the partition's owner alone, is
bound to the group generation in which the messages were fetched, and an ack only releases memory.

Faust lets the broker keep a fetch for 1.5 s. While a partition's last records have not been taken over yet, aiokafka
leaves it out of the next fetch, so what comes to it in that time waits for that fetch to end: a cancel, or the next
prompt, for 1.5 s. So a fetch is kept for FETCH_WAIT_MS only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Protocol

from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread, Consumer
from faust.types import TP

__all__ = ["OrderedCommitsConsumer", "PartitionListener"]


class PartitionListener(Protocol):
    """Who is told which partitions this process owns."""

    async def on_leaving(self) -> None:
        """The group is about to hand all partitions out anew."""
        ...

    async def on_owned(self, partitions: set[int], generation: int) -> None:
        """The partitions of the prompts topic that are owned from now on; all others are lost."""
        ...


FETCH_WAIT_MS: Final = 200


class PromptsConsumerThread(AIOKafkaConsumerThread):  # type: ignore[misc]  # faust is not typed
    """Faust's consumer thread, whose fetches are kept for no longer than FETCH_WAIT_MS."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        if not isinstance(getattr(consumer, "_fetch_max_wait_ms", None), int):
            raise RuntimeError("this version of aiokafka keeps the longest wait of a fetch elsewhere")
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class OrderedCommitsConsumer(Consumer):  # type: ignore[misc]  # faust is not typed
    """Commits what `mark_finished` says, and nothing else. `listener` and `topic` are set before it starts."""

    listener: PartitionListener
    topic: str

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.finished: dict[TP, int] = {}

    def _new_consumer_thread(self) -> PromptsConsumerThread:
        return PromptsConsumerThread(self, loop=self.loop, beacon=self.beacon)

    def mark_finished(self, partition: int, next_offset: int, generation: int) -> None:
        """Everything below `next_offset` is finished; ignored if the generation is over."""
        if generation == self.app.consumer_generation_id:
            self.finished[TP(self.topic, partition)] = next_offset

    def ack(self, message: Any) -> bool:
        """Release the message; what is committed is decided by `mark_finished`."""
        message.acked = True
        self._unacked_messages.discard(message)
        return True

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[TP]:
        return iter(list(self.finished))

    def _new_offset(self, tp: TP) -> int | None:
        return self.finished.get(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        await super().on_partitions_revoked(revoked)
        await self.listener.on_leaving()
        self.finished.clear()  # a new owner, or we ourselves, will be handed from the committed offset on

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        self.finished.clear()
        owned = {tp.partition for tp in assigned if tp.topic == self.topic}
        await self.listener.on_owned(owned, generation_id)
        await super().on_partitions_assigned(assigned, generation_id)
