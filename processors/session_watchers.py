"""Who follows the sessions of one partition, as gateways tell, and what becomes of turns that ask for it.

A turn with `pace: reader` gets a brake that hears of its readers; one with `on_leave: cancel` is looked at every
LOOK_EVERY_S, and stopped, journalled first, once it has been left. Words come as commands on the partition; they are
not kept: a new owner knows nothing, and every grace time begins anew with it. Before silence counts as leaving, the
worker makes sure that it can hear: the broker answers, and what lay on the partition a look ago has been taken in.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from infra.kafka.log_client import LogError
from processors.decisions.presence import Left, SessionPresence
from processors.decisions.reader_pace import PaceLimits
from processors.reader_brake import ReaderBrake
from processors.session_lane import OpenTurn, SessionLane
from schemas.identifiers import SessionId, SessionKey, UserId, session_key_of
from schemas.prompts import SessionWatched

if TYPE_CHECKING:
    from processors.partition_owner import PartitionOwner

__all__ = ["SessionWatchers"]

log = structlog.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
HEARING_S: Final = 3.0
"""A broker that takes longer to say where its log ends could not be heard meanwhile."""


@dataclass(slots=True)
class WatchedSession:
    """A session with open turns that ask who follows it."""

    lane: SessionLane
    presence: SessionPresence = field(default_factory=SessionPresence)
    since_s: dict[OpenTurn, float] = field(default_factory=dict)
    """When this worker took each of these turns up."""
    leaving: bool = False
    """Turns of it are being stopped."""


class SessionWatchers:
    """Those of one partition."""

    def __init__(self, owner: PartitionOwner) -> None:
        self.owner = owner
        self.sessions: dict[SessionKey, WatchedSession] = {}
        self.looking: asyncio.Task[None] | None = None
        self.end_before: int | None = None
        """Where the partition ended a look ago; None: it was not looked."""

    def heed(self, lane: SessionLane, turn: OpenTurn) -> None:
        """A turn has joined the session's line."""
        prompt = turn.prompt
        if prompt.on_leave != "cancel" and prompt.pace != "reader":
            return
        session = self.sessions.get(lane.key)
        if session is None or session.lane is not lane:
            session = self.sessions[lane.key] = WatchedSession(lane)
        session.since_s.setdefault(turn, self.owner.parts.clock.monotonic_s())
        if prompt.pace == "reader" and turn.brake is None:
            limits = PaceLimits(self.owner.parts.limits.reader_behind_bytes_max)
            turn.brake = ReaderBrake(session.presence, self.owner.parts.clock, limits)
        if (self.looking is None or self.looking.done()) and not self.owner.stopping:
            self.looking = self.owner.spawn(self.look_now_and_then(), name=f"watchers-{self.owner.partition}")

    def hear(self, command: SessionWatched) -> None:
        """Take a gateway's word. An old one that waited on the partition delays a leave, no more."""
        session = self.sessions.get(session_key_of(UserId(command.user), SessionId(command.session)))
        if session is None:
            return
        now_s = self.owner.parts.clock.monotonic_s()
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
                    session.presence.deaf(self.owner.parts.clock.monotonic_s())
                elif not session.leaving and self.left_turns(session):
                    session.leaving = True
                    self.owner.spawn(self.leave(session), name=f"leave-{session.lane.key}")

    def forget_ended(self) -> None:
        for key, session in list(self.sessions.items()):
            open_turns = set(session.lane.turns)
            for turn in [turn for turn in session.since_s if turn.over or turn not in open_turns]:
                del session.since_s[turn]
            if not session.since_s:
                del self.sessions[key]

    def any_silent(self) -> bool:
        """Whether the grace time of a turn runs, so that it matters whether the worker can hear."""
        now_s = self.owner.parts.clock.monotonic_s()
        return any(not session.presence.attended(now_s) for session in self.sessions.values())

    def heard_enough(self) -> bool:
        """Somebody is at every session: how well the worker hears does not matter now."""
        self.end_before = None
        return True

    async def hears(self) -> bool:
        """Whether words that gateways publish reach this worker."""
        owner, begun_s = self.owner, self.owner.parts.clock.monotonic_s()
        try:
            async with asyncio.timeout(HEARING_S):
                end = await owner.parts.reader.end(owner.parts.names.prompts, owner.partition)
        except (LogError, TimeoutError) as error:
            log.info("watchers_deaf", partition=owner.partition, reason=repr(error))
            self.end_before = None
            return False
        before, self.end_before = self.end_before, end
        slow = owner.parts.clock.monotonic_s() - begun_s > HEARING_S
        return not slow and before is not None and owner.has_heard(before)

    def left_turns(self, session: WatchedSession) -> list[OpenTurn]:
        """The turns that have been left and are not stopped yet."""
        now_s, grace_s = self.owner.parts.clock.monotonic_s(), self.owner.parts.limits.leave_grace_s
        return [
            turn
            for turn, since_s in session.since_s.items()
            if turn.prompt.on_leave == "cancel"
            and not turn.over
            and not turn.entry.cancel_requested
            and isinstance(session.presence.decide(since_s=since_s, grace_s=grace_s, now_s=now_s), Left)
        ]

    async def leave(self, session: WatchedSession) -> None:
        """Stop what has been left, unless somebody came back meanwhile.

        Cancellation: a turn may be journalled as left; the next owner ends it.
        """
        try:
            async with session.lane.alone():
                await self.owner.until_done("leave", lambda: self.stop_left(session))
        finally:
            session.leaving = False

    async def stop_left(self, session: WatchedSession) -> None:
        turns = self.left_turns(session)
        log.info("turns_left", session=session.lane.key, turns=len(turns))
        await self.owner.open_log(session.lane)
        await self.owner.lines.stop(session.lane, turns, "left")
