"""Leaving, whatever gateways say and whenever: never early, and not for ever late."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from processors.sessions.decisions.presence import GONE_AFTER_S, Left, SessionPresence

GRACE_S = 30.0
WORDS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 2), st.floats(0, 20), st.booleans()), max_size=40)


@given(WORDS, st.floats(0, 100), st.floats(0, 200))
def test_turn_is_left_after_a_whole_grace_time_without_evidence(
    words: list[tuple[str, int, float, bool]], since_s: float, later_s: float
) -> None:
    """Not before, counted from the newest word with devices, deafness or the turn's own beginning; and then surely."""
    presence, now_s, evidence_s = SessionPresence(), 0.0, since_s
    for gateway, devices, pause_s, deaf in words:
        now_s += pause_s
        if deaf:
            presence.deaf(now_s)
        else:
            presence.hear(gateway, devices, -1, now_s)
        if deaf or devices:
            evidence_s = max(evidence_s, now_s)
    now_s += later_s
    left = isinstance(presence.decide(since_s=since_s, grace_s=GRACE_S, now_s=now_s), Left)

    assert not left or now_s >= evidence_s + GRACE_S
    assert left or now_s < evidence_s + GONE_AFTER_S + GRACE_S
    assert presence.fastest(now_s) == -1
    assert not (left and presence.attended(now_s))
