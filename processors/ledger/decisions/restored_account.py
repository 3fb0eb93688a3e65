"""An account as its owner left it, out of the newest snapshot and the journal's entries.

Every entry may be given, in the order of the log, those before the snapshot and those that others have overwritten too:
what the snapshot holds is known by its ledger times and by the names of the runs, so nothing is counted twice. Of two
entries that settle a run the first counts.

What comes out equals what the owner had in memory, but for what it had counted of running answers since the snapshot.
That is counted with the rest of the run: by the entry that settles it, else by the new owner, who reads from the
session's log how far the run came and settles it before anybody is let in. So minute and bucket may hold a part of it
a few seconds too long, and nothing is ever missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from processors.ledger.decisions.account import Account
from processors.ledger.decisions.amounts import larger
from processors.ledger.decisions.open_runs import RunKey
from schemas.ledger import NOTHING, LedgerSnapshot, RunAccount, TurnAccount
from schemas.tiers import Tier

__all__ = ["restored"]


def restored(snapshot: LedgerSnapshot, entries: Iterable[TurnAccount], tier: Tier) -> Account:
    """The account. `snapshot`: the newest, or an empty one."""
    account = Account(snapshot)
    counted: dict[str, int] = {}
    runs: dict[RunKey, RunAccount] = {}
    for entry in entries:
        if entry.counted_at_us > snapshot.at_us:
            counted.setdefault(entry.turn, entry.counted_at_us)
        for run in entry.runs:
            key = (run.turn, run.run)
            runs[key] = joined(runs[key], run) if key in runs else run
    news = [run for key, run in runs.items() if key in account.open or not account.is_settled(run)]
    requests = account.usage.requests
    for at_us in sorted(counted.values()):
        requests.add(1, at_us)
    for at_us, run in sorted(changes_of(news), key=lambda change: change[0]):
        if run.settled_at_us:
            account.settle(tier, run, run.used, at_us)
        else:
            account.take_open(tier, run)
    account.at_us = max((account.at_us, *counted.values(), *(run.at_us for run in news)))
    return account


def changes_of(runs: Iterable[RunAccount]) -> Iterator[tuple[int, RunAccount]]:
    """When each run was reserved, and when it was settled."""
    for run in runs:
        if run.settled_at_us:
            yield min(run.at_us, run.settled_at_us - 1), msgspec.structs.replace(run, used=NOTHING, settled_at_us=0)
            yield run.settled_at_us, run
        else:
            yield run.at_us, run


def joined(known: RunAccount, read: RunAccount) -> RunAccount:
    """Of two accounts of a run what both know."""
    if known.settled_at_us:
        return known
    if read.settled_at_us:
        return read
    return msgspec.structs.replace(known, held=larger(known.held, read.held), used=larger(known.used, read.used))
