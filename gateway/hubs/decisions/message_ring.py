"""The newest messages of a session, bounded in bytes, so that most reconnects never reach Kafka.

The ring holds every message from `covers_from` to the newest, in log order. It can serve a client that stands at or
after `covers_from`, unless the client stands inside a message (a replay may split a large record elsewhere); such a
client is served from the log. What is evicted moves `covers_from` forward: the ring never has a hole.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from gateway.fetching.decisions.resume_cursor import LogPosition
from gateway.hubs.decisions.session_messages import HubMessage

__all__ = ["MESSAGE_BYTES", "MessageRing"]

MESSAGE_BYTES: Final = 512
"""What a message takes in memory besides its payload: itself, its two positions and its cursor (measured: 500). For
answers of a few tokens a record it is most of it."""


class MessageRing:
    """A bounded memory of messages."""

    __slots__ = ("_bytes_max", "_messages", "bytes_held", "covers_from")

    def __init__(self, *, bytes_max: int, covers_from: LogPosition) -> None:
        self._bytes_max = bytes_max
        self.covers_from = covers_from
        self.bytes_held = 0
        self._messages: list[HubMessage] = []  # an empty deque takes 700 bytes, in every idle session

    def extend(self, messages: Iterable[HubMessage]) -> None:
        """Remember the newest messages and forget the oldest beyond the bound."""
        for message in messages:
            self._messages.append(message)
            self.bytes_held += MESSAGE_BYTES + len(message.payload)
        self.forget_oldest()

    def bound(self, bytes_max: int) -> None:
        """Hold no more than this from now on."""
        self._bytes_max = bytes_max
        self.forget_oldest()

    def forget_oldest(self) -> None:
        forgotten = 0
        while self.bytes_held > self._bytes_max:
            oldest = self._messages[forgotten]
            forgotten += 1
            self.bytes_held -= MESSAGE_BYTES + len(oldest.payload)
            self.covers_from = oldest.ends
        if forgotten:
            del self._messages[:forgotten]

    def since(self, position: LogPosition) -> list[HubMessage] | None:
        """Every message from `position` on, or None where the ring cannot tell."""
        if position < self.covers_from:
            return None
        first = bisect_left(self._messages, position, key=lambda message: message.begins)
        if first and self._messages[first - 1].ends > position:
            return None
        return self._messages[first:]
