"""Any provider that speaks OpenAI's chat completions, through the openai client and past its object models.

The client does what it is good at: the request, authentication, status errors. The body is read raw, split by
`sse_events` and decoded by `chat_chunks`, which costs a fraction of the client's own stream (`benchmarks/
provider_stream.py`). It never retries: an attempt is one paid call. Deadlines are ours (`stream_watchdog`): the
client's are off, and one timer per stream minds whichever of ours is nearest.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, assert_never
from urllib.parse import urlsplit

import httpx2
import openai
from openai.types.chat import ChatCompletionChunk

from processors.decisions.chat_chunks import (
    Decoded,
    EndOfStream,
    FinishChunk,
    InBandError,
    LimitsChunk,
    NotAChunk,
    ProviderChunk,
    TextChunk,
    decode_chunk,
)
from processors.decisions.rate_headers import RateHeaders, read_rate_headers
from processors.decisions.sse_events import SseSplitter
from processors.decisions.stream_watchdog import Stalled, StreamDeadlines, StreamProgress, watch
from processors.providers.openai_failures import (
    CONNECTION_ERRORS,
    cut,
    failure_before_answer,
    failure_in_band,
    garbled_line,
    timed_out,
)
from processors.providers.provider import ChatRequest, ProviderError, ProviderGarbled
from processors.providers.wait_limit import WaitLimit

__all__ = ["OPENAI_BASE_URL", "OpenAIProvider", "OpenAIStream"]

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
CONNECTIONS_MAX: Final = 1_024
DRAIN_S: Final = 0.25  # how long a finished answer's connection may take to its proper end, to be used again
DRAIN_BYTES_MAX: Final = 65_536
CLOSE_S: Final = 0.5
LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "::1")
HEADERS: Final = {"Accept-Encoding": "identity"}  # compressing would hold tokens back


class OpenAIProvider:
    """A provider reached at a base URL with a key. Keeps its connections; `aclose` when done."""

    def __init__(
        self,
        *,
        name: str,
        api_key: str,
        base_url: str | None = None,
        deadlines: StreamDeadlines | None = None,
        connections_max: int = CONNECTIONS_MAX,
    ) -> None:
        url = base_url or OPENAI_BASE_URL
        self.name = name
        self.deadlines = deadlines or StreamDeadlines()
        self.speaks_newest = urlsplit(url).hostname == urlsplit(OPENAI_BASE_URL).hostname
        limits = httpx2.Limits(max_connections=connections_max, max_keepalive_connections=connections_max)
        self.client = openai.AsyncOpenAI(
            api_key=api_key or "none",  # the client insists on one; local servers take any
            base_url=url,
            max_retries=0,
            timeout=httpx2.Timeout(None),
            http_client=openai.DefaultAioHttpClient(
                limits=limits,
                timeout=httpx2.Timeout(None),
                trust_env=urlsplit(url).hostname not in LOOPBACK_HOSTS,  # no proxy stands before this machine
            ),
        )

    def stream(self, request: ChatRequest) -> OpenAIStream:
        """One call. See ChatProvider.stream."""
        return OpenAIStream(self, request)

    async def open_stream(self, request: ChatRequest) -> openai.AsyncStream[ChatCompletionChunk]:
        """Send the request and wait for the response's headers.

        The client's generic `post` instead of `chat.completions.create`: the same authentication and errors, without
        the walk through typed parameters that costs as much as the rest of a request (0.5 ms of CPU).
        """
        return await self.client.post(
            "/chat/completions",
            cast_to=ChatCompletionChunk,
            body=self.body_of(request),
            options={"headers": HEADERS},
            stream=True,
            stream_cls=openai.AsyncStream[ChatCompletionChunk],
        )

    def body_of(self, request: ChatRequest) -> dict[str, object]:
        """The request in JSON. OpenAI's newest models know only `max_completion_tokens`, others only `max_tokens`."""
        body: dict[str, object] = {
            "model": request.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_completion_tokens" if self.speaks_newest else "max_tokens": request.max_tokens,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        return body | dict(request.fields)

    async def aclose(self) -> None:
        """Close every connection. Open streams fail as cut."""
        await self.client.close()


class OpenAIStream(AbstractAsyncContextManager["OpenAIStream"], AsyncIterator[list[ProviderChunk]]):
    """One answer on its way: enter to send the request, iterate for batches, leave to close."""

    def __init__(self, provider: OpenAIProvider, request: ChatRequest) -> None:
        self.provider = provider
        self.request = request
        self.deadlines = provider.deadlines
        self.loop = asyncio.get_running_loop()
        self.progress = StreamProgress(requested_s=self.loop.time())
        self.splitter = SseSplitter()
        self.response: httpx2.Response | None = None
        self.network: AsyncIterator[bytes]
        self.limit = WaitLimit(self.loop)
        self.limits_seen: RateHeaders | None = None
        self.left_s = 0.0
        self.body_ended = False
        self.answer_ended = False
        self.failure: ProviderError | None = None

    async def __aenter__(self) -> OpenAIStream:
        """Cancellation: the request may have reached the provider and may be billed."""
        self.progress.requested_s = self.loop.time()
        self.response = await self.connected()
        self.progress.connected_s = self.left_s = self.loop.time()
        if self.response.headers.get("content-type", "").startswith("text/html"):
            await self.close()
            raise ProviderGarbled("the provider answered with a web page")
        self.network = self.response.aiter_bytes()
        self.limits_seen = read_rate_headers(self.response.headers, time.time())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self.answer_ended and not self.body_ended:
                await self.drain()
        finally:
            await self.close()

    async def __anext__(self) -> list[ProviderChunk]:
        """Cancellation: what had arrived may be lost; leave the stream."""
        if self.limits_seen is not None:  # at once, and not with the first token
            seen, self.limits_seen = self.limits_seen, None
            return [LimitsChunk(seen)]
        self.progress.away_s += self.loop.time() - self.left_s
        while self.failure is None and not self.answer_ended:
            batch = self.take(await self.received())
            if batch:
                self.left_s = self.loop.time()
                return batch
        if self.failure is not None:
            raise self.failure
        raise StopAsyncIteration

    async def connected(self) -> httpx2.Response:
        """The response, once its headers are there."""
        verdict = watch(self.progress, self.deadlines, self.progress.requested_s)
        if isinstance(verdict, Stalled):
            raise timed_out(verdict.deadline, self.deadlines)
        scope = asyncio.timeout_at(verdict.look_at_s)
        try:
            async with scope:
                return (await self.provider.open_stream(self.request)).response
        except (openai.OpenAIError, *CONNECTION_ERRORS) as error:  # our own TimeoutError is an OSError
            if scope.expired():
                raise timed_out(verdict.next_deadline, self.deadlines) from error
            raise failure_before_answer(error) from error

    async def received(self) -> bytes:
        """The next read from the network; empty when there will be no more, or none that matters."""
        self.progress.held_s = self.request.held_s()
        verdict = watch(self.progress, self.deadlines, self.loop.time())
        if isinstance(verdict, Stalled):
            return self.stalled(verdict, None)
        try:
            with self.limit.until(verdict.look_at_s):
                return await self.network.__anext__()
        except StopAsyncIteration:
            self.body_ended = True
        except CONNECTION_ERRORS as error:  # our own TimeoutError is an OSError
            if self.limit.expired:
                return self.stalled(Stalled(verdict.next_deadline), error)
            self.body_ended = True
            if self.progress.finished_s is None:
                raise cut(error) from error
        return b""

    def stalled(self, verdict: Stalled, error: BaseException | None) -> bytes:
        """A deadline ran out: an answer that had its finish reason is whole, any other has failed."""
        if self.progress.finished_s is None:
            raise timed_out(verdict.deadline, self.deadlines) from error
        return b""

    def take(self, received: bytes) -> list[ProviderChunk]:
        """What these bytes bring; notes the end or the failure that follows it."""
        batch: list[ProviderChunk] = []
        for data in self.splitter.feed(received) if received else self.splitter.finish():
            self.take_event(data, batch)
            if self.answer_ended or self.failure is not None:
                break
        else:
            if self.splitter.fault is not None:
                self.failure = garbled_line(self.splitter.fault)
        if not received:
            self.take_end()
        return batch

    def take_event(self, data: bytes, batch: list[ProviderChunk]) -> None:
        match decode_chunk(data):
            case Decoded() as decoded:  # without a pattern for its fields, which would cost as much as decoding it
                if decoded.alive:
                    self.progress.alive_s, self.progress.away_s = self.loop.time(), 0.0
                for item in decoded.items:
                    if isinstance(item, TextChunk):
                        batch.append(item)
                    else:
                        self.take_item(item, batch)
            case EndOfStream():
                self.take_end()
            case InBandError() as error:
                self.failure = failure_in_band(error)
            case NotAChunk():
                self.failure = ProviderGarbled("the provider sent a chunk that cannot be read")
            case unreachable:
                assert_never(unreachable)

    def take_item(self, item: ProviderChunk, batch: list[ProviderChunk]) -> None:
        if isinstance(item, FinishChunk):
            if self.progress.finished_s is not None:
                return  # some providers repeat it
            self.progress.finished_s, self.progress.away_s = self.loop.time(), 0.0
        batch.append(item)

    def take_end(self) -> None:
        """`[DONE]` or the body's end. Without a finish reason the answer is cut, whatever its last bytes were."""
        if self.progress.finished_s is not None:
            self.answer_ended = self.failure is None
        elif self.failure is None or (isinstance(self.failure, ProviderGarbled) and self.progress.alive_s is not None):
            self.failure = cut(None)

    async def drain(self) -> None:
        """Read the few bytes after `[DONE]`, so that the connection can be used again."""
        drained_bytes = 0
        with contextlib.suppress(*CONNECTION_ERRORS, StopAsyncIteration):
            async with asyncio.timeout(DRAIN_S):
                while drained_bytes <= DRAIN_BYTES_MAX:
                    drained_bytes += len(await self.network.__anext__())

    async def close(self) -> None:
        """Close the response. A connection whose body has not ended is closed with it."""
        self.limit.close()
        if self.response is not None:
            with contextlib.suppress(*CONNECTION_ERRORS):
                async with asyncio.timeout(CLOSE_S):
                    await self.response.aclose()
