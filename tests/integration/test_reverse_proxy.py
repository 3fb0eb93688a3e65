"""The proxy's configuration as it is deployed, in a real nginx, in front of real gateways."""

from __future__ import annotations

import asyncio
import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from infra.ports import find_free_port
from schemas.client_messages import SUBPROTOCOL, Attach, Hello
from schemas.codec import encode
from schemas.gateway_messages import Delta
from tests.faults.memory_gateway import MemoryGateway
from tests.integration.gateway_line import WireClient, answer_events, token_for

CONFIGURATION = Path(__file__).parents[2] / "infra" / "deploy" / "nginx.conf"
START_S = 10.0
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin:/opt/homebrew/bin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="no nginx on this machine")


async def run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


async def certificate(folder: Path) -> None:
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem"))
    await run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject, *files)


def rendered(folder: Path, port: int, gateways: dict[str, int]) -> str:
    """The deployed file with this machine's ports and paths, and nothing else changed."""
    text = CONFIGURATION.read_text()
    for name, gateway_port in gateways.items():
        text = text.replace(f"{name}:8080", f"127.0.0.1:{gateway_port}")
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;")
    text = text.replace("/etc/nginx/tls/", f"{folder}/").replace("/tmp/nginx.pid", f"{folder}/nginx.pid")
    text = text.replace("worker_processes auto;", "worker_processes 1;").replace("worker_rlimit_nofile 65536;", "")
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return re.sub(r"http \{\n", lambda found: found[0] + temporary, text, count=1)


@asynccontextmanager
async def proxy(folder: Path, gateways: dict[str, int]) -> AsyncIterator[tuple[int, ssl.SSLContext]]:
    """nginx in front of them; its port, and a context that trusts it."""
    await certificate(folder)
    port, file = find_free_port(), folder / "nginx.conf"
    file.write_text(rendered(folder, port, gateways))
    assert NGINX is not None
    arguments = ("-p", str(folder), "-e", str(folder / "error.log"), "-c", str(file))
    await run(NGINX, "-t", *arguments)
    process = await asyncio.create_subprocess_exec(NGINX, *arguments, "-g", "daemon off;")
    try:
        async with asyncio.timeout(START_S):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except ConnectionError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield port, ssl.create_default_context(cafile=str(folder / "fullchain.pem"))
    finally:
        process.terminate()
        await process.wait()


async def test_tokens_pass_one_by_one_over_tls(tmp_path: Path) -> None:
    """Each record is told before the next one is written: nothing is held back on the way."""
    words = [f"word{place} " for place in range(10)]
    events = answer_events("t1", words)
    async with (
        MemoryGateway.opened(tmp_path / "home") as gateway,
        proxy(tmp_path, {"gateway-1": gateway.port, "gateway-2": gateway.port}) as (port, trusted),
        connect(
            f"wss://localhost:{port}/v1/connect",
            ssl=trusted,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            proxy=None,
        ) as socket,
    ):
        client = WireClient(socket)
        await client.send(Hello(token=token_for("alice")))
        await client.send(Attach(session="s1"))
        await client.until("attached")
        await gateway.append("s1", events[:2])
        for word, event in zip(words, events[2:], strict=False):
            await gateway.append("s1", [event])
            told = await client.until("delta")
            assert isinstance(told, Delta)
            assert told.text == word
        await gateway.append("s1", events[-1:])

        assert (await client.until("end")).reason == "complete"


async def test_what_is_for_the_operator_stays_inside(tmp_path: Path) -> None:
    """Metrics and readiness are not for the street; the page is."""
    async with (
        MemoryGateway.opened(tmp_path / "home") as gateway,
        proxy(tmp_path, {"gateway-1": gateway.port, "gateway-2": gateway.port}) as (port, trusted),
    ):
        statuses = {path: await status_of(port, path, trusted) for path in ("/", "/metrics", "/readyz", "/healthz")}

    assert statuses == {"/": 200, "/metrics": 404, "/readyz": 404, "/healthz": 200}


async def test_a_gateway_that_is_gone_is_passed_over(tmp_path: Path) -> None:
    """With one of two dead every client finds the other."""
    async with (
        MemoryGateway.opened(tmp_path / "home") as gateway,
        proxy(tmp_path, {"gateway-1": find_free_port(), "gateway-2": gateway.port}) as (port, trusted),
    ):
        for _ in range(4):
            async with connect(
                f"wss://localhost:{port}/v1/connect", ssl=trusted, subprotocols=[Subprotocol(SUBPROTOCOL)], proxy=None
            ) as socket:
                await socket.send(encode(Hello(token=token_for("alice"))), text=True)
                assert await WireClient(socket).next("welcome")


async def status_of(port: int, path: str, trusted: ssl.SSLContext) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusted, server_hostname="localhost")
    writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])
