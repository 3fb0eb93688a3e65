"""What is asked of a gateway, and who is who: the words that the writer of the logs and the clients share.

Record number `j` of a wave goes to reader `j % streaming` and is its `j // streaming`-th; each holds as many tokens. So
the two sides can tell records by one number, and what is lost shows without a word between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.identifiers import SessionId, SessionKey, check_session_id, check_user_id, session_key_of

__all__ = ["SECRET", "SESSION", "TOKEN_BYTES", "Load", "key_of", "user_of"]

SECRET: Final = "only-for-measuring-on-this-machine-0123456789"
SESSION: Final[SessionId] = check_session_id("s")
TOKEN_BYTES: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One wave: `streaming` answers side by side, and how fast."""

    run: str
    """Names this run's users, so that runs on one broker have sessions of their own."""
    turn: str
    streaming: int
    records_per_s: float
    tokens_per_record: int
    seconds: float
    layout: str
    token_bytes: int = TOKEN_BYTES

    @property
    def word(self) -> str:
        """Every token."""
        return " " + "w" * (self.token_bytes - 1)

    @property
    def records(self) -> int:
        """All that are written."""
        return max(1, round(self.records_per_s * self.seconds))

    @property
    def tokens(self) -> int:
        """In all records."""
        return self.records * self.tokens_per_record

    def records_of(self, number: int) -> int:
        """How many of them are a reader's."""
        return self.records // self.streaming + (number < self.records % self.streaming)


def user_of(run: str, number: int) -> str:
    """The user whose session a client reads."""
    return f"{run}-{number}"


def key_of(run: str, number: int) -> SessionKey:
    """That session's key."""
    return session_key_of(check_user_id(user_of(run, number)), SESSION)
