"""A session is fetched while something is due there, and comes to rest when nothing is, in any order of events."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.fetching.decisions.active_set import (
    HEARD_S,
    LOOK_EVERY_S,
    LOOK_S,
    PROMPT_S,
    QUIET_S,
    SessionStanding,
    looks_at_once,
)

__all__: list[str] = []

EVENTS = st.lists(
    st.tuples(
        st.floats(0, 40, allow_nan=False),
        st.sampled_from(["attached", "prompted", "looked_at", "heard", "read"]),
        st.integers(0, 50),
    ),
    max_size=30,
)


@given(EVENTS)
def test_every_session_comes_to_rest(events: list[tuple[float, str, int]]) -> None:
    """However long it went on, so long after the last event it is quiet."""
    standing, now_s = played(events)

    assert standing.is_quiet(now_s + max(QUIET_S, PROMPT_S, HEARD_S, LOOK_S))


@given(EVENTS, st.integers(0, 50), st.floats(0, HEARD_S - 0.001))
def test_nothing_that_was_told_of_is_missed(events: list[tuple[float, str, int]], ahead: int, later_s: float) -> None:
    """A session is not quiet before the record that the worker told of has been read."""
    standing, now_s = played(events)
    standing.heard(standing.position + ahead, now_s)

    assert not standing.is_quiet(now_s + later_s)
    standing.read_to(standing.newest + 1, now_s)
    assert standing.is_quiet(now_s + PROMPT_S)


@given(EVENTS, st.floats(0, PROMPT_S - 0.001))
def test_an_answer_to_a_prompt_is_awaited(events: list[tuple[float, str, int]], later_s: float) -> None:
    """A prompt that went out keeps the session long enough for its first record."""
    standing, now_s = played(events)
    standing.prompted(now_s)

    assert not standing.is_quiet(now_s + later_s)


@given(EVENTS, st.integers(0, 50))
def test_old_news_changes_nothing(events: list[tuple[float, str, int]], behind: int) -> None:
    """Word of records that were read already, as it comes late or twice, keeps nobody."""
    standing, now_s = played(events)
    newest, until_s = standing.newest, standing.heard_until_s
    standing.heard(standing.position - 1 - behind, now_s + 1_000)

    assert (standing.newest, standing.heard_until_s) == (newest, until_s)


@given(st.integers(0, 20_000), st.floats(0.5, 2.0))
def test_everybody_is_looked_at_in_time(left_out: int, tick_s: float) -> None:
    """So many looks a tick reach all of them within LOOK_EVERY_S, and are no herd."""
    looks = looks_at_once(left_out, tick_s)

    assert looks * (LOOK_EVERY_S / tick_s) >= left_out
    assert looks <= 1 + left_out * 1.25 * tick_s / LOOK_EVERY_S


def test_a_look_is_due_after_a_while() -> None:
    """Not before LOOK_EVERY_S since it was left out."""
    standing = SessionStanding(7, 0.0)
    standing.left_at_s = 100.0

    assert not standing.is_due(100.0 + LOOK_EVERY_S - 0.001)
    assert standing.is_due(100.0 + LOOK_EVERY_S)


def played(events: list[tuple[float, str, int]]) -> tuple[SessionStanding, float]:
    """A standing after these events, and the time of the last."""
    now_s = 1_000.0
    standing = SessionStanding(10, now_s)
    for pause_s, kind, offset in events:
        now_s += pause_s
        match kind:
            case "heard":
                standing.heard(offset, now_s)
            case "read":
                standing.read_to(offset, now_s)
            case _:
                getattr(standing, kind)(now_s)
    return standing, now_s
