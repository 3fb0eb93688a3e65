"""What a socket holds while nothing comes in."""

from __future__ import annotations

from collections import deque

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from gateway.sockets.client_socket import FrameQueue

__all__: list[str] = []

FRAMES = st.lists(st.binary(max_size=3), max_size=5)


STEPS: st.SearchStrategy[tuple[str, list[bytes]]] = st.one_of(
    st.sampled_from(["popleft", "clear"]).map(lambda step: (step, [])),
    st.binary(max_size=3).map(lambda part: ("append", [part])),
    FRAMES.map(lambda parts: ("extendleft", parts)),
)


@given(st.lists(STEPS))
def test_frame_queue_is_a_deque(steps: list[tuple[str, list[bytes]]]) -> None:
    """Whatever `websockets` does with it comes out as with a deque; empty, it holds nothing."""
    ours, theirs = FrameQueue(), deque[Frame]()

    for step, parts in steps:
        frames = [Frame(Opcode.TEXT, part) for part in parts]
        queues: tuple[FrameQueue | deque[Frame], ...] = (ours, theirs)
        for queue in queues:
            match step:
                case "append":
                    queue.append(frames[0])
                case "extendleft":
                    queue.extendleft(frames)
                case "clear":
                    queue.clear()
                case _:
                    pass
        if step == "popleft":
            assert popped(ours) == popped(theirs)
        assert list(ours) == list(theirs)
        assert len(ours) == len(theirs)
        assert (ours.frames is None) == (not theirs)


def popped(queue: FrameQueue | deque[Frame]) -> Frame | None:
    try:
        return queue.popleft()
    except IndexError:
        return None
