"""Who follows the sessions of one partition, as gateways tell, and what becomes of turns that ask for it.

A turn with `pace: reader` gets a brake that hears of its readers; one with `on_leave: cancel` is looked at every
LOOK_EVERY_S, and stopped, journalled first, once it has been left. Words come as commands on the partition; they are
not kept: a new owner knows nothing, and every grace time begins anew with it. Before silence counts as leaving, the
worker makes sure that it can hear: the broker answers, and what lay on the partition a look ago has been taken in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import structlog

from infra.kafka.log_client import LogError
from processors.sessions.decisions.presence import Left, SessionPresence
from processors.sessions.decisions.reader_pace import PaceLimits
from processors.sessions.open_turn import OpenTurn
from processors.sessions.partition_tasks import PartitionTasks
from processors.sessions.reader_brake import ReaderBrake
from processors.sessions.session_lane import SessionLane
from processors.turns.turn_stops import TurnStops
from processors.turns.worker_parts import WorkerParts
from schemas.identifiers import SessionId, SessionKey, UserId, session_key_of
from schemas.prompts import SessionWatched

__all__ = ["SessionReaders"]

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
HEARING_S: Final = 3.0
"""A broker that takes longer to say where its log ends could not be heard meanwhile."""


@dataclass(slots=True)
class FollowedSession:
    """A session with open turns that ask who follows it."""

    lane: SessionLane
    presence: SessionPresence = field(default_factory=SessionPresence)
    since_s: dict[OpenTurn, float] = field(default_factory=dict)
    """When this worker took each of these turns up."""
    leaving: bool = False
    """Turns of it are being stopped."""


@dataclass(eq=False, kw_only=True)
class SessionReaders:
    """The sessions of one partition whose turns depend on their readers."""

    parts: WorkerParts
    tasks: PartitionTasks
    stops: TurnStops
    has_heard: Callable[[int], bool]
    """Whether every command before an offset of the partition has been taken in."""
    sessions: dict[SessionKey, FollowedSession] = field(default_factory=dict, init=False)
    looking: asyncio.Task[None] | None = field(default=None, init=False)
    _end_before: int | None = field(default=None, init=False)
    """Where the partition ended a look ago; None: it was not looked."""

    def heed(self, lane: SessionLane, turn: OpenTurn) -> None:
        """A turn has joined the session's lane."""
        prompt = turn.prompt
        if prompt.on_leave != "cancel" and prompt.pace != "reader":
            return
        session = self.sessions.get(lane.key)
        if session is None or session.lane is not lane:
            session = self.sessions[lane.key] = FollowedSession(lane)
        session.since_s.setdefault(turn, self.parts.awake.monotonic_s())
        if prompt.pace == "reader" and turn.brake is None:
            limits = PaceLimits(self.parts.limits.reader_behind_bytes_max)
            turn.brake = ReaderBrake(session.presence, self.parts.awake, limits)
        if (self.looking is None or self.looking.done()) and not self.tasks.stopping:
            self.looking = self.tasks.spawn(self.look_now_and_then(), name=f"watchers-{self.tasks.partition}")

    def hear(self, command: SessionWatched) -> None:
        """Take a gateway's word. An old one that waited on the partition delays a leave, no more."""
        session = self.sessions.get(session_key_of(UserId(command.user), SessionId(command.session)))
        if session is None:
            return
        now_s = self.parts.awake.monotonic_s()
        session.presence.hear(command.gateway, command.devices, command.read_offset, now_s)
        for turn in session.since_s:
            if turn.brake is not None:
                turn.brake.hear()

    async def look_now_and_then(self) -> None:
        while self.sessions:
            await asyncio.sleep(LOOK_EVERY_S)
            self.forget_ended()
            hears = await self.hears() if self.any_silent() else self.heard_enough()
            for session in list(self.sessions.values()):
                if not hears:
                    session.presence.deaf(self.parts.awake.monotonic_s())
                elif not session.leaving and self.left_turns(session):
                    session.leaving = True
                    self.tasks.spawn(self.leave(session), name=f"leave-{session.lane.key}")

    def forget_ended(self) -> None:
        for key, session in list(self.sessions.items()):
            open_turns = set(session.lane.turns)
            for turn in [turn for turn in session.since_s if turn.over or turn not in open_turns]:
                del session.since_s[turn]
            if not session.since_s:
                del self.sessions[key]

    def any_silent(self) -> bool:
        """Whether the grace time of a turn runs, so that it matters whether the worker can hear."""
        now_s = self.parts.awake.monotonic_s()
        return any(not session.presence.attended(now_s) for session in self.sessions.values())

    def heard_enough(self) -> bool:
        """Somebody is at every session: how well the worker hears does not matter now."""
        self._end_before = None
        return True

    async def hears(self) -> bool:
        """Whether words that gateways publish reach this worker."""
        begun_s = self.parts.clock.monotonic_s()
        try:
            async with asyncio.timeout(HEARING_S):
                end = await self.parts.reader.end(self.parts.names.prompts, self.tasks.partition)
        except (LogError, TimeoutError) as error:
            log.info("watchers_deaf", partition=self.tasks.partition, reason=repr(error))
            self._end_before = None
            return False
        before, self._end_before = self._end_before, end
        slow = self.parts.clock.monotonic_s() - begun_s > HEARING_S
        return not slow and before is not None and self.has_heard(before)

    def left_turns(self, session: FollowedSession) -> list[OpenTurn]:
        """The turns that have been left and are not stopped yet."""
        now_s, grace_s = self.parts.awake.monotonic_s(), self.parts.limits.leave_grace_s
        return [
            turn
            for turn, since_s in session.since_s.items()
            if turn.prompt.on_leave == "cancel"
            and not turn.over
            and not turn.entry.cancel_requested
            and isinstance(session.presence.decide(since_s=since_s, grace_s=grace_s, now_s=now_s), Left)
        ]

    async def leave(self, session: FollowedSession) -> None:
        """Stop what has been left, unless somebody came back meanwhile.

        Cancellation: a turn may be journalled as left; the next owner ends it.
        """
        try:
            async with session.lane.alone():
                await self.tasks.until_done("leave", lambda: self.stop_left(session))
        finally:
            session.leaving = False

    async def stop_left(self, session: FollowedSession) -> None:
        turns = self.left_turns(session)
        log.info("turns_left", session=session.lane.key, turns=len(turns))
        await self.parts.logs.open(session.lane)
        await self.stops.stop(session.lane, turns, "left")
