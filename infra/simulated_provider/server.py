"""The simulated model provider: `POST /v1/chat/completions`, `GET /v1/models`, and `GET /calls` for tests.

Start it inside a test's event loop (`SimulatedProvider.start`) or as a process of its own (`serve`). Listens on
127.0.0.1 only. Every request has an end: the answer's length is bounded (`behaviour`), silence by STALL_S_MAX.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Final

import msgspec
import structlog
from aiohttp import web

from infra.host_names import LOOPBACK_NAMES, only_asked_by
from infra.simulated_provider.answer_player import AnswerPlayer
from infra.simulated_provider.behaviour import Behaviour, DirectiveError, Fault
from infra.simulated_provider.call_log import Call, CallLog
from infra.simulated_provider.chat_exchange import CompletionRequest, Exchange, compose_long, exchange_of, question_of
from infra.simulated_provider.crowding import Beyond, Crowding
from infra.simulated_provider.request_quota import RequestQuota
from infra.simulated_provider.wire_script import Then, error_body, wire_script

__all__ = ["SIMULATED_MODELS", "SimulatedProvider", "serve"]

HOST: Final = "127.0.0.1"
SIMULATED_MODELS: Final = ("simulated", "simulated-small", "simulated-large")
REQUEST_BYTES_MAX: Final = 16 * 1024 * 1024
STALL_S_MAX: Final = 3_600.0
CLOSE_S: Final = 0.5
STATUS_FAULTS: Final = {
    "400": (400, "A value is not valid.", "invalid_request_error", "invalid_value"),
    "401": (401, "Incorrect API key provided.", "invalid_request_error", "invalid_api_key"),
    "404": (404, "The model does not exist.", "invalid_request_error", "model_not_found"),
    "429": (429, "Rate limit reached.", "requests", "rate_limit_exceeded"),
    "500": (500, "The server had an error while processing your request.", "server_error", None),
    "loading": (503, "Loading model", "unavailable_error", None),
    "503": (503, "The engine is currently overloaded.", "server_error", None),
}
WEB_PAGE: Final = "<!doctype html>\n<html><head><title>Gateway</title></head>\n<body>Please sign in.</body></html>\n"
RETRY_AFTER_S: Final = 1.0

log = structlog.get_logger(__name__)


class SimulatedProvider:
    """The server. `port` is known after `start`; `calls` is what `GET /calls` shows.

    `concurrent_max`: calls answered at once; what becomes of more of them `beyond` says: refused with 429, left to
    wait, or all answered more slowly (`crowding`). Its `crowding` may be changed while it runs.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        behaviour: Behaviour | None = None,
        api_key: str = "",
        concurrent_max: int | None = None,
        beyond: Beyond = "429",
        names: frozenset[str] = LOOPBACK_NAMES,
    ) -> None:
        self.port = port
        self._names = names
        self.behaviour = behaviour or Behaviour()
        self._api_key = api_key
        self.crowding = Crowding(concurrent_max, beyond)
        self.call_log = CallLog()
        self._quota = RequestQuota(self.behaviour.quota)
        self._runner: web.AppRunner | None = None
        self._decoder = msgspec.json.Decoder(CompletionRequest)

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as its base URL."""
        return f"http://{HOST}:{self.port}/v1"

    async def start(self) -> None:
        """Listen. Raises OSError if the port is taken."""
        application = web.Application(client_max_size=REQUEST_BYTES_MAX, middlewares=[only_asked_by(self._names)])
        application.router.add_post("/v1/chat/completions", self.guarded(self.complete_chat))
        application.router.add_get("/v1/models", self.guarded(self.list_models))
        application.router.add_get("/calls", self.list_calls)
        self._runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=CLOSE_S, handle_signals=False
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port, backlog=1_024)
        try:
            await site.start()
        except OSError:
            await self._runner.cleanup()
            raise
        self.port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Stop listening and end every open answer. Safe to call twice."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> SimulatedProvider:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @property
    def calls(self) -> list[Call]:
        """The newest calls, oldest first."""
        return list(self.call_log.calls)

    def guarded(self, handler: Handler) -> Handler:
        """Ask for the API key where one was set."""

        async def check_key(request: web.Request) -> web.StreamResponse:
            if self._api_key and request.headers.get("Authorization") != f"Bearer {self._api_key}":
                return error_response(*STATUS_FAULTS["401"])
            return await handler(request)

        return check_key

    async def list_models(self, _: web.Request) -> web.StreamResponse:
        models = [{"id": name, "object": "model", "created": 0, "owned_by": "tokenwire"} for name in SIMULATED_MODELS]
        return json_response({"object": "list", "data": models})

    async def list_calls(self, request: web.Request) -> web.StreamResponse:
        wanted = request.query.get("prompt_sha256")
        return json_response([call for call in self.call_log.calls if wanted in (None, call.prompt_sha256)])

    async def complete_chat(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = self._decoder.decode(await request.read())
            question = question_of(wanted, self.behaviour)
        except (msgspec.DecodeError, DirectiveError) as error:
            return error_response(400, str(error), "invalid_request_error", None)
        await compose_long(question)
        exchange = exchange_of(question, self.call_log)
        call = exchange.call
        headers = self._quota.charged(time.monotonic())
        with noting_end(call):
            early = self.overload_response()
            if early is not None:
                return noted_early(early, call, headers)
            async with self.crowding.place():
                early = await fault_response(exchange.fault)
                if early is not None:
                    return noted_early(early, call, headers)
                if wanted.stream:
                    return await stream_answer(request, exchange, headers, self.crowding)
                return await whole_answer(exchange)

    def overload_response(self) -> web.Response | None:
        """A 429, where more calls run than may, or more have come than the quota holds; this one counts."""
        if not self.crowding.refuses and not self._quota.exceeded:
            return None
        return error_response(*STATUS_FAULTS["429"])


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def serve(
    *,
    port: int = 8_090,
    behaviour: Behaviour | None = None,
    api_key: str = "",
    names: frozenset[str] = LOOPBACK_NAMES,
    on_ready: Callable[[SimulatedProvider], None] | None = None,
) -> None:
    """Run the server until SIGINT or SIGTERM. `on_ready` hears of it once it listens. Raises OSError as `start`."""
    import uvloop  # only the process of its own needs it

    provider = SimulatedProvider(port=port, behaviour=behaviour, api_key=api_key, names=names)
    uvloop.run(serve_until_signal(provider, on_ready))


async def serve_until_signal(provider: SimulatedProvider, on_ready: Callable[[SimulatedProvider], None] | None) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with provider:
        log.info("provider_ready", port=provider.port)
        if on_ready is not None:
            on_ready(provider)
        await stopping.wait()


@contextlib.contextmanager
def noting_end(call: Call) -> Iterator[None]:
    """A call that ends in any other way than by its own word was left by its client."""
    try:
        yield
    finally:
        call.ended_at = time.time()
        if call.state == "running":
            call.state = "aborted"


async def fault_response(fault: Fault | None) -> web.Response | None:
    """The whole answer, if the fault is one of those that need no stream."""
    if fault is None:
        return None
    if fault.kind == "stall_headers":
        await asyncio.sleep(STALL_S_MAX)
    if fault.kind == "late_headers":
        await asyncio.sleep(min(fault.number or 0.0, STALL_S_MAX))
    if fault.kind == "html":
        return web.Response(text=WEB_PAGE, content_type="text/html")
    if fault.kind not in STATUS_FAULTS:
        return None
    response = error_response(*STATUS_FAULTS[fault.kind])
    if fault.kind in ("429", "503"):
        retry_after_s = RETRY_AFTER_S if fault.number is None else fault.number
        response.headers["Retry-After"] = f"{math.ceil(retry_after_s)}"
        response.headers["Retry-After-Ms"] = f"{retry_after_s * 1_000:g}"
    return response


def noted_early(response: web.Response, call: Call, headers: Mapping[str, str]) -> web.Response:
    """An answer without a stream, and its note."""
    response.headers.update(headers)
    call.state, call.status = "faulted", response.status
    return response


async def stream_answer(
    request: web.Request, exchange: Exchange, headers: Mapping[str, str], crowding: Crowding
) -> web.StreamResponse:
    """Cancellation: the client has left; nothing more is written and the call is noted as aborted."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache", **headers})
    response.enable_chunked_encoding()
    await response.prepare(request)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("the client left before the answer began")
    script = wire_script(exchange.head, exchange.pieces, exchange.fault)
    player = AnswerPlayer(transport, script, exchange.behaviour, exchange.call, slowness=lambda: crowding.slowness)
    try:
        then = await asyncio.wait_for(player.finished, STALL_S_MAX + exchange.length_s)
    finally:
        player.stop()
    exchange.call.state = "faulted" if exchange.interrupted else "finished"
    if then is Then.RESET:
        player.reset()
    elif then is Then.DROP:
        transport.close()
    else:
        await response.write_eof()
    return response


async def whole_answer(exchange: Exchange) -> web.Response:
    """Not streamed: the answer in one piece, after the time that streaming it would have taken."""
    await asyncio.sleep(STALL_S_MAX if exchange.interrupted else exchange.length_s)
    exchange.call.tokens_sent = len(exchange.pieces)
    exchange.call.state = "finished"
    head = exchange.head
    message = {"role": "assistant", "content": "".join(exchange.pieces), "refusal": None}
    return json_response(
        {
            "id": head.answer_id,
            "object": "chat.completion",
            "created": head.created_s,
            "model": head.model,
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": head.finish_reason}],
            "usage": exchange.usage,
        }
    )


def json_response(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")


def error_response(status: int, message: str, kind: str, code: str | None) -> web.Response:
    return web.Response(status=status, body=error_body(message, kind, code), content_type="application/json")
