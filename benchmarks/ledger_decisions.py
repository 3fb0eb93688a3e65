"""How many decisions an account makes a second, on one core: python -m benchmarks.ledger_decisions [--rounds 9]

One decision is what a prompt costs the ledger from its coming in to its end: counted as a request, reserved, grown
twice, settled, and after each change the bytes of the journal's part of it; and every 200 decisions the bytes of a
snapshot. Rounds with and without the encoding alternate; the figure is this process's CPU time, the median of the
rounds. A refusal is measured by itself. Absolute figures move with the machine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Final

from processors.ledger.decisions.account import Account
from processors.ledger.decisions.restored_account import restored
from processors.ledger.decisions.verdicts import Granted
from schemas.codec import encode
from schemas.ledger import Amount, LedgerSnapshot, RunAccount, TurnAccount
from schemas.tiers import LimitName, Tier

__all__ = ["main"]

BEGIN_US: Final = 1_900_000_000_000_000
STEP_US: Final = 2_000
TURNS: Final = 4_000
SNAPSHOT_EVERY: Final = 200
USERS: Final = 100_000
LIMITS: Final[dict[LimitName, int]] = {
    "requests_per_minute": 1_000_000,
    "input_tokens_per_minute": 1_000_000_000,
    "output_tokens_per_minute": 1_000_000_000,
    "bucket_tokens": 1_000_000_000,
    "tokens_per_day": 1_000_000_000,
    "tokens_per_turn": 100_000,
    "tokens_per_stream": 100_000,
    "tokens_per_session": 1_000_000_000,
    "concurrent_turns": 1_000,
    "nano_usd_per_month": 1_000_000_000_000,
}
TIER: Final = Tier(name="all limits", limits=LIMITS, bucket_tokens_per_s=100_000)
USED_UP: Final = Tier(name="used up", limits={"tokens_per_day": 1, "requests_per_minute": 1})


def main() -> None:
    """Run the rounds and print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=9)
    rounds = options.parse_args().rounds
    spent: dict[str, list[float]] = {"decide": [], "decide and encode": [], "refuse": []}
    for _ in range(rounds):
        spent["decide"].append(turns_s(encodes=False) / TURNS)
        spent["decide and encode"].append(turns_s(encodes=True) / TURNS)
        spent["refuse"].append(refusals_s() / TURNS)
    for name, seconds in spent.items():
        each_s = statistics.median(seconds)
        print(f"{name:20} {each_s * 1e6:8.1f} us a prompt {1 / each_s:10,.0f} a second")
    print(f"restoring {USERS:,} users with an open run each: {restoring_s():.1f} s")


def turns_s(*, encodes: bool) -> float:
    """CPU seconds for TURNS prompts, one after the other, ten of them under way."""
    account, now_us = Account(LedgerSnapshot(user="alice", at_us=0)), BEGIN_US
    open_runs: list[RunAccount] = []
    begin_s = time.process_time()
    for number in range(TURNS):
        now_us += STEP_US
        account.admit(TIER, session="s", at_least=Amount(40), now_us=now_us)
        run = RunAccount(
            turn=f"turn-{number:020}", run=f"{number:012}", session="s", at_us=0, held=Amount(40, 512, 2_088_000)
        )
        verdict = account.reserve(TIER, run, now_us=now_us)
        assert isinstance(verdict, Granted)
        assert verdict.run is not None
        written(verdict.run, encodes=encodes)
        open_runs.append(verdict.run)
        for step in (1, 2):
            used, held = Amount(40, 256 * step, 1_000_000), Amount(40, 512 + 256 * step, 5_000_000)
            account.grow(TIER, (run.turn, run.run), used=used, held=held, now_us=now_us)
        if len(open_runs) > 10:
            settled = account.settle(TIER, open_runs.pop(0), Amount(40, 700, 2_840_000), now_us)
            assert settled is not None
            written(settled, encodes=encodes)
        if encodes and number % SNAPSHOT_EVERY == 0:
            encode(account.snapshot())
    return time.process_time() - begin_s


def written(run: RunAccount, *, encodes: bool) -> None:
    if encodes:
        encode(TurnAccount(turn=run.turn, counted_at_us=run.at_us, runs=(run,)))


def refusals_s() -> float:
    """CPU seconds for TURNS prompts that are refused as they come in."""
    account = Account(LedgerSnapshot(user="alice", at_us=0, day=BEGIN_US // 86_400_000_000, day_tokens=1))
    begin_s = time.process_time()
    for number in range(TURNS):
        verdict = account.admit(USED_UP, session="s", at_least=Amount(1), now_us=BEGIN_US + number)
        assert not isinstance(verdict, Granted)
    return time.process_time() - begin_s


def restoring_s() -> float:
    """CPU seconds to build the accounts of USERS users from snapshots and entries that are decoded already."""
    run = RunAccount(turn="turn", run="run", session="s", at_us=BEGIN_US, held=Amount(40, 512))
    snapshot = LedgerSnapshot(user="alice", at_us=BEGIN_US - 1, day_tokens=5)
    entry = TurnAccount(turn="turn", counted_at_us=BEGIN_US, runs=(run,))
    begin_s = time.process_time()
    for _ in range(USERS):
        restored(snapshot, [entry], TIER)
    return time.process_time() - begin_s


if __name__ == "__main__":
    main()
