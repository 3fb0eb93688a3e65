"""When the read from a provider pauses because the answer's readers are behind (`pace: reader`).

Counted are the bytes that were appended beyond the offset of the fastest reader so far. Above `pause_bytes` the read
pauses, at or below `resume_bytes` it goes on: in between nothing changes, so a reader at the edge does no harm.

It never hangs. The pause is given up, and the answer goes on unpaced, once nobody has been there for ABSENT_S (all have
left, or their gateways are silent; counted from the last word that somebody was, so a few seconds early), or the
fastest reader has not come any further for STALLED_S. A reader that comes further is waited for again. The log has
everything either way: pacing saves tokens that nobody may want, it is no promise about memory.

Invariants: without readers or progress a pause lasts STALLED_S at most; what is counted is never less than what lies
beyond the reader's offset (appends are joined in pairs where there are too many, and count until the newer of a pair
is read). Cost: a number pair per append beyond the reader, at most APPENDS_MAX. Pure: monotonic seconds in.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final, TypeAlias

__all__ = ["ABSENT_S", "APPENDS_MAX", "STALLED_S", "GoOn", "PaceLimits", "ReadPace", "ReaderPace", "Wait"]

ABSENT_S: Final = 10.0
STALLED_S: Final = 120.0
"""Longer than a device at 1 KB/s takes to empty the buffers between it and its gateway, which are written in lumps."""
APPENDS_MAX: Final = 1_024
RESUME_SHARE: Final = 2


@dataclass(frozen=True, slots=True)
class PaceLimits:
    """How far ahead of its readers an answer may be."""

    pause_bytes: int = 65_536

    @property
    def resume_bytes(self) -> int:
        """Half of it."""
        return self.pause_bytes // RESUME_SHARE


@dataclass(frozen=True, slots=True)
class GoOn:
    """Read on."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Read nothing before `look_at_s`, unless a reader comes further."""

    look_at_s: float


ReadPace: TypeAlias = GoOn | Wait


class ReaderPace:
    """The pace at which one turn is read from its provider."""

    def __init__(self, limits: PaceLimits, now_s: float) -> None:
        self._limits = limits
        self.beyond: deque[tuple[int, int]] = deque()
        """(offset, bytes) of every append that no reader is known to have, oldest first."""
        self.beyond_bytes = 0
        self._paused = False
        self._read_offset = -1
        self.moved_s = now_s
        """When the fastest reader came further, or this turn began."""
        self.attended_s = now_s
        """When somebody was last known to be there, or this turn began."""

    def append(self, offset: int, size_bytes: int) -> None:
        """The answer grew."""
        self.beyond.append((offset, size_bytes))
        self.beyond_bytes += size_bytes
        if len(self.beyond) > APPENDS_MAX:
            self.join_pairs()
        self.drop_read()

    def look(self, *, read_offset: int, attended: bool, now_s: float) -> ReadPace:
        """Whether to read on. `read_offset`: the fastest reader's, -1 where none is known."""
        if attended:
            self.attended_s = now_s
        if read_offset > self._read_offset:
            self._read_offset, self.moved_s = read_offset, now_s
            self.drop_read()
        if not self._paused and self.beyond_bytes > self._limits.pause_bytes:
            self._paused, self.moved_s = True, now_s  # a reader with nothing to read could not come further
        if self._paused and self.beyond_bytes <= self._limits.resume_bytes:
            self._paused = False
        gives_up_s = min(self.attended_s + ABSENT_S, self.moved_s + STALLED_S)
        return Wait(gives_up_s) if self._paused and now_s < gives_up_s else GoOn()

    def drop_read(self) -> None:
        while self.beyond and self.beyond[0][0] < self._read_offset:
            self.beyond_bytes -= self.beyond.popleft()[1]

    def join_pairs(self) -> None:
        """Half as many entries, but for the newest one: each pair counts until its newer append is read."""
        *paired, newest = self.beyond  # an even number of them, as there is one more than APPENDS_MAX
        self.beyond = deque(
            (newer, older_bytes + newer_bytes)
            for (_, older_bytes), (newer, newer_bytes) in zip(paired[::2], paired[1::2], strict=True)
        )
        self.beyond.append(newest)
