"""The event stream splitter under every cutting of the bytes."""

from __future__ import annotations

import itertools
import json

from hypothesis import example, given
from hypothesis import strategies as st

from processors.providers.decisions.sse_events import SseSplitter

EVENT_BYTES_MAX = 200

texts = st.text(max_size=30).map(lambda text: "".join(c for c in text if c not in "\r\n"))
line_ends = st.sampled_from(["\n", "\r\n", "\r"])
lines = st.one_of(
    texts.map(lambda text: f"data: {text}"),
    texts.map(lambda text: f"data:{text}"),
    st.sampled_from(["", "", ": keep-alive", ":", "event: message", "id: 7", "retry: 10", "data", "data:"]),
    st.sampled_from(["nonsense", "<html>", "data x: y", "x" * 300, "data: " + "y" * 300]),
)
streams = st.lists(st.tuples(lines, line_ends), max_size=20).map(
    lambda parts: "".join(line + end for line, end in parts).encode("utf-8", "surrogatepass")
)
anything = st.one_of(streams, st.binary(max_size=300), streams.map(lambda raw: b"\xef\xbb\xbf" + raw))


def read(pieces: list[bytes]) -> tuple[list[bytes], str | None]:
    splitter = SseSplitter(event_bytes_max=EVENT_BYTES_MAX)
    events = [event for piece in pieces for event in splitter.feed(piece)]
    return events + splitter.finish(), splitter.fault


@given(raw=anything, cuts=st.lists(st.integers(0, 400), max_size=12))
@example(raw=b"data: a\r\n\r\ndata: b\r\n\r\n", cuts=[8, 9, 10, 11])
@example(raw=b"\xef\xbb\xbfdata: a\n\n", cuts=[1, 2, 3, 4])
@example(raw=b"data: 1\n\ndata: 2\n\n", cuts=[9])
def test_any_cutting_of_the_bytes(raw: bytes, cuts: list[int]) -> None:
    """The events and the fault are the same, however the network cut the stream."""
    places = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    pieces = [raw[start:end] for start, end in itertools.pairwise(places)]

    assert read(pieces) == read([raw])
    assert read([raw[place : place + 1] for place in range(len(raw))]) == read([raw])


@given(
    values=st.lists(st.text(min_size=1, max_size=20), max_size=10),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    comments=st.booleans(),
    last_blank_line=st.booleans(),
)
def test_what_was_written_is_read(values: list[str], line_end: str, comments: bool, last_blank_line: bool) -> None:
    """JSON values come back in order, with any line ends, with comments between them, with or without a last blank."""
    between = f": keep-alive{line_end}{line_end}" if comments else ""
    raw = "".join(f"{between}data: {json.dumps(value)}{line_end}{line_end}" for value in values)
    if not last_blank_line:
        raw = raw.removesuffix(line_end + line_end)

    events, fault = read([raw.encode()])

    assert [json.loads(event) for event in events] == values
    assert fault is None


@given(raw=st.binary(max_size=2_000))
def test_memory_is_bounded(raw: bytes) -> None:
    """What is kept between two reads never exceeds the limits, whatever is sent."""
    splitter = SseSplitter(event_bytes_max=EVENT_BYTES_MAX)
    for place in range(0, len(raw), 7):
        splitter.feed(raw[place : place + 7])

        assert len(splitter.rest) <= EVENT_BYTES_MAX
        assert splitter.data_bytes <= EVENT_BYTES_MAX
