"""Two gateways' access desks on one log in memory: parts of their tests."""

from __future__ import annotations

from gateway.access.access_desk import AccessDesk, GuardedTokens
from gateway.access.decisions.logged_out import LoggedOut
from infra.access_tokens import SecretVerifier, VerifiedToken
from infra.connect_tickets import TicketIssuer
from infra.kafka.log_client import LogRecord
from infra.sign_in_codes import SignInCodes
from schemas.access import UserLoggedOut
from schemas.codec import encode
from schemas.identifiers import UserId
from tests.fakes.access_log import AccessLog
from tests.fakes.virtual_clock import VirtualClock

__all__ = ["ALICE", "DAY_S", "SECRET", "Gateways", "log_out_alice", "real_code", "real_ticket"]

SECRET = b"s" * 32
DAY_S = 86_400.0
ALICE = UserId("alice")


class Gateways:
    """Two desks on one log and one clock."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.log = AccessLog(self.clock)
        self.first, self.second = self.desk(), self.desk()

    def desk(self) -> AccessDesk:
        verifier = SecretVerifier(secret=SECRET, audience="tokenwire", issuer="tokenwire")
        tokens = GuardedTokens(verifier, LoggedOut(30 * DAY_S), self.clock)
        self.codes = SignInCodes(SECRET, audience="tokenwire", issuer="tokenwire")
        desk = AccessDesk(tokens, TicketIssuer(SECRET), self.log, self.clock, codes=self.codes)
        self.log.join(desk)
        return desk

    def token(self, issued_s_ago: float = 0.0) -> VerifiedToken:
        now_s = self.first.now_s()
        place = self.first.tokens.logged_out.place
        return VerifiedToken(ALICE, now_s + 3_600, now_s - issued_s_ago, place)


def log_out_alice(desk: AccessDesk, s_ago: float = 0.0) -> None:
    word = UserLoggedOut(user="alice", at_s=desk.now_s() - s_ago)
    desk.hear_logout(LogRecord(0, desk.clock.now_us() // 1_000, b"alice", encode(word)))


def real_ticket(gateways: Gateways) -> str:
    """A ticket that PyJWT, which looks at the real clock, takes for a fresh one."""
    return gateways.first.issuer.issue(gateways.token(1), 4e9)


def real_code(gateways: Gateways) -> str:
    """A code that was made now, and that PyJWT, which looks at the real clock, takes for a fresh one."""
    now_s = gateways.first.now_s()
    return gateways.codes.tickets.issue(VerifiedToken(ALICE, 4e9, now_s), 4e9)
