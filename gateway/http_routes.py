"""What the gateway answers to plain HTTP, and who may open a websocket.

`websockets` hands us each request before the upgrade. GET and HEAD of the page, `/healthz`, `/readyz` and `/metrics`
are answered here; `/v1/connect` goes on to the upgrade if its Origin is on the list (a browser always sends one; a
program that sends none is no browser), a token in its header is good, and it speaks the subprotocol.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from gateway.client_socket import ClientSocket
from gateway.gateway_metrics import GatewayMetrics
from gateway.page_files import PageFile
from gateway.services import GatewayRules
from infra.access_tokens import TokenError
from infra.telemetry.metrics import CONTENT_TYPE
from schemas.client_messages import SUBPROTOCOL

__all__ = ["CONNECT_PATH", "HttpRoutes", "allowed_origins"]

CONNECT_PATH: Final = "/v1/connect"
TEXT: Final = "text/plain; charset=utf-8"
BEARER: Final = "bearer "
SECURITY_HEADERS: Final = (
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    (
        "Content-Security-Policy",
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "font-src 'self'; manifest-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'",
    ),
)

Readiness = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class HttpRoutes:
    """`websockets`' process_request."""

    rules: GatewayRules
    metrics: GatewayMetrics
    page: dict[str, PageFile]
    origins: frozenset[str]
    not_ready: Readiness
    """Why a prompt could not be answered now; None: it could."""

    async def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer, or None to go on with the upgrade."""
        path = request.path.partition("?")[0]
        if path == CONNECT_PATH:
            return self.before_upgrade(connection, request)
        if request.method not in ("GET", "HEAD"):
            return answer(
                HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n", ("Allow", "GET, HEAD")
            )
        match path:
            case "/healthz":
                return answer(HTTPStatus.OK, "alive\n")
            case "/readyz":
                reason = await self.not_ready()
                ready = reason is None
                return answer(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, f"{reason or 'ready'}\n")
            case "/metrics":
                return respond(HTTPStatus.OK, self.metrics.exposition(), CONTENT_TYPE)
            case _:
                return self.page_file(path)

    def page_file(self, path: str) -> Response:
        found = self.page.get(path)
        if found is not None:
            return respond(HTTPStatus.OK, found.body, found.content_type, *SECURITY_HEADERS)
        missing = "the chat page is not part of this installation" if path == "/" else "there is nothing here"
        return answer(HTTPStatus.NOT_FOUND, f"{missing}; websockets connect to {CONNECT_PATH}\n")

    def before_upgrade(self, connection: ServerConnection, request: Request) -> Response | None:
        origins = request.headers.get_all("Origin")
        if origins and not (len(origins) == 1 and origins[0] in self.origins):
            return answer(
                HTTPStatus.FORBIDDEN,
                "this origin may not connect; its page must be listed in TOKENWIRE_GATEWAY_ORIGINS\n",
            )
        if "Upgrade" in request.headers and not offers_subprotocol(request):
            return answer(HTTPStatus.BAD_REQUEST, f"ask for the websocket subprotocol {SUBPROTOCOL}\n")
        authorization = request.headers.get("Authorization")
        if authorization is None:
            return None
        return self.check_header_token(connection, authorization)

    def check_header_token(self, connection: ServerConnection, authorization: str) -> Response | None:
        token = authorization[len(BEARER) :].strip() if authorization.lower().startswith(BEARER) else ""
        try:
            verified = self.rules.tokens.verify(token)
        except TokenError as error:
            return answer(HTTPStatus.UNAUTHORIZED, f"{error}\n", ("WWW-Authenticate", 'Bearer realm="tokenwire"'))
        assert isinstance(connection, ClientSocket)
        connection.header_token = verified
        return None


def allowed_origins(listed: tuple[str, ...], port: int) -> frozenset[str]:
    """The listed origins, and the gateway's own page on loopback."""
    own = (f"http://{host}:{port}" for host in ("127.0.0.1", "localhost"))
    return frozenset((*listed, *own))


def offers_subprotocol(request: Request) -> bool:
    offered = ",".join(request.headers.get_all("Sec-WebSocket-Protocol"))
    return SUBPROTOCOL in (name.strip() for name in offered.split(","))


def answer(status: HTTPStatus, text: str, *headers: tuple[str, str]) -> Response:
    return respond(status, text.encode(), TEXT, *headers)


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
