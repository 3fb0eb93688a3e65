"""One user's account in a world where workers die, wake and hand over, entries are lost on their way, and time jumps.

Each decision is compared with `plain_account.py`, which may be slow and can't be wrong. The log has every entry that a
worker wrote, late and old ones too; of what others have overwritten, what lies before the snapshot may be gone.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Final

import msgspec

from processors.ledger.decisions.account import Account
from processors.ledger.decisions.open_runs import RunKey
from processors.ledger.decisions.restored_account import restored
from processors.ledger.decisions.verdicts import Granted, Verdict
from schemas.codec import decode_ledger_snapshot, encode
from schemas.ledger import NOTHING, Amount, LedgerSnapshot, RunAccount, TurnAccount
from schemas.tiers import LimitName
from tests.simulation.ledger_pieces import LIMITS, Call, Closed, above, larger, some_tier, with_run
from tests.simulation.plain_account import PlainAccount, PlainRun

__all__ = ["LedgerWorld"]

SECOND_US: Final = 1_000_000
DAY_US: Final = 86_400 * SECOND_US
BEGIN_US: Final = 1_900_000_000_000_000
OVERSHOOT_TOKENS_MAX: Final = 8
NANO_USD_PER_TOKEN: Final = 3


class LedgerWorld:
    """One schedule."""

    def __init__(self, seed: int) -> None:
        self.draw = draw = random.Random(seed)
        self.tier = some_tier(draw)
        self.now_us = BEGIN_US + draw.randrange(2 * DAY_US)
        self.plain = PlainAccount(self.tier)
        self.saved = LedgerSnapshot(user="alice", at_us=0)
        self.account = Account(self.saved)
        self.log: list[TurnAccount] = []
        self.turns: dict[str, TurnAccount] = {}
        """What the owner's newest entry of each turn says."""
        self.calls: dict[RunKey, Call] = {}
        self.queue: list[str] = []
        self.over_tokens = 0
        """Used beyond what was reserved, or counted later than it was used, so far."""
        self.closed: list[Closed] = []
        self.numbers = 0
        self.seen: Counter[str] = Counter()

    def run(self, steps: int) -> None:
        """Anything may happen, then everything ends."""
        draw = self.draw
        acts = (self.submit, self.start, self.stream, self.end, self.wait, self.save, self.crash, self.hand_over)
        rare = (self.wake, self.repeat, self.lose_entry, self.foreign_call)
        for _ in range(steps):
            if draw.random() < 0.12:
                draw.choice(rare)()
            else:
                draw.choices(acts, (8, 10, 8, 6, 6, 2, 1, 1))[0]()
            self.check()
            self.ask_closed()
        for key in list(self.calls):
            self.settle(key)
        self.check()
        assert self.account.flight == NOTHING
        assert not self.account.open
        assert not self.account.runs.turns

    # ---- What happens

    def wait(self) -> None:
        scale_us = self.draw.choice((1, 1_000, SECOND_US, 20 * SECOND_US, 90 * SECOND_US, 86_000 * SECOND_US))
        self.now_us += self.draw.randrange(1, 2 * scale_us)

    def submit(self) -> None:
        """A prompt comes."""
        turn, session = self.name("turn"), self.draw.choice(("s1", "s2"))
        least = Amount(self.draw.randint(1, 60))
        met = self.plain.met(
            least,
            self.time(),
            session=session,
            turn_tokens=least.tokens,
            stream_tokens=least.tokens,
            requests=1,
            beside=False,
        )
        verdict = self.account.admit(self.tier, session=session, at_least=least, now_us=self.now_us)
        if not self.agree(verdict, met):
            self.try_later(
                lambda account, now_us: account.admit(self.tier, session=session, at_least=least, now_us=now_us),
                verdict,
                Closed(least, session, requests=1),
            )
            return
        assert isinstance(verdict, Granted)
        if self.draw.random() < 0.05:
            self.account.take_back(verdict.at_us)
            self.seen["taken back"] += 1
            return
        self.plain.requests.append(verdict.at_us)
        self.write(TurnAccount(turn=f"{turn}/{session}", counted_at_us=verdict.at_us))
        self.queue.append(f"{turn}/{session}")

    def start(self) -> None:
        """A turn's next run: its first, another attempt, or one beside it."""
        open_turns = [turn for turn, _ in self.calls]
        if not self.queue and not open_turns:
            return
        turn = self.draw.choice(self.queue or open_turns)
        run = self.asked_run(turn)
        verdict = self.reserve(self.account, run)
        if not self.agree(verdict, self.reserving(run)):
            self.try_later(
                lambda account, now_us: self.reserve(account, run, now_us), verdict, Closed(run.held, run.session)
            )
            return
        assert isinstance(verdict, Granted)
        assert verdict.run is not None
        key = (turn, run.run)
        self.plain.open[key] = PlainRun(verdict.at_us, run.session, run.held)
        if self.draw.random() < 0.1:
            self.append_fails(verdict.run)
            return
        self.put_run(verdict.run)
        self.calls[key] = Call(verdict.run, NOTHING)
        if turn in self.queue:
            self.queue.remove(turn)

    def append_fails(self, run: RunAccount) -> None:
        """The entry could not be written, or nobody knows: the call is not made."""
        if self.draw.random() < 0.5:
            self.log.append(with_run(self.turns[run.turn], run))
            self.seen["unknown append"] += 1
        undone = self.account.settle(self.tier, run, NOTHING, self.now_us)
        assert undone is not None
        del self.plain.open[run.turn, run.run]

    def stream(self) -> None:
        """An answer comes further, and more is reserved for it."""
        ours = [key for key, call in self.calls.items() if not call.left]
        if not ours:
            return
        key = self.draw.choice(ours)
        call, known = self.calls[key], self.plain.open[key]
        call.used = self.further(known, call.used)
        self.plain.use(key, known.session, call.used, self.time(ticks=True), since_us=known.at_us)
        known.used = call.used
        more = self.draw.choice((0, 0, 16, 64))
        held = Amount(
            known.held.input_tokens,
            known.held.output_tokens + more,
            known.held.cost_nano_usd + more * NANO_USD_PER_TOKEN,
        )
        taken = larger(known.held, known.used)
        asked = above(held, taken)
        at_us = self.time(ticks=True)
        met: dict[LimitName, int] = {}
        if asked != NOTHING:
            met = self.plain.met(
                asked,
                at_us,
                session=known.session,
                turn_tokens=self.turn_tokens(key[0]) + asked.tokens,
                stream_tokens=taken.tokens + asked.tokens,
            )
        verdict = self.account.grow(
            self.tier, key, used=call.used, held=held, turn_tokens=self.settled_tokens(key[0]), now_us=self.now_us
        )
        if self.agree(verdict, met) and asked != NOTHING:
            known.held = larger(known.held, held)
            self.seen["grown"] += 1

    def further(self, known: PlainRun, used: Amount) -> Amount:
        """What a run has used a little later: now and then a little more than it holds."""
        draw = self.draw
        most = known.held.output_tokens + (draw.randint(1, OVERSHOOT_TOKENS_MAX) if draw.random() < 0.1 else 0)
        output = draw.randint(used.output_tokens, max(used.output_tokens, most))
        self.over_tokens += max(0, output - max(known.held.output_tokens, used.output_tokens))
        tokens_in = max(used.input_tokens, known.held.input_tokens)
        return Amount(tokens_in, output, (tokens_in + output) * NANO_USD_PER_TOKEN)

    def end(self) -> None:
        """A run ends: it has used what was seen, nothing, or (by the provider's count) less."""
        if self.calls:
            self.settle(self.draw.choice(list(self.calls)))

    def settle(self, key: RunKey) -> None:
        call, known = self.calls.pop(key), self.plain.open.pop(key)
        used = call.final or self.further(known, call.used)
        if call.final is None and self.draw.random() < 0.2:
            used = self.draw.choice((NOTHING, msgspec.structs.replace(used, input_tokens=used.input_tokens // 2)))
        self.plain.use(key, known.session, used, self.time(ticks=True), since_us=known.at_us)
        settled = self.account.settle(self.tier, call.account, used, self.now_us)
        assert settled is not None or call.final is not None
        assert self.account.settle(self.tier, call.account, used, self.now_us) is None
        self.put_run(settled or msgspec.structs.replace(call.account, used=used, settled_at_us=self.account.at_us))

    # ---- Faults

    def save(self) -> None:
        """The snapshot is written; older entries that others have overwritten may go."""
        self.saved = decode_ledger_snapshot(encode(self.account.snapshot()))
        newest = {entry.turn: place for place, entry in enumerate(self.log)}
        if self.draw.random() < 0.5:
            self.log = [entry for place, entry in enumerate(self.log) if newest[entry.turn] == place]

    def crash(self) -> None:
        """The owner dies. Its successor reads snapshot and journal, and ends what ran."""
        self.seen["crash"] += 1
        if self.calls and self.draw.random() < 0.5:
            self.settle_in_memory(self.draw.choice(list(self.calls)))
        self.recount()
        self.account = restored(self.saved, self.log, self.tier)
        self.closed.clear()
        for key, call in list(self.calls.items()):
            call.final = call.final or self.further(self.plain.open[key], call.used)
            self.settle(key)
        for run in list(self.account.open.values()):  # reserved, and never called: the entry did not come
            self.account.settle(self.tier, run, NOTHING, self.now_us)

    def settle_in_memory(self, key: RunKey) -> None:
        """A run has ended, and its owner dies before the journal says so; perhaps a snapshot does."""
        call, known = self.calls[key], self.plain.open[key]
        call.final = known.used = self.further(known, call.used)
        self.plain.use(key, known.session, call.final, self.time(ticks=True), since_us=known.at_us)
        assert self.account.settle(self.tier, call.account, call.final, self.now_us) is not None
        if self.draw.random() < 0.5:
            self.save()
            self.seen["settled in a snapshot alone"] += 1

    def recount(self) -> None:
        """What the owner knew since its snapshot counts from when its entries, or its successor, say so."""
        plain, since_us = self.plain, self.saved.at_us
        self.over_tokens += sum(use.amount.tokens for use in plain.uses if use.at_us > since_us)
        plain.uses = [use for use in plain.uses if use.at_us <= since_us]
        ends = [run for turn in self.turns.values() for run in turn.runs if run.settled_at_us > since_us]
        for run in sorted(ends, key=lambda run: run.settled_at_us):
            plain.use((run.turn, run.run), run.session, run.used, run.settled_at_us, since_us=run.at_us)

    def hand_over(self) -> None:
        """The owner lets the partition go while its runs go on: it journals what they hold and have used."""
        self.seen["handed over"] += 1
        for key, call in self.calls.items():
            if not call.left:
                call.left = True
                self.put_run(self.account.open[key])
        self.save()
        self.account = restored(self.saved, self.log, self.tier)

    def wake(self) -> None:
        """A worker that was frozen appends what it had on its way."""
        if self.log:
            self.log.append(self.draw.choice(self.log))
            self.seen["woken"] += 1

    def repeat(self) -> None:
        """What was settled is settled again, and what is open reserved again."""
        before = encode(self.account.snapshot())
        for (turn, name), at_us in list(self.account.settled.items()):
            again = RunAccount(turn=turn, run=name, session="s1", at_us=at_us)
            assert self.account.settle(self.tier, again, Amount(50, 50), self.now_us) is None
        for run in list(self.account.open.values()):
            assert isinstance(self.reserve(self.account, run), Granted)
        assert encode(self.account.snapshot()) == before

    def lose_entry(self) -> None:
        """An entry of an open turn is overwritten by an older one and compacted away, behind a snapshot."""
        self.save()
        for place, entry in reversed(list(enumerate(self.log))):
            if entry.runs and entry.counted_at_us <= self.saved.at_us:
                self.log[place] = msgspec.structs.replace(entry, runs=entry.runs[:1])
                self.seen["lost entry"] += 1
                return

    def foreign_call(self) -> None:
        """A worker that had lost the partition called a provider all the same; the owner finds it on the log."""
        tokens = self.draw.randint(1, 30)
        used = Amount(tokens, tokens, 2 * tokens * NANO_USD_PER_TOKEN)
        run = RunAccount(turn=f"{self.name('turn')}/s1", run=self.name("run"), session="s1", at_us=0)
        at_us = self.time(ticks=True)
        self.plain.use((run.turn, run.run), "s1", used, at_us, since_us=at_us)
        settled = self.account.settle(self.tier, run, used, self.now_us)
        assert settled is not None
        self.turns[run.turn] = TurnAccount(turn=run.turn)
        self.put_run(settled)
        self.over_tokens += used.tokens
        self.seen["foreign"] += 1

    # ---- What must hold

    def agree(self, verdict: Verdict, met: dict[LimitName, int]) -> bool:
        """Whether it was granted. Both accounts say the same, and of the limit that is told the same numbers."""
        if isinstance(verdict, Granted):
            assert not met
            return True
        refusal = verdict.refusal
        assert met.get(self.limit_of(refusal.code)) == refusal.used, (refusal, met)
        assert refusal.remaining == max(0, refusal.limit - refusal.used)
        self.seen[refusal.code] += 1
        return False

    def try_later(self, again: Callable[[Account, int], Verdict], verdict: Verdict, closed: Closed) -> None:
        """Sent again when it was told to, and a millisecond before: taken, and refused."""
        assert not isinstance(verdict, Granted)
        refusal = verdict.refusal
        if refusal.closed_for_s:
            closed.until_us = max(self.now_us, self.account.at_us) + int(refusal.closed_for_s * SECOND_US)
            self.closed.append(closed)
        if refusal.retry_after_s is None or self.draw.random() < 0.5:
            return
        self.seen["told when"] += 1
        wait_us = round(refusal.retry_after_s * SECOND_US)
        now_us = max(self.now_us, self.account.at_us)
        copy = self.account.snapshot()
        assert isinstance(again(Account(copy), now_us + wait_us), Granted)
        assert not isinstance(again(Account(copy), now_us + wait_us - 1_001), Granted)

    def check(self) -> None:
        """Nothing is negative, and nothing passes its limit but by what runs used beyond what they held."""
        flight, at_us = self.account.flight, self.time()
        assert min(flight.input_tokens, flight.output_tokens, flight.cost_nano_usd) >= 0
        left = self.account.remaining(self.tier, self.now_us, "s1")
        for name, limit in self.tier.limits.items():
            taken = self.plain.used(name, "s1", at_us) + self.plain.flight(name, "s1")
            assert left[name] == max(0, limit - taken), name
            over = self.over_tokens * (NANO_USD_PER_TOKEN if name == "nano_usd_per_month" else 1)
            if name not in self.tier.shadow:
                assert 0 <= taken <= limit + over, (name, taken, limit)

    def ask_closed(self) -> None:
        """What a gateway refuses by itself would be refused, in another turn, whatever has ended since."""
        for closed in self.closed:
            if self.time() < closed.until_us:
                self.seen["closed"] += 1
                tokens = closed.amount.tokens
                assert self.plain.met(
                    closed.amount,
                    self.time(),
                    session=closed.session,
                    turn_tokens=tokens,
                    stream_tokens=tokens,
                    requests=closed.requests,
                )

    # ---- Within

    def time(self, *, ticks: bool = False) -> int:
        """The account's time, for a question or for the change that comes next."""
        return max(self.now_us, self.account.at_us + (1 if ticks else 0))

    def name(self, kind: str) -> str:
        self.numbers += 1
        return f"{kind}{self.numbers}"

    def limit_of(self, code: str) -> LimitName:
        return next(name for name in LIMITS if name == code)

    def asked_run(self, turn: str) -> RunAccount:
        held = Amount(self.draw.randint(1, 80), self.draw.randint(1, 120))
        held = msgspec.structs.replace(held, cost_nano_usd=held.tokens * NANO_USD_PER_TOKEN)
        return RunAccount(turn=turn, run=self.name("run"), session=turn.split("/")[1], at_us=0, held=held)

    def reserve(self, account: Account, run: RunAccount, now_us: int | None = None) -> Verdict:
        now_us = self.now_us if now_us is None else now_us
        return account.reserve(self.tier, run, turn_tokens=self.settled_tokens(run.turn), now_us=now_us)

    def reserving(self, run: RunAccount) -> dict[LimitName, int]:
        return self.plain.met(
            run.held,
            self.time(),
            session=run.session,
            turn_tokens=self.turn_tokens(run.turn) + run.held.tokens,
            stream_tokens=run.held.tokens,
            turns=0 if any(turn == run.turn for turn, _ in self.plain.open) else 1,
        )

    def settled_tokens(self, turn: str) -> int:
        return sum(run.used.tokens for run in self.turns[turn].runs if run.settled_at_us)

    def turn_tokens(self, turn: str) -> int:
        ours = (larger(run.held, run.used).tokens for (name, _), run in self.plain.open.items() if name == turn)
        return self.settled_tokens(turn) + sum(ours)

    def put_run(self, run: RunAccount) -> None:
        self.write(with_run(self.turns[run.turn], run))

    def write(self, entry: TurnAccount) -> None:
        self.turns[entry.turn] = entry
        self.log.append(entry)
