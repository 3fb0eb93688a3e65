"""The OpenAI adapter and bodies without bounds, compressed ones, redirects and cookies.

Covers: processors.providers.bounded_transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib

import pytest

from processors.providers.provider import (
    FinishChunk,
    ProviderFailed,
    ProviderGarbled,
    ProviderMisplaced,
    ProviderOverloaded,
    ProviderUnreachable,
    TextChunk,
)
from tests.integration.byte_server import BOTH, FINISH, HEAD, PATIENT, TEXT, heard_from, responding, scripted


@pytest.mark.parametrize("encodings", ["gzip", "gzip, gzip", "deflate"])
async def test_error_body_that_unpacks_to_gigabytes(encodings: str) -> None:
    """It is read to a bound, compressed or not, and its status is told."""
    bomb = b"".join(gzip.compress(b" " * 100_000_000) for _ in range(2))
    if "," in encodings:
        bomb = gzip.compress(bomb)
    tracemalloc.start()
    try:
        async with scripted(responding("503 Busy", bomb, f"Content-Encoding: {encodings}")) as adapter:
            _, failure = await heard_from(adapter, PATIENT)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert isinstance(failure, ProviderFailed)
    assert peak_bytes < 16_000_000


@pytest.mark.parametrize("line", [b"X-Many: x\r\n", b"X-Long: " + b"x" * 65_536])
async def test_endless_headers(line: bytes) -> None:
    """They are beyond the bounds of the HTTP client."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(line)
                await writer.drain()

    async with scripted(endless) as adapter:
        _, failure = await heard_from(adapter, PATIENT)

    assert isinstance(failure, ProviderUnreachable)


async def test_endless_error_body() -> None:
    """Its beginning is enough."""

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 500 Oops\r\nConnection: close\r\n\r\n")
        with contextlib.suppress(OSError):
            while not writer.is_closing():
                writer.write(b"x" * 65_536)
                await writer.drain()

    async with scripted(endless) as adapter:
        _, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderFailed)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(TEXT + FINISH)),
        ("GZIP", gzip.compress(TEXT) + gzip.compress(FINISH) + b"\0" * 8),
        ("deflate", zlib.compress(TEXT + FINISH)),
        ("deflate", zlib.compress(TEXT + FINISH, wbits=-15)),
        ("identity", TEXT + FINISH),
        ("gzip", TEXT + FINISH),
    ],
)
async def test_answer_that_is_compressed_all_the_same(encoding: str, body: bytes) -> None:
    """It is read, in one piece or several, with the header of its kind or without; also where it is not compressed."""
    script = responding("200 OK", body, "Content-Type: text/event-stream", f"Content-Encoding: {encoding}")
    async with scripted(script) as adapter:
        assert await heard_from(adapter) == ([TextChunk("hi"), FinishChunk("stop")], None)


async def test_answer_that_is_compressed_to_nothing() -> None:
    """One line without end is beyond the limit, however small it was made."""
    body = gzip.compress(b"data: " + b"x" * 50_000_000)
    async with scripted(responding("200 OK", body, "Content-Encoding: gzip")) as adapter:
        items, failure = await heard_from(adapter, PATIENT)

    assert items == []
    assert isinstance(failure, ProviderGarbled)


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://u:p@new.example:8443/v1/chat/completions?key=secret", "to https://new.example:8443/v1: set base_url"),
        ("/elsewhere", "leads elsewhere"),
        ("", "leads elsewhere"),
    ],
)
async def test_redirect(location: str, said: str) -> None:
    """It is not followed; the sentence says what to set, without what may be a secret."""
    requests: list[bytes] = []
    script = responding("307 Moved", b"", f"Location: {location}")
    async with scripted(script, requests) as adapter:
        _, failure = await heard_from(adapter)

    assert isinstance(failure, ProviderMisplaced)
    assert said in str(failure)
    assert "secret" not in str(failure)
    assert len(requests) == 1


async def test_no_cookie_is_kept() -> None:
    """Neither of an answer nor of a refusal: a call tells nothing of those before it."""
    refusal = b"HTTP/1.1 429 No\r\nSet-Cookie: r=1; Path=/\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
    answers = iter((HEAD.replace(b"Connection", b"Set-Cookie: a=1; Path=/\r\nConnection") + BOTH, refusal, HEAD + BOTH))

    async def script(writer: asyncio.StreamWriter) -> None:
        writer.write(next(answers))
        await writer.drain()

    heads: list[bytes] = []
    async with scripted(script, heads=heads) as adapter:
        errors = [(await heard_from(adapter, PATIENT))[1] for _ in range(3)]

    assert [type(error) for error in errors] == [type(None), ProviderOverloaded, type(None)]
    assert not any(b"cookie" in head.lower() for head in heads)
