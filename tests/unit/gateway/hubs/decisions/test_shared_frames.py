"""The bytes of frames, whatever their length."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from gateway.fetching.decisions.resume_cursor import LogPosition
from gateway.hubs.decisions.session_messages import HubMessage
from gateway.hubs.decisions.shared_frames import framed, own_frame, shared_frames


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_same_bytes_as_the_library_makes(length: int) -> None:
    """A message alone, at every boundary of the length's forms."""
    payload = b"x" * length

    assert own_frame(payload).wire() == Frame(Opcode.TEXT, payload).serialize(mask=False)
    assert own_frame(payload).owed_bytes >= len(own_frame(payload).wire())


@pytest.mark.parametrize("length", [10, 61, 62, 63, 40_000])
def test_several_are_an_array(length: int) -> None:
    """With brackets, which count."""
    items = b",".join((b"a" * length, b"b" * length))

    assert framed(items, 2) == Frame(Opcode.TEXT, b"[" + items + b"]").serialize(mask=False)


def test_messages_that_do_not_fit_one_frame() -> None:
    """As few frames as hold them; a lone large one has its own."""
    sizes = (10, 20, 500, 30, 40)
    messages = [
        HubMessage(b"m" * size, f"c{place}", LogPosition(place), LogPosition(place + 1), "t")
        for place, size in enumerate(sizes)
    ]
    frames = shared_frames(messages, 100)

    assert [(frame.count, frame.cursor) for frame in frames] == [(2, "c1"), (1, "c2"), (2, "c4")]
