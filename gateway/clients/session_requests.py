"""What a client asks of its sessions: follow, leave, prompt, cancel.

Each request runs in its session's lane and always ends in an answer: what was asked for, or an `error` that says what
to do. A prompt to a session that is not followed yet follows it first, so that nothing of its answer is missed.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from gateway.clients.decisions.client_protocol import CancelPrompt, FollowSession, SubmitPrompt, UnfollowSession
from gateway.clients.decisions.session_refusals import too_many_new, unavailable
from gateway.clients.request_lanes import RequestLanes
from gateway.clients.services import GatewayServices
from gateway.clients.session_attachments import SessionAttachments
from gateway.sockets.client_tasks import TaskOwner
from gateway.sockets.client_writer import ClientWriter
from producers.errors import ProducerError
from producers.prompt_producer import Acknowledged
from schemas.errors import InvalidField
from schemas.gateway_messages import Accepted, Detached, Error
from schemas.identifiers import UserId

__all__ = ["SessionRequests"]

SESSION_ID_BYTES: Final = 12


class SessionRequests:
    """The sessions of one connection."""

    def __init__(self, services: GatewayServices, writer: ClientWriter, user: UserId, tasks: TaskOwner) -> None:
        self._services = services
        self._writer = writer
        self.user = user
        self.lanes = RequestLanes(tasks)
        self.attachments = SessionAttachments(services, writer, user, tasks, self.lanes)

    def accept(self, intent: FollowSession | UnfollowSession | SubmitPrompt | CancelPrompt) -> None:
        """Queue the request in its session's lane."""
        match intent:
            case FollowSession():
                session = intent.session or f"s-{secrets.token_hex(SESSION_ID_BYTES)}"
                self.lanes.push(session, partial(self.follow, session, intent))
            case UnfollowSession():
                self.lanes.push(intent.session, partial(self.unfollow, intent.session))
            case SubmitPrompt():
                # A long prompt fills the lanes alone: nothing more is read until it is published.
                self.lanes.push(intent.session, partial(self.submit, intent), fills=intent.parts is not None)
            case CancelPrompt():
                self.lanes.push(intent.session, partial(self.cancel, intent))

    async def follow(self, session: str, intent: FollowSession) -> None:
        """Answer an `attach`."""
        wish = self.attachments.wish(session, intent.from_)
        if wish is not None:
            await self.attachments.attach(session, wish, on_slow=intent.on_slow)

    async def unfollow(self, session: str) -> None:
        """Answer a `detach`; leaving what is not followed is fine."""
        self.attachments.detach(session)
        self._writer.send(Detached(session=session))

    async def submit(self, intent: SubmitPrompt) -> None:
        """Publish a prompt and say so once the broker has it; what its parts took is free then."""
        try:
            await self.publish_prompt(intent)
        finally:
            if intent.parts is not None:
                intent.parts.release(intent.parts_bytes)

    async def publish_prompt(self, intent: SubmitPrompt) -> None:
        session, prompt = intent.session, intent.prompt
        if not await self.attachments.followed(session, prompt.prompt_id):
            return
        wait_s = self.attachments.begin(session)
        if wait_s:
            self._writer.send(too_many_new(session, prompt.prompt_id, wait_s))
            return
        deadline_s = self._services.rules.publish_s
        turns = await self.published(
            session, prompt.prompt_id, lambda: self._services.producer.submit(prompt, deadline_s=deadline_s)
        )
        if turns is not None:
            self._writer.send(Accepted(session=session, prompt_id=prompt.prompt_id, turns=turns))

    async def cancel(self, intent: CancelPrompt) -> None:
        """Publish the wish to end a prompt's turn; the turn's `end` is the answer."""
        deadline_s = self._services.rules.publish_s
        await self.published(
            intent.session,
            intent.command.prompt_id,
            lambda: self._services.producer.cancel(intent.command, deadline_s=deadline_s),
        )

    async def published(
        self, session: str, prompt_id: str, publish: Callable[[], Awaitable[Acknowledged]]
    ) -> tuple[str, ...] | None:
        """The turns, or None after the client was told why not."""
        self._services.reader.prompted(self.attachments.key_of(session))  # before: its first record is not missed then
        if not self._services.reader.reachable:
            self._writer.send(unavailable(session, prompt_id, self._services.rules.retry_after_s))
            return None
        try:
            return (await publish()).turns
        except InvalidField as error:
            answer = Error(code=error.code, message=str(error), session=session, prompt_id=prompt_id, field=error.field)
        except ProducerError as error:
            answer = Error(
                code="unavailable" if error.code in ("busy", "closed") else error.code,
                message=str(error),
                temporary=error.temporary,
                session=session,
                prompt_id=prompt_id,
                retry_after_s=error.retry_after_s,
            )
        self._writer.send(answer)
        return None
