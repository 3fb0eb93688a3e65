"""Record batches as brokers send them: checked, unpacked within limits, and what cannot be read told from what can.

A fetch brings whole batches, the last one perhaps cut off. Each is checked by its CRC, unpacked (`batch_codecs.py`)
and decoded. The first one that fails ends the reading: it is told as Unreadable, with the offset to go on at where that
can be known:

- its checksum is right (unknown codec, too large, records that are none): its header is right too, so its end is;
- its checksum is wrong, and a good batch follows: that one's first offset;
- its checksum is wrong, its header agrees with itself and lies where it should: the end that it names;
- else nobody knows: whoever reads has to look for the next offset that can be read.

The checksum covers neither the first offset nor the length, so both are believed only as far as they fit: offsets
rise, and end before the log's end. On a log that is *dense*, one that is not compacted, they also follow one another:
markers and what was aborted lie there like anything else, so offsets that are missing are lost.

Records of aborted transactions and the markers of transactions are passed over, as a consumer that "reads committed"
does; the broker tells which transactions those are. Message formats before Kafka 0.11 are not read: brokers of today
have not written them since 2017.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.util import calc_crc32c

from infra.kafka.batch_codecs import CannotUnpack, unpacked

__all__ = [
    "NOTHING_SHOWN",
    "OFFSET_UNLIMITED",
    "READ_COMMITTED",
    "TRIES_MAX",
    "UNPACKED_BYTES_MAX",
    "Batch",
    "Decoded",
    "LogRecord",
    "ReadableBytes",
    "Unreadable",
    "decode_records",
    "empty_batch",
    "readable_batches",
    "readable_bytes",
]

UNPACKED_BYTES_MAX: Final = 33_554_432
"""What one fetch of a partition may unpack to. A batch that alone is larger is unreadable; the rest waits for the next
fetch."""
TRIES_MAX: Final = 3
"""Readings of what came damaged: the damage may be the way's."""
READ_COMMITTED: Final = 1
"""The isolation level of every fetch: what is not committed is not shown, and what was aborted is told."""
NOTHING_SHOWN: Final = "the broker shows nothing there, though more lies behind"
HEADER: Final = struct.Struct(">qiibIhiqqqhii")
PLACE: Final = struct.Struct(">qi")
CHECKED_FROM: Final = 21
MAGIC: Final = 2
CODEC_MASK: Final = 0x07
TRANSACTIONAL: Final = 0x10
CONTROL: Final = 0x20
OFFSET_UNLIMITED: Final = 2**62


@dataclass(slots=True)
class LogRecord:
    """A record as it lies on a log. Not frozen, since that doubles the time to make one; nobody changes it."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What begins at `start` cannot be read."""

    start: int
    end: int | None
    """Where to go on; None: that is not known."""
    reason: str
    tries_max: int
    """How often it is read before it is passed over; 1: it came as it was written, again is of no use."""


@dataclass(slots=True)
class Batch:
    """A batch that can be read. Not frozen, as records are not: an answer's pieces come in a batch each."""

    base_offset: int
    next_offset: int
    attributes: int
    producer_id: int
    content: bytes | bytearray | memoryview
    """As the broker sent it, but unpacked (with the checksum of the packed one)."""
    records: list[Any]
    """aiokafka's, decoded."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The records before the first batch that cannot be read, and where to read on: there, if there is one."""

    records: list[LogRecord]
    next_offset: int
    unreadable: Unreadable | None = None


def decode_records(
    raw: bytes | None,
    from_offset: int,
    *,
    end: int = OFFSET_UNLIMITED,
    aborted: Iterable[tuple[int, int]] | None = None,
    dense: bool = False,
) -> Decoded:
    """The records of fetched bytes at or after `from_offset` (a batch may begin before it).

    `end`: no batch ends after it. `aborted`: producer id and first offset of each aborted transaction in these bytes.
    `dense`: no offset is missing on this log unless it is lost.
    """
    records: list[LogRecord] = []
    next_offset = from_offset
    hidden = AbortedTransactions(aborted or ())
    for batch in readable_batches(raw or b"", from_offset, end=end, dense=dense):
        if isinstance(batch, Unreadable):
            return Decoded(records, next_offset, batch)
        if not hidden.hide(batch):
            records.extend(
                LogRecord(record.offset, record.timestamp, record.key, record.value)
                for record in batch.records
                if record.offset >= next_offset  # a first offset that is broken may overlap the batch before it
            )
        next_offset = max(next_offset, batch.next_offset)
    return Decoded(records, next_offset)


@dataclass(frozen=True, slots=True)
class ReadableBytes:
    """The batches before the first one that cannot be read, unpacked, and where to read on."""

    content: bytes
    next_offset: int
    unreadable: Unreadable | None = None


def readable_bytes(raw: bytes, from_offset: int, *, end: int, dense: bool = False) -> ReadableBytes:
    """What of fetched bytes a decoder can be given that checks nothing. `end`, `dense` as for `decode_records`."""
    contents: list[bytes | bytearray | memoryview] = []
    next_offset = from_offset
    for batch in readable_batches(raw, from_offset, end=end, dense=dense):
        if isinstance(batch, Unreadable):
            return ReadableBytes(b"".join(contents), next_offset, batch)
        contents.append(batch.content)
        next_offset = max(next_offset, batch.next_offset)
    return ReadableBytes(b"".join(contents), next_offset)


class AbortedTransactions:
    """Which batches of one fetch nobody is to see."""

    def __init__(self, aborted: Iterable[tuple[int, int]]) -> None:
        self._ahead = sorted(aborted, key=lambda transaction: transaction[1], reverse=True)
        self._open: set[int] = set()

    def hide(self, batch: Batch) -> bool:
        """Whether a batch, the next one in order, is a marker or part of an aborted transaction."""
        while self._ahead and self._ahead[-1][1] <= batch.base_offset:
            self._open.add(self._ahead.pop()[0])
        if batch.attributes & CONTROL:
            self._open.discard(batch.producer_id)  # the first marker after an aborted transaction's begin is its own
            return True
        return bool(batch.attributes & TRANSACTIONAL) and batch.producer_id in self._open


def readable_batches(
    raw: bytes | memoryview,
    from_offset: int,
    *,
    end: int = OFFSET_UNLIMITED,
    dense: bool = False,
    unpacked_bytes_max: int = UNPACKED_BYTES_MAX,
) -> Iterator[Batch | Unreadable]:
    """The batches in order, ending at the first Unreadable, or where they have unpacked to enough."""
    due, room = from_offset, unpacked_bytes_max
    spans = batch_spans(memoryview(raw))
    for number, span in enumerate(spans):
        fault = fault_of(span, due, end)
        if fault is not None:
            after = after_of(spans[number + 1 :], due, end)
            known = after if after is not None else end_by_header(span, due, end)
            if known is None or known > due:
                yield Unreadable(due, known, fault, TRIES_MAX)
                return
            continue  # all of it lies before what was asked for
        head = HEADER.unpack_from(span)
        next_offset = head[0] + head[6] + 1
        if dense and (head[0] > due or head[0] < due != from_offset):
            yield out_of_line(head[0], next_offset, due, after_of(spans[number + 1 :], due, end))
            return
        try:
            content = content_of(span, head, unpacked_bytes_max)
            if len(content) > room and room < unpacked_bytes_max:
                return  # the next fetch begins with it
            room -= len(content)
            records = list(DefaultRecordBatch(content))
        except CannotUnpack as error:
            yield Unreadable(due, next_offset, str(error), tries_max=1)
            return
        except (KafkaError, ValueError, IndexError, OverflowError) as error:  # a header key may be no UTF-8
            yield Unreadable(due, next_offset, f"its records are no records: {type(error).__name__}", 1)
            return
        yield Batch(head[0], next_offset, head[5], head[9], content, records)
        due = max(due, next_offset)
    if raw and (not spans or not len(spans[-1])):
        yield Unreadable(due, None, "its length is broken", TRIES_MAX)


def batch_spans(raw: memoryview) -> list[memoryview]:
    """The batches by the lengths that they tell. One that is cut off at the end is left out unless it is the first;
    a length that cannot be is told by an empty span at the end."""
    spans: list[memoryview] = []
    start = 0
    while len(raw) - start >= PLACE.size:
        length = PLACE.unpack_from(raw, start)[1]
        stop = start + PLACE.size + length
        if stop > len(raw):
            break
        if length < HEADER.size - PLACE.size:
            spans.append(raw[:0])
            break
        spans.append(raw[start:stop])
        start = stop
    return spans


def fault_of(span: memoryview, due: int, end: int) -> str | None:
    """Why a batch is not to be believed; None: it is whole, and lies where it should."""
    if not len(span):
        return "its length is broken"
    base, _, _, magic, checksum, _, last_delta, *_ = HEADER.unpack_from(span)
    if magic != MAGIC:
        return f"it is of message format {magic}; only {MAGIC} is read"
    if calc_crc32c(span[CHECKED_FROM:]) != checksum:
        return "its checksum is wrong"
    if not due < base + last_delta + 1 <= end:
        return "its offset does not fit"
    return None


def after_of(spans: Iterable[memoryview], due: int, end: int) -> int | None:
    """The first offset of the next batch that is whole and lies where it should."""
    found = next((span for span in spans if fault_of(span, due, end) is None), None)
    return None if found is None else int(HEADER.unpack_from(found)[0])


def out_of_line(base: int, next_offset: int, due: int, after: int | None) -> Unreadable:
    """What is missing before a batch that does not begin where it is due, on a dense log; or that batch, where the next
    one says that its own first offset is broken."""
    if base > due and (after is None or after >= next_offset):
        return Unreadable(due, base, NOTHING_SHOWN, TRIES_MAX)
    return Unreadable(due, after if after is not None and after > due else None, "its offset does not fit", TRIES_MAX)


def end_by_header(span: memoryview, due: int, end: int) -> int | None:
    """Where a batch with a wrong checksum ends, if what its header says of that fits together."""
    if not len(span):
        return None
    base, _, _, magic, _, _, last_delta, *_, count = HEADER.unpack_from(span)
    fits = magic == MAGIC and 0 <= last_delta == count - 1 and base <= due <= base + last_delta < end
    return base + last_delta + 1 if fits else None


def content_of(span: memoryview, head: tuple[int, ...], bytes_max: int) -> bytes | bytearray | memoryview:
    """The batch, unpacked. Raises CannotUnpack."""
    codec = head[5] & CODEC_MASK
    if not codec:
        return span
    records = unpacked(codec, span[HEADER.size :], bytes_max)
    length = HEADER.size - PLACE.size + len(records)
    plain = HEADER.pack(head[0], length, *head[2:5], head[5] & ~CODEC_MASK, *head[6:])
    return b"".join((plain, records))


def empty_batch(start: int, end: int) -> bytes:
    """A batch without a record that takes a consumer from `start` to `end`."""
    return HEADER.pack(start, HEADER.size - PLACE.size, -1, MAGIC, 0, 0, end - start - 1, 0, 0, -1, -1, -1, 0)
