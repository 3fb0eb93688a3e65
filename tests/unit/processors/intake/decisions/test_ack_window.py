"""Which offset may be committed."""

from __future__ import annotations

from processors.intake.decisions.ack_window import AckWindow

__all__: list[str] = []


def window_of(*offsets: int) -> AckWindow:
    window = AckWindow()
    for offset in offsets:
        assert window.hand_out(offset)
    return window


def test_nothing_finished() -> None:
    """There is nothing to commit."""
    assert window_of(0, 1).next_offset == -1


def test_finished_in_order() -> None:
    """The offset to commit follows at each step."""
    window = window_of(4, 5)

    assert (window.finish(4), window.next_offset) == (True, 5)
    assert (window.finish(5), window.next_offset) == (True, 6)


def test_head_unfinished() -> None:
    """However much behind it is done, the offset stays before the head; then it passes all at once."""
    window = window_of(0, 1, 2)

    assert (window.finish(2), window.finish(1), window.next_offset) == (False, False, -1)
    assert (window.finish(0), window.next_offset, window.finished) == (True, 3, set())


def test_offsets_with_holes() -> None:
    """What was never handed out can't be unfinished."""
    window = window_of(3, 9)
    window.finish(3)

    assert window.next_offset == 4
    window.finish(9)
    assert window.next_offset == 10


def test_offset_handed_out_before() -> None:
    """Whether it is finished or under way, it is not handed out again."""
    window = window_of(5, 6)
    window.finish(5)

    assert not window.hand_out(5)
    assert not window.hand_out(6)
    assert window.hand_out(7)


def test_hole() -> None:
    """Between where the group reads on and what comes, and between what comes; none where all is handed out."""
    window = AckWindow()
    assert (window.due, window.hole_before(5)) == (None, None)
    window.begin_at(2)
    assert (window.hole_before(2), window.hole_before(5)) == (None, 2)

    for offset in (2, 3):
        window.hand_out(offset)
    window.begin_at(0)
    assert (window.due, window.hole_before(4), window.hole_before(7)) == (4, None, 4)
    assert window.hole_before(3) is None
