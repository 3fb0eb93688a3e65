"""A range of offsets that is passed over because it cannot be read, and where it ends."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from infra.decisions.backoff import Backoff
from infra.kafka.record_batches import NOTHING_SHOWN, TRIES_MAX, Unreadable

__all__ = [
    "BLANK",
    "LEADER_BACKOFF",
    "LEFT_OUT",
    "PROBE_BYTES",
    "REFUSED",
    "KnownRanges",
    "LostRange",
    "brings_records",
    "next_readable",
    "unthrottled",
]

Answer = TypeVar("Answer")

LEADER_BACKOFF: Final = Backoff(0.1, growth="even", tries_max=8)
"""A partition's leader that does not answer, or not with all that it has, is asked again, or another one."""
LOOKS_MAX: Final = 8
THROTTLED_S_MAX: Final = 2.0
KNOWN_MAX: Final = 1_024
PROBE_BYTES: Final = 65_536
BLANK: Final = Unreadable(0, None, NOTHING_SHOWN, tries_max=8)
"""In an answer without a byte: a new leader may answer so, for a moment."""
LEFT_OUT: Final = Unreadable(0, None, NOTHING_SHOWN, tries_max=1_000)
"""In an answer that brought others or was throttled: it may have had no room, as happens to any of many partitions."""
REFUSED: Final = Unreadable(0, None, "the broker itself cannot read it", TRIES_MAX)


@dataclass(frozen=True, slots=True)
class LostRange:
    """The offsets from `start` to before `end`, and why."""

    topic: str
    partition: int
    start: int
    end: int | None
    """None: still to be found."""
    reason: str
    end_is_known: bool
    """Whether it ends there by what its header or the next batch says; else the next offset that can be read is so."""

    @classmethod
    def of(cls, topic: str, partition: int, offset: int, fault: Unreadable) -> LostRange:
        """What a reader at `offset` meets."""
        return cls(topic, partition, offset, fault.end, fault.reason, fault.end is not None)

    def ending(self, end: int) -> LostRange:
        """The same, its end found."""
        return replace(self, end=end)

    @property
    def next_offset(self) -> int:
        """Where to go on."""
        return self.start if self.end is None else self.end

    def told(self) -> dict[str, object]:
        """For a log."""
        return {
            "topic": self.topic,
            "partition": self.partition,
            "first_offset": self.start,
            "next_offset": self.next_offset,
            "range_known": self.end_is_known,
            "reason": self.reason,
        }

    def sentence(self) -> str:
        """For people."""
        last = self.next_offset - 1
        offsets = f"offset {self.start}" if last == self.start else f"offsets {self.start} to {last}"
        doubt = "" if self.end_is_known else " (how far it reaches is not known: this is the next that can be read)"
        return f"{offsets} of {self.topic}/{self.partition} cannot be read: {self.reason}{doubt}"


class KnownRanges:
    """The ranges that were told of lately: several readers of a process meet the same one, and some meet it often."""

    def __init__(self) -> None:
        self._names: OrderedDict[tuple[str, int, int], None] = OrderedDict()

    def __contains__(self, lost: LostRange) -> bool:
        return (lost.topic, lost.partition, lost.start) in self._names

    def add(self, lost: LostRange) -> None:
        """It is told of."""
        self._names[lost.topic, lost.partition, lost.start] = None
        if len(self._names) > KNOWN_MAX:
            self._names.popitem(last=False)


def brings_records(response: Any) -> bool:
    """Whether the answer to a fetch holds a byte of any partition."""
    return any(answer[-1] for _, answers in response.topics for answer in answers)


async def unthrottled(look: Callable[[], Awaitable[Answer]], throttled_s: Callable[[Answer], float]) -> Answer | None:
    """An answer that is not empty only because its reader is throttled; None: each was, for a while.

    `throttled_s`: for how long not to look again; 0: the answer counts. Raises what `look` does.
    """
    for _ in range(LOOKS_MAX):
        answer = await look()
        pause_s = throttled_s(answer)
        if not pause_s:
            return answer
        await asyncio.sleep(min(pause_s, THROTTLED_S_MAX))
    return None


async def next_readable(start: int, end: int, is_readable: Callable[[int], Awaitable[bool]]) -> int:
    """The first offset behind `start` that can be read, else `end`; found in steps that double, then halve.

    What can be read behind it is, with luck, all: where a second fault lies between, more may be passed over than
    must be, never less. Raises what `is_readable` does.
    """
    unreadable, step = start, 1
    while start + step < end and not await is_readable(start + step):
        unreadable, step = start + step, 2 * step
    readable = min(start + step, end)
    while readable - unreadable > 1:
        middle = (unreadable + readable) // 2
        if await is_readable(middle):
            readable = middle
        else:
            unreadable = middle
    return readable
