"""Whether anybody follows a session."""

from __future__ import annotations

from processors.sessions.decisions.presence import GATEWAYS_MAX, GONE_AFTER_S, Left, SessionPresence, Stays

GRACE_S = 30.0


def verdict(presence: SessionPresence, now_s: float, *, since_s: float = 0.0) -> object:
    return presence.decide(since_s=since_s, grace_s=GRACE_S, now_s=now_s)


def test_turn_that_nobody_was_ever_heard_of_is_left_after_the_grace_time() -> None:
    """Which begins when this worker takes it up, whatever was before."""
    presence = SessionPresence()

    assert verdict(presence, 129.9, since_s=100.0) == Stays(130.0)
    assert verdict(presence, 130.0, since_s=100.0) == Left()


def test_silent_gateway_counts_as_gone() -> None:
    """Its last word holds for a while, then the grace time runs."""
    presence = SessionPresence()
    presence.hear("g1", 1, 5, 10.0)

    assert presence.attended(10.0 + GONE_AFTER_S - 0.1)
    assert not presence.attended(10.0 + GONE_AFTER_S)
    assert verdict(presence, 12.0) == Stays(10.0 + GONE_AFTER_S + GRACE_S)
    assert verdict(presence, 10.0 + GONE_AFTER_S + GRACE_S) == Left()


def test_last_device_that_leaves_starts_the_grace_time_at_once() -> None:
    """Unless another gateway still has one; coming back ends it."""
    presence = SessionPresence()
    presence.hear("g1", 1, 5, 0.0)
    presence.hear("g2", 2, 9, 0.0)
    presence.hear("g1", 0, -1, 2.0)
    with_another = verdict(presence, 2.0)
    presence.hear("g2", 0, -1, 3.0)
    left_at_3 = verdict(presence, 3.0)
    presence.hear("g2", 0, -1, 20.0)
    repeated = verdict(presence, 20.0)
    presence.hear("g1", 1, 6, 21.0)

    assert with_another == Stays(GONE_AFTER_S + GRACE_S)
    assert left_at_3 == repeated == Stays(3.0 + GRACE_S)
    assert verdict(presence, 21.0) == Stays(21.0 + GONE_AFTER_S + GRACE_S)


def test_time_in_which_the_worker_could_not_hear_does_not_count() -> None:
    """The grace time begins anew when it can."""
    presence = SessionPresence()
    presence.hear("g1", 1, 5, 0.0)
    presence.deaf(60.0)

    assert verdict(presence, 89.0) == Stays(90.0)


def test_fastest_reader_is_that_of_any_gateway_heard_of_lately() -> None:
    """A gateway without devices, or silent, has no reader."""
    presence = SessionPresence()
    presence.hear("g1", 1, 5, 0.0)
    presence.hear("g2", 1, 9, 5.0)
    both = presence.fastest(5.0)
    presence.hear("g2", 0, 9, 6.0)

    assert (both, presence.fastest(6.0), presence.fastest(GONE_AFTER_S)) == (9, 5, -1)


def test_gateways_are_bounded_and_a_forgotten_one_still_counts() -> None:
    """The oldest word goes first."""
    presence = SessionPresence()
    for number in range(GATEWAYS_MAX + 1):
        presence.hear(f"g{number}", 1, number, float(number) / 100)

    assert len(presence.until_s) == len(presence.read_offsets) == GATEWAYS_MAX
    assert "g0" not in presence.until_s
    assert presence.attended_s == GONE_AFTER_S
