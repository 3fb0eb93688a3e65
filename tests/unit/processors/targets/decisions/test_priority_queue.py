"""Who is next in a queue of two classes."""

from __future__ import annotations

from processors.targets.decisions.priority_queue import PriorityQueue


def test_interactive_before_batch() -> None:
    """In order of arrival within a class, whoever came first of the other."""
    queue = PriorityQueue()
    batch = queue.join("batch", 0.0, 1)
    later = queue.join("interactive", 2.0, 2)
    early = queue.join("interactive", 1.0, 3)

    assert queue.first == early
    assert [queue.before(standing) for standing in (early, later, batch)] == [0, 1, 2]
    assert queue.leave(early)
    assert queue.first == later
    assert queue.before(batch) == 1


def test_one_instant() -> None:
    """Numbers tell apart what arrived at once."""
    queue = PriorityQueue()
    first, second = queue.join("batch", 5.0, 7), queue.join("batch", 5.0, 8)

    assert (queue.before(first), queue.before(second)) == (0, 1)


def test_leaving_twice() -> None:
    """Changes nothing, from the middle and from the end."""
    queue = PriorityQueue()
    first, last = queue.join("batch", 1.0, 1), queue.join("batch", 2.0, 2)

    assert queue.leave(first)
    assert not queue.leave(first)
    assert queue.leave(last)
    assert not queue.leave(last)
    assert queue.first is None
    assert len(queue) == 0
