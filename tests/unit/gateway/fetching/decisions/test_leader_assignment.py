"""Where partitions are read, and when their leaders are looked up."""

from __future__ import annotations

from gateway.fetching.decisions.leader_assignment import AGAIN_MAX_S, AGAIN_S, CALM_S, CONFIRM_S, LeaderAssignment

ALL = 100


def placed(*nodes: int, **leaders: int) -> LeaderAssignment[str]:
    """These partitions at these leaders, looked up at 0 s."""
    assignment: LeaderAssignment[str] = LeaderAssignment()
    for partition in leaders:
        assignment.follow(partition, 0.0)
    assignment.learned(list(leaders), leaders, nodes, 0.0)
    return assignment


def test_first_partition_of_an_unknown_cluster_is_looked_up() -> None:
    """At once; it is read nowhere until its leader is known."""
    assignment: LeaderAssignment[str] = LeaderAssignment()

    assert assignment.due_in(5.0) is None
    assert assignment.follow("a", 5.0) is None
    assert assignment.to_ask(5.0, ALL) == ["a"]
    assert assignment.due_in(5.0) == 0.0
    assert assignment.learned(["a"], {"a": 2}, [1, 2, 3], 5.1) == {"a": 2}
    assert list(assignment.led_by(2)) == ["a"]
    assert assignment.follow("a", 5.2) == 2


def test_lone_broker_leads_everything() -> None:
    """Nothing is looked up, now or later."""
    assignment = placed(1, a=1)

    assert assignment.follow("b", 1.0) == 1
    assert assignment.to_ask(10 * CONFIRM_S, ALL) == []
    assert assignment.due_in(1.0) is None


def test_refusing_leader_is_left_once_another_is_known() -> None:
    """Until then it goes on being asked."""
    assignment = placed(1, 2, a=1, b=1)
    assignment.doubt("a", 10.0)

    assert list(assignment.led_by(1)) == ["a", "b"]
    assert assignment.to_ask(10.0, ALL) == ["a"]
    assert assignment.learned(["a"], {"a": 2}, [1, 2], 10.1) == {"a": 2}
    assert (list(assignment.led_by(1)), list(assignment.led_by(2))) == (["b"], ["a"])


def test_leader_that_stays_the_same_is_asked_about_ever_more_seldom() -> None:
    """However often it is doubted; a doubt after a calm time is looked up at once."""
    assignment, now_s, pauses = placed(1, 2, a=1), 100.0, []
    for _ in range(6):
        assignment.doubt("a", now_s)
        assignment.doubt("a", now_s)
        pause_s = assignment.due_in(now_s) or 0.0
        pauses.append(round(pause_s, 3))
        now_s += pause_s
        assert assignment.to_ask(now_s, ALL) == ["a"]
        assert assignment.learned(["a"], {"a": 1}, [1, 2], now_s) == {}
    assignment.doubt("a", now_s + CALM_S + 1)

    assert pauses == [0.0, 2 * AGAIN_S, 4 * AGAIN_S, 8 * AGAIN_S, AGAIN_MAX_S, AGAIN_MAX_S]
    assert assignment.due_in(now_s + CALM_S + 1) == 0.0


def test_partition_without_a_leader_is_looked_up_again() -> None:
    """It stays where it was."""
    assignment = placed(1, 2, a=1)
    assignment.doubt("a", 10.0)
    assignment.learned(["a"], {}, [2], 10.0)

    assert list(assignment.led_by(1)) == ["a"]
    assert assignment.to_ask(10.0, ALL) == []
    assert assignment.to_ask(10.0 + AGAIN_MAX_S, ALL) == ["a"]


def test_node_that_fails_has_all_its_partitions_looked_up() -> None:
    """And no other's; so many at a time as one request may name."""
    assignment = placed(1, 2, a=1, b=2, c=1)
    assignment.doubt_node(1, 10.0)
    assignment.doubt_node(3, 10.0)

    assert assignment.to_ask(10.0, ALL) == ["a", "c"]
    assert assignment.to_ask(10.0, 1) == ["a"]


def test_leaders_of_a_cluster_are_confirmed_now_and_then() -> None:
    """A leader that was cut off does not know that it is none."""
    assignment = placed(1, 2, a=1, b=2)

    assert assignment.to_ask(CONFIRM_S - 1, ALL) == []
    assert assignment.due_in(CONFIRM_S - 1) == 1.0
    assert assignment.to_ask(CONFIRM_S, ALL) == ["a", "b"]
    assert assignment.to_ask(CONFIRM_S, 1) == ["a"]


def test_partition_that_is_followed_no_longer() -> None:
    """Nobody reads it, nobody asks about it, and what comes about it is of no account."""
    assignment = placed(1, 2, a=1)
    assignment.follow("b", 0.0)
    for partition in ("a", "b", "b"):
        assignment.drop(partition)
    assignment.doubt("a", 1.0)

    assert not assignment.led_by(1)
    assert assignment.learned(["a", "b"], {"a": 2}, [1, 2], 1.0) == {}
    assert assignment.due_in(1.0) is None
