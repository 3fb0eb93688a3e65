"""Runs the turns of each session, as many at once as their line lets start, and keeps a failing turn from taking
anything else down.

Each turn runs in a task of its own. When the task is done, however it ended, the turn leaves the line, its place goes
back, and whoever may start now is started.

A turn whose attempt fails for want of a broker is tried again as a new attempt; one that our own code fails is
retried FAILURES_MAX times and then ends in `error`, with its prompt kept as a dead letter. One whose run another
worker voided is followed on the log until it ends there, or falls silent: that worker may be one which is about to
learn that it lost the partition, so nobody but this one would end it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from infra.kafka.session_topics import SessionTopicRefused
from processors.begin_gate import GateShut
from processors.decisions.busy_session import stronger_stop
from processors.decisions.recovery import still_leased
from processors.decisions.turn_ending import Ending, ending_of_stop
from processors.session_lane import OpenTurn, SessionLane
from processors.side_by_side import every
from processors.target_pool import NoTarget
from processors.token_publisher import RunVoided
from processors.turn_place import TurnPlace
from processors.turn_records import Attempt, FailedCall
from processors.turn_route import RouteStopped, TurnRoute
from processors.weather import WEATHER
from schemas.codec import encode
from schemas.journal import StopKind
from schemas.session_events import TurnError, TurnWaiting

if TYPE_CHECKING:
    from processors.partition_owner import PartitionOwner

__all__ = ["FAILURES_MAX", "TurnLines"]

log = structlog.get_logger(__name__)

FAILURES_MAX: Final = 3
RETRY_PAUSE_S: Final = 1.0
WATCH_EVERY_S: Final = 0.25
RECORD_GRACE_S: Final = 1.0


class TurnLines:
    """The lines of one partition's sessions."""

    def __init__(self, owner: PartitionOwner) -> None:
        self.owner = owner

    def start(
        self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute, place: TurnPlace
    ) -> None:
        """Carry a turn on that has begun (None: it turned out to be over). Its place is the line's to give back."""
        if attempt is None:
            self.left(lane, turn, place)
        else:
            self.spawn(lane, turn, self.run(lane, turn, attempt, route), place)

    def wake(self, lane: SessionLane) -> None:
        """Start the turns of the lane whose time has come."""
        if not self.owner.stopping:
            for turn in lane.startable(prompts_max=self.owner.parts.limits.session_parallel_max):
                self.launch(lane, turn)

    def launch(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Start a turn of the line, or end it where it was stopped meanwhile."""
        self.spawn(lane, turn, self.run(lane, turn, None, None), TurnPlace(self.owner.parts.runner.pool))

    async def stop(self, lane: SessionLane, turns: Iterable[OpenTurn], kind: StopKind) -> None:
        """End these turns as soon as can be, whether they run or wait. Raises AppendFailed.

        Why is journalled first, so that whoever finds them after a crash ends them the same way.
        Cancellation: some may be journalled as stopped and go on here; the next owner stops them.
        """
        turns = list(turns)
        merging = await self.owner.comparisons.forbid_merges(lane, turns)
        stopped = [turn for turn in dict.fromkeys((*turns, *merging)) if not turn.over]
        await every(self.note_stop(lane, turn, kind) for turn in stopped)
        for turn in stopped:
            turn.stop_waiting()
            if not turn.claimed and not self.owner.stopping:
                self.launch(lane, turn)

    async def note_stop(self, lane: SessionLane, turn: OpenTurn, kind: StopKind) -> None:
        if turn.over:  # its entry is being closed
            return
        stop = stronger_stop(turn.entry.stop if turn.entry.cancel_requested else None, kind)
        now_us = self.owner.parts.clock.now_us()
        turn.entry = msgspec.structs.replace(turn.entry, cancel_requested=True, stop=stop, updated_at_us=now_us)
        await lane.journal.write(turn.entry)

    def spawn(self, lane: SessionLane, turn: OpenTurn, work: Coroutine[Any, Any, None], place: TurnPlace) -> None:
        turn.claimed = True
        turn.task = self.owner.spawn(work, name=f"turn-{turn.turn}")
        turn.task.add_done_callback(lambda _: self.left(lane, turn, place))

    def left(self, lane: SessionLane, turn: OpenTurn, place: TurnPlace) -> None:
        """A turn's task is done: it is over, or another owner's, or it has put itself back into the line."""
        place.give_back()
        if turn.over and turn.started_s is not None:
            self.owner.note_duration(self.owner.parts.clock.monotonic_s() - turn.started_s)
        self.owner.parts.suspects.leave(turn)
        turn.task = None
        turn.placed = False
        if turn.claimed:
            lane.leave(turn)
        self.wake(lane)

    async def run(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute | None) -> None:
        """Attempt after attempt until the turn is over, or another owner's."""
        try:
            await self.run_on(lane, turn, attempt, route)
        except SessionTopicRefused as refusal:
            await self.owner.unlogged.end(lane, turn, refusal)

    async def run_on(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute | None) -> None:
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
                if self.owner.stopping or await self.follow(lane, turn):
                    return
            except WEATHER as error:
                log.warning("attempt_lost", turn=turn.turn, reason=str(error))
                turn.cause = "append_lost"
            except SessionTopicRefused:
                raise
            except Exception as error:  # noqa: BLE001  # whatever a prompt provokes must not take its partition down
                if await self.failed(lane, turn, error):
                    return
            finally:
                if route is not None:
                    route.close()
            attempt = None
            await asyncio.sleep(RETRY_PAUSE_S)

    async def route_of(self, lane: SessionLane, turn: OpenTurn) -> TurnRoute:
        await self.owner.open_log(lane)
        return await self.owner.parts.runner.calls.route_of(lane, turn)

    async def attempted(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute) -> bool:
        return await self.owner.parts.suspects.leaving(lane, turn, self.run_once(lane, turn, attempt, route))

    async def run_once(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute) -> bool:
        """One attempt; True once the turn is over, False where another one is to follow."""
        runner = self.owner.parts.runner
        attempt = attempt or await self.begin(lane, turn, route)
        if attempt is None:
            return True
        attempt, result = await runner.stream(lane, turn, attempt, route)
        cause = await route.goes_on(turn, attempt.call, result)
        if cause is None:
            stopped = result.failure is not None and turn.entry.cancel_requested
            await runner.end(
                lane, turn, attempt, result.stopped(ending_of_stop(turn.entry.stop)) if stopped else result
            )
            return True
        turn.failed = FailedCall(attempt, result)
        turn.cause = cause
        return False

    async def begin(self, lane: SessionLane, turn: OpenTurn, route: TurnRoute) -> Attempt | None:
        """Wait for a target and start the next attempt; None: the turn is over."""
        suspects, attempts_max = self.owner.parts.suspects, self.owner.parts.limits.attempts_max
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
            await self.owner.parts.runner.records.close(lane, turn)
            return None
        turn.begin_place(self.owner.parts.clock.monotonic_s())
        attempt = None
        try:
            await suspects.enter(lane, turn, attempts_max=attempts_max)
            async with lane.lock, self.owner.gate.beginning():
                await self.owner.open_log(lane)
                if not turn.entry.cancel_requested or turn.over:
                    attempt = await self.owner.parts.runner.begin(lane, turn, call)
                    return attempt
        finally:
            if attempt is None:
                self.owner.parts.runner.pool.give_back(call)
        await self.end_here(lane, turn, ending_of_stop(turn.entry.stop))
        return None

    async def end_here(self, lane: SessionLane, turn: OpenTurn, ending: Ending) -> None:
        """End a turn that gets no further attempt."""
        async with lane.lock, self.owner.gate.beginning():
            await self.owner.open_log(lane)
            await self.owner.parts.runner.end_unstarted(lane, turn, ending)

    async def tell_waiting(self, lane: SessionLane, turn: OpenTurn, position: int, eta_s: float | None) -> None:
        waiting = TurnWaiting(turn=turn.turn, position=position, eta_s=eta_s, at_us=self.owner.parts.clock.now_us())
        try:
            await lane.log().append([waiting], since_ms=turn.since_ms, certain=False)
        except WEATHER as error:  # for information only: not worth the turn's place in line
            log.warning("place_not_told", turn=turn.turn, reason=str(error))

    async def follow(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Follow a turn that another worker took over; False: it fell silent, and is this one's again."""
        turn.cause = "crash"
        turn.watched = True
        self.lease_here(turn)
        try:
            return await self.owner.until_done("follow", lambda: self.watched(lane, turn))
        finally:
            turn.watched = False

    def lease_here(self, turn: OpenTurn) -> None:
        lease_until_us = self.owner.parts.clock.now_us() + self.owner.parts.limits.lease_us
        turn.entry = msgspec.structs.replace(turn.entry, lease_until_us=lease_until_us)

    def watch_another(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Watch a turn that turned out to be another worker's as it was taken in."""
        self.lease_here(turn)
        self.watch(lane, turn)

    def watch(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Keep the line closed while another worker ends a turn that it began."""
        turn.watched = turn.placed = True
        lane.join(turn)
        self.spawn(lane, turn, self.run_watched(lane, turn), TurnPlace(self.owner.parts.runner.pool))

    async def run_watched(self, lane: SessionLane, turn: OpenTurn) -> None:
        try:
            ended = await self.owner.until_done("watch", lambda: self.watched(lane, turn))
        except SessionTopicRefused as refusal:
            await self.owner.unlogged.end(lane, turn, refusal)
            return
        if not ended:
            turn.cause = "crash"
            turn.watched = turn.claimed = False  # back in line, where it stood

    async def watched(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Follow the log until the turn has ended (True), or its worker is gone (False). Raises LogError."""
        parts = self.owner.parts
        while True:
            await self.owner.open_log(lane)
            await lane.log().sync(since_ms=turn.since_ms)
            folded = lane.log().folded(turn.turn)
            if folded is not None and folded.ended is not None:
                await asyncio.sleep(RECORD_GRACE_S)  # its worker knows more about it than the log and records it first
                await parts.runner.records.close(lane, turn)
                return True
            if turn.entry.cancel_requested:
                await parts.runner.end_unstarted(lane, turn, ending_of_stop(turn.entry.stop))
                return True
            if not still_leased(turn.entry, folded, now_us=parts.clock.now_us(), lease_us=parts.limits.lease_us):
                return False
            await asyncio.sleep(WATCH_EVERY_S)

    async def failed(self, lane: SessionLane, turn: OpenTurn, error: Exception) -> bool:
        """Note a failure of our own code; True once the turn is given up."""
        failures = turn.entry.failures + 1
        turn.entry = msgspec.structs.replace(turn.entry, failures=failures)
        turn.cause = "handler_error"
        log.error("turn_failed", turn=turn.turn, failures=failures, error=type(error).__name__, exc_info=error)
        if failures < FAILURES_MAX:
            return False
        await self.give_up_surely(lane, turn, code="handler_error", message=type(error).__name__)
        return True

    async def give_up_surely(self, lane: SessionLane, turn: OpenTurn, *, code: str, message: str) -> None:
        """As `give_up`, however often the cluster's weather needs; what else fails is left to the next owner."""
        try:
            await self.owner.until_done("give_up", lambda: self.give_up(lane, turn, code=code, message=message))
        except Exception as error:  # one turn's fault must not close its session's line
            log.error("turn_not_given_up", turn=turn.turn, exc_info=error)

    async def give_up(self, lane: SessionLane, turn: OpenTurn, *, code: str, message: str) -> None:
        """Keep the prompt as a dead letter, then end its turn in `error`."""
        await self.owner.parts.dead_letters.write(
            reason=code,
            message=message,
            topic=self.owner.parts.names.prompts,
            partition=self.owner.partition,
            offset=-1,
            key=turn.prompt.user.encode(),
            value=encode(turn.prompt),
            user=turn.prompt.user,
            session=turn.prompt.session,
            prompt_id=turn.prompt.prompt_id,
        )
        shown = TurnError(code=code, message="The prompt could not be processed; an operator was told.")
        await self.owner.parts.runner.end_unstarted(lane, turn, Ending("error", shown))
