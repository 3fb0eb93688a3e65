"""The sessions that one connection follows: attaching, replaying, losing and leaving them.

The order of every attach is the same: `attached`, then (after a gap) `gap` and `snapshot`, then what is missing, then
live. The answer is queued and the hold on the hub is taken in one step, so that nothing slips between.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final

import structlog

from gateway.clients.attachment import Attachment, Outrun, Picture
from gateway.clients.decisions.session_refusals import (
    no_room_for_session,
    refused_cursor,
    refused_session,
    too_many_new,
    too_many_sessions,
    unavailable,
)
from gateway.clients.request_lanes import RequestLanes
from gateway.clients.services import GatewayServices
from gateway.fetching.absent_sessions import TooManyAbsent
from gateway.fetching.decisions.resume_cursor import Forged, Gap, GapReason, SignedPosition
from gateway.hubs.decisions.attach_plan import (
    AttachPlan,
    AttachWish,
    plan_from_archive,
    plan_from_log,
    plan_from_memory,
    plan_without_log,
)
from gateway.hubs.session_hub import SessionHub
from gateway.sockets.client_tasks import TaskOwner
from gateway.sockets.client_writer import ClientWriter
from gateway.sockets.decisions.client_outbox import OutboxEvent
from infra.clickhouse.decisions.archived_turns import ArchivedTurn
from infra.decisions.backoff import Backoff
from infra.kafka.log_client import LogError, LogUnavailable, OffsetOutOfRange
from infra.kafka.session_topics import SessionTopicRefused, SessionTopicsUnavailable
from schemas.client_messages import OnSlow
from schemas.gateway_messages import Attached
from schemas.gateway_messages import Gap as GapMessage
from schemas.identifiers import SessionId, SessionKey, UserId, session_key_of

__all__ = ["SessionAttachments"]

log = structlog.get_logger(__name__)

REFUSED_RETRY_S: Final = 60.0
REPLAY_BACKOFF: Final = Backoff(0.5)
"""Between attempts of a replay while Kafka does not answer."""


class SessionAttachments:
    """Attachments by session id."""

    def __init__(
        self, services: GatewayServices, writer: ClientWriter, user: UserId, tasks: TaskOwner, lanes: RequestLanes
    ) -> None:
        self._services = services
        self._writer = writer
        self._user = user
        self._tasks = tasks
        self._lanes = lanes
        self._held: dict[str, Attachment] = {}
        self._outrun_by: dict[Attachment, None] = {}
        """Sessions that were live and are served from the log: while there are any, so is the connection."""
        self._closed = False

    def heads(self) -> dict[str, str]:
        """The newest cursor of each session that is live and has begun."""
        return {
            session: held.hub.head() for session, held in self._held.items() if held.live and not held.hub.is_absent
        }

    def begin(self, session: str) -> float:
        """A prompt is about to go out: 0, or, where it may not begin a new session, the seconds to wait."""
        held = self._held.get(session)
        return 0.0 if held is None else self._services.hubs.begin(held.hub, self._services.new_sessions)

    def refused(self, held: Attachment, prompt_id: str, retry_after_s: float) -> None:
        """A worker may not make the session's log."""
        session = held.hub.session
        if retry_after_s:
            self._writer.send(no_room_for_session(session, prompt_id, retry_after_s))
        else:
            self._writer.send(refused_session(session, prompt_id))

    def cursors(self) -> dict[str, str]:
        """Where the client stands in each session, by what was written; of one that waits for a picture, nothing."""
        return {session: held.written_cursor for session, held in self._held.items() if held.written_cursor}

    def any_open_turn(self) -> bool:
        """Whether an answer is under way in one of the sessions."""
        return any(held.hub.has_open_turn() for held in self._held.values())

    def close(self) -> None:
        """Follow nothing any more."""
        self._closed = True
        for session in list(self._held):
            self.detach(session)

    def detach(self, session: str) -> None:
        """Follow a session no longer."""
        held = self._held.pop(session, None)
        if held is not None:
            held.end()
            self.caught_up(held)

    def wish(self, session: str, from_: str) -> AttachWish | None:
        """What `from` asks for; None after the client was told that its cursor is refused."""
        if from_ == "start" or from_ == "tail":
            return from_  # type: ignore[return-value]  # mypy narrows no string by `or`
        said = self._services.hubs.signer(self.key_of(session)).read(from_)
        if isinstance(said, Forged):
            self._writer.send(refused_cursor(session))
            return None
        return said

    async def followed(self, session: str, prompt_id: str) -> bool:
        """Follow a session from now on unless it is followed already; False after the client was told why not."""
        return session in self._held or await self.attach(session, "tail", prompt_id=prompt_id)

    async def attach(self, session: str, wish: AttachWish, *, prompt_id: str = "", on_slow: OnSlow = "log") -> bool:
        """Follow a session; False after the client was told why not."""
        rules = self._services.rules
        limit = rules.connection_limits.sessions_per_connection_max
        if session not in self._held and len(self._held) >= limit:
            self._writer.send(too_many_sessions(session, prompt_id, limit))
            return False
        try:
            async with asyncio.timeout(rules.attach_s):
                hub, plan, archived = await self.planned(SessionId(session), wish)
        except SessionTopicRefused as refusal:
            log.error("session_refused", reason=str(refusal))
            self._writer.send(refused_session(session, prompt_id))
            return False
        except TooManyAbsent:
            self._writer.send(too_many_new(session, prompt_id, REFUSED_RETRY_S))
            return False
        except (LogError, SessionTopicsUnavailable, TimeoutError) as error:
            log.info("attach_failed", error=type(error).__name__)
            self._writer.send(unavailable(session, prompt_id, self._services.rules.retry_after_s))
            return False
        if not self._closed:
            self.hold(session, hub, plan, archived, on_slow)
        return not self._closed

    async def planned(
        self, session: SessionId, wish: AttachWish
    ) -> tuple[SessionHub, AttachPlan, Sequence[ArchivedTurn]]:
        """How to attach, to a hub that is still told of its log: it may have been lost while we waited."""
        said = wish if isinstance(wish, SignedPosition) else None
        while True:
            hub = await self._services.hubs.open(self._user, session, said)
            if hub.is_absent:
                plan = plan_without_log(wish, hub.view())
            else:
                plan = plan_from_memory(wish, hub.view()) or await self.plan_with_bounds(wish, hub)
            archived = await self._services.archive.turns(self._user, session) if plan.log_is_short else ()
            if archived:
                plan = plan_from_archive(plan, hub.view())
            if self._services.hubs.is_open(hub):
                return hub, plan, archived

    async def plan_with_bounds(self, wish: AttachWish, hub: SessionHub) -> AttachPlan:
        place = hub.place
        bounds = await self._services.log_client.bounds(place.topic, place.partition)
        assert wish == "start" or isinstance(wish, SignedPosition)
        return plan_from_log(wish, hub.view(), log_start=bounds.start, log_end=bounds.end)

    def hold(
        self, session: str, hub: SessionHub, plan: AttachPlan, archived: Sequence[ArchivedTurn], on_slow: OnSlow
    ) -> None:
        self.detach(session)
        picture = picture_of(plan, archived)
        held = Attachment(
            hub,
            self._writer,
            plan.position,
            hub.teller.cursor(plan.position, plan.fold_from) if picture is None else "",
            owner=self,
            on_slow=on_slow,
        )
        self._held[session] = held
        self._writer.send(Attached(session=session, head=hub.head(), recovered=plan.recovered, source=plan.source))
        if plan.gap is not None:
            self._writer.send(GapMessage(session=session, reason=plan.gap))
        if picture is not None or not held.join_if_covered():
            held.task = self._tasks.create_task(self.replayed(held, plan.fold_from, picture))

    async def replayed(self, held: Attachment, fold_from: int, picture: Picture | None = None) -> None:
        """Tell what is missing (from where a picture ends, if there is one to be told), through outages of Kafka."""
        past = self._services.catch_up
        while not self._closed:
            try:
                if picture is not None:
                    fold_from, picture = await held.replay_snapshot(past, picture), None
                await held.replay(past, fold_from)
            except LogUnavailable:
                await asyncio.sleep(REPLAY_BACKOFF.pause_s())
            except LogError as error:
                held.task = None
                cut = isinstance(error, OffsetOutOfRange) and fold_from < error.start
                held.lost("expired" if cut else "log_lost")
                return
            else:
                held.task = None
                self.caught_up(held)
                return

    # ---- Slow clients

    def outrun(self, held: Attachment, need: Outrun) -> None:
        """Memory cannot serve this session's client: go back to where it really stands, and on from the log."""
        said = held.hub.read(held.written_cursor)
        assert isinstance(said, SignedPosition)  # we signed it
        held.position = said.position
        self._outrun_by[held] = None
        self._writer.move(OutboxEvent.OUTRUN)
        if self._closed:
            return
        if need == "skip":
            self._writer.send(GapMessage(session=held.hub.session, reason="skipped"))
            self._services.metrics.skipped()
            held.task = self._tasks.create_task(self.replayed(held, said.fold_from, Picture(since=said.fold_from)))
        else:
            held.task = self._tasks.create_task(self.replayed(held, said.fold_from))

    def caught_up(self, held: Attachment) -> None:
        if held in self._outrun_by:
            del self._outrun_by[held]
            if not self._outrun_by:
                self._writer.move(OutboxEvent.CAUGHT_UP)

    def shed(self) -> None:
        """The process needs the bytes that wait here: have all live sessions served from the log."""
        for held in list(self._held.values()):
            if held.live and not held.hub.is_absent:
                self._writer.move(OutboxEvent.SHED)
                held.outrun("log")

    def lost(self, held: Attachment, reason: GapReason) -> None:
        """The session's log does not go on: say so, and follow what there is now."""
        session = held.hub.session
        self.caught_up(held)
        if self._held.get(session) is held:
            del self._held[session]
            self._lanes.push(session, partial(self.attach_again, session, reason, held.on_slow))

    async def attach_again(self, session: str, reason: GapReason, on_slow: OnSlow) -> None:
        await self.attach(session, Gap(reason), on_slow=on_slow)

    def key_of(self, session: str) -> SessionKey:
        return session_key_of(self._user, SessionId(session))


def picture_of(plan: AttachPlan, archived: Sequence[ArchivedTurn]) -> Picture | None:
    """What is to be told before anything else."""
    if plan.tells_all:
        return Picture(archived=archived, since=0 if plan.log_is_absent else None)
    if plan.picture_of is not None:
        since = plan.fold_from
        return Picture(since=since, until=plan.position, only=plan.picture_of, fold_from=since)
    return None
