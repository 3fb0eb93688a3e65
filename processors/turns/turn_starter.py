"""Starts the turns of each session, as many at once as their lane lets start.

Each turn runs in a task of its own (`attempt_loop`). When the task is done, however it ended, the turn leaves the lane,
its place goes back, and whoever may start now is started.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from infra.kafka.session_topics import SessionTopicRefused
from processors.attempts.token_publisher import RunVoided
from processors.attempts.turn_route import TurnRoute
from processors.sessions.attempt import Attempt
from processors.sessions.decisions.busy_session import eta_s, may_start, smoothed
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn
from processors.sessions.partition_tasks import PartitionTasks
from processors.sessions.session_lane import SessionLane
from processors.targets.target_pool import Call
from processors.turns.attempt_loop import AttemptLoop
from processors.turns.begin_gate import BeginGate
from processors.turns.unlogged_endings import UnloggedEndings
from processors.turns.worker_parts import WorkerParts

__all__ = ["TurnStarter"]

log = structlog.get_logger(__name__)


@dataclass(eq=False, kw_only=True)
class TurnStarter:
    """The one that starts the turns of a partition's sessions."""

    parts: WorkerParts
    tasks: PartitionTasks
    loop: AttemptLoop
    unlogged: UnloggedEndings
    gate: BeginGate
    _typical_turn_s: float | None = field(default=None, init=False)
    """How long turns have taken of late, from their place to their end; None: none has ended yet."""

    async def start_now(self, lane: SessionLane, turn: OpenTurn) -> bool:
        """Start a turn that is not in the lane yet and need not wait for anything; False: it has to."""
        turns = [*lane.in_order(), turn.as_lane_turn()]
        starting = may_start(turns, prompts_max=self.parts.limits.session_parallel_max)
        if len(turns) - 1 not in starting or self.parts.pool.full:
            return False
        route = await self.parts.calls.route_of(lane, turn)
        call = route.reserve_now() if self.parts.suspects.enter_now(turn) else None
        if call is None:
            self.parts.suspects.leave(turn)
            return False
        await self.begin_now(lane, turn, route, call)
        return True

    async def begin_now(self, lane: SessionLane, turn: OpenTurn, route: TurnRoute, call: Call) -> None:
        """Begin the first attempt together with the turn's first record, and let it run."""
        queued = turn.queued(position=0, at_us=self.parts.clock.now_us())
        lane.join(turn)  # before anything is awaited: who is taken in meanwhile has to see it in front of them
        turn.note(TurnEvent.CLAIMED)
        try:
            turn.begin_place(self.parts.clock.monotonic_s())
            async with self.gate.beginning():
                attempt = await self.parts.runner.begin(lane, turn, call, queued=queued)
        except RunVoided as voided:
            self.drop(lane, turn, call)
            log.warning("run_voided", turn=turn.turn, attempt=turn.entry.attempt, reason=str(voided))
            self.follow_another(lane, turn)
            return
        except BaseException:  # a cancel too: neither its place nor its lane would be free again
            self.drop(lane, turn, call)
            raise
        self.start(lane, turn, attempt, route, call)

    def drop(self, lane: SessionLane, turn: OpenTurn, call: Call) -> None:
        """A turn did not begin: nothing of it stays behind here."""
        self.parts.pool.give_back(call)
        self.parts.suspects.leave(turn)
        lane.leave(turn)
        turn.note(TurnEvent.DROPPED)

    def start(self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute, call: Call) -> None:
        """Carry a turn on that has begun (None: it turned out to be over). Its place is the lane's to give back."""
        if attempt is None:
            self.left(lane, turn, call, TurnEvent.TASK_DONE)
        else:
            self.spawn(lane, turn, self.run(lane, turn, attempt, route), call)

    def wake(self, lane: SessionLane) -> None:
        """Start the turns of the lane whose time has come."""
        if not self.tasks.stopping:
            for turn in lane.startable(prompts_max=self.parts.limits.session_parallel_max):
                self.launch(lane, turn)

    def launch(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Start a turn of the lane, or end it where it was stopped meanwhile."""
        turn.note(TurnEvent.CLAIMED)
        self.spawn(lane, turn, self.run(lane, turn, None, None))

    def spawn(
        self, lane: SessionLane, turn: OpenTurn, work: Coroutine[Any, Any, TurnEvent], call: Call | None = None
    ) -> None:
        """`work` gives what the turn is to be told once the task is done, and not before: one that is back in its lane
        while its task has not ended is started again, and what its first task leaves is then taken for the second's.

        `call`: the place that it was given as it was taken in. It goes back when the task is *done*: a task that is
        cancelled before its first step runs no `finally`.
        """

        def done(task: asyncio.Task[TurnEvent]) -> None:
            failed = task.cancelled() or task.exception() is not None
            self.left(lane, turn, call, TurnEvent.TASK_DONE if failed else task.result())

        task = turn.task = self.tasks.spawn(work, name=f"turn-{turn.turn}")
        task.add_done_callback(done)

    def left(self, lane: SessionLane, turn: OpenTurn, call: Call | None, event: TurnEvent) -> None:
        """A turn's task is done: it is over, or another owner's, or goes back into its lane."""
        if call is not None:  # first of all: whom `wake` starts may need this place
            self.parts.pool.give_back(call)
        if turn.over and turn.started_s is not None:
            self._typical_turn_s = smoothed(self._typical_turn_s, self.parts.clock.monotonic_s() - turn.started_s)
        self.parts.suspects.leave(turn)
        turn.task = None
        turn.note(event)  # before the lane is looked at: it says there whether the turn is back or done with
        if turn.life.claimed:
            lane.leave(turn)
        self.wake(lane)

    async def run(
        self, lane: SessionLane, turn: OpenTurn, attempt: Attempt | None, route: TurnRoute | None
    ) -> TurnEvent:
        """Attempt after attempt until the turn is over, or another owner's."""
        try:
            await self.loop.run(lane, turn, attempt, route)
        except SessionTopicRefused as refusal:
            await self.unlogged.end(lane, turn, refusal)
        return TurnEvent.TASK_DONE

    def follow_another(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Follow a turn that turned out to be another worker's as it was taken in."""
        turn.leased_at_us = 0
        self.follow(lane, turn)

    def follow(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Keep the lane closed while another worker ends a turn that it began."""
        lane.join(turn)
        turn.note(TurnEvent.VOIDED)
        self.spawn(lane, turn, self.run_followed(lane, turn))

    async def run_followed(self, lane: SessionLane, turn: OpenTurn) -> TurnEvent:
        try:
            ended = await self.tasks.until_done("follow", lambda: self.loop.followed(lane, turn))
        except SessionTopicRefused as refusal:
            await self.unlogged.end(lane, turn, refusal)
            return TurnEvent.TASK_DONE
        return TurnEvent.TASK_DONE if ended else TurnEvent.RETURNED  # back in its lane, where it stood

    def eta_s(self, lane: SessionLane) -> float | None:
        """Seconds until a new turn of the session may start, as far as it is known."""
        return eta_s(lane.elapsed_s(self.parts.clock.monotonic_s()), self._typical_turn_s)
