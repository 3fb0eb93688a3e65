"""One user's account: which prompts still fit, what is reserved for those that run, and each run settled once.

A run's life here: `reserve` (before the call) → `grow` (as the answer comes: what is used so far, and what is wanted in
all) → `settle` (what it has used). What is reserved and not used yet is *in flight*. A limit holds where used + in
flight + asked stays within it, so however many prompts come at once, each sees what those before it have reserved.

Invariants. Nothing is ever negative. What is used passes a limit only by what runs use beyond their reservation (the
caller's bound: a slice and what was read ahead) and by what was in flight or used when a limit was made smaller. When
every run is settled, nothing is in flight. A refusal changes nothing.

**Absolute amounts.** Each run has one account of absolute amounts, and these only move one way: used and held never
shrink, open becomes settled and stays so. So an account that is read twice, late or out of order says nothing new, and
nothing has to know whether it was read before.

**Ledger time.** Each change has a time of its own, later than every change before it: the broker's time, or a
microsecond after the newest change where that is later. So "up to `at_us`" says exactly which changes a snapshot
holds, although it is taken from memory while entries are on their way and their offsets are not known.

**What is forgotten.** The newest SETTLED_KEPT_MAX settled runs are kept by name. Of others the latest time of
reservation is (`forgotten_at_us`): who was reserved up to then is open here, or settled, whatever a late entry says. A
run that is later and not known was called by a worker that had lost the partition: it is counted, as it was paid for.

Not a table of balances, changed by deltas: a delta that is read twice counts twice. Cost: a decision walks the tier's
limits, and the open runs where sessions are limited.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from processors.ledger.decisions.amounts import above, larger
from processors.ledger.decisions.limits import (
    BLOCKED,
    OF_ANSWERS,
    REMEDIES,
    UNPRICED,
    Judged,
    Measure,
    hardest,
    judge,
    needs_price,
)
from processors.ledger.decisions.open_runs import OpenRuns, RunKey, UnknownRun
from processors.ledger.decisions.usage import Usage
from processors.ledger.decisions.verdicts import Asked, Granted, Refused, Verdict
from schemas.ledger import NOTHING, Amount, LedgerSnapshot, RunAccount, SettledRun
from schemas.refusals import Refusal
from schemas.tiers import LimitName, Tier

__all__ = ["SETTLED_KEPT_MAX", "Account"]

SETTLED_KEPT_MAX: Final = 64


class Account:
    """The account of one user. Owned by one task; the only one to change it."""

    def __init__(self, snapshot: LedgerSnapshot) -> None:
        """As it was when the snapshot was taken; for a new user, an empty one."""
        self._user = snapshot.user
        self.at_us = snapshot.at_us
        """Ledger time of the newest change."""
        self._ahead_us = 0
        """How far ledger time is ahead of those who ask."""
        self.usage = Usage(snapshot)
        self.runs = OpenRuns()
        self.settled: dict[RunKey, int] = {(run.turn, run.run): run.at_us for run in snapshot.settled}
        """When each was reserved; the one settled last at the end."""
        self._forgotten_at_us = snapshot.forgotten_at_us
        self._blocked = snapshot.blocked
        self._commands_to = snapshot.commands_to
        for run in snapshot.open:
            self.runs.put(run)

    # ---- Decisions

    def admit(self, tier: Tier, *, session: str, at_least: Amount, now_us: int) -> Verdict:
        """Count a prompt as a request, if it may come in. `at_least`: what it takes without history and answer.

        It need not fit beside what is in flight: when its turn comes that may have ended. `take_back` undoes it.
        """
        tokens = at_least.tokens
        asked = Asked(at_least, session, requests=1, turn_tokens=tokens, stream_tokens=tokens, beside=False)
        decided = self.decide(tier, asked, now_us)
        if isinstance(decided, Refusal):
            return Refused(decided)
        at_us = self.tick(tier, now_us)
        self.usage.requests.add(1, at_us)
        return Granted(None, at_us, decided)

    def take_back(self, at_us: int) -> None:
        """A prompt that was counted then was not taken in after all: its entry could not be written."""
        self.usage.requests.undo(1, at_us)

    def reserve(
        self, tier: Tier, run: RunAccount, *, turn_tokens: int = 0, priced: bool = True, now_us: int
    ) -> Verdict:
        """Reserve `run.held` for a run before its call. Repeating it changes nothing.

        `turn_tokens`: used by earlier runs of the turn. `settle` with nothing used undoes it. Raises UnknownRun for one
        that was settled.
        """
        key = (run.turn, run.run)
        known = self.open.get(key)
        if known is not None:
            return Granted(known, known.at_us)
        if key in self.settled:
            raise UnknownRun(f"run {run.run} of turn {run.turn} was settled")
        tokens = run.held.tokens
        if not priced and needs_price(tier):
            return Refused(UNPRICED)
        asked = Asked(
            run.held,
            run.session,
            turns=0 if run.turn in self.runs.turns else 1,
            turn_tokens=turn_tokens + self.runs.turn_tokens(run.turn) + tokens,
            stream_tokens=tokens,
        )
        decided = self.decide(tier, asked, now_us)
        if isinstance(decided, Refusal):
            return Refused(decided)
        at_us = self.tick(tier, now_us)
        reserved = msgspec.structs.replace(run, at_us=at_us, used=NOTHING, settled_at_us=0)
        self.runs.put(reserved)
        return Granted(reserved, at_us, decided)

    def grow(
        self, tier: Tier, key: RunKey, *, used: Amount, held: Amount, turn_tokens: int = 0, now_us: int
    ) -> Verdict:
        """Note what a run has used so far, and reserve more for it: `held` in all.

        What is used is counted whether or not there is more. Neither ever shrinks. Raises UnknownRun.
        """
        known = self.runs.known(key)
        at_us = self.tick(tier, now_us)
        known = self.meter(known, larger(known.used, used), at_us)
        taken = larger(known.held, known.used)
        more = above(held, taken)
        if more == NOTHING:
            return Granted(known, at_us)
        asked = Asked(
            more,
            known.session,
            turn_tokens=turn_tokens + self.runs.turn_tokens(known.turn) + more.tokens,
            stream_tokens=taken.tokens + more.tokens,
        )
        decided = self.decide(tier, asked, now_us)
        if isinstance(decided, Refusal):
            return Refused(decided)
        grown = msgspec.structs.replace(known, held=larger(known.held, held))
        self.runs.put(grown)
        return Granted(grown, at_us, decided)

    def settle(self, tier: Tier, run: RunAccount, used: Amount, now_us: int) -> RunAccount | None:
        """A run has ended, and this is what it has used: nothing of it is in flight any more.

        Returns its account, for the journal; None where it was settled before. A run that nobody here has reserved is
        counted all the same. With nothing used it is as if it had never been reserved.
        """
        key = (run.turn, run.run)
        known = self.open.get(key)
        if known is None and self.is_settled(run):
            return None
        at_us = self.tick(tier, now_us)
        if known is None:
            reserved_us = min(run.at_us or at_us, at_us)
            known = msgspec.structs.replace(run, at_us=reserved_us, held=NOTHING, used=NOTHING)
        before = known.used
        self.runs.remove(key)
        self.usage.count(above(used, before), known.session, at_us)
        too_many = above(before, used)
        if too_many != NOTHING:
            self.usage.correct(
                too_many.tokens, too_many.cost_nano_usd, known.session, since_us=known.at_us, now_us=at_us
            )
        self.settled[key] = known.at_us
        self.forget()
        return msgspec.structs.replace(known, used=used, settled_at_us=at_us)

    def release(self, key: RunKey) -> None:
        """As far as is known a run was never called: it holds nothing any more. `settle` counts it if it was after all;
        it may have been told on the log."""
        self.runs.remove(key)

    def trim(self, tier: Tier, key: RunKey, used: Amount, now_us: int) -> None:
        """A run is over and has used so much, as far as is known yet: it holds no more than that until it is settled.

        Raises UnknownRun.
        """
        at_us = self.tick(tier, now_us)
        known = self.meter(self.runs.known(key), larger(self.runs.known(key).used, used), at_us)
        self.runs.put(msgspec.structs.replace(known, held=known.used))

    # ---- Questions

    def headroom(
        self, tier: Tier, key: RunKey, *, turn_tokens: int = 0, output_nano_usd: int = 0, now_us: int
    ) -> int | None:
        """Output tokens that an open run may still reserve beyond what it holds; None: as many as it likes.

        `output_nano_usd`: what one costs. Raises UnknownRun.
        """
        run = self.runs.known(key)
        now_us = self.come_to(tier, now_us)
        asked = Asked(
            NOTHING,
            run.session,
            turn_tokens=turn_tokens + self.runs.turn_tokens(run.turn),
            stream_tokens=larger(run.held, run.used).tokens,
        )
        rooms = []
        for name, limit in tier.limits.items():
            if name in tier.shadow or name not in OF_ANSWERS:
                continue
            measure = self.measure(name, limit, asked, now_us)
            room = max(0, limit - measure.used - measure.flight - measure.asked)
            if name != "nano_usd_per_month":
                rooms.append(room)
            elif output_nano_usd:
                rooms.append(room // output_nano_usd)
        return min(rooms, default=None)

    def remaining(self, tier: Tier, now_us: int, session: str = "") -> dict[LimitName, int]:
        """What is left of each limit, beside what is in flight."""
        now_us = self.come_to(tier, now_us)
        asked = Asked(NOTHING, session)
        left: dict[LimitName, int] = {}
        for name, limit in tier.limits.items():
            if name not in REMEDIES:
                continue
            measure = self.measure(name, limit, asked, now_us)
            left[name] = max(0, measure.limit - measure.used - measure.flight)
        return left

    @property
    def flight(self) -> Amount:
        """What is reserved and not used yet."""
        return self.runs.flight

    @property
    def open(self) -> dict[RunKey, RunAccount]:
        """The runs that are open."""
        return self.runs.by_key

    def is_settled(self, run: RunAccount) -> bool:
        """Whether a run that is not open was settled; one without a time was reserved by nobody here."""
        return (run.turn, run.run) in self.settled or 0 < run.at_us <= self._forgotten_at_us

    # ---- An operator's words

    def command(self, offset: int, act: Callable[[Account], None]) -> bool:
        """Do what an operator's command says, once; False: it was done before."""
        if offset <= self._commands_to:
            return False
        self._commands_to = offset
        act(self)
        return True

    def grant(self, tokens: int) -> None:
        """Let so many tokens more be used today."""
        self.usage.day_granted_tokens += tokens

    def block(self, *, blocked: bool) -> None:
        """Take nothing in, or take in again. What runs goes on."""
        self._blocked = blocked

    def reset(self) -> None:
        """As if nothing had been used; what runs keeps its reservation."""
        self.usage = Usage(
            LedgerSnapshot(
                user=self._user, at_us=self.at_us, day=self.usage.day, month=self.usage.month, bucket_at_us=self.at_us
            )
        )

    # ---- Keeping

    def snapshot(self) -> LedgerSnapshot:
        """All of it, up to `at_us`."""
        usage = self.usage
        return LedgerSnapshot(
            user=self._user,
            at_us=self.at_us,
            requests=usage.requests.slots(),
            input_tokens=usage.input_tokens.slots(),
            output_tokens=usage.output_tokens.slots(),
            bucket_missing=usage.bucket_missing,
            bucket_at_us=usage.bucket_at_us,
            day=usage.day,
            day_tokens=usage.day_tokens,
            day_granted_tokens=usage.day_granted_tokens,
            month=usage.month,
            month_nano_usd=usage.month_nano_usd,
            sessions=dict(usage.sessions),
            open=tuple(self.open.values()),
            settled=tuple(SettledRun(turn, run, at_us) for (turn, run), at_us in self.settled.items()),
            forgotten_at_us=self._forgotten_at_us,
            blocked=self._blocked,
            commands_to=self._commands_to,
        )

    def take_open(self, tier: Tier, run: RunAccount) -> None:
        """A run is open, by a journal entry; what is known of it already stays, where it is more."""
        self.at_us = max(self.at_us, run.at_us)  # what it has used is of that day, or a later one
        self.usage.come_to(self.at_us, tier.bucket_tokens_per_s)
        known = self.open.get((run.turn, run.run))
        if known is None:
            known = msgspec.structs.replace(run, used=NOTHING, settled_at_us=0)
        self.runs.put(msgspec.structs.replace(known, held=larger(known.held, run.held)))
        self.meter(self.open[run.turn, run.run], larger(known.used, run.used), self.at_us)

    # ---- Within

    def follow(self, now_us: int) -> None:
        """Another clock says the time from here on; where it is behind the newest change, time goes on from that."""
        self._ahead_us = max(0, self.at_us - now_us)

    def decide(self, tier: Tier, asked: Asked, now_us: int) -> Refusal | tuple[Refusal, ...]:
        """A refusal, or what limits in shadow would have refused."""
        now_us = self.come_to(tier, now_us)
        if self._blocked and (asked.requests or asked.turns):
            return BLOCKED
        met: list[Judged] = []
        shadowed: list[Refusal] = []

        def frees_us(name: LimitName, most: int) -> int | None:
            if name == "tokens_per_day":  # what an operator granted for today does not last until tomorrow
                most -= self.usage.day_granted_tokens
            return self.usage.falls_to(name, most, now_us, tier.bucket_tokens_per_s) if most >= 0 else None

        for name, limit in tier.limits.items():
            measure = self.measure(name, limit, asked, now_us)
            if measure.fits:
                continue
            judged = judge(measure, frees_us, now_us, unsure=self.runs.unsure(name))
            if name in tier.shadow:
                shadowed.append(judged.refusal)
            else:
                met.append(judged)
        return hardest(met) if met else tuple(shadowed)

    def measure(self, name: LimitName, limit: int, asked: Asked, now_us: int) -> Measure:
        used, flight, amount = self.usage.used(name, asked.session, now_us), 0, asked.amount
        match name:
            case "requests_per_minute":
                need = asked.requests
            case "input_tokens_per_minute":
                flight, need = self.runs.flight_input, amount.input_tokens
            case "output_tokens_per_minute":
                flight, need = self.runs.flight_output, amount.output_tokens
            case "bucket_tokens":
                flight, need = self.runs.flight_input + self.runs.flight_output, amount.tokens
            case "tokens_per_day":
                limit += self.usage.day_granted_tokens
                flight, need = self.runs.flight_input + self.runs.flight_output, amount.tokens
            case "nano_usd_per_month":
                flight, need = self.runs.flight_cost, amount.cost_nano_usd
            case "tokens_per_session":
                flight, need = self.runs.session_flight_tokens(asked.session), amount.tokens
            case "tokens_per_turn":
                need = asked.turn_tokens
            case "tokens_per_stream":
                need = asked.stream_tokens
            case "concurrent_turns":
                flight, need = len(self.runs.turns), asked.turns
            case "tokens_per_second" | "queue_prompts" | "prompt_bytes":
                need = 0  # kept by those who stream and take in
        return Measure(name, limit, used, flight if asked.beside else 0, need)

    def come_to(self, tier: Tier, now_us: int) -> int:
        now_us = max(now_us + self._ahead_us, self.at_us)
        self.usage.come_to(now_us, tier.bucket_tokens_per_s)
        return now_us

    def tick(self, tier: Tier, now_us: int) -> int:
        """The ledger time of a change that is about to be made."""
        self.at_us = max(now_us + self._ahead_us, self.at_us + 1)
        self.usage.come_to(self.at_us, tier.bucket_tokens_per_s)
        return self.at_us

    def meter(self, run: RunAccount, used: Amount, at_us: int) -> RunAccount:
        more = above(used, run.used)
        if more == NOTHING:
            return run
        self.usage.count(more, run.session, at_us)
        metered = msgspec.structs.replace(run, used=used)
        self.runs.put(metered)
        return metered

    def forget(self, kept_max: int = SETTLED_KEPT_MAX) -> None:
        while len(self.settled) > kept_max:
            oldest = next(iter(self.settled))
            self._forgotten_at_us = max(self._forgotten_at_us, self.settled.pop(oldest))
