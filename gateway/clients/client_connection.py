"""One client's connection: what it says is decided by the protocol, what it is told goes through its writer.

One task reads; writing needs none. Everything that depends on time (hello, pings, a blocked socket, the token's end,
a close that is not answered) hangs on `tick`, which the server calls for all connections about once a second.
Whatever ends a connection goes through `close`: a `disconnect` that says why and whether to come back, with the
cursors of what was really written, then the close frame; a socket that does not follow is dropped.
"""

from __future__ import annotations

import asyncio
import random
from typing import Final, assert_never

import structlog
from websockets.exceptions import ConnectionClosed

from gateway.access.access_desk import TooOften
from gateway.clients.decisions.client_protocol import (
    Authenticate,
    CancelPrompt,
    ClientProtocol,
    Fault,
    FollowSession,
    HeardPong,
    HeldPart,
    Intent,
    LogOut,
    ProtocolState,
    SubmitPrompt,
    UnfollowSession,
)
from gateway.clients.services import GatewayServices
from gateway.clients.session_requests import SessionRequests
from gateway.decisions.message_bucket import Admit, MessageBucket, Refuse
from gateway.sockets.client_socket import ClientSocket
from gateway.sockets.client_tasks import ClientTasks
from gateway.sockets.client_writer import ClientWriter
from gateway.sockets.decisions.client_outbox import ClientOutbox
from infra.access_tokens import TokenError, VerifiedToken
from infra.connect_tickets import is_ticket
from producers.errors import ProducerError
from schemas.close_codes import (
    BAD_TOKEN,
    FORBIDDEN,
    HELLO_TOO_LATE,
    INTERNAL_ERROR,
    NO_PONG,
    PROTOCOL_VIOLATED,
    SLOW_READER,
    CloseCode,
)
from schemas.gateway_messages import Disconnect, Drain, Error, Ping, Welcome

__all__ = ["ClientConnection"]

log = structlog.get_logger(__name__)

RELIEVED_STALL_S: Final = 2.0
"""A client that has taken nothing for so long goes first when the process holds all it may."""
SLOW_CURSORS_MAX: Final = 128
"""Last words to a slow client must not be what fills its socket: with more sessions it goes by its own cursors."""


class ClientConnection:
    """The conversation with one client, from its hello to its close."""

    def __init__(self, socket: ClientSocket, services: GatewayServices) -> None:
        self.socket = socket
        self._services = services
        self._rules = services.rules
        self._metrics = services.metrics
        self.protocol = ClientProtocol(self._rules.prompt_limits, services.parts_room)
        now_s = services.clock.monotonic_s()
        outbox = ClientOutbox(self._rules.outbox_limits, services.held_bytes, now_s=socket.loop.time())
        self.writer = ClientWriter(socket, outbox, self.evict, self._metrics.mode_reached)
        socket.on_unblocked = self._metrics.blocked_s.observe
        limits = self._rules.connection_limits
        self._bucket = MessageBucket(limits.message_burst, limits.messages_per_s, now_s=now_s)
        self.requests: SessionRequests | None = None
        self._tasks = ClientTasks(self.failed)
        self._token: VerifiedToken | None = None
        """What the client is in on."""
        self._hello_until_s = now_s + self._rules.hello_s
        self._ping_at_s = now_s + self._rules.ping_s
        self._pong_until_s: float | None = None
        self._ping_ends_at_bytes = 0
        """How much must be delivered for the client to have our ping."""
        self._close_until_s: float | None = None
        self._frames_reported = 0

    async def run(self) -> None:
        """Serve the client until it goes or is closed.

        Cancellation: the connection is dropped without a word; the client resumes with its own cursors.
        """
        try:
            await self.read_frames()
        finally:
            if self.requests is not None:
                self.requests.attachments.close()
            await self._tasks.end()
            self.forget()

    def failed(self, error: BaseException) -> None:
        """Something that ran for the client has failed: a fault of ours, which costs this client only."""
        log.error("connection_failed", exc_info=error)
        self.close(INTERNAL_ERROR)

    async def read_frames(self) -> None:
        try:
            while True:
                frame = await self.socket.recv()
                self._metrics.frames_in.inc()
                self._pong_until_s = None
                messages = 0
                for intent in self.protocol.receive(frame):
                    if isinstance(intent, Authenticate) and is_ticket(intent.token):
                        await self.cash(intent)
                    else:
                        self.act(intent)
                    messages += 1
                wait_s = self._services.message_rate.spend(messages, now_s=self._services.clock.monotonic_s())
                if wait_s:
                    await asyncio.sleep(wait_s)
                if self.requests is not None:
                    await self.requests.lanes.until_room()
        except ConnectionClosed:
            return

    def act(self, intent: Intent) -> None:
        """Do what one message asks for, or begin to."""
        if not self.may_speak():
            return
        match intent:
            case Authenticate():
                self.authenticate(intent)
            case FollowSession() | UnfollowSession() | SubmitPrompt() | CancelPrompt():
                assert self.requests is not None
                self.requests.accept(intent)
            case LogOut():
                self._tasks.create_task(self.log_out())
            case HeardPong() | HeldPart():
                pass
            case Fault():
                self.refuse(intent)
            case unreachable:
                assert_never(unreachable)

    def may_speak(self) -> bool:
        """Whether one more message is within the rates; else the client is closed."""
        now_s = self._services.clock.monotonic_s()
        refusal = self._bucket.admit(1, now_s=now_s)
        if isinstance(refusal, Admit) and self.requests is not None:
            refusal = self._services.sockets.admit_messages(self.requests.user, 1, now_s=now_s)
        if isinstance(refusal, Refuse):
            self.close(refusal.code, retry_after_s=refusal.retry_after_s)
            return False
        return True

    def authenticate(self, hello: Authenticate) -> None:
        """Let the client in on a token, or renew it."""
        try:
            token = self.verified(hello.token)
        except TokenError as error:
            self.refuse_token(error)
        else:
            self.enter(token, hello)

    async def cash(self, hello: Authenticate) -> None:
        """Let the client in on a ticket; what it says next waits until that is decided."""
        if not self.may_speak():
            return
        try:
            token = await self._services.access.cash(hello.token)
        except TokenError as error:
            self.refuse_token(error)
        else:
            if not self.protocol.is_closing():
                self.enter(token, hello)

    async def log_out(self) -> None:
        """End the user's tokens everywhere; this connection's own too, which closes it once that is on the log."""
        assert self.requests is not None
        try:
            await self._services.access.log_out(self.requests.user, deadline_s=self._rules.publish_s)
        except TooOften as refusal:
            wait_s = refusal.retry_after_s
            self.writer.send(Error(code="too_often", message=str(refusal), temporary=True, retry_after_s=wait_s))
        except ProducerError as error:
            message = "Kafka does not answer; you are not logged out, try again shortly"
            retry_after_s = self._rules.retry_after_s
            self.writer.send(Error(code=error.code, message=message, temporary=True, retry_after_s=retry_after_s))

    def logged_out(self, at_s: float) -> None:
        """The user has logged out; a connection on a ticket that was made since stays."""
        if self._token is None:
            return
        try:
            self._rules.tokens.check(self._token)
        except TokenError as error:
            log.info("connection_logged_out", at_s=at_s)
            self.writer.send(Error(code=error.code, message="you have logged out; sign in again", field="token"))
            self.close(BAD_TOKEN)

    def refuse_token(self, error: TokenError) -> None:
        log.info("token_refused", code=error.code, reason=error.reason, where="hello")
        self.writer.send(Error(code=error.code, message=str(error), field="token"))
        self.close(BAD_TOKEN)

    def enter(self, token: VerifiedToken, hello: Authenticate) -> None:
        """The token is good: admit the client and follow what it resumes."""
        if self.requests is None:
            admission = self._services.sockets.admit(
                token.user,
                held_bytes=self._services.held_bytes.total,
                now_s=self._services.clock.monotonic_s(),
                draw=random.random(),  # spreads those who come back
            )
            if isinstance(admission, Refuse):
                self._metrics.refused("admission")
                self.close(admission.code, retry_after_s=admission.retry_after_s)
                return
            self.requests = SessionRequests(self._services, self.writer, token.user, self._tasks)
            self.socket.doorway.welcome(self.socket)
        elif token.user != self.protocol.user:
            self.writer.send(Error(code="forbidden", message="the token is another user's; open a new connection"))
            self.close(FORBIDDEN)
            return
        self.protocol.authenticated(token.user)
        self._token = token
        self.writer.send(self.welcome(token))
        for session, cursor in hello.resume.items():
            self.act(self.protocol.follow(session, cursor))

    def verified(self, token: str) -> VerifiedToken:
        """Also where the handshake has named it: until the hello, the user may have logged out."""
        if not token and self.socket.header_token is not None:
            self._rules.tokens.check(self.socket.header_token)
            return self.socket.header_token
        return self._rules.tokens.verify(token)

    def welcome(self, token: VerifiedToken) -> Welcome:
        rules = self._rules
        return Welcome(
            connection=self.socket.id.hex,
            user=token.user,
            ping_s=rules.ping_s,
            pong_s=rules.pong_s,
            frame_bytes_max=rules.frame_bytes_max,
            prompt_bytes_max=rules.prompt_limits.prompt_bytes_max,
            models=rules.models,
            simulated=rules.simulated,
        )

    def refuse(self, fault: Fault) -> None:
        self.writer.send(
            Error(
                code=fault.code,
                message=fault.message,
                session=fault.session,
                prompt_id=fault.prompt_id,
                field=fault.field,
                temporary=fault.temporary,
                retry_after_s=fault.retry_after_s,
            )
        )
        if fault.closes:
            self.close(PROTOCOL_VIOLATED)

    def relieve(self) -> None:
        """The process needs the bytes: give up what waits here; and the socket, if it holds much or takes nothing."""
        if self.requests is not None:
            self.requests.attachments.shed()
        self.writer.observe()
        outbox = self.writer.outbox
        stalled_s = self.socket.loop.time() - outbox.progress_at_s
        holds_much = outbox.parked_bytes or outbox.unsent_bytes > self._rules.outbox_limits.high_bytes
        if holds_much or stalled_s > RELIEVED_STALL_S:
            self.evict()

    def evict(self) -> None:
        """The client is too slow for what it follows."""
        self.close(SLOW_READER)

    def close(self, code: CloseCode, *, retry_after_s: float | None = None) -> None:
        """Say why and close. What is queued is dropped: the cursors say where to come back."""
        if self._close_until_s is not None:
            return
        rules = self._rules
        linger_s = rules.closing_s if self.requests is not None else min(rules.closing_s, rules.stranger_closing_s)
        self._close_until_s = self._services.clock.monotonic_s() + linger_s
        self.protocol.closed()
        if code is not SLOW_READER:
            self.writer.flush()
        cursors: dict[str, str] = {}
        if self.requests is not None:
            cursors = self.requests.attachments.cursors()
            self.requests.attachments.close()
        if code is SLOW_READER and len(cursors) > SLOW_CURSORS_MAX:
            cursors = {}
        words = Disconnect(
            code=code.number,
            reason=code.reason,
            reconnect=code.reconnect,
            retry_after_s=retry_after_s,
            cursors=cursors if code.reconnect else {},
        )
        self.writer.last_words(words, code.number, code.reason)
        self._metrics.closed(code.number)
        log.info("connection_closed", code=code.number, unsent_bytes=self.writer.outbox.unsent_bytes)

    def is_streaming(self) -> bool:
        """Whether a turn is open in a session that the client follows."""
        return self.requests is not None and self.requests.attachments.any_open_turn()

    def drain(self, at_s: float) -> None:
        """This gateway leaves, and the client in `at_s` seconds at the latest; until then it is served."""
        if self.requests is not None and self._close_until_s is None:
            cursors = self.requests.attachments.cursors()
            self.writer.send(Drain(reconnect_in_ms=round(at_s * 1_000), cursors=cursors))

    def tick(self, now_s: float, wall_s: float) -> None:
        """Look at everything that depends on time, and report what was written."""
        self.report_frames()
        if self._close_until_s is not None:
            if now_s > self._close_until_s:
                self.socket.abort()
            return
        self.watch(now_s)
        if self.protocol.is_closing():
            return
        if self.protocol.parts is not None:
            for fault in self.protocol.missing_parts(now_s):
                self.refuse(fault)
        if self.protocol.state is ProtocolState.AWAITING_HELLO:
            if now_s > self._hello_until_s:
                self.close(HELLO_TOO_LATE)
        elif self._token is not None and wall_s > self._token.expires_at_s + self._rules.tokens.leeway_s:
            self.close(BAD_TOKEN)
        elif self._pong_until_s is not None and now_s > self._pong_until_s:
            self.close(NO_PONG)
        elif now_s > self._ping_at_s:
            self.ping(now_s)

    def watch(self, now_s: float) -> None:
        """See whether the client takes what it is owed; while it does, a ping on its way is not held against it."""
        outbox = self.writer.outbox
        if self._pong_until_s is None and self.writer.rests():
            return
        owes = outbox.unsent_bytes or self._pong_until_s is not None
        progressed = self.writer.tick(self.socket.undelivered_bytes() if owes else 0)
        if progressed and self._pong_until_s is not None and outbox.delivered_bytes < self._ping_ends_at_bytes:
            self._pong_until_s = now_s + self._rules.pong_s

    def ping(self, now_s: float) -> None:
        self._ping_at_s = now_s + self._rules.ping_s
        if self._pong_until_s is None:
            self._pong_until_s = now_s + self._rules.pong_s
            self._ping_ends_at_bytes = self.writer.outbox.written_bytes + self.writer.outbox.queued_bytes
        heads = self.requests.attachments.heads() if self.requests is not None else {}
        self.writer.send(Ping(heads=heads))

    def report_frames(self) -> None:
        frames = self.writer.frames
        if frames != self._frames_reported:
            self._metrics.frames_out.inc(frames - self._frames_reported)
            self._frames_reported = frames

    def forget(self) -> None:
        self.report_frames()
        self.writer.forget()
        self.protocol.forget_parts()
        if self.requests is not None:
            self.requests.attachments.close()
            self._services.sockets.leave(self.requests.user)
