"""What runs take of their users' accounts: reserved before a call, settled when its record is written.

The account decides (`processors/ledger`); here is what a run needs: its input, what answers of its model usually take,
and what both cost.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from processors.attempts.answer_cache import is_cached
from processors.attempts.decisions.pricing import UNPRICED_VERSION
from processors.attempts.turn_calls import TurnCalls
from processors.ledger.decisions.reservation import ANSWER_TOKENS_MIN, AnswerLengths, answer_tokens_max
from processors.ledger.decisions.verdicts import Refused
from processors.ledger.run_meter import LimitMet, RunMeter
from processors.sessions.attempt import Attempt
from processors.sessions.decisions.token_count import count_tokens
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from schemas.ledger import Amount, RunAccount
from schemas.session_events import Usage

__all__ = ["RunBudgets", "with_run"]

MANY_TOKENS: Final = 1_000
"""A token's price is taken from so many: prices are whole billionths."""


@dataclass(eq=False, kw_only=True)
class RunBudgets:
    """Of one worker's runs."""

    calls: TurnCalls
    lengths: dict[str, AnswerLengths] = field(default_factory=dict, init=False)
    """By the model's name, of those that are served."""

    def metered(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt) -> Attempt:
        """The attempt with what it needs reserved; as it was where its user has no limits. Raises LimitMet."""
        user = turn.entry.user
        if is_cached(attempt.call) or not lane.accounts.has_account(user):
            return attempt
        input_tokens, asked_tokens = attempt.input_tokens, attempt.answer_tokens
        expected = self._lengths_of(attempt).expected(input_tokens, asked_tokens)
        output_tokens = max(expected, min(ANSWER_TOKENS_MIN, asked_tokens))
        price = self.calls.price_of(Usage(input_tokens=input_tokens, output_tokens=output_tokens), attempt.target)
        many = self.calls.price_of(
            Usage(input_tokens=input_tokens, output_tokens=output_tokens + MANY_TOKENS), attempt.target
        )
        output_nano_usd = -((price.cost_nano_usd - many.cost_nano_usd) // MANY_TOKENS)
        turn_tokens = sum(run.used.tokens for run in turn.entry.runs if run.settled_at_us)
        verdict = lane.accounts.reserve(
            user,
            RunAccount(
                turn=turn.turn,
                run=attempt.run,
                session=turn.entry.session,
                at_us=0,
                held=Amount(input_tokens, output_tokens, price.cost_nano_usd),
            ),
            turn_tokens=turn_tokens,
            priced=price.version != UNPRICED_VERSION,
        )
        if isinstance(verdict, Refused):
            raise LimitMet(verdict.refusal)
        if verdict.run is None:
            return attempt
        headroom = lane.accounts.headroom(user, verdict.run, turn_tokens=turn_tokens, output_nano_usd=output_nano_usd)
        most_tokens = answer_tokens_max(output_tokens, headroom, asked_tokens) or asked_tokens
        meter = RunMeter(
            accounts=lane.accounts,
            user=user,
            run=verdict.run,
            turn_tokens=turn_tokens,
            output_nano_usd=output_nano_usd,
            asked_tokens=asked_tokens,
            most_tokens=most_tokens,
            count=partial(count_tokens, model=attempt.target.model),
        )
        turn.meters[attempt.run] = meter
        return replace(attempt, meter=meter, answer_tokens=most_tokens)

    def trim(self, lane: SessionLane, turn: OpenTurn, run: str, used: Amount) -> None:
        """A run is over and has used so much: it holds no more. What settles it is its record, once that is written."""
        for account in lane.accounts.open_runs(turn.entry.user, turn.turn):
            if account.run == run:
                lane.accounts.trim(turn.entry.user, account, used)

    def settle(self, lane: SessionLane, turn: OpenTurn, run: str, used: Amount) -> None:
        """A run has used so much and uses no more; said again, or of one whose user has no limits, it means nothing."""
        turn.meters.pop(run, None)
        known = next((each for each in turn.entry.runs if each.run == run), None)
        if known is not None and known.settled_at_us:
            return
        account = known or RunAccount(turn=turn.turn, run=run, session=turn.entry.session, at_us=0)
        settled = lane.accounts.settle(turn.entry.user, account, used)
        if settled is not None:
            turn.note(TurnEvent.ACCOUNTED, runs=with_run(turn.entry.runs, settled))

    def release(self, lane: SessionLane, turn: OpenTurn, runs: Collection[str]) -> None:
        """Runs were not called, as far as is known: what they hold is free again."""
        for run in runs:
            turn.meters.pop(run, None)
            account = RunAccount(turn=turn.turn, run=run, session=turn.entry.session, at_us=0)
            lane.accounts.release(turn.entry.user, account)
        if turn.entry.runs:
            left = tuple(run for run in turn.entry.runs if run.settled_at_us or run.run not in runs)
            turn.note(TurnEvent.ACCOUNTED, runs=left)

    def learn(self, attempt: Attempt, usage: Usage) -> None:
        """An answer was whole."""
        if not is_cached(attempt.call):
            self._lengths_of(attempt).add(usage.output_tokens)

    def _lengths_of(self, attempt: Attempt) -> AnswerLengths:
        return self.lengths.setdefault(attempt.target.model, AnswerLengths())


def with_run(runs: tuple[RunAccount, ...], run: RunAccount) -> tuple[RunAccount, ...]:
    """The accounts of a turn's runs with what is known of one of them now."""
    return (*(each for each in runs if each.run != run.run), run)
