"""Who may come in beyond what a token says by itself: logouts, and tickets and sign-in codes that work once.

What one gateway learns all must know, so both go over the log: a logout is published and takes effect, on this gateway
too, when it is read back; a ticket is claimed on the log, and whoever reads its own claim first may let the client in,
or give a page the token for its code.

A token that was verified is checked again (`GuardedTokens.check`) when it is used and after every await in between.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Final, Protocol, TypeVar

import msgspec
import structlog

from gateway.access.decisions.logged_out import LoggedOut
from gateway.access.decisions.request_rates import RequestRates
from gateway.access.decisions.ticket_claims import TicketClaims
from infra.access_tokens import TokenError, TokenInvalid, TokenVerifier, VerifiedToken
from infra.async_waits import end_tasks
from infra.clock import Clock
from infra.connect_tickets import CONNECT, TICKET_S, Ticket, TicketIssuer, TicketKind
from infra.kafka.log_client import LogRecord
from infra.sign_in_codes import CODE_S, SignInCodes
from producers.errors import ProducerError
from schemas.access import TicketUsed, UserLoggedOut
from schemas.codec import decode_access_event
from schemas.errors import InvalidField, MalformedRecord
from schemas.identifiers import UserId, check_user_id

__all__ = ["USES_KEPT_S", "AccessDesk", "AccessPublisher", "GuardedTokens", "TicketUnclaimed", "TokenEnded", "TooOften"]

log = structlog.get_logger(__name__)

CLAIM_S: Final = 3.0
"""From a ticket to its admission: an append, and reading it back."""
CLAIM_BYTES: Final = 8
USES_KEPT_S: Final = CODE_S + 4 * TICKET_S
"""How long a use of a ticket or code is remembered, at most; clocks may differ."""
LOGOUTS_EVERY_S: Final = 3_600.0
TELL_S: Final = 2.0
UNTOLD_MAX: Final = 1_024
ADDRESS_BURST: Final = 12_000
ADDRESS_PER_S: Final = 500.0
"""Requests of one address, good or bad: everybody behind a proxy, or a back end that asks for its pages, has one."""
USER_TICKETS_BURST: Final = 120
USER_TICKETS_PER_S: Final = 2.0
USER_LOGOUTS_BURST: Final = 10
USER_LOGOUTS_PER_S: Final = 0.1
CLAIMS_WAITING_MAX: Final = 2_048
"""As many as may be on their way to a good hello."""
MICROSECONDS_PER_SECOND: Final = 1_000_000
MILLISECONDS_PER_SECOND: Final = 1_000
Event = TypeVar("Event", UserLoggedOut, TicketUsed)


class TokenEnded(TokenError):
    """The token was ended by a logout, or is too old for one to be remembered."""

    code = "token_ended"


class TicketUnclaimed(TokenError):
    """It could not be made sure that the ticket is used for the first time. Another one may work."""

    code = "ticket_unclaimed"


class TooOften(Exception):
    """Asked for too often. Field: retry_after_s."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"this was asked for too often; try again in {math.ceil(retry_after_s)} s")
        self.retry_after_s = retry_after_s


class AccessPublisher(Protocol):
    """The way to the other gateways (`producers.prompt_producer.PromptProducer`)."""

    async def tell_access(self, event: UserLoggedOut | TicketUsed, *, deadline_s: float | None = None) -> None:
        """Publish it. Raises ProducerError."""


class GuardedTokens:
    """A `TokenVerifier` that also knows of logouts."""

    def __init__(self, tokens: TokenVerifier, logged_out: LoggedOut, clock: Clock) -> None:
        self.tokens = tokens
        self.logged_out = logged_out
        self.clock = clock

    @property
    def leeway_s(self) -> float:
        """See `TokenVerifier.leeway_s`."""
        return self.tokens.leeway_s

    def verify(self, token: str) -> VerifiedToken:
        """See `TokenVerifier.verify`; also raises TokenEnded."""
        verified = replace(self.tokens.verify(token), place=self.logged_out.place)
        self.check(verified)
        self.logged_out.saw(verified.user, verified.issued_at_s, self.now_s())
        return verified

    def check(self, token: VerifiedToken) -> None:
        """Raises TokenEnded."""
        if self.logged_out.ends(token.user, token.issued_at_s, token.place):
            raise TokenEnded("the user has logged out since this token was issued; sign in again")
        if self.logged_out.is_too_old(token.issued_at_s, self.now_s()):
            raise TokenEnded("the token was issued too long ago; sign in again")

    def now_s(self) -> float:
        """Wall clock, seconds since 1970."""
        return self.clock.now_us() / MICROSECONDS_PER_SECOND


@dataclass(eq=False, repr=False)
class AccessDesk:
    """Who may come in at one gateway; `close` must follow.

    `on_logged_out` hears of each user who logs out, and of the moment. `codes` is None where somebody else issues the
    tokens.
    """

    tokens: GuardedTokens
    issuer: TicketIssuer
    publisher: AccessPublisher
    clock: Clock
    _: KW_ONLY
    on_logged_out: Callable[[UserId, float], None] = lambda user, at_s: None
    codes: SignInCodes | None = None
    on_dropped: Callable[[str], None] = lambda where: None
    """Told of each logout that is forgotten for want of room, and where."""
    claims: TicketClaims = field(default_factory=TicketClaims, init=False)
    waiting: dict[str, asyncio.Future[bool]] = field(default_factory=dict, init=False)
    """Claims of ours that were not read back yet: whether they counted."""
    leaving: dict[tuple[UserId, float], asyncio.Future[None]] = field(default_factory=dict, init=False)
    """Logouts of ours that were not read back yet."""
    untold: dict[UserId, UserLoggedOut] = field(default_factory=dict, init=False)
    """What the other gateways must hear of and have not: users whose tokens this one has seen."""
    _telling: asyncio.Task[None] | None = field(default=None, init=False)
    look_at_s: float = field(default=0.0, init=False)
    _dropped: set[str] = field(default_factory=set, init=False)
    """Where logouts were dropped; said once for each."""

    def __post_init__(self) -> None:
        self.asking = RequestRates(ADDRESS_BURST, ADDRESS_PER_S)
        self.user_tickets = RequestRates(USER_TICKETS_BURST, USER_TICKETS_PER_S)
        self.user_logouts = RequestRates(USER_LOGOUTS_BURST, USER_LOGOUTS_PER_S)

    async def close(self) -> None:
        """Tell nobody anything more."""
        await end_tasks(self._telling)

    def admit(self, who: str, rates: RequestRates) -> None:
        """Count one more request of an address or a user. Raises TooOften."""
        wait_s = rates.ask(who, self.clock.monotonic_s())
        if wait_s:
            raise TooOften(wait_s)

    async def log_out(self, user: UserId, *, deadline_s: float) -> None:
        """End every token of the user that was issued up to now, on all gateways; on this one before it returns, if
        the log can be read within `deadline_s`. Raises ProducerError, TooOften.

        Cancellation: the logout may take place all the same.
        """
        self.admit(user, self.user_logouts)
        said = UserLoggedOut(user=user, at_s=self.now_s())
        key = (user, said.at_s)
        loop = asyncio.get_running_loop()
        until_s = loop.time() + deadline_s
        heard = self.leaving.setdefault(key, loop.create_future())
        try:
            await self.publisher.tell_access(said, deadline_s=deadline_s)
            # what is left of it, not as much again: past the time that a request may take nobody would be answered
            await asyncio.wait((heard,), timeout=max(0.0, until_s - loop.time()))
        finally:
            self.leaving.pop(key, None)

    def ticket(self, token: VerifiedToken) -> str:
        """A ticket for whoever holds this token. Raises TooOften."""
        self.admit(token.user, self.user_tickets)
        return self.issuer.issue(token, self.now_s())

    async def cash(self, text: str) -> VerifiedToken:
        """Use a ticket up; the token is good now, and is checked again when it is used later. Raises TokenExpired,
        TokenInvalid, TokenEnded, TicketUnclaimed.

        Cancellation: the ticket is used up, and nobody came in on it.
        """
        ticket = self.issuer.read(text)
        await self.use_up(ticket, CONNECT)
        return ticket.token

    async def redeem(self, codes: SignInCodes, text: str) -> tuple[str, VerifiedToken]:
        """Use a sign-in code up: the access token for it, and what that says. Raises as `cash` does.

        Like a token in somebody's hand it was never seen before, so logouts end it by their time alone.

        Cancellation: the code is used up, and nobody has the token.
        """
        read = codes.read(text)
        code = replace(read, token=replace(read.token, place=self.tokens.logged_out.place))
        await self.use_up(code, codes.tickets.kind)
        return codes.token_for(code), code.token

    async def use_up(self, ticket: Ticket, kind: TicketKind) -> None:
        self.tokens.check(ticket.token)
        if ticket.id in self.claims.first:
            raise used(kind)
        if len(self.waiting) >= CLAIMS_WAITING_MAX:
            raise unclaimed(kind)
        claim = secrets.token_hex(CLAIM_BYTES)
        counted = self.waiting[claim] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(CLAIM_S):
                event = TicketUsed(ticket=ticket.id, claim=claim, expires_at_s=ticket.expires_at_s)
                await self.publisher.tell_access(event, deadline_s=CLAIM_S)
                if not await counted:
                    raise used(kind)
        except (ProducerError, TimeoutError) as error:
            log.info("ticket_not_claimed", kind=kind.name, error=type(error).__name__)
            raise unclaimed(kind) from None
        finally:
            del self.waiting[claim]
        self.tokens.check(ticket.token)

    def hear_claim(self, record: LogRecord) -> None:
        """A record of the log of tickets. One that does not decode is passed over, and said."""
        event = event_of(record, TicketUsed)
        if event is None:
            return
        void_s = min(event.expires_at_s, self.now_s() + USES_KEPT_S)
        counts = self.claims.heard(event.ticket, event.claim, void_s) == event.claim
        waiting = self.waiting.get(event.claim)
        if waiting is not None and not waiting.done():
            waiting.set_result(counts)

    def hear_logout(self, record: LogRecord) -> None:
        """A record of the log of logouts. One that does not decode is passed over, and said."""
        place = self.tokens.logged_out.advance(record.offset)
        event = event_of(record, UserLoggedOut)
        if event is None:
            return
        user = UserId(event.user)
        stamp_s = record.timestamp_ms / MILLISECONDS_PER_SECOND
        heard = self.tokens.logged_out.hear(user, event.at_s, event.issued_until_s, stamp_s, place)
        leaving = self.leaving.get((user, event.at_s))
        if leaving is not None and not leaving.done():
            leaving.set_result(None)
        if heard.ends:
            self.on_logged_out(user, event.at_s)
        if heard.drops:
            self.drop("remembered")
        if heard.tells_s is not None:
            self.untold[user] = msgspec.structs.replace(event, issued_until_s=heard.tells_s)
            if len(self.untold) > UNTOLD_MAX:
                del self.untold[next(iter(self.untold))]
                self.drop("untold")
            self.tell()

    def drop(self, where: str) -> None:
        """Say that a logout was forgotten for want of room."""
        self.on_dropped(where)
        if where not in self._dropped:
            self._dropped.add(where)
            log.warning("logouts_dropped", where=where)

    def start_over(self) -> None:
        """The log of logouts is read from its start again."""
        self.tokens.logged_out.start_over()

    def tell(self) -> None:
        """See to it that the other gateways hear what they must."""
        if self.untold and (self._telling is None or self._telling.done()):
            self._telling = asyncio.create_task(self.tell_all(), name="access-telling")

    async def tell_all(self) -> None:
        while self.untold:
            user, event = next(iter(self.untold.items()))
            try:
                await self.publisher.tell_access(event, deadline_s=TELL_S)
            except ProducerError as error:
                log.info("logout_not_told", error=type(error).__name__)
                return
            if self.untold.get(user) is event:
                del self.untold[user]

    def tick(self) -> None:
        """Forget what cannot matter any more. Call every second or so; logouts are walked through once an hour."""
        now_s = self.now_s()
        self.tell()
        self.tokens.logged_out.forget_seen(now_s)
        self.claims.forget(now_s)
        if now_s >= self.look_at_s:
            self.look_at_s = now_s + LOGOUTS_EVERY_S
            self.tokens.logged_out.forget(now_s)

    def now_s(self) -> float:
        """Wall clock, seconds since 1970."""
        return self.tokens.now_s()


def event_of(record: LogRecord, kind: type[Event]) -> Event | None:
    """What a record of that kind says; None where it says nothing."""
    if record.value is None:
        return None
    try:
        event = decode_access_event(record.value)
        if isinstance(event, UserLoggedOut):
            check_user_id(event.user)
    except (MalformedRecord, InvalidField) as error:
        log.warning("access_record_unreadable", offset=record.offset, reason=str(error))
        return None
    return event if isinstance(event, kind) else None


def used(kind: TicketKind) -> TokenInvalid:
    return TokenInvalid(f"the {kind.name} has been used; {kind.remedy}", reason="used")


def unclaimed(kind: TicketKind) -> TicketUnclaimed:
    return TicketUnclaimed(f"Kafka does not answer, so the {kind.name} could not be checked; {kind.remedy}")
