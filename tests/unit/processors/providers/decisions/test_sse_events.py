"""What the event stream splitter makes of bytes."""

from __future__ import annotations

import sys

import pytest

from processors.providers.decisions.sse_events import SseSplitter


def read(*pieces: bytes, event_bytes_max: int = 1_000) -> tuple[list[bytes], str | None]:
    splitter = SseSplitter(event_bytes_max=event_bytes_max)
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events + splitter.finish(), splitter.fault


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
        (b": comment\n\nevent: x\nid: 1\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data\n\ndata: \n\n\n\n", []),
        (b"data: a", [b"a"]),
        (b"data: a\n", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"", []),
    ],
)
def test_right_streams(raw: bytes, events: list[bytes]) -> None:
    """Events as the rules of server-sent events have them, and the one that the end left open."""
    assert read(raw) == (events, None)


def test_character_cut_in_two() -> None:
    """The bytes come together again."""
    assert read(b'data: "na\xc3', b'\xafve"\n\n') == (['"naïve"'.encode()], None)


def test_line_end_cut_in_two() -> None:
    """CR and LF in two reads are one line end; CR alone is one too."""
    assert read(b"data: a\r", b"\n\r", b"\ndata: b\r", b"\rdata: c\n\n") == ([b"a", b"b", b"c"], None)


@pytest.mark.parametrize(
    ("raw", "events"),
    [
        (b'data: {"a":1}\ndata: {"a":2}\ndata: [DONE]\n', [b'{"a":1}', b'{"a":2}', b"[DONE]"]),
        (b'data: {\ndata: "a":\ndata: {}\ndata: }\n\ndata: b\n\n', [b'{\n"a":\n{}\n}', b"b"]),
        (b'data: {\n  "a": [\n    {}\n  ]\n}\n\ndata: b\n\n', [b'{\n  "a": [\n    {}\n  ]\n}', b"b"]),
        (b'data: {"a":"b\nwarning: c\nd"}\n\n', [b'{"a":"b\nwarning: c\nd"}']),
        (b"  data: a\n\nDATA: b\n\n   \ndata: c\n\n", [b"a", b"b", b"c"]),
        (b"status: 200\ndata: {}\nx-id: 7\n\n", [b"{}"]),
        (b"data: a\n\n[DONE]\n", [b"a", b"[DONE]"]),
        (b'data: a\n\n{"error": {}}\n', [b"a", b'{"error": {}}\n']),
        (b'{"error": {}}\n\ndata: [DONE]\n\n', [b'{"error": {}}\n', b"[DONE]"]),
        (b'\n\n  {"a":\n 1}', [b'  {"a":\n 1}']),
        (b'{"a":1}\n{"a":2}\n\n{"a":3}\n[DONE]\n', [b'{"a":1}', b'{"a":2}\n', b'{"a":3}', b"[DONE]"]),
        (b'error: {"code":500}\n\ndata: [DONE]\n\n', [b'{"error":{"code":500}}', b"[DONE]"]),
        (b"Error: it broke\n\n", [b'{"error":true}']),
        (b'event: error\ndata: {"code":500}\n\ndata: a\n\n', [b'{"error":{"code":500}}', b"a"]),
        (b"event: error\ndata: it broke\n\n", [b'{"error":true}']),
        (b'data: {"a":1}\nevent: error\ndata: {"b":2}\n\n', [b'{"a":1}', b'{"error":{"b":2}}']),
        (b"data:\nevent: ping\n\ndata: {}\nid: 7\n\n", [b"{}"]),
        (b'data:\ndata:\ndata: {"a":1}\n\n', [b'\n\n{"a":1}']),
    ],
)
def test_streams_that_break_the_rules(raw: bytes, events: list[bytes]) -> None:
    """Values are read where it is certain where they begin, and errors are told."""
    assert read(raw) == (events, None)
    assert read(*(raw[place : place + 1] for place in range(len(raw)))) == (events, None)


@pytest.mark.parametrize("raw", [b"<html>\n", b"nonsense", b"\xef\xbb"])
def test_line_that_is_no_field(raw: bytes) -> None:
    """It is a fault, and what came before it is given."""
    assert read(b"data: a\n\n" + raw) == ([b"a"], "foreign_line")


@pytest.mark.parametrize(
    "pieces", [(b'{"a":\n\n 1}\n',), (b"{", b'"a":\n', b"\n 1}\n"), (b"\xef\xbb", b'\xbf{"a":\n\n 1}\n')]
)
def test_body_that_is_json(pieces: tuple[bytes, ...]) -> None:
    """It is one event, whatever lines it has."""
    assert read(*pieces) == ([b'{"a":\n\n 1}\n'], None)


def test_body_that_is_json_beyond_the_limit() -> None:
    """It is a fault."""
    assert read(b"[" + b" " * 20, b" " * 20, event_bytes_max=24) == ([], "oversized_line")


def test_nothing_after_a_fault() -> None:
    """Bytes after a fault are not looked at."""
    assert read(b"junk\n", b"data: a\n\n") == ([], "foreign_line")


@pytest.mark.parametrize(
    "pieces",
    [
        (b"data: " + b"x" * 40 + b"\n\n",),
        (b"data: " + b"x" * 20, b"x" * 20),
        (b": " + b"x" * 40 + b"\n",),
        (b"data: " + b"x" * 14 + b"\ndata: " + b"x" * 14 + b"\n\n",),
    ],
)
def test_line_or_event_beyond_the_limit(pieces: tuple[bytes, ...]) -> None:
    """It is a fault as soon as it is known, and nothing of it is kept."""
    assert read(*pieces, event_bytes_max=24) == ([], "oversized_line")


def test_line_at_the_limit() -> None:
    """The limit itself is allowed."""
    assert read(b"data: " + b"x" * 18 + b"\n\n", event_bytes_max=24) == ([b"x" * 18], None)


def steps_for(lines: int) -> int:
    """How many calls it takes to read so many empty data lines, and then as many that are no data."""
    steps = 0

    def count(*_: object) -> None:
        nonlocal steps
        steps += 1

    splitter = SseSplitter()
    splitter.feed(b": hello\n" + b"data:\n" * lines)
    sys.setprofile(count)
    try:
        splitter.feed(b"id: 1\n" * lines)
    finally:
        sys.setprofile(None)
    return steps


def test_work_grows_with_what_came_and_no_faster() -> None:
    """A stream of a million empty lines must not keep the worker from everybody else's."""
    assert steps_for(800) < 5 * steps_for(200)
