"""Connect tickets: a way in for one connection, for a browser that must not hold an access token.

A ticket is a small JWT of our own (HS256, its own audience), signed with a key drawn from the cursors' secret, which
every gateway has; so tickets exist whoever issues the access tokens. It carries what the access token said: the user,
when that was issued and until when it is good; and which logouts were known when it was made. It is void after
`TICKET_S` and good for one use; that it was not used before is for the gateways' common log to say
(`gateway/access/access_desk.py`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Final

import jwt

from infra.access_tokens import TOKEN_CHARS_MAX, TokenExpired, TokenInvalid, VerifiedToken, reason_of
from schemas.errors import InvalidField
from schemas.identifiers import check_user_id

__all__ = ["TICKET_S", "ConnectTicket", "TicketIssuer", "is_ticket"]

TICKET_S: Final = 30.0
PREFIX: Final = "ticket."
ALGORITHM: Final = "HS256"
AUDIENCE: Final = "tokenwire-ticket"
KEY_PURPOSE: Final = b"tokenwire connect tickets"
ID_BYTES: Final = 16
CLAIMS: Final = ["exp", "sub", "aud", "jti", "issued", "until", "place"]
REMEDY: Final = "get a new one with POST /v1/ticket"


@dataclass(frozen=True, slots=True)
class ConnectTicket:
    """A ticket whose signature and time are good."""

    id: str
    expires_at_s: float
    token: VerifiedToken
    """What the access token said that it was made from."""


def is_ticket(text: str) -> bool:
    """Whether it is meant to be a ticket rather than an access token."""
    return text.startswith(PREFIX)


class TicketIssuer:
    """Makes tickets and reads them."""

    def __init__(self, secret: bytes) -> None:
        self.key = hmac.digest(secret, KEY_PURPOSE, hashlib.sha256)

    def issue(self, token: VerifiedToken, now_s: float) -> str:
        """A ticket for whoever holds this access token."""
        claims: dict[str, Any] = {
            "sub": token.user,
            "aud": AUDIENCE,
            "exp": int(now_s + TICKET_S),
            "jti": secrets.token_urlsafe(ID_BYTES),
            "issued": token.issued_at_s,
            "until": token.expires_at_s,
            "place": token.place,
        }
        return PREFIX + jwt.encode(claims, self.key, ALGORITHM)

    def read(self, ticket: str) -> ConnectTicket:
        """What a ticket says. Raises TokenExpired, TokenInvalid."""
        if len(ticket) > TOKEN_CHARS_MAX:
            raise TokenInvalid(f"the ticket is longer than {TOKEN_CHARS_MAX} characters; {REMEDY}", reason="length")
        try:
            claims = jwt.decode(
                ticket.removeprefix(PREFIX), self.key, [ALGORITHM], audience=AUDIENCE, options={"require": CLAIMS}
            )
            until_s, issued_at_s = float(claims["until"]), float(claims["issued"])
            token = VerifiedToken(check_user_id(claims["sub"]), until_s, issued_at_s, int(claims["place"]))
            return ConnectTicket(claims["jti"], float(claims["exp"]), token)
        except jwt.ExpiredSignatureError:
            raise TokenExpired(f"the ticket has expired; {REMEDY}") from None
        except (jwt.PyJWTError, InvalidField, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TokenInvalid(f"the ticket is not valid here; {REMEDY}", reason=reason_of(error)) from None
