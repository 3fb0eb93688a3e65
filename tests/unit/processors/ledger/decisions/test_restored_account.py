from __future__ import annotations

import msgspec

from processors.ledger.decisions.account import Account
from processors.ledger.decisions.restored_account import restored
from processors.ledger.decisions.verdicts import Granted
from schemas.ledger import NOTHING, Amount, LedgerSnapshot, RunAccount, TurnAccount
from schemas.tiers import Tier

__all__: list[str] = []

NOW_US = 1_900_000_000_000_000
TIER = Tier(name="t", limits={"tokens_per_day": 10_000, "requests_per_minute": 10, "bucket_tokens": 10_000})
EMPTY = LedgerSnapshot(user="alice", at_us=0)


def entry(run: RunAccount, counted_at_us: int = 0) -> TurnAccount:
    return TurnAccount(turn=run.turn, counted_at_us=counted_at_us, runs=(run,))


def reserved(account: Account, turn: str, held: Amount) -> RunAccount:
    run = RunAccount(turn=turn, run=f"{turn}-run", session="s", at_us=0, held=held)
    verdict = account.reserve(TIER, run, now_us=NOW_US)
    assert isinstance(verdict, Granted)
    assert verdict.run is not None
    return verdict.run


def test_reservation_since_the_snapshot_is_open() -> None:
    """Its owner died between reserve and settle: what it held is in flight until it is settled."""
    account = Account(EMPTY)
    run = reserved(account, "t1", Amount(10, 20))

    again = restored(EMPTY, [entry(run)], TIER)
    assert (again.open, again.at_us) == (account.open, account.at_us)
    assert again.flight == Amount(10, 20)


def test_stale_entries_change_nothing() -> None:
    """An entry of a run that snapshot or a newer entry know as settled opens nothing, however often it comes."""
    account = Account(EMPTY)
    run = reserved(account, "t1", Amount(10, 20))
    settled = account.settle(TIER, run, Amount(10, 5), NOW_US)
    assert settled is not None
    saved = account.snapshot()

    assert restored(saved, [entry(run), entry(run)], TIER).snapshot() == saved
    for entries in ([entry(run), entry(settled), entry(run)], [entry(settled), entry(settled)]):
        again = restored(EMPTY, entries, TIER)
        assert again.flight == NOTHING
        assert again.usage.day_tokens == 15


def test_requests_are_counted_once() -> None:
    """By the snapshot or by the entry, and not by its repetition."""
    account = Account(EMPTY)
    before, after = (account.admit(TIER, session="s", at_least=NOTHING, now_us=NOW_US + n) for n in (0, 5))
    assert isinstance(before, Granted)
    assert isinstance(after, Granted)
    entries = [TurnAccount(turn=f"t{granted.at_us}", counted_at_us=granted.at_us) for granted in (before, after)]
    saved = msgspec.structs.replace(EMPTY, at_us=before.at_us, requests=((before.at_us // 10**6, 1),))

    again = restored(saved, [*entries, *entries], TIER)
    assert again.usage.requests.at(NOW_US) == 2
    assert again.at_us == after.at_us


def test_what_a_left_run_has_used_and_holds_is_taken_from_its_entry() -> None:
    """The larger of what snapshot and entry say of it, in any order of entries."""
    account = Account(EMPTY)
    run = reserved(account, "t1", Amount(10, 20))
    saved = account.snapshot()
    lease = msgspec.structs.replace(run, held=Amount(10, 80), used=Amount(10, 30))

    for entries in ([entry(run), entry(lease)], [entry(lease), entry(run)]):
        again = restored(saved, entries, TIER)
        assert again.open["t1", "t1-run"] == lease
        assert again.usage.day_tokens == 40
        assert again.flight == Amount(0, 50)


def test_of_two_settlements_the_first_counts() -> None:
    """A worker that was frozen says what its run used after the new owner has estimated it."""
    run = RunAccount(turn="t1", run="r", session="s", at_us=NOW_US, held=Amount(10, 20))
    first = msgspec.structs.replace(run, used=Amount(10, 5), settled_at_us=NOW_US + 5)
    second = msgspec.structs.replace(run, used=Amount(10, 9), settled_at_us=NOW_US + 9)

    assert restored(EMPTY, [entry(first), entry(second)], TIER).usage.day_tokens == 15
