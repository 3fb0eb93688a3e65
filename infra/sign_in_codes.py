"""Sign-in codes: a ticket that a page exchanges, once, for an access token; so that no printed address holds a token.

A printed address stays where it was printed: in the terminal's scrollback, a log of what `tokenwire up` says, the
history of a browser. A code in it is worth nothing after its first use, and after `CODE_S` in any case.

Whoever has the secret of the access tokens makes codes without asking a gateway (`tokenwire up`, `tokenwire page`), and
any gateway exchanges them: nothing is kept in between, so restarts cost no code. Making one opens nothing that the
secret does not open anyhow. The token is the one that would have been printed in the code's place, with the code's
moment as its own: a logout after that moment ends both, whichever gateway exchanges the code and whatever it has heard.
"""

from __future__ import annotations

from typing import Final, Self

from infra.access_tokens import VerifiedToken, issue_token
from infra.connect_tickets import Ticket, TicketIssuer, TicketKind
from infra.keys import token_secret
from infra.settings import Settings
from schemas.identifiers import check_user_id

__all__ = ["CODE_S", "SignInCodes"]

CODE_S: Final = 900.0
"""Long enough to come back from another window, short enough for a log that somebody reads the next day."""
KIND: Final = TicketKind(
    name="code",
    audience="tokenwire-code",
    key_purpose=b"tokenwire sign-in codes",
    life_s=CODE_S,
    remedy="`tokenwire page` prints a new one where the gateway runs",
)


class SignInCodes:
    """Makes codes, reads them, and makes the tokens that they stand for."""

    def __init__(self, secret: bytes, *, audience: str, issuer: str) -> None:
        self._secret = secret
        self._audience = audience
        self._issuer = issuer
        self.tickets = TicketIssuer(secret, KIND)

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """None where tokens are made elsewhere (TOKENWIRE_AUTH_JWKS), so that no code can be exchanged for one.

        Raises SecretDamaged, OSError.
        """
        if settings.auth_jwks is not None:
            return None
        return cls(token_secret(settings), audience=settings.auth_audience, issuer=settings.auth_issuer)

    def issue(self, user: str, *, ttl_s: float, now_s: float) -> str:
        """A code for a token that is good until `now_s + ttl_s`. Raises InvalidField: this can be no user id."""
        return self.tickets.issue(VerifiedToken(check_user_id(user), now_s + ttl_s, now_s), now_s)

    def read(self, code: str) -> Ticket:
        """What a code says; whether it was used is not for it to say. Raises TokenExpired, TokenInvalid."""
        return self.tickets.read(code)

    def token_for(self, code: Ticket) -> str:
        """The access token that the code stands for."""
        said = code.token
        return issue_token(
            self._secret,
            said.user,
            ttl_s=said.expires_at_s - said.issued_at_s,
            now_s=said.issued_at_s,
            audience=self._audience,
            issuer=self._issuer,
        )
