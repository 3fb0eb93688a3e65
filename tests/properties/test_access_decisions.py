"""Logouts end what they must and nothing else; of all claims of a ticket the first on the log counts, everywhere.

Covers: gateway.access.decisions.logged_out, gateway.access.decisions.ticket_claims.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.access.decisions import logged_out, ticket_claims
from gateway.access.decisions.logged_out import CLOCKS_DIFFER_S, LoggedOut
from gateway.access.decisions.ticket_claims import TicketClaims
from schemas.identifiers import UserId

AGE_S = 1_000.0
ALICE = UserId("alice")
USERS = st.sampled_from([ALICE, UserId("bob")])
MOMENTS = st.floats(1_000_000, 1_002_000)


@given(st.lists(st.tuples(USERS, MOMENTS)), USERS, st.integers(999_000, 1_003_000))
def test_logout_ends_what_was_issued_before(logouts: list[tuple[UserId, float]], user: UserId, issued_s: int) -> None:
    """In whatever order logouts are heard of, the latest of each user decides, to the second."""
    known = heard(logouts)
    latest = max((at_s for each, at_s in logouts if each == user), default=None)

    assert known.ends(user, issued_s, known.place) == (latest is not None and issued_s <= latest)
    assert known.ends(user, 0.0, known.place) == (latest is not None)


@given(st.lists(st.tuples(USERS, MOMENTS)), MOMENTS, USERS, st.integers(998_000, 1_003_000))
def test_forgetting_brings_no_token_back(
    logouts: list[tuple[UserId, float]], now_s: float, user: UserId, issued_s: int
) -> None:
    """A dated token that a logout had ended stays ended when the logout is forgotten: it is too old by then."""
    known = heard(logouts)
    ended = known.ends(user, issued_s, known.place)
    known.forget(now_s)

    assert all(logout.until_s >= now_s - AGE_S for logout in known.logouts.values())
    if ended:
        assert known.ends(user, issued_s, known.place) or known.is_too_old(issued_s, now_s)
    assert not known.is_too_old(0.0, now_s)


@given(MOMENTS, MOMENTS, st.floats(0, 1e300))
def test_moment_of_a_logout_is_the_broker_s_at_most(said_s: float, stamp_s: float, issued_until_s: float) -> None:
    """A gateway whose clock is ahead, or a word that somebody forged, keeps nobody out for long."""
    known = LoggedOut(AGE_S)
    known.hear(ALICE, said_s, 0.0, stamp_s, known.advance(0))
    assert not known.ends(ALICE, int(stamp_s) + 1, known.place)
    known.hear(ALICE, said_s, issued_until_s, stamp_s, known.advance(1))
    assert not known.ends(ALICE, int(stamp_s + CLOCKS_DIFFER_S) + 1, known.place)


def test_room_for_logouts_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the limit the oldest go, and every token as old as they are is refused rather than believed."""
    monkeypatch.setattr(logged_out, "USERS_MAX", 10)
    monkeypatch.setattr(logged_out, "SEEN_MAX", 4)
    known = heard([(UserId(f"user-{number}"), 100.0 + number) for number in range(13)])
    for number in range(6):
        known.saw(UserId(f"user-{number}"), 200.0 + number, 200.0)

    assert len(known.logouts) == 10
    for user in (UserId("user-0"), UserId("user-2"), UserId("stranger")):
        assert known.ends(user, 102.0, known.place)
        assert known.ends(user, 0.0, known.place)
        assert not known.ends(user, 103.0, known.place)
    assert list(known.seen.values()) == [202.0, 203.0, 204.0, 205.0]


def test_log_that_is_made_anew_ends_what_was_open() -> None:
    """Its places begin again; what was let in before lies before all of them."""
    known = heard([(UserId("bob"), float(number)) for number in range(50)])
    place = known.place
    known.start_over()
    known.hear(ALICE, 10.0, 0.0, 10.0, known.advance(0))

    assert known.ends(ALICE, 99.0, place)
    assert not known.ends(ALICE, 99.0, known.place)


def heard(logouts: list[tuple[UserId, float]]) -> LoggedOut:
    known = LoggedOut(AGE_S)
    for offset, (user, at_s) in enumerate(logouts):
        known.hear(user, at_s, 0.0, at_s, known.advance(offset))
    return known


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1))
def test_first_claim_counts(claims: list[tuple[int, int]]) -> None:
    """Whoever reads the log, and however often a claim is repeated, the same one counts."""
    known = TicketClaims()
    for ticket, claim in claims:
        counts = known.heard(str(ticket), str(claim), 100.0)
        assert counts == str(next(each for name, each in claims if name == ticket))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), min_size=1), st.integers(0, 10))
def test_claims_are_kept_until_their_ticket_is_void(uses: list[tuple[int, int]], now_s: int) -> None:
    """Each of them, and no other; where there is no room, those that are void first go first."""
    known, few = TicketClaims(), TicketClaims()
    lives = dict(reversed(uses))
    with pytest.MonkeyPatch.context() as patch:
        for ticket, life_s in uses:
            known.heard(str(ticket), "c", life_s)
        patch.setattr(ticket_claims, "TICKETS_MAX", 3)
        for ticket, _ in uses:
            few.heard(str(ticket), "c", lives[ticket])
    known.forget(now_s)

    assert set(known.first) == {str(ticket) for ticket, life_s in lives.items() if life_s >= now_s}
    assert len(few.first) <= 3
    assert len(few.first) == len(few.void_at)
    assert max(lives.values()) in {life_s for life_s, _ in few.void_at}


def test_void_tickets_are_forgotten() -> None:
    """After a ticket's time nobody needs its claims; before it they stay, up to the limit: void first, gone first."""
    known = TicketClaims()
    for number in range(ticket_claims.TICKETS_MAX + 2):
        known.heard(str(number), "c", 50.0 if number % 2 else 100.0)
    assert len(known.first) == ticket_claims.TICKETS_MAX

    known.forget(60.0)
    assert set(known.first) == set(map(str, range(0, ticket_claims.TICKETS_MAX + 2, 2)))
