"""Who is next in a line of two classes."""

from __future__ import annotations

from processors.targets.decisions.priority_line import PriorityLine


def test_interactive_before_batch() -> None:
    """In order of arrival within a class, whoever came first of the other."""
    line = PriorityLine()
    batch = line.join("batch", 0.0, 1)
    later = line.join("interactive", 2.0, 2)
    early = line.join("interactive", 1.0, 3)

    assert line.first == early
    assert [line.before(standing) for standing in (early, later, batch)] == [0, 1, 2]
    assert line.leave(early)
    assert line.first == later
    assert line.before(batch) == 1


def test_one_instant() -> None:
    """Numbers tell apart what arrived at once."""
    line = PriorityLine()
    first, second = line.join("batch", 5.0, 7), line.join("batch", 5.0, 8)

    assert (line.before(first), line.before(second)) == (0, 1)


def test_leaving_twice() -> None:
    """Changes nothing, from the middle and from the end."""
    line = PriorityLine()
    first, last = line.join("batch", 1.0, 1), line.join("batch", 2.0, 2)

    assert line.leave(first)
    assert not line.leave(first)
    assert line.leave(last)
    assert not line.leave(last)
    assert line.first is None
    assert len(line) == 0
