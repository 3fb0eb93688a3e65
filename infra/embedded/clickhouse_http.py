"""A read-only ClickHouse HTTP endpoint on loopback, for the embedded engine; it runs in `reader_process`.

Speaks what clickhouse-connect, clickhouse-go (and so Grafana), JDBC, @clickhouse/client, clickhouse-sqlalchemy and curl
use, unmodified: GET and POST, the query in the address, the body or a form, `param_*`, settings, `database`,
`default_format`, `client_protocol_version`, answers in ClickHouse's compressed blocks (`compress`) and in encodings of
HTTP, `/ping`, errors with `X-ClickHouse-Exception-Code`. There are no sessions: every request stands alone and shows
the readers' token, since every account of this machine can connect (`infra/clickhouse/decisions/reader_access.py`);
`/ping` asks for none and says only whether queries are answered. Pages of other sites can't use it: a Host that is not
loopback is refused, and nothing allows another origin to read. What may run is decided in
`infra/clickhouse/decisions/read_policy.py`.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
import time
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

import structlog
from aiohttp import web

from infra.clickhouse.decisions.answer_packing import chosen_encoding, is_on
from infra.clickhouse.decisions.error_texts import error_text
from infra.clickhouse.decisions.reader_access import READER_NAME, AccessFault, judge_access
from infra.clickhouse.embedded_reader import Answer, EmbeddedReader, ReadRequest
from infra.clickhouse.errors import ClickHouseError, ClickHouseRefused, ClickHouseUnavailable, ResultTooLarge
from infra.clickhouse.reader_token import TOKEN_PLACE
from infra.embedded.answer_packing import block_packed, encoded
from infra.embedded.reader_door import ReaderDoor
from infra.host_names import LOOPBACK_NAMES, only_asked_by
from infra.ports import LOOPBACK, PortTaken

__all__ = ["ClickHouseEndpoint"]

log = structlog.get_logger(__name__)

PORT_SETTING: Final = "TOKENWIRE_ANALYTICS_PORT"
REQUEST_BYTES_MAX: Final = 1_048_576
SHUTDOWN_S: Final = 2.0
BACKLOG: Final = 32
"""Connections that wait to be taken in; so many at once are let in before the door can count them."""
BAD_ARGUMENTS: Final = 36
NOT_IMPLEMENTED: Final = 48
AUTHENTICATION_FAILED: Final = 516
STRANGERS_TOLD_S: Final = 60.0
"""How often the log tells of requests without a good token: anybody can send a million of them."""
FORM: Final = re.compile(r"\w+=")
"""How a form begins, and no statement does: `curl --data-binary "SELECT 1"` says that its body is a form."""
PROTOCOL_VERSION: Final = re.compile(r"[0-9]{1,9}")
TRANSPORT_PARAMETERS: Final = frozenset(
    {
        "add_http_cors_header",
        "buffer_size",
        "cancel_http_readonly_queries_on_client_close",
        "client_protocol_version",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "stacktrace",
        "user",
        "wait_end_of_query",
    }
)
CONTENT_TYPES: Final = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "Native": "application/octet-stream",
}
STATUS_OF_CODE: Final = {
    164: 403,  # READONLY
    497: 403,  # ACCESS_DENIED
    AUTHENTICATION_FAILED: 403,
    452: 403,  # SETTING_CONSTRAINT_VIOLATION
    60: 404,  # UNKNOWN_TABLE
    81: 404,  # UNKNOWN_DATABASE
    396: 413,  # TOO_MANY_ROWS_OR_BYTES
    159: 408,  # TIMEOUT_EXCEEDED
    202: 503,  # TOO_MANY_SIMULTANEOUS_QUERIES
}


class ClickHouseEndpoint:
    """The server. `start` before use, `stop` after.

    `digest`: of the token that readers show, as it is now. `is_well`: whether queries are answered, for `/ping`.
    """

    def __init__(
        self,
        reader: EmbeddedReader,
        port: int,
        digest: Callable[[], bytes],
        names: frozenset[str] = LOOPBACK_NAMES,
        *,
        is_well: Callable[[], bool] = lambda: True,
    ) -> None:
        self.reader = reader
        self.digest = digest
        self._names = names
        self._is_well = is_well
        self.strangers = StrangersNotice()
        self.port = port
        """The port asked for; after `listen()` the one in use."""
        self._socket: socket.socket | None = None
        self._runner: web.AppRunner | None = None
        self.door: ReaderDoor | None = None
        self._server: asyncio.Server | None = None

    def listen(self) -> socket.socket:
        """Take the port, unless that was done; connections wait for `start`. Raises PortTaken."""
        if self._socket is None:
            try:
                self._socket = socket.create_server((LOOPBACK, self.port), backlog=BACKLOG)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise PortTaken(self.port, PORT_SETTING) from error
                raise
            self.port = int(self._socket.getsockname()[1])
        return self._socket

    async def start(self) -> int:
        """Serve, and listen first where that was not done; returns the port. Raises PortTaken.

        Cancellation: call `stop()`; nothing is left listening afterwards.
        """
        listening = self.listen()
        app = web.Application(client_max_size=REQUEST_BYTES_MAX, middlewares=[only_asked_by(self._names)])
        app.router.add_get("/ping", self.ping)
        app.router.add_get("/", self.answer)
        app.router.add_post("/", self.answer)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=SHUTDOWN_S, handler_cancellation=True, max_field_size=65_536
        )
        await self._runner.setup()
        assert self._runner.server is not None
        self.door = ReaderDoor(self._runner.server)
        self._server = await asyncio.get_running_loop().create_server(self.door, sock=listening, backlog=BACKLOG)
        return self.port

    async def stop(self) -> None:
        """End the queries that run and stop listening; a second call does nothing."""
        runner, self._runner = self._runner, None
        if self._server is not None:
            self._server.close()
        elif self._socket is not None:
            self._socket.close()
        if runner is not None:
            await self.reader.stop()
            await runner.cleanup()

    async def ping(self, request: web.Request) -> web.Response:
        well = web.Response(text="Ok.\n") if self._is_well() else web.Response(status=503, text="Not ready.\n")
        return forbidden(request) or well

    async def answer(self, request: web.Request) -> web.Response:
        """Run the query of a request.

        Cancellation: the client has left; the query is killed.
        """
        refused = forbidden(request)
        if refused is not None:
            return refused
        fault = judge_access(request.headers, request.query, self.digest())
        if fault is not None:
            self.strangers.note(fault)
            return error_response(stranger(fault), request)
        if self.door is not None:
            self.door.know(request.protocol)
        try:
            wanted = await read_request(request)
            if not wanted.sql.strip():
                return web.Response(text="Ok.\n")
            answer = await self.reader.read(wanted)
        except ClickHouseError as error:
            log.info("query_refused", code=error.code, kind=type(error).__name__)
            return error_response(error, request)
        return await answer_response(answer, request)


class StrangersNotice:
    """Tells the log of requests without a good token: how many, and why the last one was refused; nothing they sent."""

    def __init__(self) -> None:
        self._count = 0
        self.quiet_until_s = 0.0

    def note(self, fault: AccessFault) -> None:
        """One more."""
        self._count += 1
        now_s = time.monotonic()
        if now_s >= self.quiet_until_s:
            log.warning("readers_not_let_in", count=self._count, reason=fault.name.lower())
            self._count, self.quiet_until_s = 0, now_s + STRANGERS_TOLD_S


def stranger(fault: AccessFault) -> ClickHouseRefused:
    return ClickHouseRefused(
        f"{READER_NAME}: Authentication failed: {fault}. The user is `{READER_NAME}`, and the password the token that "
        f"`tokenwire up` prints and that the file {TOKEN_PLACE} in its TOKENWIRE_HOME holds.",
        code=AUTHENTICATION_FAILED,
    )


def forbidden(request: web.Request) -> web.Response | None:
    """Refuse requests of foreign pages; one that has our address behind its own name has been refused before."""
    if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return None
    return web.Response(status=403, text="This endpoint answers programs, and no pages of others.\n")


async def read_request(request: web.Request) -> ReadRequest:
    parameters = dict(request.query)
    body = ""
    if request.method == "POST":
        if request.content_type == "multipart/form-data":
            parameters |= await form_fields(request)
        else:
            body = await body_text(request)
            if request.content_type == "application/x-www-form-urlencoded" and FORM.match(body):
                parameters |= dict(parse_qsl(body, keep_blank_values=True, errors="surrogateescape"))
                body = ""
            if body and is_on(parameters.get("decompress", "")):
                raise ClickHouseRefused(
                    "A body in ClickHouse's compressed blocks (decompress=1) is not read here: send the query as text. "
                    "Inserts are refused in any case.",
                    code=NOT_IMPLEMENTED,
                )
    sql = "\n".join(part for part in (parameters.get("query", ""), body) if part)
    return ReadRequest(
        sql=sql,
        parameters={name[6:]: value for name, value in parameters.items() if name.startswith("param_")},
        settings=settings_of(parameters),
        database=parameters.get("database") or request.headers.get("X-ClickHouse-Database") or "tokenwire",
        default_format=parameters.get("default_format") or request.headers.get("X-ClickHouse-Format") or "TabSeparated",
        protocol_version=protocol_version(parameters.get("client_protocol_version") or "0"),
    )


def protocol_version(value: str) -> int:
    if not PROTOCOL_VERSION.fullmatch(value):
        raise ClickHouseRefused("client_protocol_version is a number, as clients send it.", code=BAD_ARGUMENTS)
    return int(value)


async def form_fields(request: web.Request) -> dict[str, str]:
    fields = await request.post()
    if any(not isinstance(value, str) for value in fields.values()):
        raise ClickHouseRefused("External tables are not offered here.", code=NOT_IMPLEMENTED)
    return {name: value for name, value in fields.items() if isinstance(value, str)}


async def body_text(request: web.Request) -> str:
    if request.headers.get("Content-Encoding", "identity").lower() not in ("identity", "gzip", "deflate"):
        raise ClickHouseRefused("Only gzip is read here; inserts are refused in any case.", code=NOT_IMPLEMENTED)
    try:
        return (await request.read()).decode(errors="surrogateescape")  # ClickHouse's text is bytes
    except web.HTTPRequestEntityTooLarge:
        raise ResultTooLarge(f"The query is larger than {REQUEST_BYTES_MAX} bytes.", code=396) from None


def settings_of(parameters: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in parameters.items()
        if name not in TRANSPORT_PARAMETERS and not name.startswith("param_")
    }


async def answer_response(answer: Answer, request: web.Request) -> web.Response:
    summary = {"read_rows": str(answer.rows_read), "read_bytes": str(answer.bytes_read)}
    headers = common_headers(request) | {
        "X-ClickHouse-Format": answer.format,
        "X-ClickHouse-Summary": json.dumps(summary),
        "Content-Type": CONTENT_TYPES.get(answer.format, "text/plain; charset=UTF-8"),
    }
    body = answer.body
    if is_on(request.query.get("compress", "")):
        body = await asyncio.to_thread(block_packed, body)
    wants = is_on(request.query.get("enable_http_compression", ""))
    encoding = chosen_encoding(request.headers.get("Accept-Encoding", "")) if wants else None
    if encoding is not None:  # a short body too: JDBC takes each to be encoded
        body = await asyncio.to_thread(encoded, body, encoding)
        headers["Content-Encoding"] = encoding
    return web.Response(body=body, headers=headers)


def error_response(error: ClickHouseError, request: web.Request) -> web.Response:
    """As text in any case: clients tell it from packed bytes, and read its code from a header."""
    status = STATUS_OF_CODE.get(error.code, 503 if isinstance(error, ClickHouseUnavailable) else 400)
    headers = common_headers(request) | {"X-ClickHouse-Exception-Code": str(error.code)}
    return web.Response(status=status, text=error_text(error.code, str(error)), headers=headers)


def common_headers(request: web.Request) -> dict[str, str]:
    query_id = request.query.get("query_id", "")
    safe_id = "".join(sign for sign in query_id if sign.isprintable() and sign.isascii())
    return {"X-ClickHouse-Query-Id": safe_id, "X-ClickHouse-Timezone": "UTC", "X-Content-Type-Options": "nosniff"}
