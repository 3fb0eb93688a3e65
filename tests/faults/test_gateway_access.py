"""Logouts, connect tickets and origins, on live sockets of two gateways."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from gateway.access.decisions.request_rates import RequestRates
from infra.access_tokens import issue_token
from infra.sign_in_codes import SignInCodes
from schemas.client_messages import SUBPROTOCOL, Hello, Logout
from tests.fakes.access_log import AccessLog
from tests.faults.memory_gateway import MemoryGateway
from tests.integration.gateway_line import SECRET, WireClient, http, post, token_for

CLOSED_S_MAX = 5.0


@asynccontextmanager
async def two_gateways(home: Path) -> AsyncIterator[tuple[MemoryGateway, MemoryGateway]]:
    """Gateways that read the same log about who may come in."""
    access_log = AccessLog()
    async with (
        MemoryGateway.opened(home, access_log=access_log) as first,
        MemoryGateway.opened(home, access_log=access_log) as second,
    ):
        yield first, second


@pytest.mark.parametrize("way", ["message", "http"])
async def test_S2_logout_closes_every_socket_of_the_user(tmp_path: Path, way: str) -> None:
    """On both gateways, within seconds, with 4401; old tokens open nothing, a newer one does, others stay."""
    async with (
        two_gateways(tmp_path) as (first, second),
        WireClient.connected(first.port) as here,
        WireClient.connected(second.port) as there,
        WireClient.connected(second.port, "bob") as bystander,
    ):
        old = token_for("alice")
        began_s = time.monotonic()
        if way == "message":
            await here.send(Logout())
        else:
            assert (await post(second.port, "/v1/logout", old))[0] == 200
        for client in (here, there):
            code, words = await client.closed()
            assert code == 4401
            assert words is not None
            assert not words.reconnect
        assert time.monotonic() - began_s < CLOSED_S_MAX
        await refused(first.port, old)
        newer = issue_token(SECRET.encode(), "alice", ttl_s=60, now_s=time.time() + 2)
        async with WireClient.connected(first.port, None) as again:
            await again.send(Hello(token=newer))
            await again.next("welcome")
        await bystander.send(Hello(token=token_for("bob")))

        assert (await bystander.next("welcome")).user == "bob"


async def test_S3_replayed_ticket_is_refused(tmp_path: Path) -> None:
    """One connection per ticket, by hello or by the address, whichever gateway; then 4401 or 401."""
    async with two_gateways(tmp_path) as (first, second):
        ticket = await ticket_of(first.port)
        async with WireClient.connected(second.port, None) as client:
            await client.send(Hello(token=ticket))
            assert (await client.next("welcome")).user == "alice"
        await refused(first.port, ticket)
        await refused(second.port, ticket)
        by_address = await ticket_of(second.port)
        async with connected_by_address(first.port, by_address) as client:
            await client.send(Hello())
            assert (await client.next("welcome")).user == "alice"
        for gateway in (first, second):
            with pytest.raises(InvalidStatus) as answer:
                async with connected_by_address(gateway.port, by_address):
                    pass
            assert answer.value.response.status_code == 401


async def test_S3_one_of_many_at_once(tmp_path: Path) -> None:
    """The same ticket twenty times at the same moment on two gateways: one comes in."""
    async with two_gateways(tmp_path) as gateways:
        ticket = await ticket_of(gateways[0].port)

        async def tried(port: int) -> str:
            async with WireClient.connected(port, None) as client:
                await client.send(Hello(token=ticket))
                return str((await client.next("welcome", "error")).__struct_config__.tag)

        answers = await asyncio.gather(*(tried(gateways[number % 2].port) for number in range(20)))

    assert answers.count("welcome") == 1


async def test_S43_code_gives_a_token_once(tmp_path: Path) -> None:
    """Twenty times at the same moment on two gateways: one token, which opens; then a sentence says what to do."""
    async with two_gateways(tmp_path) as gateways:
        ports = [gateway.port for gateway in gateways]
        code = code_for("alice")
        with capture_logs() as logged:
            asked = [post(ports[number % 2], "/v1/token", code) for number in range(20)]
            answers = await asyncio.gather(*asked)
            told = [body for status, body in answers if status == 401]
            (given,) = [json.loads(body) for status, body in answers if status == 200]
            again = await post(ports[0], "/v1/token", code)
        async with WireClient.connected(ports[1], None) as client:
            await client.send(Hello(token=given["token"]))
            assert (await client.next("welcome")).user == given["user"] == "alice"

        assert given["expires_at_s"] == pytest.approx(time.time() + 60, abs=30)
        assert len(told) == 19
        assert again == (401, "the code has been used; `tokenwire page` prints a new one where the gateway runs\n")
        assert not any(code in str(record) or given["token"] in str(record) for record in logged)
        assert {record["reason"] for record in logged if record["event"] == "token_refused"} == {"used"}
        for port in ports:
            await refused(port, code)


async def test_S43_codes_are_taken_from_pages_of_ours_at_a_bounded_rate(tmp_path: Path) -> None:
    """403 for a page elsewhere, 429 for an address that guesses, 503 without Kafka: the code is good afterwards."""
    access_log = AccessLog()
    async with MemoryGateway.opened(tmp_path, access_log=access_log) as gateway:
        code, ours = code_for("alice"), f"Origin: http://127.0.0.1:{gateway.port}"
        foreign = [
            (await post(gateway.port, "/v1/token", code, f"Origin: {each}"))[0] for each in ("null", "http://a.b")
        ]
        access_log.reachable = False
        status, words = await post(gateway.port, "/v1/token", code, ours)
        access_log.reachable = True
        good = (await post(gateway.port, "/v1/token", code, ours))[0]
        desk = gateway.gateway.services.access
        desk.asking = RequestRates(2, 0.01)
        guesses = [(await post(gateway.port, "/v1/token", f"{code[:-8]}{number:08}"))[0] for number in range(3)]

    assert foreign == [403, 403]
    assert (status, words.split(",")[0]) == (503, "Kafka does not answer")
    assert good == 200
    assert guesses == [401, 401, 429]


async def test_S43_where_tokens_are_made_elsewhere_no_code_is_taken(tmp_path: Path) -> None:
    """By public keys nobody can sign: said, whatever is shown."""
    async with MemoryGateway.opened(tmp_path) as gateway:
        gateway.gateway.services.access.codes = None

        assert (await post(gateway.port, "/v1/token", code_for("alice")))[0] == 404


async def test_tickets_and_logouts_want_a_token_and_an_origin_of_ours(tmp_path: Path) -> None:
    """401 without a token, 403 for a page of another origin, 405 for another method."""
    async with MemoryGateway.opened(tmp_path) as gateway:
        for path in ("/v1/ticket", "/v1/logout", "/v1/token"):
            assert (await post(gateway.port, path))[0] == 401
            assert (await post(gateway.port, path, "nonsense"))[0] == 401
            assert (await post(gateway.port, path, token_for("alice"), "Origin: http://evil.example"))[0] == 403
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert b" 405 " in await reader.readline()
            writer.close()
            await writer.wait_closed()


async def test_S22_tickets_and_logouts_have_rates(tmp_path: Path) -> None:
    """Of a user, however good its token is; of an address, whatever it shows: 429; others are served."""
    access_log = AccessLog()
    async with MemoryGateway.opened(tmp_path, access_log=access_log) as gateway:
        desk = gateway.gateway.services.access
        assert desk is not None
        desk.user_tickets, desk.user_logouts = RequestRates(2, 0.01), RequestRates(1, 0.01)
        tickets = [(await post(gateway.port, "/v1/ticket", token_for("alice")))[0] for _ in range(3)]
        bob = token_for("bob")
        async with WireClient.connected(gateway.port, "carol") as client:
            await client.send(Logout())
            await client.closed()
        newer = issue_token(SECRET.encode(), "carol", ttl_s=60, now_s=time.time() + 2)
        logouts = [(await post(gateway.port, "/v1/logout", newer))[0] for _ in range(2)]
        appended = len(access_log.records)
        assert (await post(gateway.port, "/v1/ticket", bob))[0] == 200
        desk.asking = RequestRates(1, 0.01)
        strangers = [(await post(gateway.port, "/v1/ticket", "nonsense"))[0] for _ in range(2)]

        assert tickets == [200, 200, 429]
        assert logouts == [429, 429]
        assert appended == 1
        assert strangers == [401, 429]


async def test_head_is_answered_without_a_body(tmp_path: Path) -> None:
    """With the length that a GET would bring; what nobody asked for would be taken for the next answer."""
    async with MemoryGateway.opened(tmp_path) as gateway:
        for path, status in (("/healthz", b"200"), ("/metrics", b"200"), ("/nothing", b"404"), ("/v1/connect", b"405")):
            told = await raw_answer(gateway.port, f"HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = told.partition(b"\r\n\r\n")
            assert (head.split()[1], body) == (status, b""), told
            assert b"Content-Length: 0" not in head


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"POST /v1/ticket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", id="body"),
        pytest.param(b"POST /v1/ticket HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n", id="body_to_come"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="chunks"),
        pytest.param(b"GET / HTTP/1.1\r\nContent-Length: 600000\r\n\r\n" + b"x" * 600_000, id="large_body"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 tls\r\n", id="tls"),
    ],
)
async def test_request_that_is_not_read_is_answered(tmp_path: Path, request_bytes: bytes) -> None:
    """With 400 and what is wrong, before the connection ends; the next one is served."""
    async with MemoryGateway.opened(tmp_path) as gateway:
        told = await raw_answer(gateway.port, request_bytes)

        assert told.startswith(b"HTTP/1.1 400 ")
        assert b"without a body" in told
        assert (await http(gateway.port, "/healthz"))[0] == 200


async def raw_answer(port: int, request_bytes: bytes) -> bytes:
    """All that is said to these bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request_bytes)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_logout_without_kafka_is_said(tmp_path: Path) -> None:
    """Nobody is logged out, and whoever asked is told to try again."""
    access_log = AccessLog()
    async with (
        MemoryGateway.opened(tmp_path, access_log=access_log) as gateway,
        WireClient.connected(gateway.port) as client,
    ):
        access_log.reachable = False
        await client.send(Logout())
        error = await client.next("error")
        assert error.temporary
        assert (await post(gateway.port, "/v1/logout", token_for("alice")))[0] == 503


async def test_S5_programs_may_be_shut_out(tmp_path: Path) -> None:
    """With TOKENWIRE_GATEWAY_REQUIRES_ORIGIN only pages of the listed origins connect."""
    async with MemoryGateway.opened(tmp_path, requires_origin=True) as gateway:
        async with WireClient.connected(gateway.port, origin=f"http://127.0.0.1:{gateway.port}"):
            pass
        with pytest.raises(InvalidStatus) as answer:
            async with WireClient.connected(gateway.port):
                pass

        assert answer.value.response.status_code == 403


async def ticket_of(port: int) -> str:
    """A ticket for alice."""
    status, body = await post(port, "/v1/ticket", token_for("alice"))
    assert status == 200
    return str(json.loads(body)["ticket"])


def code_for(user: str) -> str:
    codes = SignInCodes(SECRET.encode(), audience="tokenwire", issuer="tokenwire")
    return codes.issue(user, ttl_s=60, now_s=time.time())


async def refused(port: int, token: str) -> None:
    """Hello with this token ends in 4401."""
    async with WireClient.connected(port, None) as client:
        await client.send(Hello(token=token))
        assert (await client.closed())[0] == 4401


def connected_by_address(port: int, ticket: str):  # type: ignore[no-untyped-def]  # an async context manager
    return WireClient.connected(port, None, query=f"?ticket={ticket}")


async def test_page_of_an_address_that_is_not_allowed_is_named(tmp_path: Path) -> None:
    """In the answer, the log and the metrics; to a plain request too, since a browser hides an upgrade's answer."""
    async with MemoryGateway.opened(tmp_path) as gateway:
        address = f"ws://127.0.0.1:{gateway.port}/v1/connect"
        with capture_logs() as logged:
            status, body = await post(gateway.port, "/v1/connect", "", "Origin: https://chat.example:8443")
            await post(gateway.port, "/v1/ticket", "", f"Origin: {'x' * 5_000}")
            with pytest.raises(InvalidStatus) as refused:
                async with connect(address, origin=Origin("null"), subprotocols=[Subprotocol(SUBPROTOCOL)]):
                    pass
        told = [record for record in logged if record["event"] == "origin_refused"]
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        metrics = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
        allowed, _ = await post(gateway.port, "/v1/connect", "", f"Origin: http://127.0.0.1:{gateway.port}")

    assert (status, body.split(";")[0]) == (403, "this address is not allowed: https://chat.example:8443")
    assert "TOKENWIRE_GATEWAY_ORIGINS" in body
    assert refused.value.response.status_code == 403
    assert [(record["origin"], record["where"]) for record in told] == [
        ("https://chat.example:8443", "/v1/connect"),
        ("x" * 200, "/v1/ticket"),
        ("null", "/v1/connect"),
    ]
    assert 'tokenwire_gateway_refused_total{where="origin"} 3' in metrics
    assert allowed != 403


async def test_S40_names_that_are_not_ours(tmp_path: Path) -> None:
    """A page that has its name point to us (DNS rebinding) gets nothing; addresses and listed names are answered."""
    settings = {"allowed_hosts": "gateway-1, *.cluster.local", "gateway_origins": "https://chat.example"}
    async with MemoryGateway.opened(tmp_path, settings=settings) as gateway:

        async def status(path: str, *lines: str) -> int:
            head = "\r\n".join((f"GET {path} HTTP/1.1", *lines))
            return int((await raw_answer(gateway.port, f"{head}\r\n\r\n".encode())).split()[1])

        for path in ("/", "/metrics", "/healthz", "/v1/connect", "/v1/ticket", "/v1/token"):
            assert await status(path, f"Host: evil.example:{gateway.port}") == 421
        for host in ("10.0.0.7:8080", "[::1]:8080", "localhost", "gateway-1:8080", "a.cluster.local", "CHAT.example."):
            assert await status("/healthz", f"Host: {host}") == 200
        for lines in (("Host: localhost", "Host: evil.example"), ("Host: ",), ("Host: cluster.local",), ("Host: a b",)):
            assert await status("/healthz", *lines) in (400, 421)
        page = await raw_answer(gateway.port, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")

    policy = next(line for line in page.decode("latin-1").splitlines() if line.startswith("Content-Security-Policy"))
    sockets = next(part for part in policy.split("; ") if part.startswith("connect-src")).split()[2:]
    assert sockets == [f"ws://127.0.0.1:{gateway.port}", f"ws://localhost:{gateway.port}", "wss://chat.example"]
