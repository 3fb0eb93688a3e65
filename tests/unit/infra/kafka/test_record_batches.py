"""What fetched bytes hold: the five codecs within limits, and each way in which a batch cannot be read.

Covers: infra.kafka.batch_codecs.
"""

from __future__ import annotations

import contextlib
import gzip
import struct
from typing import Any

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from infra.kafka.batch_codecs import CannotUnpack, unpacked
from infra.kafka.record_batches import TRIES_MAX, Decoded, decode_records, empty_batch, readable_batches, readable_bytes

__all__: list[str] = []

CODECS = range(5)
VALUE = b"a word " * 40
PLACE_BYTES = 12
"""First offset and length of a batch, which its checksum does not cover."""


def batch(base: int, records: int = 3, *, codec: int = 0, producer: int = -1, transactional: bool = False) -> bytes:
    """A batch as a broker keeps it. The first offset is no part of its checksum."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=codec, is_transactional=transactional, producer_id=producer,
        producer_epoch=0, base_sequence=0, batch_size=1_048_576,
    )  # fmt: skip
    for number in range(records):
        builder.append(number, timestamp=base, key=b"k", value=VALUE, headers=[])
    return base.to_bytes(8, "big") + bytes(builder.build())[8:]


def marker(base: int, producer: int, *, commit: bool) -> bytes:
    """The control batch that ends a transaction."""
    record = bytes((0,)) + b"\x00\x00" + b"\x08" + struct.pack(">hh", 0, int(commit)) + b"\x0c" + bytes(6) + b"\x00"
    body = struct.pack(">hiqqqhii", 0x30, 0, base, base, producer, 0, -1, 1) + bytes((len(record) * 2,)) + record
    return struct.pack(">qiibI", base, 9 + len(body), 0, 2, calc_crc32c(body)) + body


def offsets(decoded: Decoded) -> list[int]:
    return [record.offset for record in decoded.records]


def flipped(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes((raw[at] ^ 0x40,)) + raw[at + 1 :]


@pytest.mark.parametrize("codec", CODECS)
def test_codec(codec: int) -> None:
    """Records come out as they went in, and a consumer that unpacks nothing can be given them."""
    raw = batch(10, codec=codec) + batch(13, codec=codec)

    decoded = decode_records(raw, 11, end=16)
    assert offsets(decoded) == [11, 12, 13, 14, 15]
    assert {record.value for record in decoded.records} == {VALUE}
    assert decode_records(readable_bytes(raw, 10, end=16).content, 16).next_offset == 16
    plain = readable_bytes(raw, 10, end=16)
    assert (plain.next_offset, plain.unreadable) == (16, None)
    assert plain.content.count(VALUE) == 6


@pytest.mark.parametrize(
    ("codec", "bomb"),
    [
        (1, gzip.compress(bytes(1_000_000))),
        (2, bytes(cramjam.snappy.compress_raw(bytes(1_000_000)))),
        (3, bytes(cramjam.lz4.compress(bytes(1_000_000)))),
        (4, bytes(cramjam.zstd.compress(bytes(1_000_000)))),
    ],
)
def test_bomb(codec: int, bomb: bytes) -> None:
    """What unpacks to more than is allowed is refused; at the limit it is not."""
    assert len(unpacked(codec, memoryview(bomb), 1_000_000)) == 1_000_000
    with pytest.raises(CannotUnpack):
        unpacked(codec, memoryview(bomb), 999_999)


def test_codec_that_there_is_not() -> None:
    """It is named."""
    with pytest.raises(CannotUnpack, match="codec 6"):
        unpacked(6, memoryview(b""), 1)


@given(st.sampled_from([1, 2, 3, 4]), st.binary(max_size=200))
def test_bytes_that_no_codec_made(codec: int, packed: bytes) -> None:
    """They are refused, or unpack within the limit; nothing else is raised."""
    with contextlib.suppress(CannotUnpack):
        assert len(unpacked(codec, memoryview(packed), 100_000)) <= 100_000


def test_enough_for_one_fetch() -> None:
    """Batches that each unpack to much are read one fetch after the other."""
    raw = batch(0, codec=4) + batch(3, codec=4)
    size = len(batch(0))

    assert len(list(readable_batches(raw, 0, unpacked_bytes_max=size))) == 1
    assert len(list(readable_batches(raw, 0, unpacked_bytes_max=2 * size))) == 2


def test_wrong_checksum() -> None:
    """What lies before it is read; where the next batch begins is where it ends."""
    raw = batch(10) + flipped(batch(13), 100) + batch(16)

    before = decode_records(raw, 10, end=19)
    assert offsets(before) == [10, 11, 12]
    assert before.unreadable is not None
    assert (before.unreadable.start, before.unreadable.end, before.unreadable.tries_max) == (13, 16, TRIES_MAX)


def test_wrong_checksum_of_the_newest_batch() -> None:
    """Its header agrees with itself, so it ends where that says."""
    found = decode_records(flipped(batch(13), 100), 13, end=16)
    assert found.unreadable is not None
    assert found.unreadable.end == 16


@pytest.mark.parametrize("byte", range(61))
def test_broken_header(byte: int) -> None:
    """Whichever byte of a header is broken: what follows is found, or it is said that nobody knows."""
    raw = flipped(batch(13), byte) + batch(16)

    found = decode_records(raw, 13, end=19)
    harmless = 12 <= byte < 16  # the leader's epoch, which is no part of the record
    fits = offsets(found) == [13, 14, 15, 16, 17, 18]
    assert fits == harmless
    if not harmless:
        assert found.unreadable is not None
        assert found.unreadable.end in (16, None)
        assert found.next_offset == 13


def test_batch_that_is_cut_off() -> None:
    """At the end of an answer that is no fault; where nothing precedes it, it is."""
    raw = batch(10) + batch(13)[:-1]

    assert decode_records(raw, 10, end=16).unreadable is None
    first = decode_records(raw[:50], 10, end=16).unreadable
    assert first is not None
    assert first.end is None


def test_past_a_broken_first_offset() -> None:
    """The broker takes a batch with a first offset far too high for the one that was asked for: it is stepped over."""
    raw = flipped(batch(13), 3) + batch(16)

    assert offsets(decode_records(raw, 16, end=19)) == [16, 17, 18]


def test_what_an_aborted_transaction_wrote() -> None:
    """It is not seen, nor are markers; what others wrote meanwhile, and the same producer afterwards, is."""
    raw = b"".join((
        batch(0, 2, producer=7, transactional=True),
        batch(2, 1),
        batch(3, 1, producer=8, transactional=True),
        marker(4, 7, commit=False),
        batch(5, 1, producer=7, transactional=True),
        marker(6, 7, commit=True),
        marker(7, 8, commit=True),
    ))  # fmt: skip

    decoded = decode_records(raw, 0, end=8, aborted=[(7, 0)])
    assert offsets(decoded) == [2, 3, 5]
    assert decoded.next_offset == 8


def test_batch_without_records() -> None:
    """It takes a reader past what it stands for."""
    decoded: Any = list(readable_batches(batch(0), 0))
    assert decoded[0].next_offset == 3
    found = MemoryRecords(empty_batch(5, 90)).next_batch()
    assert (found.next_offset, list(found)) == (90, [])


@given(st.binary(max_size=300))
def test_any_bytes(raw: bytes) -> None:
    """Whatever a broker sends: nothing is raised, and the reading never goes back."""
    assert decode_records(raw, 5, end=1_000).next_offset >= 5


Kind = st.tuples(st.sampled_from(["plain", "transactional", "commit", "abort"]), st.integers(1, 3), st.integers(7, 9))
"""Of a batch: what it is, how many records, whose."""


def log_of(kinds: list[tuple[str, int, int]]) -> list[bytes]:
    """Batches as a broker keeps them that lost nothing."""
    batches: list[bytes] = []
    base = 0
    for kind, count, producer in kinds:
        if kind in ("commit", "abort"):
            batches.append(marker(base, producer, commit=kind == "commit"))
            base += 1
        else:
            batches.append(batch(base, count, producer=producer, transactional=kind == "transactional"))
            base += count
    return batches


def extent(raw: bytes) -> tuple[int, int]:
    base, last_delta = int.from_bytes(raw[:8], "big"), int.from_bytes(raw[23:27], "big")
    return base, base + last_delta + 1


@given(kinds=st.lists(Kind, min_size=1, max_size=8), start=st.integers(0, 30), cut=st.integers(0, 1_000))
def test_dense_log_that_lost_nothing(kinds: list[tuple[str, int, int]], start: int, cut: int) -> None:
    """Markers, aborted transactions, an answer that begins or ends within a batch: nothing is told to be lost."""
    batches = log_of(kinds)
    end = extent(batches[-1])[1]
    start %= end
    first, *others = [each for each in batches if extent(each)[1] > start]
    rest = b"".join(others)
    raw = first + rest[: len(rest) - cut % (len(rest) + 1)]
    aborted = [(producer, 0) for producer in (7, 8)]

    found = decode_records(raw, start, end=end, aborted=aborted, dense=True)
    assert found.unreadable is None
    assert found == decode_records(raw, start, end=end, aborted=aborted)
    assert readable_bytes(raw, start, end=end, dense=True) == readable_bytes(raw, start, end=end)


@given(kinds=st.lists(Kind, min_size=2, max_size=8), hidden=st.tuples(st.integers(0, 7), st.integers(1, 7)))
def test_what_a_broker_hides_of_a_dense_log(kinds: list[tuple[str, int, int]], hidden: tuple[int, int]) -> None:
    """Exactly the offsets that it jumps over are lost, wherever that is in an answer; on a compacted log none are."""
    batches = log_of(kinds)
    end = extent(batches[-1])[1]
    first = hidden[0] % (len(batches) - 1)
    stop = min(first + hidden[1], len(batches) - 1)
    gap = extent(batches[first])[0], extent(batches[stop])[0]
    before, raw = b"".join(batches[:first]), b"".join((*batches[:first], *batches[stop:]))

    found = decode_records(raw, 0, end=end, dense=True)
    assert found.unreadable is not None
    assert (found.unreadable.start, found.unreadable.end) == gap
    assert found.records == decode_records(before, 0, end=end, dense=True).records
    assert decode_records(raw, 0, end=end).unreadable is None


@example(codec=0, at=7, by=1, dense=False)
@given(codec=st.integers(0, 3), at=st.integers(0, 500), by=st.integers(1, 255), dense=st.booleans())
def test_any_byte_broken(codec: int, at: int, by: int, dense: bool) -> None:
    """One byte broken anywhere in three batches: every record that is read is one that was written. On a dense log each
    of the others is told to be lost, and, unless it is the first offset of an answer that is broken, none is moved."""
    raw = bytearray(b"".join(batch(base, codec=codec) for base in (0, 3, 6)))
    raw[at % len(raw)] ^= by

    position, seen = 0, []
    lost: list[int] = []
    while position < 9:
        found = decode_records(bytes(raw), position, end=9, dense=dense)
        seen += found.records
        if found.next_offset == position:
            fault = found.unreadable
            position = 9 if fault is None or fault.end is None else fault.end
            lost += range(found.next_offset, position)
        else:
            position = found.next_offset
    assert all(record.value == VALUE for record in seen)
    assert len({record.offset for record in seen}) == len(seen)
    if dense:
        assert sorted([*lost, *(record.offset for record in seen)]) == list(range(9))
    if dense and at % len(raw) >= PLACE_BYTES:
        assert all(record.timestamp_ms == record.offset // 3 * 3 for record in seen)
