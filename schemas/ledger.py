"""What is kept of a user's account: per run of a turn what is reserved and used, and a snapshot of the whole.

All amounts are absolute: reading one twice, or an old one after a newer one, adds nothing. A turn's journal entry
carries the accounts of all its runs; `tokenwire.ledger` (compacted, key: the user) the newest snapshot of each user.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = ["NOTHING", "Amount", "LedgerSnapshot", "RunAccount", "SessionUse", "SettledRun", "Slots", "TurnAccount"]

Slots: TypeAlias = tuple[tuple[int, int], ...]
"""(second since 1970, amount), oldest first."""


class Amount(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens and money."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0

    @property
    def tokens(self) -> int:
        """Input and output."""
        return self.input_tokens + self.output_tokens


NOTHING = Amount()


class RunAccount(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One run of a turn. Times are ledger times (`processors/ledger/decisions/account.py`), microseconds since 1970."""

    turn: str
    run: str
    session: str
    at_us: int
    """When it was reserved."""
    held: Amount = NOTHING
    """Reserved in all, with what is used of it."""
    used: Amount = NOTHING
    """Known to be used so far; once it is settled, what it has used."""
    settled_at_us: int = 0
    """0: it is open."""


class TurnAccount(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What a turn's journal entry says of its user's account."""

    turn: str
    counted_at_us: int = 0
    """When its prompt was counted as a request; 0: another turn of the prompt was."""
    runs: tuple[RunAccount, ...] = ()


class SettledRun(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """A run that is settled: it is not settled again."""

    turn: str
    run: str
    at_us: int
    """When it was reserved."""


class SessionUse(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """What a session has used, and when it last used anything."""

    tokens: int
    at_us: int


class LedgerSnapshot(msgspec.Struct, frozen=True, omit_defaults=True, tag="ledger", kw_only=True):
    """A user's whole account at a ledger time."""

    user: str
    at_us: int
    """The newest change that is in it."""
    requests: Slots = ()
    input_tokens: Slots = ()
    output_tokens: Slots = ()
    bucket_missing: int = 0
    """Millionths of a token that the bucket lacks."""
    bucket_at_us: int = 0
    day: int = 0
    """Days since 1970."""
    day_tokens: int = 0
    day_granted_tokens: int = 0
    """What an operator has added to the day's limit."""
    month: int = 0
    """Months since 1970."""
    month_nano_usd: int = 0
    sessions: dict[str, SessionUse] = {}
    open: tuple[RunAccount, ...] = ()
    settled: tuple[SettledRun, ...] = ()
    """The newest ones."""
    forgotten_at_us: int = 0
    """Runs reserved up to then are among `open`, or settled."""
    blocked: bool = False
    commands_to: int = -1
    """The newest of an operator's commands that is in it, by its offset."""
