"""The runs of an account that are open: what is in flight of each, and of all together from running totals."""

from __future__ import annotations

from collections import Counter
from typing import TypeAlias

from processors.ledger.decisions.amounts import in_flight, larger
from schemas.ledger import Amount, RunAccount
from schemas.tiers import LimitName

__all__ = ["OpenRuns", "RunKey", "UnknownRun"]

RunKey: TypeAlias = tuple[str, str]
"""Turn and run."""


class UnknownRun(LookupError):
    """A run that is not open here: it was settled, or never reserved."""


class OpenRuns:
    """Owned by one account."""

    __slots__ = ("by_key", "flight_cost", "flight_input", "flight_output", "turns")

    def __init__(self) -> None:
        self.by_key: dict[RunKey, RunAccount] = {}
        self.turns: Counter[str] = Counter()
        """How many each turn has."""
        self.flight_input = self.flight_output = self.flight_cost = 0

    @property
    def flight(self) -> Amount:
        """What is reserved and not used yet."""
        return Amount(self.flight_input, self.flight_output, self.flight_cost)

    def known(self, key: RunKey) -> RunAccount:
        """What is known of a run. Raises UnknownRun."""
        known = self.by_key.get(key)
        if known is None:
            raise UnknownRun(f"run {key[1]} of turn {key[0]} is not open")
        return known

    def put(self, run: RunAccount) -> None:
        """A run is open, as this says; what was known of it before is gone."""
        key = (run.turn, run.run)
        self.remove(key)
        flight = in_flight(run)
        self.flight_input += flight.input_tokens
        self.flight_output += flight.output_tokens
        self.flight_cost += flight.cost_nano_usd
        self.by_key[key] = run
        self.turns[run.turn] += 1

    def remove(self, key: RunKey) -> None:
        """A run is not open any more."""
        known = self.by_key.pop(key, None)
        if known is None:
            return
        flight = in_flight(known)
        self.flight_input -= flight.input_tokens
        self.flight_output -= flight.output_tokens
        self.flight_cost -= flight.cost_nano_usd
        self.turns[known.turn] -= 1
        if not self.turns[known.turn]:
            del self.turns[known.turn]

    def unsure(self, name: LimitName) -> int:
        """Of what is used, what open runs may turn out not to have used: it would go back (`Usage.correct`)."""
        if name == "tokens_per_day":
            return sum(run.used.tokens for run in self.by_key.values())
        if name == "nano_usd_per_month":
            return sum(run.used.cost_nano_usd for run in self.by_key.values())
        return 0

    def session_flight_tokens(self, session: str) -> int:
        """What is in flight of a session."""
        return sum(in_flight(run).tokens for run in self.by_key.values() if run.session == session)

    def turn_tokens(self, turn: str) -> int:
        """What the runs of a turn hold, or have used beyond it."""
        if turn not in self.turns:
            return 0
        return sum(larger(run.held, run.used).tokens for run in self.by_key.values() if run.turn == turn)
