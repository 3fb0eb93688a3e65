"""The logs of a worker's sessions: found or created when a lane needs one, and forgotten with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import structlog

from infra.kafka.log_client import LogClient
from infra.kafka.session_topics import SessionTopics
from processors.sessions.conversation import Conversations
from processors.sessions.session_lane import SessionLane
from processors.sessions.session_writer import SessionWriter
from processors.writing.activity_teller import ActivityTeller
from processors.writing.log_appender import LogAppender

__all__ = ["SessionLogs"]

log = structlog.get_logger(__name__)


@dataclass(eq=False, kw_only=True)
class SessionLogs:
    """Gives lanes their writers, and takes them away."""

    topics: SessionTopics
    appender: LogAppender
    reader: LogClient
    activity: ActivityTeller
    conversations: Conversations

    async def open(self, lane: SessionLane) -> None:
        """Find or create the lane's log, anew where it turned out to be gone. Raises SessionTopicsError."""
        if lane.writer is not None and lane.writer.lost:
            log.warning("session_log_replaced", session=lane.key)
            self.topics.forget(lane.key)
            lane.writer = None
        if lane.writer is None:
            session_log = await self.topics.ensure(lane.key)
            lane.writer = SessionWriter(
                lane.key,
                session_log,
                appender=self.appender,
                reader=self.reader,
                is_gone=partial(self.topics.is_gone, session_log),
                activity=self.activity,
            )

    async def exists(self, lane: SessionLane) -> bool:
        """Whether the lane has a log; none is made. Raises SessionTopicsError."""
        return lane.writer is not None or await self.topics.find(lane.key) is not None

    async def delete(self, lane: SessionLane) -> None:
        """Delete the lane's log, which is open, with all that was said. Raises SessionTopicsError."""
        shared = lane.log().place.shared
        await self.topics.delete(lane.key)
        if not shared:
            self.activity.tell(lane.key, "deleted", newest_offset=-1)
        lane.writer = None

    def forget(self, lane: SessionLane) -> None:
        """Keep nothing more of a lane's log: a new writer would read it anew."""
        if lane.writer is None:
            return
        place = lane.writer.place
        self.conversations.forget(lane.writer.key)
        if not place.shared:
            self.appender.forget(place.topic)
