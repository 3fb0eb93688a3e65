"""The window under any order of finishing and any jumps of the offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.intake.decisions.ack_window import AckWindow

__all__: list[str] = []


@given(st.data(), st.sets(st.integers(0, 60), min_size=1))
def test_commit_never_passes_unfinished_work(data: st.DataObject, offsets: set[int]) -> None:
    """At each moment everything handed out below the offset to commit is finished, and the offset never falls."""
    window, to_come, unfinished = AckWindow(), sorted(offsets), set[int]()
    newest = -1
    while to_come or unfinished:
        if to_come and (not unfinished or data.draw(st.booleans())):
            offset = to_come.pop(0)
            assert window.hand_out(offset)
            assert not window.hand_out(data.draw(st.sampled_from([offset, *unfinished])))
            unfinished.add(offset)
        else:
            offset = data.draw(st.sampled_from(sorted(unfinished)))
            unfinished.discard(offset)
            assert window.finish(offset) == (window.next_offset > newest)

        assert window.next_offset >= newest
        newest = window.next_offset
        assert all(offset >= newest for offset in unfinished)
    assert window.next_offset == max(offsets) + 1
    assert not window.open
    assert not window.finished
