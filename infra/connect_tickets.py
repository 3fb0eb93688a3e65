"""Tickets: small JWTs of our own (HS256) that are good once, for a short time.

A *connect ticket* is a way in for one connection, for a browser that must not hold an access token. It is signed with
a key drawn from the cursors' secret, which every gateway has; so tickets exist whoever issues the access tokens. It
carries what the access token said: the user, when that was issued and until when it is good; and which logouts were
known when it was made. A *sign-in code* (`infra/sign_in_codes.py`) is another kind, exchanged for an access token. Each
kind has an audience and a key of its own, so none passes for the other.

A ticket is void after its kind's `life_s`; that it was not used before is for the gateways' common log to say
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

__all__ = ["CONNECT", "TICKET_S", "Ticket", "TicketIssuer", "TicketKind", "is_ticket"]

TICKET_S: Final = 30.0
PREFIX: Final = "ticket."
ALGORITHM: Final = "HS256"
ID_BYTES: Final = 16
CLAIMS: Final = ["exp", "sub", "aud", "jti", "issued", "until", "place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketKind:
    """What sets tickets of one kind apart."""

    name: str
    """What it is called in sentences."""
    audience: str
    key_purpose: bytes
    life_s: float
    remedy: str
    prefix: str = ""


CONNECT: Final = TicketKind(
    name="ticket",
    audience="tokenwire-ticket",
    key_purpose=b"tokenwire connect tickets",
    life_s=TICKET_S,
    remedy="get a new one with POST /v1/ticket",
    prefix=PREFIX,
)


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket whose signature and time are good."""

    id: str
    expires_at_s: float
    token: VerifiedToken
    """What the access token said that it was made from."""


def is_ticket(text: str) -> bool:
    """Whether it is meant to be a connect ticket rather than an access token."""
    return text.startswith(PREFIX)


class TicketIssuer:
    """Makes tickets of one kind and reads them."""

    def __init__(self, secret: bytes, kind: TicketKind = CONNECT) -> None:
        self.kind = kind
        self.key = hmac.digest(secret, kind.key_purpose, hashlib.sha256)

    def issue(self, token: VerifiedToken, now_s: float) -> str:
        """A ticket for whoever holds this access token."""
        claims: dict[str, Any] = {
            "sub": token.user,
            "aud": self.kind.audience,
            "exp": int(now_s + self.kind.life_s),
            "jti": secrets.token_urlsafe(ID_BYTES),
            "issued": token.issued_at_s,
            "until": token.expires_at_s,
            "place": token.place,
        }
        return self.kind.prefix + jwt.encode(claims, self.key, ALGORITHM)

    def read(self, text: str) -> Ticket:
        """What a ticket says. Raises TokenExpired, TokenInvalid."""
        kind = self.kind
        if len(text) > TOKEN_CHARS_MAX:
            raise TokenInvalid(
                f"the {kind.name} is longer than {TOKEN_CHARS_MAX} characters; {kind.remedy}", reason="length"
            )
        try:
            claims = jwt.decode(
                text.removeprefix(kind.prefix),
                self.key,
                [ALGORITHM],
                audience=kind.audience,
                options={"require": CLAIMS},
            )
            until_s, issued_at_s = float(claims["until"]), float(claims["issued"])
            token = VerifiedToken(check_user_id(claims["sub"]), until_s, issued_at_s, int(claims["place"]))
            return Ticket(claims["jti"], float(claims["exp"]), token)
        except jwt.ExpiredSignatureError:
            raise TokenExpired(f"the {kind.name} has expired; {kind.remedy}") from None
        except (jwt.PyJWTError, InvalidField, ValueError, TypeError, OverflowError, RecursionError) as error:
            raise TokenInvalid(f"the {kind.name} is not valid here; {kind.remedy}", reason=reason_of(error)) from None
