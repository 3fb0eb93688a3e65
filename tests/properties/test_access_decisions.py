"""Logouts end what they must and nothing else; of all claims of a ticket the first on the log counts, everywhere."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.decisions import logged_out, ticket_claims
from gateway.decisions.logged_out import LoggedOut
from gateway.decisions.ticket_claims import TicketClaims
from schemas.identifiers import UserId

AGE_S = 1_000.0
USERS = st.sampled_from([UserId("alice"), UserId("bob")])
MOMENTS = st.floats(1_000_000, 1_002_000)


@given(st.lists(st.tuples(USERS, MOMENTS)), USERS, st.integers(999_000, 1_003_000))
def test_logout_ends_what_was_issued_before(logouts: list[tuple[UserId, float]], user: UserId, issued_s: int) -> None:
    """In whatever order logouts are heard of, the latest of each user decides, to the second."""
    known = LoggedOut(AGE_S)
    for each, at_s in logouts:
        known.note(each, at_s)
    latest = max((at_s for each, at_s in logouts if each == user), default=None)

    assert known.ends(user, issued_s) == (latest is not None and issued_s <= latest)
    assert known.ends(user, 0.0) == (latest is not None)


@given(st.lists(st.tuples(USERS, MOMENTS)), MOMENTS, USERS, st.integers(998_000, 1_003_000))
def test_forgetting_brings_no_token_back(
    logouts: list[tuple[UserId, float]], now_s: float, user: UserId, issued_s: int
) -> None:
    """A dated token that a logout had ended stays ended when the logout is forgotten: it is too old by then."""
    known = LoggedOut(AGE_S)
    for each, at_s in logouts:
        known.note(each, at_s)
    ended = known.ends(user, issued_s)
    forgotten = known.forget(now_s)

    assert forgotten == 0 or not logouts or min(at_s for _, at_s in logouts) < now_s - AGE_S
    if ended:
        assert known.ends(user, issued_s) or known.is_too_old(issued_s, now_s)
    assert not known.is_too_old(0.0, now_s)


def test_room_for_logouts_is_bounded() -> None:
    """Beyond the limit the oldest entry goes, and that is counted."""
    known = LoggedOut(AGE_S)
    for number in range(logged_out.USERS_MAX + 3):
        assert known.note(UserId(f"user-{number}"), 1.0)
    assert not known.note(UserId("user-5"), 1.0)

    assert len(known.until_s) == logged_out.USERS_MAX
    assert known.forgotten_early == 3


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), min_size=1))
def test_first_claim_counts(claims: list[tuple[int, int]]) -> None:
    """Whoever reads the log, and however often a claim is repeated, the same one counts."""
    known = TicketClaims()
    for ticket, claim in claims:
        counts = known.heard(str(ticket), str(claim), 100.0)
        assert counts == str(next(each for name, each in claims if name == ticket))


def test_void_tickets_are_forgotten() -> None:
    """After a ticket's time nobody needs its claims; before it they stay, up to the limit."""
    known = TicketClaims()
    for number in range(ticket_claims.TICKETS_MAX + 2):
        known.heard(str(number), "c", 50.0 if number % 2 else 100.0)
    assert len(known.first) == ticket_claims.TICKETS_MAX

    known.forget(60.0)
    assert len(known.first) == ticket_claims.TICKETS_MAX // 2
