"""Clients that do not keep up, following the same answers as the others: connected, and looked at afterwards."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final

from benchmarks.gateway.bare_client import Kind
from benchmarks.gateway.client_fleet import ClientFleet
from benchmarks.gateway.load import Load

__all__ = ["Outcome", "connect_beside", "outcome_of"]

NOTHING: Final = 0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of a group of them."""

    clients: int = 0
    whole: int = 0
    """Got the whole answer, once, in the end."""
    returned: int = 0
    """Of all: those whose connection ended, and who came back with their cursors."""
    close_codes: dict[str, int] = field(default_factory=dict)
    """That they read before they came back; 0: the connection ended without a word that reached them."""
    with_told_cursor: int = 0
    """Of those who returned: with the cursor of the gateway's last words."""
    tokens_lost: int = 0
    hole_tokens: int = 0
    duplicate_tokens: int = 0

    def add(self, other: Outcome) -> None:
        """Count another group's too."""
        for name, value in asdict(other).items():
            if isinstance(value, dict):
                for code, number in value.items():
                    self.close_codes[code] = self.close_codes.get(code, NOTHING) + number
            else:
                setattr(self, name, getattr(self, name) + value)


async def connect_beside(fleet: ClientFleet, group: str, kind: Kind, clients: int, streaming: int) -> None:
    """So many more clients on the sessions that are read, spread evenly."""
    for first in range(0, clients, streaming):
        told = await fleet.connect(group, range(min(streaming, clients - first)), kind=kind)
        if told["attached"] < told["asked"]:
            raise SystemExit(f"{told['asked'] - told['attached']} {kind} clients did not get in")


async def outcome_of(fleet: ClientFleet, group: str, load: Load, *, within_s: float) -> Outcome:
    """Let them read freely and come back until each has the answer's end, or the time is up; then compare."""
    await fleet.tell("unleash", group=group)
    await fleet.tell("recover", group=group, within_s=within_s)
    outcome = Outcome()
    for account in await fleet.accounts(group):
        outcome.clients += 1
        judge(outcome, account, load.records_of(account["number"]) * load.tokens_per_record)
    return outcome


def judge(outcome: Outcome, account: dict[str, Any], offered: int) -> None:
    lost, twice = offered - account["received"], account["duplicates"]
    outcome.tokens_lost += lost
    outcome.hole_tokens += account["holes"]
    outcome.duplicate_tokens += twice
    outcome.whole += bool(account["ended"] and not lost and not twice and not account["wrong"])
    if account["returns"]:
        outcome.returned += 1
        code = str(account["close_code"])
        outcome.close_codes[code] = outcome.close_codes.get(code, 0) + 1
        outcome.with_told_cursor += account["told_cursor"]
