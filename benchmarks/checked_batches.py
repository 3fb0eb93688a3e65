"""What it costs to read only what is whole: our decoder of fetched bytes against aiokafka's, unchecked, in one run.

    python -m benchmarks.checked_batches [--rounds 9]

Each fetch is 1 MiB, as a broker sends it, of batches as a line writes them: one small record (an answer's pieces, as
they are appended), several, and large ones. Rounds alternate between the baseline, ours, and the checksum alone; the
figure is this process's CPU time per record and byte, the median of the rounds. Absolute figures move with the machine:
the ratio is what is reported.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Final

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c

from infra.kafka.record_batches import CHECKED_FROM, LogRecord, batch_spans, decode_records

__all__ = ["main"]

FETCH_BYTES: Final = 1_048_576
SHAPES: Final = {"1 record of 250 B": (1, 250), "16 records of 250 B": (16, 250), "100 records of 10 kB": (100, 10_000)}
"""Of a batch."""

Reader = Callable[[bytes], object]


def main() -> None:
    """Run the rounds and print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=9)
    rounds = options.parse_args().rounds
    print(f"{'batches of':22} {'reader':12} {'ns/record':>10} {'GB/s':>6} {'ratio':>6}")
    for name, (count, size) in SHAPES.items():
        raw, records = fetch_of(count, size)
        spent = measured(raw, rounds)
        for reader, seconds in spent.items():
            ratio = seconds / spent["unchecked"]
            print(f"{name:22} {reader:12} {seconds / records * 1e9:10.0f} {len(raw) / seconds / 1e9:6.2f} {ratio:6.2f}")


def fetch_of(count: int, size: int) -> tuple[bytes, int]:
    """About FETCH_BYTES of such batches, one after the other, and how many records they hold."""
    builder = DefaultRecordBatchBuilder(2, 0, False, -1, -1, -1, 2 * FETCH_BYTES)
    for number in range(count):
        builder.append(number, timestamp=1, key=b"key", value=bytes(size), headers=[])
    batch = bytes(builder.build())
    batches = max(1, FETCH_BYTES // len(batch))
    return b"".join((number * count).to_bytes(8, "big") + batch[8:] for number in range(batches)), batches * count


def measured(raw: bytes, rounds: int) -> dict[str, float]:
    """Seconds of CPU for one fetch, by reader."""
    readers: dict[str, Reader] = {"unchecked": unchecked, "ours": checked, "checksum": checksum}
    spent: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, reader in readers.items():
            began_s = time.process_time()
            reader(raw)
            spent[name].append(time.process_time() - began_s)
    return {name: statistics.median(seconds) for name, seconds in spent.items()}


def unchecked(raw: bytes) -> list[LogRecord]:
    """What our readers did before: aiokafka's decoder, which checks only if it is asked to."""
    found: list[LogRecord] = []
    batches = MemoryRecords(raw)
    while (batch := batches.next_batch()) is not None:
        found.extend(LogRecord(record.offset, record.timestamp, record.key, record.value) for record in batch)
    return found


def checked(raw: bytes) -> list[LogRecord]:
    return decode_records(raw, 0, dense=True).records


def checksum(raw: bytes) -> list[int]:
    return [calc_crc32c(span[CHECKED_FROM:]) for span in batch_spans(memoryview(raw))]


if __name__ == "__main__":
    main()
