"""What the gateway answers to plain HTTP, and who may open a websocket.

`websockets` hands us each request before the upgrade. GET and HEAD of the page, `/healthz`, `/readyz` and `/metrics`,
and POST to `/v1/ticket` and `/v1/logout` (without a body, the access token in the header) and to `/v1/token` (a sign-in
code in the token's place) are answered here; a request with a body never gets so far (`ClientSocket.send_data`);
`/v1/connect` goes on to the upgrade if its Origin is on the list (a browser always sends one; a program that sends none
is no browser, and comes in unless the settings say otherwise), a token in its header or a ticket in its query is good,
and it speaks the subprotocol.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

import msgspec
import structlog
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from gateway.access.access_desk import AccessDesk, TicketUnclaimed, TooOften
from gateway.clients.services import GatewayRules
from gateway.process.page_files import PageFile
from gateway.sockets.client_socket import ClientSocket
from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.access_tokens import TokenError
from infra.connect_tickets import TICKET_S
from infra.host_names import HOST_REFUSED, answers_to
from infra.telemetry.metrics import CONTENT_TYPE
from producers.errors import ProducerError
from schemas.client_messages import SUBPROTOCOL

__all__ = ["CONNECT_PATH", "HttpRoutes", "allowed_origins", "leave_out_body"]

log = structlog.get_logger(__name__)

CONNECT_PATH: Final = "/v1/connect"
TICKET_PATH: Final = "/v1/ticket"
LOGOUT_PATH: Final = "/v1/logout"
TOKEN_PATH: Final = "/v1/token"
JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
BEARER: Final = "bearer "
ORIGIN_CHARS_MAX: Final = 200
"""Of an address or a name that is not allowed, in the log and the answer."""
POLICY: Final = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self' {sockets}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
)

Readiness = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class HttpRoutes:
    """The answers to HTTP requests, and the way on to a websocket: `websockets`' process_request."""

    rules: GatewayRules
    access: AccessDesk
    metrics: GatewayMetrics
    page: dict[str, PageFile]
    origins: frozenset[str]
    names: frozenset[str]
    """By which it may be asked for."""
    not_ready: Readiness
    """Why a prompt could not be answered now; None: it could."""

    async def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer, or None to go on with the upgrade."""
        path = request.path.partition("?")[0]
        if not answers_to(request.headers.get_all("Host"), self.names):
            return self.misdirected(request)
        if path == CONNECT_PATH:
            return await self.before_upgrade(connection, request)
        if path in (TICKET_PATH, LOGOUT_PATH, TOKEN_PATH):
            return await self.with_token(path, request, address_of(connection))
        if request.method not in ("GET", "HEAD"):
            words = "only GET and HEAD are answered here\n"
            return answer(HTTPStatus.METHOD_NOT_ALLOWED, words, ("Allow", "GET, HEAD"))
        if path == "/readyz":
            reason = await self.not_ready()
            ready = reason is None
            return answer(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, f"{reason or 'ready'}\n")
        if path == "/metrics":  # counting 10,000 open files takes 20 ms, in which nobody else is to wait
            return metrics_answer(await asyncio.to_thread(self.metrics.exposition))
        return self.watched_over(path) or self.page_file(path)

    def watched_over(self, path: str) -> Response | None:
        """The answer to whoever watches over this gateway, if that is what is asked for."""
        match path:
            case "/healthz":
                return answer(HTTPStatus.OK, "alive\n")
            case "/metrics":
                return metrics_answer(self.metrics.exposition())
            case _:
                return None

    def misdirected(self, request: Request) -> Response:
        """The answer to whoever asks by a name that is not ours: the log names it, for it may have to be listed."""
        host = ", ".join(request.headers.get_all("Host"))[:ORIGIN_CHARS_MAX]
        log.warning("host_refused", host=host if host.isprintable() else "unprintable")
        self.metrics.refused("host")
        return answer(HTTPStatus.MISDIRECTED_REQUEST, HOST_REFUSED)

    def answer_outside(self, request: bytes) -> bytes | None:
        """The same as bytes, for a request that came when there was no room for another socket."""
        method, _, rest = request.partition(b" ")
        hosts = [line[5:].decode("latin-1") for line in request.split(b"\r\n") if line[:5].lower() == b"host:"]
        is_ours = method == b"GET" and answers_to(hosts, self.names)
        found = self.watched_over(rest.partition(b" ")[0].decode("latin-1")) if is_ours else None
        return found.serialize() if found is not None else None

    def page_file(self, path: str) -> Response:
        found = self.page.get(path)
        if found is not None:
            return respond(HTTPStatus.OK, found.body, found.content_type, *SECURITY_HEADERS, self.policy())
        missing = "the chat page is not part of this installation" if path == "/" else "there is nothing here"
        return answer(HTTPStatus.NOT_FOUND, f"{missing}; websockets connect to {CONNECT_PATH}\n")

    def policy(self) -> tuple[str, str]:
        """What the page may load, and whom it may connect to: 'self' does not say so of websockets in every browser."""
        sockets = sorted(f"ws{origin.removeprefix('http')}" for origin in self.origins if origin.startswith("http"))
        return "Content-Security-Policy", POLICY.format(sockets=" ".join(sockets))

    async def with_token(self, path: str, request: Request, address: str) -> Response:
        """A ticket for, or the logout of, whoever the token in the header belongs to; or a token for the code there."""
        if request.method != "POST":
            return answer(HTTPStatus.METHOD_NOT_ALLOWED, "only POST is answered here\n", ("Allow", "POST"))
        if not self.origin_is_allowed(request):
            return self.forbid(request)
        try:
            self.access.admit(address, self.access.asking)
            shown = bearer(request.headers.get("Authorization", ""))
            if path == TOKEN_PATH:
                return await self.exchanged(shown)
            verified = self.rules.tokens.verify(shown)
            if path == TICKET_PATH:
                issued = {"ticket": self.access.ticket(verified), "expires_in_s": TICKET_S, "user": verified.user}
                return respond(HTTPStatus.OK, msgspec.json.encode(issued), JSON)
            await self.access.log_out(verified.user, deadline_s=self.rules.publish_s)
            return respond(HTTPStatus.OK, msgspec.json.encode({"logged_out": verified.user}), JSON)
        except TicketUnclaimed as error:
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, f"{error}\n", ("Retry-After", "1"))
        except TokenError as error:
            return unauthorized(error, path)
        except TooOften as refusal:
            retry_after = ("Retry-After", str(math.ceil(refusal.retry_after_s)))
            return answer(HTTPStatus.TOO_MANY_REQUESTS, f"{refusal}\n", retry_after)
        except ProducerError:
            words = "Kafka does not answer; try again shortly\n"
            return answer(HTTPStatus.SERVICE_UNAVAILABLE, words, ("Retry-After", "1"))

    async def exchanged(self, code: str) -> Response:
        """An access token for a sign-in code. Raises TokenError."""
        if self.access.codes is None:
            words = "tokens of this gateway's users are made elsewhere; codes are not taken\n"
            return answer(HTTPStatus.NOT_FOUND, words)
        token, said = await self.access.redeem(self.access.codes, code)
        log.info("code_redeemed")
        issued = {"token": token, "user": said.user, "expires_at_s": int(said.expires_at_s)}
        return respond(HTTPStatus.OK, msgspec.json.encode(issued), JSON)

    def origin_is_allowed(self, request: Request, *, required: bool = False) -> bool:
        origins = request.headers.get_all("Origin")
        if not origins:
            return not required
        return len(origins) == 1 and origins[0] in self.origins

    def forbid(self, request: Request) -> Response:
        """The answer to a page that is not on the list: it, the log and the metrics name its address."""
        origin = ", ".join(request.headers.get_all("Origin"))[:ORIGIN_CHARS_MAX]
        shown = origin if origin.isprintable() and origin else "none"
        log.warning("origin_refused", origin=shown, where=request.path.partition("?")[0])
        self.metrics.refused("origin")
        remedy = "whoever runs this gateway lists it in TOKENWIRE_GATEWAY_ORIGINS"
        if not origin:
            remedy = "only pages may connect here, and a page says where it is (TOKENWIRE_GATEWAY_REQUIRES_ORIGIN)"
        return answer(HTTPStatus.FORBIDDEN, f"this address is not allowed: {shown}; {remedy}\n")

    async def before_upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        if not self.origin_is_allowed(request, required=self.rules.requires_origin):
            return self.forbid(request)
        if "Upgrade" in request.headers and not offers_subprotocol(request):
            return answer(HTTPStatus.BAD_REQUEST, f"ask for the websocket subprotocol {SUBPROTOCOL}\n")
        authorization = request.headers.get("Authorization")
        ticket = parse_qs(request.path.partition("?")[2]).get("ticket", [""])[0]
        if authorization is None and not ticket:
            return None
        try:
            if ticket:
                verified = await self.access.cash(ticket)
            else:
                verified = self.rules.tokens.verify(bearer(authorization or ""))
        except TokenError as error:
            return unauthorized(error, CONNECT_PATH)
        assert isinstance(connection, ClientSocket)
        connection.header_token = verified
        return None


def leave_out_body(connection: ServerConnection, request: Request, response: Response) -> None:
    """`websockets`' process_response: the answer to HEAD is that to GET without its body."""
    if request.method == "HEAD":
        response.body = b""


def address_of(connection: ServerConnection) -> str:
    """Where the client is; of one that has left already, nobody knows."""
    address = connection.remote_address
    return str(address[0]) if address else ""


def bearer(authorization: str) -> str:
    return authorization[len(BEARER) :].strip() if authorization.lower().startswith(BEARER) else ""


def unauthorized(error: TokenError, path: str) -> Response:
    log.info("token_refused", code=error.code, reason=error.reason, where=path)
    return answer(HTTPStatus.UNAUTHORIZED, f"{error}\n", ("WWW-Authenticate", 'Bearer realm="tokenwire"'))


def allowed_origins(listed: tuple[str, ...], port: int) -> frozenset[str]:
    """The listed origins, and the gateway's own page on loopback."""
    own = (f"http://{host}:{port}" for host in ("127.0.0.1", "localhost"))
    return frozenset((*listed, *own))


def offers_subprotocol(request: Request) -> bool:
    offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
    return SUBPROTOCOL in (name.strip() for name in offered.split(","))


def answer(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Response:
    return respond(status, text.encode(), TEXT, *headers)


def metrics_answer(exposition: bytes) -> Response:
    return respond(HTTPStatus.OK, exposition, CONTENT_TYPE)


def respond(status: HTTPStatus, body: bytes, content_type: str, *headers: tuple[str, str]) -> Response:
    fields = Headers(
        [
            ("Date", formatdate(usegmt=True)),
            ("Connection", "close"),
            ("Cache-Control", "no-store"),
            ("Content-Length", str(len(body))),
            ("Content-Type", content_type),
            *headers,
        ]
    )
    return Response(status.value, status.phrase, fields, body)
