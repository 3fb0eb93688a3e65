"""What must be true of users' accounts once everything has come to rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from schemas.codec import decode_record
from schemas.tiers import Tier, Tiers
from schemas.topics import user_partition
from tests.simulation.simulated_group import SimulatedGroup

__all__ = ["account_faults", "tiers_for"]

WIDE = Tier(name="wide", limits={"requests_per_minute": 10**6, "tokens_per_day": 10**9})
"""Limits that nobody meets: what is kept of them must be right all the same."""


def tiers_for(seed: int) -> Tiers:
    """Everybody is limited, or nobody is."""
    return Tiers(tiers={WIDE.name: WIDE}, default=WIDE.name) if seed % 2 else Tiers()


def account_faults(group: SimulatedGroup, users: list[str], seen: Counter[str], *, zombies: bool) -> Iterator[str]:
    """Everything has come to rest: nothing is held, and what is counted is what is on record.

    A run that is recorded again by a successor may be told with its own count in place of the provider's. Where a
    frozen worker woke, its snapshot may be the newer one, and its entries may have overwritten others: what it did not
    know of is then missing (decision 89).
    """
    told: dict[tuple[str, str, str], list[int]] = {}
    for record in map(decode_record, group.recorded()):
        if record.outcome is not None:
            usage = record.outcome.usage
            tokens = usage.input_tokens + usage.output_tokens
            told.setdefault((record.user, record.turn, record.run), []).append(tokens)
    owners = [owner for process in group.members for owner in process.ownership.owners.values()]
    for user in users if group.tiers.default == WIDE.name else ():
        owner = next(owner for owner in owners if owner.partition == user_partition(user))
        _, account = owner.accounts._of(user)
        least, most = (sum(pick(each) for key, each in told.items() if key[0] == user) for pick in (min, max))
        if account is None:
            yield f"account: {user} has none"
        elif account.open:
            yield f"account: {user} holds {account.flight} for {list(account.open)}"
        elif not (0 if zombies else least) <= account.usage.day_tokens <= most:
            yield f"account: {user} used {account.usage.day_tokens}, on record are {least} to {most}"
        else:
            seen["account is right"] += 1
