"""Kafka's fetch request and response, version 10, as values.

aiokafka's own request class always asks without a fetch session; this subclass names one. The answer is decoded to
plain values here, so that nobody else who fetches knows the layout of a response.

From version 11 on a broker that merely follows answers as well, with what it knows to be committed: later than the
leader, and without a word about who leads. Version 10 makes it say so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, TypeAlias

from aiokafka.protocol.api import Request
from aiokafka.protocol.fetch import FetchRequest_v10

from infra.kafka.lost_range import BLANK, LEFT_OUT, brings_records
from infra.kafka.record_batches import OFFSET_UNLIMITED, READ_COMMITTED, Decoded, decode_records

__all__ = ["NOT_A_REPLICA", "FetchedPartition", "PartitionName", "SessionFetchRequest", "answer_of", "sessionless"]

PartitionName: TypeAlias = tuple[str, int]

ANY_LEADER_EPOCH: Final = -1
NOT_A_REPLICA: Final = -1
SESSIONLESS_EPOCH: Final = -1
"""Of whoever asks for no session: a fetch on its own."""
BYTES_MIN: Final = 1


class SessionFetchRequest(Request[FetchRequest_v10]):  # type: ignore[misc]  # aiokafka ships no types
    """A fetch that belongs to an incremental fetch session (epoch 0 opens one, -1: none)."""

    API_KEY: ClassVar[int] = 1

    def __init__(
        self,
        changed: dict[PartitionName, int],
        forgotten: Iterable[PartitionName] = (),
        *,
        session_id: int,
        epoch: int,
        wait_ms: int,
        bytes_max: int,
        partition_bytes_max: int,
    ) -> None:
        self._session = (session_id, epoch)
        self._limits = (wait_ms, BYTES_MIN, bytes_max)
        self._topics = grouped(
            (topic, (partition, ANY_LEADER_EPOCH, offset, -1, partition_bytes_max))
            for (topic, partition), offset in changed.items()
        )
        self._forgotten = grouped(forgotten)

    def build(self, request_struct_class: type[FetchRequest_v10]) -> FetchRequest_v10:
        return request_struct_class(
            NOT_A_REPLICA, *self._limits, READ_COMMITTED, *self._session, self._topics, self._forgotten
        )


@dataclass(frozen=True, slots=True)
class FetchedPartition:
    """What the answer says of one partition. `raw` is decoded by `decoded`, from the offset that matters."""

    name: PartitionName
    error_code: int
    log_start: int
    raw: bytes
    end: int = OFFSET_UNLIMITED
    """The last stable offset."""
    aborted: Sequence[tuple[int, int]] = ()
    """Producer id and first offset of each aborted transaction in `raw`."""
    has_room: bool = False
    """Whether there was room for it in the answer, which brought nothing of others and is not throttled."""

    def decoded(self, from_offset: int, *, dense: bool = False) -> Decoded:
        """Records at or after `from_offset`, and where to read on: at the first batch that cannot be read, if any.

        `dense`: no offset is missing on this log unless it is lost.
        """
        if not self.raw and from_offset < self.end < OFFSET_UNLIMITED:
            return Decoded([], from_offset, BLANK if self.has_room else LEFT_OUT)
        return decode_records(self.raw, from_offset, end=self.end, aborted=self.aborted, dense=dense)


def sessionless(positions: dict[PartitionName, int], *, wait_ms: int, bytes_max: int) -> SessionFetchRequest:
    """A fetch on its own."""
    return SessionFetchRequest(
        positions,
        session_id=0,
        epoch=SESSIONLESS_EPOCH,
        wait_ms=wait_ms,
        bytes_max=bytes_max,
        partition_bytes_max=bytes_max,
    )


def answer_of(response: Any) -> tuple[int, int, Iterator[FetchedPartition]]:
    """Error code of the whole, session id, and the partitions."""
    return response.error_code, response.session_id, partitions_of(response)


def partitions_of(response: Any) -> Iterator[FetchedPartition]:
    has_room = not (response.throttle_time_ms or brings_records(response))
    for topic, partitions in response.topics:
        for partition, error_code, _, stable_end, log_start, aborted, raw in partitions:
            yield FetchedPartition(
                (topic, partition), error_code, log_start, raw or b"", stable_end, aborted or (), has_room=has_room
            )


def grouped(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, list[Any]]]:
    by_topic: defaultdict[str, list[Any]] = defaultdict(list)
    for topic, entry in pairs:
        by_topic[topic].append(entry)
    return list(by_topic.items())
