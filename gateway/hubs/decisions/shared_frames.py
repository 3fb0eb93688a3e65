"""Ready-made websocket frames of a session's messages: built once, written to every socket that follows it.

A server's frames are not masked and nothing is compressed, so the bytes are the same for all. A frame holds one
message, or an array of several that came together. Bounds: several messages share a frame only up to
`FRAME_BYTES_MAX`; a lone larger one has a frame of its own. The wire form is made when it is first written and kept
with the frame, which lives until the last of its readers has written it.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Final

from gateway.fetching.decisions.resume_cursor import LogPosition
from gateway.hubs.decisions.session_messages import HubMessage

__all__ = ["FRAME_BYTES_MAX", "SharedFrame", "framed", "own_frame", "shared_frames"]

FRAME_BYTES_MAX: Final = 65_536
OVERHEAD_BYTES: Final = 12
"""A frame's header, and the brackets of an array."""
TEXT: Final = 0x81
"""A whole text message."""
NOWHERE: Final = LogPosition(0)


class SharedFrame:
    """Messages for one frame, and where a client stands that has them."""

    __slots__ = ("begins", "count", "cursor", "ends", "items", "owed_bytes", "ready")

    def __init__(self, items: bytes, count: int, cursor: str, begins: LogPosition, ends: LogPosition) -> None:
        self.items = items
        """The messages, parted by commas."""
        self.count = count
        self.owed_bytes = len(items) + OVERHEAD_BYTES
        """What it counts for while it waits: no less than what it becomes on the wire."""
        self.cursor = cursor
        self.begins = begins
        self.ends = ends
        self.ready: bytes | None = None

    def wire(self) -> bytes:
        """The frame's bytes."""
        ready = self.ready
        if ready is None:
            ready = self.ready = framed(self.items, self.count)
        return ready


def own_frame(payload: bytes) -> SharedFrame:
    """A message of no session."""
    return SharedFrame(payload, 1, "", NOWHERE, NOWHERE)


def shared_frames(messages: Sequence[HubMessage], bytes_max: int = FRAME_BYTES_MAX) -> list[SharedFrame]:
    """The messages, at least one, in as few frames as they fit."""
    if len(messages) == 1:  # nearly always
        message = messages[0]
        return [SharedFrame(message.payload, 1, message.cursor, message.begins, message.ends)]
    frames: list[SharedFrame] = []
    together: list[HubMessage] = []
    size = 2
    for message in messages:
        if together and size + len(message.payload) + 1 > bytes_max:
            frames.append(frame_of(together))
            together, size = [], 2
        together.append(message)
        size += len(message.payload) + 1
    return [*frames, frame_of(together)]


def frame_of(messages: Sequence[HubMessage]) -> SharedFrame:
    last = messages[-1]
    items = b",".join([message.payload for message in messages])
    return SharedFrame(items, len(messages), last.cursor, messages[0].begins, last.ends)


def framed(items: bytes, count: int) -> bytes:
    """A text frame of one message, or of an array of several."""
    if count == 1:
        return header(len(items)) + items
    return b"".join((header(len(items) + 2), b"[", items, b"]"))


def header(length: int) -> bytes:
    if length < 126:
        return bytes((TEXT, length))
    if length < 65_536:
        return struct.pack("!BBH", TEXT, 126, length)
    return struct.pack("!BBQ", TEXT, 127, length)


def joined_items(frames: Iterable[SharedFrame]) -> bytes:
    """The messages of several frames, for one."""
    return b",".join([frame.items for frame in frames])
