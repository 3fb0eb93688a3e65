"""No window holds more than its limit, whatever is used in whatever order; an account is its entries in any order."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from processors.ledger.decisions.account import Account
from processors.ledger.decisions.restored_account import restored
from processors.ledger.decisions.verdicts import Granted
from schemas.ledger import NOTHING, Amount, LedgerSnapshot, RunAccount, TurnAccount
from schemas.tiers import Tier

__all__: list[str] = []

SECOND_US = 1_000_000
BEGIN_US = 1_900_000_000_000_000
EMPTY = LedgerSnapshot(user="alice", at_us=0)
MINUTES = Tier(name="t", limits={"requests_per_minute": 5, "input_tokens_per_minute": 100})
BUCKET = Tier(name="t", limits={"bucket_tokens": 100}, bucket_tokens_per_s=3)
steps = st.lists(st.tuples(st.integers(0, 20 * SECOND_US), st.integers(1, 60)), min_size=1, max_size=40)


@given(steps=steps)
def test_no_minute_holds_more_than_its_limit(steps: list[tuple[int, int]]) -> None:
    """Wherever its 60 seconds begin; and what is refused for the time being is taken at the moment it was told."""
    account, now_us, granted = Account(EMPTY), BEGIN_US, list[tuple[int, int]]()
    for wait_us, tokens in steps:
        now_us += wait_us
        verdict = account.admit(MINUTES, session="s", at_least=Amount(tokens), now_us=now_us)
        if isinstance(verdict, Granted):
            granted.append((verdict.at_us, tokens))
            run = RunAccount(turn=f"t{verdict.at_us}", run="r", session="s", at_us=0, held=Amount(tokens))
            account.settle(MINUTES, run, Amount(tokens), now_us)
        elif verdict.refusal.retry_after_s is not None:
            later_us = max(now_us, account.at_us) + round(verdict.refusal.retry_after_s * SECOND_US)
            copy = Account(account.snapshot())
            assert isinstance(copy.admit(MINUTES, session="s", at_least=Amount(tokens), now_us=later_us), Granted)

    for begin_us, _ in granted:
        window = [tokens for at_us, tokens in granted if begin_us <= at_us < begin_us + 60 * SECOND_US]
        assert len(window) <= 5
        assert sum(window) <= 100


@given(steps=steps, ends_after=st.integers(0, 5))
def test_bucket_gives_no_more_than_it_holds_and_is_filled_with(steps: list[tuple[int, int]], ends_after: int) -> None:
    """In any time: however long reservations are held, and however little of them is used."""
    account, now_us = Account(EMPTY), BEGIN_US
    open_runs: list[RunAccount] = []
    used: list[tuple[int, int]] = []
    for number, (wait_us, tokens) in enumerate(steps):
        now_us += wait_us
        run = RunAccount(turn=f"t{number}", run="r", session="s", at_us=0, held=Amount(tokens))
        if isinstance(account.reserve(BUCKET, run, now_us=now_us), Granted):
            open_runs.append(run)
        if len(open_runs) > ends_after:
            ended = open_runs.pop(0)
            tokens = ended.held.tokens // (1 + number % 3)
            settled = account.settle(BUCKET, ended, Amount(tokens), now_us)
            assert settled is not None
            used.append((settled.settled_at_us, tokens))

    for first, (begin_us, _) in enumerate(used):
        for last in range(first, len(used)):
            end_us = used[last][0]
            assert sum(tokens for _, tokens in used[first : last + 1]) <= 100 + 3 * (end_us - begin_us) / SECOND_US


@given(data=st.data(), steps=steps)
def test_account_is_its_entries_in_any_order_and_number(data: st.DataObject, steps: list[tuple[int, int]]) -> None:
    """From any snapshot on, with old entries among them: what its owner had in memory."""
    account, now_us, saved = Account(EMPTY), BEGIN_US, EMPTY
    entries: list[TurnAccount] = []
    for number, (wait_us, tokens) in enumerate(steps):
        now_us += wait_us
        run = RunAccount(turn=f"t{number}", run="r", session="s", at_us=0, held=Amount(tokens))
        verdict = account.reserve(BUCKET, run, now_us=now_us)
        if not isinstance(verdict, Granted) or verdict.run is None:
            continue
        entries.append(TurnAccount(turn=run.turn, runs=(verdict.run,)))
        if data.draw(st.booleans()):
            settled = account.settle(BUCKET, verdict.run, Amount(tokens // 2), now_us)
            assert settled is not None
            entries.append(TurnAccount(turn=run.turn, runs=(settled,)))
        if data.draw(st.integers(0, 9)) == 0:
            saved = account.snapshot()

    again = restored(saved, data.draw(st.permutations(entries + entries[:5])), BUCKET)
    account.come_to(BUCKET, now_us)
    again.come_to(BUCKET, now_us)
    assert comparable(again) == comparable(account)


def comparable(account: Account) -> LedgerSnapshot:
    """Open and settled runs in one order: those of a restored account stand in that of their times."""
    for minute in (account.usage.requests, account.usage.input_tokens, account.usage.output_tokens):
        minute.at(account.usage.bucket_at_us)
    snapshot = account.snapshot()
    assert (account.flight == NOTHING) or account.open
    return msgspec.structs.replace(snapshot, open=tuple(sorted(snapshot.open, key=lambda run: run.turn)))
