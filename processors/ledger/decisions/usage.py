"""What a user has used, by every measure that is limited: the minute, the bucket, the day, the month, each session.

Only what is known to be used comes in here, when it is known; what is reserved stays outside (`account.py`) and is
added where a limit is asked about. So nothing that was reserved has to be found and taken out of a window again when
it turns out not to be needed, and no window gives anything back.

bucket     kept as what it lacks, in millionths of a token: it fills by the tier's tokens a second, which are millionths
           a microsecond, so all of it is whole numbers. It fills up to full and no further, and what is reserved
           meanwhile does not stop it. In any time t no more is used than a full bucket and t times the rate.
day        and month are those of the moment when something is known to be used.
session    until nothing of it was used for a day; of the SESSIONS_KEPT_MAX used last.

A correction downwards (we had counted more than the provider did) goes back to day, month and session, and not to
minute and bucket, which forget by themselves: handing back what has aged meanwhile would pass their limits.
"""

from __future__ import annotations

from processors.ledger.decisions.calendar import DAY_US, day_of, month_begins_us, month_of
from processors.ledger.decisions.rolling_minute import RollingMinute
from schemas.ledger import Amount, LedgerSnapshot, SessionUse
from schemas.tiers import LimitName

__all__ = ["SESSIONS_KEPT_MAX", "Usage"]

SESSIONS_KEPT_MAX = 256
MILLIONTHS = 1_000_000


class Usage:
    """What one user has used. Times must not go back."""

    __slots__ = (
        "bucket_at_us",
        "bucket_missing",
        "day",
        "day_granted_tokens",
        "day_tokens",
        "input_tokens",
        "month",
        "month_nano_usd",
        "output_tokens",
        "requests",
        "sessions",
    )

    def __init__(self, snapshot: LedgerSnapshot) -> None:
        self.requests = RollingMinute(snapshot.requests)
        self.input_tokens = RollingMinute(snapshot.input_tokens)
        self.output_tokens = RollingMinute(snapshot.output_tokens)
        self.bucket_missing = snapshot.bucket_missing
        self.bucket_at_us = snapshot.bucket_at_us
        self.day = snapshot.day
        self.day_tokens = snapshot.day_tokens
        self.day_granted_tokens = snapshot.day_granted_tokens
        self.month = snapshot.month
        self.month_nano_usd = snapshot.month_nano_usd
        self.sessions = dict(snapshot.sessions)
        """The one used last at the end."""

    def come_to(self, now_us: int, bucket_rate: int) -> None:
        """Let the bucket fill, and begin a new day or month. Without a rate there is no bucket: it is full."""
        filled = bucket_rate * max(0, now_us - self.bucket_at_us)  # a new owner's clock may be behind
        self.bucket_missing = max(0, self.bucket_missing - filled) if bucket_rate else 0
        self.bucket_at_us = max(now_us, self.bucket_at_us)
        day = day_of(now_us)
        if day > self.day:
            self.day, self.day_tokens, self.day_granted_tokens = day, 0, 0
            month = month_of(now_us)
            if month > self.month:
                self.month, self.month_nano_usd = month, 0

    def forget_aged(self, now_us: int) -> None:
        """Let go of what counts no more; `come_to` was called."""
        for minute in (self.requests, self.input_tokens, self.output_tokens):
            minute.at(now_us)
        for session in [session for session in self.sessions if not self.session_tokens(session, now_us)]:
            del self.sessions[session]

    def count(self, used: Amount, session: str, now_us: int) -> None:
        """Something was used now; `come_to` was called."""
        self.input_tokens.add(used.input_tokens, now_us)
        self.output_tokens.add(used.output_tokens, now_us)
        self.bucket_missing += used.tokens * MILLIONTHS
        self.day_tokens += used.tokens
        self.month_nano_usd += used.cost_nano_usd
        self.count_in_session(session, used.tokens, now_us)

    def correct(self, tokens: int, cost_nano_usd: int, session: str, *, since_us: int, now_us: int) -> None:
        """So much of what was counted since then was not used after all."""
        if day_of(since_us) == self.day:
            self.day_tokens = max(0, self.day_tokens - tokens)
        if month_of(since_us) == self.month:
            self.month_nano_usd = max(0, self.month_nano_usd - cost_nano_usd)
        known = self.session_tokens(session, now_us)
        self.count_in_session(session, -min(tokens, known), now_us)

    def session_tokens(self, session: str, now_us: int) -> int:
        """What a session has used."""
        known = self.sessions.get(session)
        return known.tokens if known is not None and now_us < known.at_us + DAY_US else 0

    def used(self, name: LimitName, session: str, now_us: int) -> int:
        """What counts against a limit now; `come_to` was called."""
        match name:
            case "requests_per_minute":
                return self.requests.at(now_us)
            case "input_tokens_per_minute":
                return self.input_tokens.at(now_us)
            case "output_tokens_per_minute":
                return self.output_tokens.at(now_us)
            case "bucket_tokens":
                return -(-self.bucket_missing // MILLIONTHS)
            case "tokens_per_day":
                return self.day_tokens
            case "nano_usd_per_month":
                return self.month_nano_usd
            case "tokens_per_session":
                return self.session_tokens(session, now_us)
            case (
                "tokens_per_turn"
                | "tokens_per_stream"
                | "concurrent_turns"
                | "tokens_per_second"
                | "queue_prompts"
                | "prompt_bytes"
            ):
                return 0

    def falls_to(self, name: LimitName, most: int, now_us: int, bucket_rate: int) -> int | None:
        """When no more than `most` (0 or more) counts, if nothing more is used; None: time does not change it."""
        match name:
            case "requests_per_minute":
                return self.requests.falls_to(most)
            case "input_tokens_per_minute":
                return self.input_tokens.falls_to(most)
            case "output_tokens_per_minute":
                return self.output_tokens.falls_to(most)
            case "bucket_tokens":
                return now_us - ((most * MILLIONTHS - self.bucket_missing) // bucket_rate)
            case "tokens_per_day":
                return (self.day + 1) * DAY_US
            case "nano_usd_per_month":
                return month_begins_us(self.month + 1)
            case (
                "tokens_per_session"
                | "tokens_per_turn"
                | "tokens_per_stream"
                | "concurrent_turns"
                | "tokens_per_second"
                | "queue_prompts"
                | "prompt_bytes"
            ):
                return None

    def count_in_session(self, session: str, tokens: int, now_us: int) -> None:
        if not tokens:
            return
        known = self.session_tokens(session, now_us)
        self.sessions.pop(session, None)
        self.sessions[session] = SessionUse(known + tokens, now_us)
        if len(self.sessions) > SESSIONS_KEPT_MAX:
            del self.sessions[next(iter(self.sessions))]
