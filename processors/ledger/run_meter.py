"""What one run may use: reserved before its call, counted while its answer comes, more asked for a slice at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from processors.ledger.decisions.reservation import grown
from processors.ledger.decisions.verdicts import Granted
from processors.ledger.user_accounts import UserAccounts
from schemas.ledger import Amount, RunAccount
from schemas.refusals import Refusal

__all__ = ["LimitMet", "RunMeter"]


class LimitMet(Exception):
    """What a run needs does not fit its user's limits. Field: refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


@dataclass(slots=True, eq=False, kw_only=True)
class RunMeter:
    """Of one run that is reserved."""

    accounts: UserAccounts
    user: str
    run: RunAccount
    turn_tokens: int
    """Used by earlier runs of the turn."""
    output_nano_usd: int
    """What an output token costs."""
    asked_tokens: int
    """The longest answer that the prompt allows."""
    most_tokens: int
    """The longest that its provider is asked for: no more than the user has."""
    count: Callable[[str], int]
    """Tokens of a text."""
    refusal: Refusal | None = None
    """Why it holds no more than it does; None: it was refused nothing."""
    output_tokens: int = field(default=0, init=False)

    def read(self, texts: Sequence[str], counted: Callable[[], int]) -> None:
        """Count what has come, and have more reserved where little is left. Raises LimitMet where nothing is.

        `counted`: tokens of the whole answer. It costs its length, and is asked only when more is needed: what came is
        added up piece by piece, which counts a word that lies in two pieces twice.
        """
        self.output_tokens += self.count("".join(texts))
        if self._wanted() is None:
            return
        self.output_tokens = counted()
        wanted = self._wanted()
        if wanted is not None:
            self._ask(wanted)
        if self.refusal is not None and self.output_tokens >= self.run.held.output_tokens:
            raise LimitMet(self.refusal)

    def hold_rest(self) -> None:
        """Reserve what the answer may still need, if there is so much: afterwards nothing more may be."""
        self._hold(self.most_tokens)

    def cut_short(self) -> Refusal | None:
        """Why the provider was asked for a shorter answer than the prompt allows, where the user still has no more."""
        if self.most_tokens >= self.asked_tokens:
            return None
        self._hold(max(self.output_tokens, self.most_tokens) + 1)
        return self.refusal

    def _hold(self, output_tokens: int) -> None:
        """Have so many output tokens held in all, where they are not."""
        held, more = self.run.held, output_tokens - self.run.held.output_tokens
        if more > 0:
            cost = held.cost_nano_usd + more * self.output_nano_usd
            self._ask(Amount(held.input_tokens, output_tokens, cost))

    def _wanted(self) -> Amount | None:
        is_longer = self.output_tokens > self.asked_tokens  # its provider does not keep to what it was asked for
        return grown(
            self.run.held,
            self.output_tokens,
            output_nano_usd=self.output_nano_usd,
            most_tokens=None if is_longer else self.asked_tokens,
        )

    def _ask(self, held: Amount) -> None:
        used = Amount(self.run.held.input_tokens, self.output_tokens, self._cost_so_far())
        verdict = self.accounts.grow(self.user, self.run, used=used, held=held, turn_tokens=self.turn_tokens)
        if isinstance(verdict, Granted):
            self.run, self.refusal = verdict.run or self.run, None
        else:
            self.refusal = verdict.refusal

    def _cost_so_far(self) -> int:
        """What it has cost by now: all that is held, less what the tokens that have not come yet would cost."""
        held = self.run.held
        return max(0, held.cost_nano_usd - max(0, held.output_tokens - self.output_tokens) * self.output_nano_usd)
