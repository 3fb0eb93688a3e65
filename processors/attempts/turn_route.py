"""Where a turn has been tried, and where it goes next when its provider fails it.

The order: another target at once, as long as one is left that was not tried in this round; then, before the first
token only, all of them again after the retry policy's pause; then the failure stands. A cancel ends the search. Where
there is text to go on from, a target that can is preferred to one that would begin again.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import Final

import structlog

from infra.clock import Clock
from processors.providers.provider import (
    CONTEXT_EXCEEDED,
    ProviderBabbled,
    ProviderError,
    ProviderTimedOut,
    ProviderWordless,
)
from processors.sessions.attempt import StreamResult
from processors.sessions.decisions.continuation import GoOn, decide_start
from processors.sessions.decisions.turn_ending import Ending, no_target_ending
from processors.sessions.open_turn import OpenTurn
from processors.targets.decisions.patience import Patience
from processors.targets.decisions.retry_policy import FailureView, RetryAt, decide_retry, may_fail_over
from processors.targets.target_pool import Call, CallWish, OnWait, TargetPool
from schemas.session_events import StartCause

__all__ = ["ROUTE_S", "RouteStopped", "TurnRoute"]

log = structlog.get_logger(__name__)

ROUTE_S: Final = 900.0
"""Longest time from a turn's first call to the beginning of its last, the time that it waits in a queue left out."""
CONTINUES: Final = frozenset({"prefix"})
"""What a target should be able to do, of several that can take over a turn which has text."""


class RouteStopped(Exception):
    """The turn was cancelled while it waited for a target."""


@dataclass(slots=True)
class TurnRoute:
    """The search of one turn for somebody to answer it."""

    pool: TargetPool
    clock: Clock
    wish: CallWish
    patience: Patience
    rounds: int = 0
    passing: ProviderError | None = None
    """The newest failure of this round that may pass by waiting."""
    was_wordless: bool = False
    """A model has ended its answer without a word: each other target is asked once more, and that is all."""
    stand_in: Call | None = None
    """A place that is kept for the next attempt while a call is ended whose first token is late."""
    cached: Call | None = None
    """A remembered answer: it is given at the first attempt, in place of a call."""

    def reserve_now(self) -> Call | None:
        """A call, if one can be had without waiting."""
        return self.take_kept() or self.pool.try_reserve(self.wish)

    def reserve_beside(self, call: Call) -> Call | None:
        """A call at another target, if one can be had without waiting."""
        return self.pool.try_reserve(self.wish.without(call.target.name))

    def has_stand_in(self, call: Call, *others: Call) -> bool:
        """Whether somebody else takes this call, whose first token is late: a place is then kept there.

        `others`: calls of the attempt that have failed already.
        """
        if self.stand_in is None:
            self.stand_in = self.pool.try_reserve(self.wish.without(*(each.target.name for each in (call, *others))))
        return self.stand_in is not None

    def no_target_ending(self, reason: str) -> Ending:
        """The end of the turn where no target can take it; `reason` is the router's code."""
        context_tokens = max(target.context_tokens for target in self.wish.served.targets)
        return no_target_ending(reason, prompt_tokens=self.wish.needs.context_tokens, context_tokens=context_tokens)

    def close(self) -> None:
        """Give back what is kept. Safe to call twice."""
        stand_in, self.stand_in = self.stand_in, None
        if stand_in is not None:
            self.pool.give_back(stand_in)

    def failed_beside(self, call: Call, failure: ProviderError) -> None:
        """A call beside the attempt has failed: its target is tried."""
        self.wish = self.wish.without(call.target.name)
        self.passing = failure if failure.temporary else self.passing

    async def reserve(self, turn: OpenTurn, on_wait: OnWait) -> Call:
        """A call, waited for in its queue. Raises NoTarget, RouteStopped."""
        try:
            async with asyncio.timeout(None) as turn.scope:
                if turn.entry.cancel_requested:
                    raise RouteStopped
                if (kept := self.take_kept()) is not None:
                    return kept
                needs = replace(self.wish.needs, preferred=CONTINUES if may_be_continued(turn) else frozenset())
                call = await self.pool.reserve(replace(self.wish, needs=needs), self.patience, on_wait)
                self.patience = call.patience or self.patience
                return call
        except TimeoutError:
            raise RouteStopped from None
        finally:
            turn.scope = None

    def take_kept(self) -> Call | None:
        """What is at hand without asking: a remembered answer, else the place that was kept."""
        kept = self.cached or self.stand_in
        if self.cached is not None:
            self.cached = None
        else:
            self.stand_in = None
        return kept

    async def goes_on(self, turn: OpenTurn, call: Call, result: StreamResult) -> StartCause | None:
        """After a call ended: the cause of the next attempt, once its time has come; None: this end stands."""
        failure = result.failure
        if failure is None or turn.entry.cancel_requested:
            return None
        refused_to_continue = bool(result.from_seq) and not result.chunks  # what it cannot do, not what was asked of it
        too_long = failure.provider_code == CONTEXT_EXCEEDED and not result.chunks
        if not may_fail_over(failure.code) and not refused_to_continue and not too_long:
            return None
        self.failed_beside(call, failure)
        self.was_wordless = self.was_wordless or isinstance(failure, ProviderWordless)
        if too_long:  # nobody whose context is no larger would take it
            size, targets = call.target.context_tokens, self.wish.served.targets
            self.wish = self.wish.without(*(target.name for target in targets if target.context_tokens <= size))
        if self.stand_in is not None or self.pool.has_other(self.wish):
            return "watchdog" if isinstance(failure, ProviderTimedOut | ProviderBabbled) else "failover"
        if result.from_seq + result.chunks or self.was_wordless:
            return None
        return await self.next_round(turn, self.passing or failure, counts=not call.stood_in_queue)

    async def next_round(self, turn: OpenTurn, failure: ProviderError, *, counts: bool) -> StartCause | None:
        """Every target anew after a pause. `counts`: as one of the rounds that a turn has; a call that stood in a
        target's own queue until its time was up is asked again however often, until the turn's own deadline."""
        self.rounds += counts
        waited_s = failure.waited_s if counts else 0.0
        view = FailureView(failure.code, failure.temporary, failure.retry_after_s, waited_s)
        now_s = self.clock.monotonic_s()
        decision = decide_retry(
            view, attempt=max(1, self.rounds), draw=random.random(), now_s=now_s, deadline_s=self.patience.deadline_s
        )
        if not isinstance(decision, RetryAt):
            log.info("retries_over", turn=turn.turn, rounds=self.rounds, reason=decision.reason)
            return None
        self.wish, self.passing = replace(self.wish, tried=frozenset()), None
        return "retry" if await self.paused(turn, decision.at_s - now_s) else None

    async def paused(self, turn: OpenTurn, pause_s: float) -> bool:
        """Wait; False where the turn was cancelled meanwhile."""
        try:
            async with asyncio.timeout(pause_s) as turn.scope:
                await asyncio.Event().wait()
        except TimeoutError:
            return not turn.entry.cancel_requested
        finally:
            turn.scope = None
        return True


def may_be_continued(turn: OpenTurn) -> bool:
    """Whether the turn has text that an able target would go on from."""
    return turn.failed is not None and isinstance(decide_start(turn.failed.said, able=True, answer_tokens=0), GoOn)
