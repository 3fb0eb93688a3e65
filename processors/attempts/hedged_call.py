"""One turn's call, and a second one beside it when the first is slow to begin.

The order, and what a death between two lines leaves behind:

1. the first call goes out; it speaks within the delay nearly always, and nothing else happens;
2. `TurnHedged` acknowledged: a successor finds a second call that may have been paid for, and records it, estimated;
3. the second call goes out;
4. whoever speaks first has won. The first call goes on as any other; the second one appends its `TurnStarted` and waits
   until that counts, before a chunk of it is written;
5. the other one is cancelled, its connection closed, and recorded as `void` with what it cost.

If neither speaks, the turn goes on as after any failed call, with both targets tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from infra.async_waits import end_tasks
from processors.attempts.attempt_calls import AttemptCalls
from processors.attempts.attempt_stream import AttemptStream
from processors.attempts.run_budgets import with_run
from processors.attempts.token_publisher import RunVoided
from processors.attempts.turn_calls import TurnCalls
from processors.attempts.turn_records import TurnRecords
from processors.attempts.turn_route import TurnRoute
from processors.ledger.run_meter import LimitMet
from processors.sessions.attempt import Attempt, StreamResult
from processors.sessions.decisions.continuation import Restart
from processors.sessions.decisions.turn_ending import Ending
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from processors.targets.target_pool import Call
from schemas.session_events import TurnError, TurnHedged, Usage
from schemas.turn_fold import Verdict

__all__ = ["HedgedCall"]

log = structlog.get_logger(__name__)

OUTPACED: Final = Ending("cancelled", TurnError(code="outpaced", message="Another provider began to answer first."))


class Outpaced(Exception):
    """The turn's other call has spoken first."""


@dataclass(slots=True, eq=False)
class Contender:
    """A call on its way."""

    attempt: Attempt
    stream: AttemptStream
    task: asyncio.Task[StreamResult]
    started: bool
    """Its `TurnStarted` is on the log and counts."""
    is_left: bool = False
    """It was given leave to end: while its connection closes, nobody may rely on it."""


@dataclass(eq=False)
class HedgedCall:
    """Runs one attempt, perhaps with another beside it. Owns their tasks: none outlives `run`."""

    attempts: AttemptCalls
    records: TurnRecords
    lane: SessionLane
    turn: OpenTurn
    route: TurnRoute
    _contenders: list[Contender] = field(default_factory=list, init=False)
    _winner: Contender | None = field(default=None, init=False)
    _changed: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    @property
    def calls(self) -> TurnCalls:
        """What the turn asks for."""
        return self.attempts.calls

    async def run(self, first: Attempt, delay_s: float) -> tuple[Attempt, StreamResult]:
        """The attempt whose answer counts, and how it went. Raises AppendFailed, LogError, RunVoided.

        Cancellation: both calls are closed and nothing more is written; the next owner finds what was paid for.
        """
        try:
            self.begin(first, started=True)
            if await self.is_silent_for(delay_s):
                await self.ask_second()
            await self.until(self.is_decided)
            winner = self._winner or self._contenders[0]
            for other in self._contenders:
                if other is not winner:
                    await self.drop(other, winner)
            return winner.attempt, await winner.task
        finally:
            await end_tasks(*(contender.task for contender in self._contenders))

    def begin(self, attempt: Attempt, *, started: bool) -> None:
        """Make a call. The first to be made is the one that a cancel of the turn ends."""

        async def claim() -> None:
            await self.claim(contender)

        def may_leave() -> bool:
            return self.may_leave(contender)

        stream = self.attempts.stream_of(self.lane, attempt, may_leave=may_leave, before_first=claim, leads=started)
        task = asyncio.create_task(
            self.attempts.run_call(self.turn, attempt, stream), name=f"call-{self.turn.turn}-{attempt.number}"
        )
        contender = Contender(attempt, stream, task, started)
        task.add_done_callback(lambda _: self._changed.set())
        self._contenders.append(contender)

    async def claim(self, contender: Contender) -> None:
        """A call is about to speak. Raises Outpaced where the other one has, RunVoided where its start is void."""
        if self._winner is not None:
            raise Outpaced
        self._winner = contender  # before the append: the other one may be about to speak, and has to find it is late
        self._changed.set()
        if contender.started:
            return
        turn, attempt = self.turn, contender.attempt
        started = self.attempts.started_of(turn, attempt)
        verdicts, _ = await self.lane.log().append([started], since_ms=turn.since_ms)
        if verdicts[-1] is not Verdict.EFFECTIVE:
            raise RunVoided(f"turn {turn.turn}, attempt {attempt.number}: its start is {verdicts[-1].value}")
        turn.note(TurnEvent.BEGAN, attempt=attempt.number, run=attempt.run)
        contender.started = True
        contender.stream.lead(turn)
        self._changed.set()

    def may_leave(self, contender: Contender) -> bool:
        """Whether a call whose first token is late may end: another one goes on, or somebody else will be asked."""
        others = [each for each in self._contenders if each is not contender]
        contender.is_left = any(not each.is_left and not each.task.done() for each in others) or (
            self.route.has_stand_in(contender.attempt.call, *(each.attempt.call for each in others))
        )
        return contender.is_left

    async def is_silent_for(self, delay_s: float) -> bool:
        try:
            async with asyncio.timeout(delay_s):
                await self.until(lambda: self._winner is not None or self._contenders[0].task.done())
        except TimeoutError:
            return True
        return False

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def is_decided(self) -> bool:
        """Whether one has spoken, or nobody will."""
        first, *others = self._contenders
        if self._winner is not None or not others:
            return True
        if first.task.done() and (self.turn.entry.cancel_requested or not has_failed(first.task)):
            return True
        running = [contender for contender in self._contenders if not contender.task.done()]
        if running and self.turn.scope is None:
            running[0].stream.lead(self.turn)
        return not running

    async def ask_second(self) -> None:
        """Begin the second call, if another target has room at once and the first is silent still."""
        call = self.route.reserve_beside(self._contenders[0].attempt.call)
        if call is None:
            return
        made = False
        try:
            attempt = await self.announced(call)  # before the call: what may be paid for is on the log first
            if attempt is None:
                return
            if self._winner is None and not self._contenders[0].task.done():
                self.begin(attempt, started=False)
                made = True
                log.info("turn_hedged", turn=self.turn.turn, attempt=attempt.number, target=call.target.name)
            else:
                await self.records.record_left(self.lane, self.turn, attempt, StreamResult(OUTPACED, Usage()), "void")
        finally:
            if not made:
                self.calls.pool.give_back(call)

    async def announced(self, call: Call) -> Attempt | None:
        """The second attempt, once the log tells of it; None where it must not be made."""
        lane, turn = self.lane, self.turn
        history = await self.calls.history_of(lane, turn, call)
        number, run = turn.next_run(lane.log().folded(turn.turn))
        hedged = TurnHedged(
            turn=turn.turn,
            attempt=number,
            run=run,
            provider=call.provider.name,
            model=call.target.model,
            at_us=self.calls.clock.now_us(),
        )
        attempt = self.attempts.attempt_of(
            lane, turn, call, Restart("nothing_said"), history=history, number=number, run=run, cause="hedge"
        )
        budgets, announced = self.records.budgets, False
        try:
            attempt = budgets.metered(lane, turn, attempt)
            verdicts, _ = await lane.log().append([hedged], since_ms=turn.since_ms)
            announced = verdicts[-1] is Verdict.EFFECTIVE
            if announced and attempt.meter is not None:  # after the log: of a turn that has ended nothing is journalled
                turn.note(TurnEvent.ACCOUNTED, runs=with_run(turn.held_runs(), attempt.meter.run))
                await lane.journal.write(turn.entry)
        except LimitMet:
            return None  # nobody is told: the first call goes on
        finally:
            if not announced:
                budgets.release(lane, turn, {run})
        return attempt if announced else None

    async def drop(self, other: Contender, winner: Contender) -> None:
        """End and record the call that is not needed, or has failed."""
        other.stream.beaten = not other.task.done()
        other.task.cancel()
        await asyncio.wait({other.task})  # not `await other.task`: its failure is looked at below, not raised here
        # a record that says `void` is true only once the other's start counts
        await self.until(lambda: winner.started or winner.task.done())
        if not winner.started:
            return  # what became of the winner's start nobody knows: whoever goes on records both from the log
        result = self.left(other)
        if result.failure is not None:
            self.route.failed_beside(other.attempt.call, result.failure)
        await self.records.record_left(self.lane, self.turn, other.attempt, result, "void")

    def left(self, other: Contender) -> StreamResult:
        """How a call went that did not win."""
        if not other.task.cancelled() and other.task.exception() is None:
            return other.task.result()
        return StreamResult(
            OUTPACED,
            other.attempt.input_usage,
            requested_at_us=other.stream.requested_at_us,
            ended_at_us=self.calls.clock.now_us(),
        )


def has_failed(task: asyncio.Task[StreamResult]) -> bool:
    """Whether a call that is done was failed by its provider: only then is the other one waited for."""
    return not task.cancelled() and task.exception() is None and task.result().failure is not None
