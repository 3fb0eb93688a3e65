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

import re
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

__all__ = ["EVENT_BYTES_MAX", "JSON_BEGINS", "SseFault", "SseSplitter"]

EVENT_BYTES_MAX: Final = 1_048_576

SseFault: TypeAlias = Literal["oversized_line", "foreign_line"]

DATA: Final = b"data: "
DONE: Final = b"[DONE]"
PAGE_BEGINS: Final = b"<"
JSON_BEGINS: Final = (b"{", b"[")
JSON_ENDS: Final = (b"}", b"]")
JSON_VALUES: Final = (b"{", b"[", b'"')
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
KNOWN_FIELDS: Final = frozenset({b"", b"id", b"retry"})  # b"": a comment
NAME: Final = re.compile(rb"[a-z][a-z0-9_.-]*\Z")
"""What may be an unknown field's name; the rules have it that these are passed over."""
LINE_ENDS: Final = (b"\n", b"\r")


@dataclass(slots=True, eq=False, kw_only=True)
class SseSplitter:
    """Takes bytes as they come and gives the data of each event. `fault` says why it stopped, if it did."""

    event_bytes_max: int = EVENT_BYTES_MAX
    fault: SseFault | None = field(default=None, init=False)
    rest: bytes = field(default=b"", init=False)
    _data_lines: list[bytes] = field(default_factory=list, init=False)
    data_bytes: int = field(default=0, init=False)
    _last_said: bytes = field(default=b"", init=False)
    """The last line of the data so far that is not empty: a value may have ended with it, or has not. Kept, not
    looked for: a stream may have a million empty lines, and then one after the other that asks for it."""
    _skip_line_feed: bool = field(default=False, init=False)
    _started: bool = field(default=False, init=False)
    _is_error: bool = field(default=False, init=False)
    """The event that has begun is called `error`."""
    is_json: bool = field(default=False, init=False)
    """There was JSON without a frame."""
    _is_unframed: bool = field(default=False, init=False)
    """The data so far is some."""

    def feed(self, received: bytes) -> list[bytes]:
        """The data of every event that these bytes complete."""
        if self.fault is not None:
            return []
        if not self._started or self._skip_line_feed:
            received = self.without_leading_marks(received)
        if not received:
            return []
        if not self.rest and not self._data_lines and not self._is_error and received.endswith(b"\n\n"):
            plain = self.plain_events(received)
            if plain is not None:
                return plain
        return self.take_lines(self.rest + received)

    def finish(self) -> list[bytes]:
        """The data of an event that the stream's end left open."""
        if self.fault is not None:
            return []
        last, self.rest = self.rest, b""
        events: list[bytes] = []
        if last or self._is_unframed:
            self.take_line(last, events)
        self.end_event(events)
        return events

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
        self._skip_line_feed = buffer.endswith(b"\r")
        self.rest = b"" if buffer.endswith(LINE_ENDS) else lines.pop()
        events: list[bytes] = []
        for line in lines:
            self.take_line(line, events)
            if self.fault is not None:
                return events
        if len(self.rest) > self.event_bytes_max:
            self.fail("oversized_line")
        elif not self._data_lines and self.rest.startswith(PAGE_BEGINS):
            self.fail("foreign_line")  # at once: its line may never end
        return events

    def take_line(self, line: bytes, events: list[bytes]) -> None:
        if len(line) > self.event_bytes_max:
            self.fail("oversized_line")
            return
        name, colon, value = line.partition(b":")
        field = name.strip().lower()
        if field == b"data":
            self.take_data(value.removeprefix(b" "), events)
        elif name.strip() == DONE:
            self.take_data(DONE, events)
        elif not line.strip():
            self.take_blank(line, events)
        elif self._last_said and not self._last_said.endswith(JSON_ENDS):
            self.keep(line)
        elif field == b"error" and colon:
            self.end_event(events)
            self._is_error = True
            self.keep(value.removeprefix(b" "))
        elif field == b"event":
            self.end_event(events)
            self._is_error = value.strip() == b"error"
        elif field not in KNOWN_FIELDS and not (colon and NAME.match(field)):
            self.take_unframed(line, events)

    def take_data(self, value: bytes, events: list[bytes]) -> None:
        if self._is_unframed or self.begins_next(value):
            self.end_event(events)
        self.keep(value)
        if value.strip() == DONE and len(self._data_lines) == 1:
            self.end_event(events)

    def take_blank(self, line: bytes, events: list[bytes]) -> None:
        if self._is_unframed:
            self.keep(line)
        elif not line:
            self.end_event(events)

    def take_unframed(self, line: bytes, events: list[bytes]) -> None:
        """A line that is no field: it goes on with the data before it, or begins JSON, or is a fault."""
        if self.begins_next(line):
            self.end_event(events)
        if not self._data_lines:
            if not line.lstrip().startswith(JSON_BEGINS):
                self.fail("foreign_line")
                return
            self.is_json = self._is_unframed = True
        self.keep(line)

    def begins_next(self, line: bytes) -> bool:
        """Whether this is the beginning of another value than that of the data so far."""
        begins = line.lstrip()
        return (begins.startswith(b"{") or begins.rstrip() == DONE) and self._last_said.endswith(JSON_ENDS)

    def keep(self, line: bytes) -> None:
        self._data_lines.append(line)
        self.data_bytes += len(line) + 1
        self._last_said = line.rstrip() or self._last_said
        if self.data_bytes > self.event_bytes_max:
            self.fail("oversized_line")

    def end_event(self, events: list[bytes]) -> None:
        data = b"\n".join(self._data_lines)
        if data:
            events.append(error_of(data) if self._is_error and data.strip() != DONE else data)
        self._data_lines.clear()
        self.data_bytes = 0
        self._last_said = b""
        self._is_error = self._is_unframed = False

    def fail(self, fault: SseFault) -> None:
        self.fault = fault
        self.rest = b""
        self._data_lines.clear()
        self.data_bytes = 0
        self._last_said = b""

    def without_leading_marks(self, received: bytes) -> bytes:
        """Drop the line feed of a CRLF that was cut in two, and the byte order mark that a stream may begin with."""
        if self._skip_line_feed and received:
            self._skip_line_feed = False
            received = received.removeprefix(b"\n")
        if not self._started:
            self.rest += received
            if BYTE_ORDER_MARK.startswith(self.rest) and self.rest != BYTE_ORDER_MARK:
                return b""
            self._started = True
            received, self.rest = self.rest.removeprefix(BYTE_ORDER_MARK), b""
        return received


def error_of(data: bytes) -> bytes:
    """The data of an event that is an error, as an object that says so."""
    return b'{"error":%b}' % (data if data.lstrip().startswith(JSON_VALUES) else b"true")
