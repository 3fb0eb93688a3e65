"""What stands between a worker and a provider in a company's network: a proxy, and TLS by an authority of its own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

__all__ = ["Proxy", "proxy_to", "tls_before"]

HOST = "127.0.0.1"
CHUNK_BYTES = 65_536


class Proxy:
    """An HTTP proxy that leads to one port, whatever host it is asked for, and remembers what it was asked."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = ""
        self.asked: list[str] = []
        """Method and target of each request."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client: a tunnel for CONNECT, else the request passed on with its path alone."""
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, rest = head.split(b" ", 2)
        self.asked.append(f"{method.decode()} {target.decode()}")
        there_reader, there_writer = await asyncio.open_connection(HOST, self.port)
        if method == b"CONNECT":
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            there_writer.write(b" ".join((method, urlsplit(target).path, rest)))
        await both_ways((reader, writer), (there_reader, there_writer))


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """A proxy on a free port of this machine."""
    proxy = Proxy(port)
    server = await asyncio.start_server(proxy.serve, HOST, 0)
    proxy.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}"
    try:
        yield proxy
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def tls_before(port: int, certificate: Path, key: Path) -> AsyncIterator[int]:
    """TLS on a free port, in front of a port that speaks plainly."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await both_ways((reader, writer), await asyncio.open_connection(HOST, port))

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


Side = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def both_ways(here: Side, there: Side) -> None:
    """Pass bytes on until one side has ended, then end the other."""
    try:
        ways = [asyncio.create_task(one_way(here[0], there[1])), asyncio.create_task(one_way(there[0], here[1]))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
    finally:
        for _, writer in (here, there):
            writer.close()


async def one_way(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while part := await reader.read(CHUNK_BYTES):
            writer.write(part)
            await writer.drain()
