"""Caps on sockets and on message rate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.close_codes import ADMISSION_REFUSED, CLOSE_CODES, FLOOD
from gateway.decisions.connection_limits import Admit, ConnectionLimits, MessageBucket, Refuse, SocketCounts

LIMITS = ConnectionLimits(sockets_per_user_max=2, sockets_max=3, message_burst=10, messages_per_s=5.0)


def test_sockets_of_one_user_and_of_all() -> None:
    """Each cap refuses with 1013; leaving makes room again."""
    counts = SocketCounts(LIMITS)
    admitted = [counts.admit(user) for user in ("a", "a", "a", "b", "c")]
    counts.leave("a")

    assert [isinstance(answer, Admit) for answer in admitted] == [True, True, False, True, False]
    assert admitted[2] == Refuse(ADMISSION_REFUSED, LIMITS.refused_retry_s)
    assert isinstance(counts.admit("c"), Admit)
    assert counts.total == 3


def test_idle_bucket_holds_the_burst_not_more() -> None:
    """An hour of silence refills to the burst and stops there."""
    bucket = MessageBucket(LIMITS, now_s=0.0)

    assert isinstance(bucket.take(10, now_s=3_600.0), Admit)
    refusal = bucket.take(1, now_s=3_600.0)
    assert isinstance(refusal, Refuse)
    assert refusal.code is FLOOD
    assert refusal.retry_after_s > 0


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(-1, 2)), max_size=60))
def test_rate_is_never_exceeded(takes: list[tuple[int, float]]) -> None:
    """However the clock moves: burst + rate × time that passed."""
    bucket, now_s, passed_s, taken = MessageBucket(LIMITS, now_s=0.0), 0.0, 0.0, 0
    for messages, step_s in takes:
        now_s += step_s
        passed_s += max(0.0, step_s)
        taken += messages if isinstance(bucket.take(messages, now_s=now_s), Admit) else 0

        assert taken <= LIMITS.message_burst + LIMITS.messages_per_s * passed_s + 1e-6


def test_range_of_a_close_code_says_whether_to_come_back() -> None:
    """44xx: no; 45xx: yes; each number once."""
    for code in CLOSE_CODES:
        if code.number >= 4_400:
            assert code.reconnect == (code.number >= 4_500)
    assert len({code.number for code in CLOSE_CODES}) == len(CLOSE_CODES)
