"""Bytes of an event stream in, whole events out, however the network cut them.

Follows the rules of server-sent events: lines end in LF, CR or CRLF; a blank line ends an event; several `data`
lines are joined by LF; comments and other known fields are passed over. It works on bytes, so a character cut in
two is never an issue. Two things are stricter than the rules, because here a lost event is a lost token: a line
that is no field at all is a fault, and so is a line or event above `event_bytes_max`. Two things are laxer: an event
that the end of the stream left without its blank line still counts, and a body that is no event stream but JSON from
its first character on (an error that is sent with status 200, an answer that is not streamed) is one event.

The events of all calls together are the same for any cutting of the same bytes; after a fault there are none.
The usual case (whole events, one line each) costs one split and one comparison per event.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["EVENT_BYTES_MAX", "SseFault", "SseSplitter"]

EVENT_BYTES_MAX: Final = 1_048_576

SseFault: TypeAlias = Literal["oversized_line", "foreign_line"]

DATA: Final = b"data: "
JSON_BEGINS: Final = (b"{", b"[")
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
KNOWN_FIELDS: Final = frozenset({b"", b"data", b"event", b"id", b"retry"})  # b"": a comment
LINE_ENDS: Final = (b"\n", b"\r")


class SseSplitter:
    """Takes bytes as they come and gives the data of each event. `fault` says why it stopped, if it did."""

    __slots__ = ("data_bytes", "data_lines", "event_bytes_max", "fault", "is_json", "rest", "skip_line_feed", "started")

    def __init__(self, *, event_bytes_max: int = EVENT_BYTES_MAX) -> None:
        self.event_bytes_max = event_bytes_max
        self.fault: SseFault | None = None
        self.rest = b""
        self.data_lines: list[bytes] = []
        self.data_bytes = 0
        self.skip_line_feed = False
        self.started = False
        self.is_json = False
        """The body is JSON, one event as a whole."""

    def feed(self, received: bytes) -> list[bytes]:
        """The data of every event that these bytes complete."""
        if self.fault is not None:
            return []
        if not self.started or self.skip_line_feed:
            received = self.without_leading_marks(received)
        if not received:
            return []
        if self.is_json:
            return self.take_json(received)
        if not self.rest and not self.data_lines and received.endswith(b"\n\n"):
            plain = self.plain_events(received)
            if plain is not None:
                return plain
        return self.take_lines(self.rest + received)

    def finish(self) -> list[bytes]:
        """The data of an event that the stream's end left open."""
        if self.fault is not None:
            return []
        last, self.rest = self.rest, b""
        if self.is_json:
            return [last]
        events: list[bytes] = []
        for line in (last, b"") if last else (b"",):
            self.take_line(line, events)
        return events

    def take_json(self, received: bytes) -> list[bytes]:
        self.rest += received
        if len(self.rest) > self.event_bytes_max:
            self.fail("oversized_line")
        return []

    def plain_events(self, received: bytes) -> list[bytes] | None:
        """The events, if they are all of one short `data: ` line, and None if anything is out of the ordinary."""
        if len(received) > self.event_bytes_max or b"\r" in received:
            return None
        events = received[:-2].split(b"\n\n")
        for event in events:
            if not event.startswith(DATA) or b"\n" in event:
                return None
        return [event[len(DATA) :] for event in events if len(event) > len(DATA)]

    def take_lines(self, buffer: bytes) -> list[bytes]:
        lines = buffer.splitlines()
        self.skip_line_feed = buffer.endswith(b"\r")
        self.rest = b"" if buffer.endswith(LINE_ENDS) else lines.pop()
        events: list[bytes] = []
        for line in lines:
            self.take_line(line, events)
            if self.fault is not None:
                return events
        if len(self.rest) > self.event_bytes_max:
            self.fail("oversized_line")
        return events

    def take_line(self, line: bytes, events: list[bytes]) -> None:
        if not line:
            self.end_event(events)
            return
        if len(line) > self.event_bytes_max:
            self.fail("oversized_line")
            return
        field, _, value = line.partition(b":")
        if field not in KNOWN_FIELDS:
            self.fail("foreign_line")
        elif field == b"data":
            self.data_lines.append(value[1:] if value.startswith(b" ") else value)
            self.data_bytes += len(value)
            if self.data_bytes > self.event_bytes_max:
                self.fail("oversized_line")

    def end_event(self, events: list[bytes]) -> None:
        if self.data_lines:
            data = b"\n".join(self.data_lines)
            self.data_lines.clear()
            self.data_bytes = 0
            if data:
                events.append(data)

    def fail(self, fault: SseFault) -> None:
        self.fault = fault
        self.rest = b""
        self.data_lines.clear()

    def without_leading_marks(self, received: bytes) -> bytes:
        """Drop the line feed of a CRLF that was cut in two, and the byte order mark that a stream may begin with."""
        if self.skip_line_feed and received:
            self.skip_line_feed = False
            received = received.removeprefix(b"\n")
        if not self.started:
            self.rest += received
            if BYTE_ORDER_MARK.startswith(self.rest) and self.rest != BYTE_ORDER_MARK:
                return b""
            self.started = True
            received, self.rest = self.rest.removeprefix(BYTE_ORDER_MARK), b""
            self.is_json = received.startswith(JSON_BEGINS)
        return received
