"""Runs a turn attempt after attempt, and keeps a failing turn from taking anything else down.

A turn whose attempt fails for want of a broker is tried again as a new attempt; one that our own code fails is
retried FAILURES_MAX times and then ends in `error`, with its prompt kept as a dead letter. One whose run another
worker voided is followed on the log until it ends there, or falls silent: that worker may be one which is about to
learn that it lost the partition, so nobody but this one would end it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Final

import structlog

from infra.kafka.cluster_errors import ClusterUnavailable
from infra.kafka.session_topics import SessionTopicRefused
from processors.attempts.token_publisher import RunVoided
from processors.attempts.turn_route import RouteStopped, TurnRoute
from processors.sessions.attempt import Attempt, FailedCall
from processors.sessions.broker_clock import BrokerClock
from processors.sessions.decisions.recovery import may_be_written, still_leased
from processors.sessions.decisions.turn_ending import Ending, ending_of_stop
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn
from processors.sessions.partition_tasks import CLUSTER_BACKOFF, PartitionTasks
from processors.sessions.session_lane import SessionLane
from processors.targets.target_pool import NoTarget
from processors.turns.begin_gate import BeginGate, GateShut
from processors.turns.worker_parts import WorkerParts
from schemas.session_events import TurnError, TurnWaiting

__all__ = ["FAILURES_MAX", "AttemptLoop"]

log = structlog.get_logger(__name__)

FAILURES_MAX: Final = 3
FOLLOW_EVERY_S: Final = 0.25
RECORD_GRACE_S: Final = 1.0


@dataclass(eq=False, kw_only=True)
class AttemptLoop:
    """Runs the turns of one partition, each by itself."""

    parts: WorkerParts
    tasks: PartitionTasks
    gate: BeginGate
    broker_clock: BrokerClock

    async def run(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute | None) -> None:
        """Attempt after attempt until the turn is over, or another owner's. Raises SessionTopicRefused."""
        while True:
            try:
                if attempt is None and turn.entry.cancel_requested and not turn.over:
                    await self.end_here(lane, turn, ending_of_stop(turn.entry.stop))
                    return
                route = route or await self.route_of(lane, turn)
                while not await self.attempted(lane, turn, attempt, route):
                    attempt = None
                return
            except GateShut:
                return
            except RunVoided as voided:
                log.warning("run_voided", turn=turn.turn, attempt=turn.entry.attempt, reason=str(voided))
                if self.tasks.stopping or await self.follow(lane, turn):
                    return
            except ClusterUnavailable as error:
                log.warning("attempt_lost", turn=turn.turn, reason=str(error))
                turn.note(TurnEvent.APPEND_LOST)
            except SessionTopicRefused:
                raise
            except Exception as error:  # noqa: BLE001  # whatever a prompt provokes must not take its partition down
                if await self.failed(lane, turn, error):
                    return
            finally:
                if route is not None:
                    route.close()
            attempt = None
            await asyncio.sleep(CLUSTER_BACKOFF.pause_s())

    async def route_of(self, lane: SessionLane, turn: OpenTurn) -> TurnRoute:
        await self.parts.logs.open(lane)
        return await self.parts.calls.route_of(lane, turn)

    async def attempted(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute) -> bool:
        return await self.parts.suspects.leaving(lane, turn, self.run_once(lane, turn, attempt, route))

    async def run_once(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute) -> bool:
        """One attempt; True once the turn is over, False where another one is to follow."""
        attempt = attempt or await self.begin(lane, turn, route)
        if attempt is None:
            return True
        attempt, result = await self.parts.runner.stream(lane, turn, attempt, route)
        cause = await route.goes_on(turn, attempt.call, result)
        if cause is None:
            stopped = result.failure is not None and turn.entry.cancel_requested
            await self.parts.runner.end(
                lane, turn, attempt, result.stopped(ending_of_stop(turn.entry.stop)) if stopped else result
            )
            return True
        turn.failed = FailedCall(attempt, result)
        turn.note(TurnEvent.CALL_FAILED, cause=cause)
        return False

    async def begin(self, lane: SessionLane, turn: OpenTurn, route: TurnRoute) -> Attempt | None:
        """Wait for a target and start the next attempt; None: the turn is over."""
        suspects, attempts_max = self.parts.suspects, self.parts.limits.attempts_max
        try:
            tell = partial(self.tell_waiting, lane, turn)
            await suspects.line_up(turn, attempts_max=attempts_max, on_wait=tell)
            call = None if turn.over else await route.reserve(turn, tell)
        except RouteStopped:
            await self.end_here(lane, turn, ending_of_stop(turn.entry.stop))
            return None
        except NoTarget as error:
            await self.end_here(lane, turn, route.no_target_ending(error.reason))
            return None
        if call is None:
            await self.parts.records.close(lane, turn)
            return None
        turn.begin_place(self.parts.clock.monotonic_s())
        attempt = None
        try:
            await suspects.enter(lane, turn, attempts_max=attempts_max)
            # the lock first: whoever waits for it must not hold up those who begin in other sessions; under it the log
            # is opened and begun on as one, or a topic that is made anew in between would take half of a start
            async with lane.lock, self.gate.beginning():
                await self.parts.logs.open(lane)
                if not turn.entry.cancel_requested or turn.over:
                    attempt = await self.parts.runner.begin(lane, turn, call)
                    return attempt
        finally:
            if attempt is None:
                self.parts.pool.give_back(call)
        await self.end_here(lane, turn, ending_of_stop(turn.entry.stop))
        return None

    async def end_here(self, lane: SessionLane, turn: OpenTurn, ending: Ending) -> None:
        """End a turn that gets no further attempt."""
        async with lane.lock, self.gate.beginning():  # as in `begin`: an ending is a start's equal
            await self.parts.logs.open(lane)
            await self.parts.runner.end_unstarted(lane, turn, ending)

    async def tell_waiting(self, lane: SessionLane, turn: OpenTurn, position: int, eta_s: float | None) -> None:
        waiting = TurnWaiting(turn=turn.turn, position=position, eta_s=eta_s, at_us=self.parts.clock.now_us())
        try:
            await lane.log().append([waiting], since_ms=turn.since_ms, certain=False)
        except ClusterUnavailable as error:  # for information only: not worth the turn's place in the queue
            log.warning("place_not_told", turn=turn.turn, reason=str(error))

    async def failed(self, lane: SessionLane, turn: OpenTurn, error: Exception) -> bool:
        """Note a failure of our own code; True once the turn is given up."""
        failures = turn.entry.failures + 1
        turn.note(TurnEvent.FAULTED, failures=failures)
        log.error("turn_failed", turn=turn.turn, failures=failures, error=type(error).__name__, exc_info=error)
        if failures < FAILURES_MAX:
            return False
        await self.give_up_surely(lane, turn, code="handler_error", message=type(error).__name__)
        return True

    async def give_up_surely(self, lane: SessionLane, turn: OpenTurn, *, code: str, message: str) -> None:
        """As `give_up`, however often the cluster fails meanwhile; what else fails is left to the next owner."""
        try:
            await self.tasks.until_done("give_up", lambda: self.give_up(lane, turn, code=code, message=message))
        except Exception as error:  # one turn's fault must not close its session's lane
            log.error("turn_not_given_up", turn=turn.turn, exc_info=error)

    async def give_up(self, lane: SessionLane, turn: OpenTurn, *, code: str, message: str) -> None:
        """Keep the prompt as a dead letter, then end its turn in `error`."""
        await self.parts.dead_letters.keep_prompt(turn.prompt, self.tasks.partition, reason=code, message=message)
        shown = TurnError(code=code, message="The prompt could not be processed; an operator was told.")
        await self.parts.runner.end_unstarted(lane, turn, Ending("error", shown))

    async def follow(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Follow a turn that another worker took over; False: it fell silent, and is this one's again."""
        turn.note(TurnEvent.VOIDED)
        turn.leased_at_us = 0
        ended = await self.tasks.until_done("follow", lambda: self.followed(lane, turn))
        if not ended:
            turn.note(TurnEvent.SILENT)
        return ended

    async def is_left(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Whether the worker that a turn is left to may still be at work on it. Raises AppendFailed, LogError."""
        if not turn.leased_at_us:
            return False
        newest_at_us, now_us = lane.log().newest_at_us(turn.turn), await self.broker_clock.now_us()
        return still_leased(turn.leased_at_us, newest_at_us, now_us=now_us, lease_us=self.parts.limits.lease_us)

    async def is_written_on(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Whether a worker that left no word writes a turn on: who has died does not. Raises AppendFailed, LogError."""
        newest_at_us = lane.log().newest_at_us(turn.turn)
        while newest_at_us and may_be_written(newest_at_us, now_us=await self.broker_clock.now_us()):
            await asyncio.sleep(FOLLOW_EVERY_S)
            await lane.log().sync(since_ms=turn.since_ms)
            if lane.log().newest_at_us(turn.turn) > newest_at_us:
                return True
        return False

    async def followed(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Follow the log until the turn has ended (True), or its worker is gone (False). Raises AppendFailed, LogError.

        A worker that left no word, but was seen at it, has a lease from now on.
        """
        turn.leased_at_us = turn.leased_at_us or await self.broker_clock.now_us()
        while True:
            await self.parts.logs.open(lane)
            await lane.log().sync(since_ms=turn.since_ms)
            folded = lane.log().folded(turn.turn)
            if lane.is_refused(turn):
                await self.parts.records.close(lane, turn)
                return True
            if folded is not None and folded.ended is not None:
                await asyncio.sleep(RECORD_GRACE_S)  # its worker knows more about it than the log and records it first
                await self.parts.records.close(lane, turn)
                return True
            if turn.entry.cancel_requested:
                await self.parts.runner.end_unstarted(lane, turn, ending_of_stop(turn.entry.stop))
                return True
            if not await self.is_left(lane, turn):
                return False
            await asyncio.sleep(FOLLOW_EVERY_S)
