"""The accounts of one partition's users: restored from their snapshots and the journal, and kept while it is owned.

The partition's owner is the only one to decide. A user whose tier limits nothing has no account, and costs nothing.
An account is built when it is first asked for, so a start reads snapshots and decodes none. Snapshots of what has
changed are written every few seconds; they may be late or lost, as the journal says the same (decision 0089).

Bounds: ACCOUNTS_KEPT_MAX accounts are kept built; of those with nothing open, the one used longest ago goes back to
its snapshot. An account that says nothing any more leaves a tombstone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Literal, TypeAlias

import msgspec
import structlog

from infra.clock import Clock
from infra.kafka.log_client import LogBounds, LogClient, UnknownLog
from processors.ledger.decisions.account import Account
from processors.ledger.decisions.calendar import DAY_US
from processors.ledger.decisions.restored_account import restored
from processors.ledger.decisions.rolling_minute import SECOND_US
from processors.ledger.decisions.verdicts import Granted, Refused, Verdict
from processors.writing.log_appender import LogAppender
from schemas.codec import decode_ledger_snapshot, encode
from schemas.errors import SchemaError
from schemas.ledger import NOTHING, Amount, LedgerSnapshot, RunAccount, TurnAccount
from schemas.refusals import Refusal
from schemas.tiers import OPEN, Tier, Tiers

__all__ = ["UserAccounts"]

log = structlog.get_logger(__name__)

LimitsMet: TypeAlias = Callable[[str, Literal["refused", "shadow"]], None]
"""Told of each limit that is met, by its name, and of what came of it."""
ELSEWHERE: Final = Refusal(code="moved", remedy="send it again", temporary=True)
"""Another owner may be deciding by now."""
ACCOUNTS_KEPT_MAX: Final = 4_096
SWEEP_BATCH_MAX: Final = 500


@dataclass(eq=False, kw_only=True)
class UserAccounts:
    """Of one partition. Owned by the partition's owner."""

    partition: int
    appender: LogAppender
    reader: LogClient
    clock: Clock
    broker_now_us: Callable[[], Awaitable[int]]
    """The time by the broker's clock: days and minutes are by it."""
    tiers: Callable[[], Tiers]
    """Those in force at this moment."""
    is_open: Callable[[str], bool]
    """Whether the journal knows a turn as one that has not ended."""
    limits_met: LimitsMet
    is_leased: bool = field(default=False, init=False)
    """Another owner may be deciding by now: no run may reserve more."""
    _built: OrderedDict[str, Account] = field(default_factory=OrderedDict, init=False)
    """By user; the one used last at the end."""
    _snapshots: dict[str, bytes] = field(default_factory=dict, init=False)
    """Of users whose account is not built, as they lie on the topic."""
    _entries: dict[str, list[TurnAccount]] = field(default_factory=dict, init=False)
    """What the journal said when it was loaded, until the account is built."""
    _changed: set[str] = field(default_factory=set, init=False)
    """Users whose newest snapshot does not say all."""
    _ahead_us: int | None = field(default=None, init=False)
    """How far the broker's clock is ahead of our monotonic one; None: it was not asked, as nobody was limited."""

    # ---- Loading and keeping

    async def load(self, entries: Iterable[tuple[str, TurnAccount]]) -> None:
        """Read the partition's snapshots; `entries`: the journal's. Raises LogError."""
        topic, newest = self.appender.names.ledger, dict[str, tuple[int, bytes]]()
        try:
            bounds = await self.reader.bounds(topic, self.partition)
        except UnknownLog:  # of a version without accounts
            log.warning("no_ledger_topic", topic=topic, remedy="run tokenwire migrate")
            bounds = LogBounds(0, 0)
        async for piece in self.reader.pieces(topic, self.partition, bounds.start, bounds.end):
            for record in piece.records:
                user = (record.key or b"").decode(errors="replace")
                if record.value is None:
                    newest.pop(user, None)
                    continue
                try:
                    at_us = decode_ledger_snapshot(record.value).at_us
                except SchemaError:
                    log.error("snapshot_unreadable", partition=self.partition, offset=record.offset)
                    continue
                # a worker that was frozen may write an old one after its successor's
                if user not in newest or newest[user][0] <= at_us:
                    newest[user] = at_us, record.value
        self._built.clear()
        self._changed.clear()
        self._snapshots = {user: value for user, (_, value) in newest.items()}
        self._entries = {}
        for user, entry in entries:
            self._entries.setdefault(user, []).append(entry)
        if self._snapshots or self._entries or self.tiers() != Tiers():
            await self._ask_time()

    async def save(self) -> None:
        """Write a snapshot of every account that has changed. Raises AppendFailed.

        Cancellation: some may be on the topic and count as unwritten; they are written again.
        """
        if self._changed and self._ahead_us is None:  # limits that came with a new file
            await self._ask_time()
        self._put_away()  # first: no more are kept built however long nothing can be written
        for user in list(self._changed):
            self._changed.discard(user)  # what changes meanwhile says so again
            written = False
            try:
                await self.appender.append(
                    self.appender.names.ledger, self.partition, self._said(user), key=user.encode()
                )
                written = True
            finally:
                if not written:
                    self._changed.add(user)

    async def sweep(self) -> None:
        """Leave a tombstone for accounts that say nothing any more, SWEEP_BATCH_MAX looked at in a call.

        Not before a day has passed: until then an entry of the journal may be one that the snapshot knows as settled.
        Raises AppendFailed.
        """
        now_us = self._now_us()
        for user in list(islice(self._snapshots, SWEEP_BATCH_MAX)):
            value = self._snapshots.pop(user)
            snapshot = decode_ledger_snapshot(value)
            if now_us - snapshot.at_us > DAY_US:
                account = Account(snapshot)
                account.come_to(self.tier_of(user) or OPEN, now_us)
                account.usage.forget_aged(now_us)
                snapshot = account.snapshot()
            if now_us - snapshot.at_us > DAY_US and is_empty(snapshot):
                await self.appender.append(self.appender.names.ledger, self.partition, None, key=user.encode())
            else:
                self._snapshots[user] = value  # behind those that were not looked at yet

    # ---- Decisions

    def tier_of(self, user: str) -> Tier | None:
        """The limits that hold for a user now; None: a stranger."""
        tiers = self.tiers()
        standing = tiers.standing_of(user)
        return None if standing is None else tiers.tier_of(standing) or OPEN

    def has_account(self, user: str) -> bool:
        """Whether anything is kept of a user: of most nothing is, and nothing has to be found out for it."""
        return self._of(user)[1] is not None

    def admit(self, user: str, session: str, at_least: Amount) -> Verdict:
        """Count a prompt as a request, if it may come in; see `Account.admit`."""
        tier, account = self._of(user)
        if account is None:
            return Granted()
        return self._noted(user, account.admit(tier, session=session, at_least=at_least, now_us=self._now_us()))

    def take_back(self, user: str, counted_at_us: int) -> None:
        """A prompt that was counted was not taken in after all."""
        _, account = self._of(user)
        if account is not None and counted_at_us:
            account.take_back(counted_at_us)
            self._changed.add(user)

    def reserve(self, user: str, run: RunAccount, *, turn_tokens: int, priced: bool) -> Verdict:
        """Reserve what a run is to hold, before its call; see `Account.reserve`."""
        tier, account = self._of(user)
        if account is None:
            return Granted()
        if self.is_leased:
            return Refused(ELSEWHERE)
        now_us = self._now_us()
        return self._noted(user, account.reserve(tier, run, turn_tokens=turn_tokens, priced=priced, now_us=now_us))

    def grow(self, user: str, run: RunAccount, *, used: Amount, held: Amount, turn_tokens: int) -> Verdict:
        """Note what a run has used, and have it hold more; see `Account.grow`. Raises UnknownRun."""
        tier, account = self._of(user)
        if account is None:
            return Granted()
        key, now_us = (run.turn, run.run), self._now_us()
        if self.is_leased:
            account.grow(tier, key, used=used, held=NOTHING, turn_tokens=turn_tokens, now_us=now_us)
            return Refused(ELSEWHERE)
        return self._noted(user, account.grow(tier, key, used=used, held=held, turn_tokens=turn_tokens, now_us=now_us))

    def headroom(self, user: str, run: RunAccount, *, turn_tokens: int, output_nano_usd: int) -> int | None:
        """Output tokens that a run may come to hold beyond what it holds; None: no limit says. Raises UnknownRun."""
        tier, account = self._of(user)
        if account is None:
            return None
        return account.headroom(
            tier,
            (run.turn, run.run),
            turn_tokens=turn_tokens,
            output_nano_usd=output_nano_usd,
            now_us=self._now_us(),
        )

    def settle(self, user: str, run: RunAccount, used: Amount) -> RunAccount | None:
        """A run has ended; its account for the journal, None for a user without limits. See `Account.settle`.

        One that was settled before is told as settled again: the entry that said so may have been lost.
        """
        tier, account = self._of(user)
        if account is None:
            return None
        settled = account.settle(tier, run, used, self._now_us())
        self._changed.add(user)
        return settled or msgspec.structs.replace(run, used=used, settled_at_us=account.at_us)

    def release(self, user: str, run: RunAccount) -> None:
        """A run was not called; see `Account.release`."""
        _, account = self._of(user)
        if account is not None:
            account.release((run.turn, run.run))
            self._changed.add(user)

    def trim(self, user: str, run: RunAccount, used: Amount) -> None:
        """A run is over, and its record is not written yet; see `Account.trim`. Raises UnknownRun."""
        tier, account = self._of(user)
        if account is not None:
            account.trim(tier, (run.turn, run.run), used, self._now_us())
            self._changed.add(user)

    def open_runs(self, user: str, turn: str) -> list[RunAccount]:
        """What runs of a turn hold."""
        _, account = self._of(user)
        return [run for run in account.open.values() if run.turn == turn] if account is not None else []

    # ---- Within

    def _of(self, user: str) -> tuple[Tier, Account | None]:
        """The user's limits and account; no account where nothing is limited and nothing is open."""
        tier = self.tier_of(user) or OPEN
        account = self._built.get(user)
        if account is None and (tier.limits or user in self._entries):
            account = self._built[user] = self._restored(user, tier)
        if account is not None:
            self._built.move_to_end(user)
            if not tier.limits and not account.open:
                account = None
        return tier, account

    def _restored(self, user: str, tier: Tier) -> Account:
        value = self._snapshots.pop(user, None)
        snapshot = decode_ledger_snapshot(value) if value is not None else LedgerSnapshot(user=user, at_us=0)
        account = restored(snapshot, self._entries.pop(user, ()), tier)
        account.follow(self._now_us())
        for run in list(account.open.values()):
            if not self.is_open(run.turn):  # no entry names it, or the turn was closed without it: it was never called
                account.release((run.turn, run.run))
                self._changed.add(user)
        return account

    def _noted(self, user: str, verdict: Verdict) -> Verdict:
        if isinstance(verdict, Granted):
            self._changed.add(user)
            for refusal in verdict.shadowed:
                self.limits_met(refusal.code, "shadow")
        else:
            self.limits_met(verdict.refusal.code, "refused")
        return verdict

    def _said(self, user: str) -> bytes | None:
        """The user's newest snapshot; None where it says nothing."""
        account = self._built.get(user)
        if account is None:
            return self._snapshots.get(user)
        snapshot = account.snapshot()
        return None if is_empty(snapshot) else encode(snapshot)

    def _put_away(self) -> None:
        """Keep no more accounts built than may be."""
        surplus = len(self._built) - ACCOUNTS_KEPT_MAX
        idle = (user for user, account in self._built.items() if not account.open)
        for user in list(islice(idle, max(0, surplus))):
            value = self._said(user)
            del self._built[user]
            if value is not None:
                self._snapshots[user] = value

    def _now_us(self) -> int:
        return self.clock.now_us() if self._ahead_us is None else self._ahead_us + self._elapsed_us()

    async def _ask_time(self) -> None:
        self._ahead_us = await self.broker_now_us() - self._elapsed_us()
        for account in self._built.values():
            account.follow(self._now_us())

    def _elapsed_us(self) -> int:
        return round(self.clock.monotonic_s() * SECOND_US)


def is_empty(snapshot: LedgerSnapshot) -> bool:
    """Whether it says what a new account says."""
    return snapshot == LedgerSnapshot(
        user=snapshot.user,
        at_us=snapshot.at_us,
        bucket_at_us=snapshot.bucket_at_us,
        day=snapshot.day,
        month=snapshot.month,
        settled=snapshot.settled,
        forgotten_at_us=snapshot.forgotten_at_us,
        commands_to=snapshot.commands_to,
    )
