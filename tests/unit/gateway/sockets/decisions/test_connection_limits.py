"""Caps on sockets and on message rate.

Covers: gateway.decisions.message_bucket, schemas.close_codes.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.decisions.message_bucket import Admission, Admit, MessageBucket, Refuse
from gateway.sockets.decisions.connection_limits import ConnectionLimits, SocketCounts, relieved
from schemas.close_codes import ADMISSION_REFUSED, CLOSE_CODES, FLOOD

LIMITS = ConnectionLimits(
    sockets_per_user_max=2,
    sockets_max=3,
    held_bytes_max=1_000,
    user_message_burst=10,
    user_messages_per_s=5.0,
)


def bucket(now_s: float = 0.0) -> MessageBucket:
    return MessageBucket(10, 5.0, now_s=now_s)


def admitted(counts: SocketCounts, user: str, *, held_bytes: int = 0, draw: float = 0.0) -> Admission:
    return counts.admit(user, held_bytes=held_bytes, now_s=0.0, draw=draw)


def test_sockets_of_one_user_and_of_all() -> None:
    """Each cap refuses with 1013; leaving makes room again."""
    counts = SocketCounts(LIMITS)
    answers = [admitted(counts, user) for user in ("a", "a", "a", "b", "c")]
    counts.leave("a")

    assert [isinstance(answer, Admit) for answer in answers] == [True, True, False, True, False]
    assert answers[2] == Refuse(ADMISSION_REFUSED, LIMITS.refused_retry_s)
    assert isinstance(admitted(counts, "c"), Admit)
    assert counts.total == 3


def test_process_that_holds_nearly_all_it_may() -> None:
    """Nobody new is let in from four fifths of the cap on; the refused come back at different moments."""
    counts = SocketCounts(LIMITS)
    answers = [admitted(counts, "a", held_bytes=held, draw=draw) for held, draw in ((799, 0), (800, 0), (900, 0.5))]

    assert isinstance(answers[0], Admit)
    assert answers[1:] == [Refuse(ADMISSION_REFUSED, 5.0), Refuse(ADMISSION_REFUSED, 7.5)]


def test_messages_of_one_user_over_all_sockets() -> None:
    """One bucket, gone with the last socket; another user's is untouched."""
    counts = SocketCounts(LIMITS)
    for user in ("a", "a", "b"):
        admitted(counts, user)
    spent = [isinstance(counts.admit_messages("a", 1, now_s=0.0), Admit) for _ in range(11)]
    counts.leave("a")
    counts.leave("a")
    admitted(counts, "a")

    assert spent == [True] * 10 + [False]
    assert isinstance(counts.admit_messages("b", 1, now_s=0.0), Admit)
    assert isinstance(counts.admit_messages("a", 1, now_s=0.0), Admit)


def test_idle_bucket_holds_the_burst_not_more() -> None:
    """An hour of silence refills to the burst and stops there."""
    idle = bucket()

    assert isinstance(idle.admit(10, now_s=3_600.0), Admit)
    refusal = idle.admit(1, now_s=3_600.0)
    assert isinstance(refusal, Refuse)
    assert refusal.code is FLOOD
    assert refusal.retry_after_s > 0


@given(st.lists(st.tuples(st.integers(1, 5), st.floats(-1, 2)), max_size=60))
def test_rate_is_never_exceeded(takes: list[tuple[int, float]]) -> None:
    """However the clock moves: burst + rate × time that passed."""
    metered, now_s, passed_s, taken = bucket(), 0.0, 0.0, 0
    for messages, step_s in takes:
        now_s += step_s
        passed_s += max(0.0, step_s)
        taken += messages if isinstance(metered.admit(messages, now_s=now_s), Admit) else 0

        assert taken <= metered.burst + metered.per_s * passed_s + 1e-6


@given(st.lists(st.integers(0, 30), max_size=60))
def test_whoever_waits_as_told_keeps_to_the_rate(spendings: list[int]) -> None:
    """Spent in any case, paid for by waiting: never more than burst + rate × time."""
    metered, now_s, spent = bucket(), 0.0, 0
    for messages in spendings:
        spent += messages
        now_s += metered.spend(messages, now_s=now_s)

        assert spent <= metered.burst + metered.per_s * now_s + 1e-6


@given(st.lists(st.integers(0, 500), max_size=20))
def test_relief_takes_from_those_who_owe_most(unsent: list[int]) -> None:
    """Only beyond the cap, no more than needed, nobody who owes nothing; afterwards it is near the cap at most."""
    held = sum(unsent)
    chosen = relieved(unsent, held, LIMITS)
    left = held - sum(unsent[index] for index in chosen)

    assert not chosen or held >= LIMITS.held_bytes_max
    assert left < LIMITS.held_bytes_max
    if chosen:
        assert left <= LIMITS.held_bytes_near < left + unsent[chosen[-1]]
        assert min(unsent[index] for index in chosen) > 0
        kept = [owed for index, owed in enumerate(unsent) if index not in chosen]
        assert max(kept, default=0) <= min(unsent[index] for index in chosen)


def test_relief_that_is_not_enough() -> None:
    """Everybody who owes gives way, and no one twice."""
    assert relieved([10, 0, 20], 5_000, LIMITS) == [2, 0]
    assert relieved([10, 20], 5_000, LIMITS) == [1, 0]


def test_range_of_a_close_code_says_whether_to_come_back() -> None:
    """44xx: no; 45xx: yes; each number once."""
    for code in CLOSE_CODES:
        if code.number >= 4_400:
            assert code.reconnect == (code.number >= 4_500)
    assert len({code.number for code in CLOSE_CODES}) == len(CLOSE_CODES)
