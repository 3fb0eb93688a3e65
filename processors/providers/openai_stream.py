"""One answer of a provider that speaks OpenAI's chat completions, from the request to its proper end.

The client does what it is good at: the request, authentication, status errors. The body is read raw, split by
`sse_events` and decoded by `chat_chunks`, which costs a fraction of the client's own stream (`benchmarks/
provider_stream.py`). It never retries: an attempt is one paid call. Only a request that nobody took (nobody listens
yet, or the server loads its model) is made again until somebody does. The connection has the client's deadline, all
others are ours (`stream_watchdog`), and one timer per stream minds whichever of them is nearest. It also looks for
somebody else to take a call whose first token is late, without disturbing the wait for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from types import TracebackType
from typing import Final, assert_never

import aiohttp
import httpx2

from processors.providers.connection_reuse import Sending, sending
from processors.providers.decisions.answer_reading import AnswerReading
from processors.providers.decisions.answer_room import answer_room
from processors.providers.decisions.chat_chunks import (
    Decoded,
    EndOfStream,
    LimitsChunk,
    NotAChunk,
    ProviderChunk,
    decode_chunk,
)
from processors.providers.decisions.rate_headers import RateHeaders, read_rate_headers
from processors.providers.decisions.sse_events import JSON_BEGINS, SseSplitter
from processors.providers.decisions.stated_error import Concern
from processors.providers.decisions.stream_watchdog import (
    LOOK_AGAIN_S,
    Deadline,
    Healthy,
    Late,
    Stalled,
    StreamProgress,
    watch,
)
from processors.providers.openai_endpoint import OpenAIEndpoint
from processors.providers.openai_failures import (
    CONNECTION_ERRORS,
    cut,
    empty,
    failure_before_answer,
    failure_in_band,
    garbled_line,
    interrupted,
    stated_in,
    timed_out,
    wordless,
)
from processors.providers.openai_package import openai
from processors.providers.provider import ChatRequest, ProviderAbsent, ProviderDenied, ProviderError, ProviderGarbled
from processors.providers.wait_limit import WaitLimit
from schemas.session_events import WaitsFor

__all__ = ["OpenAIStream"]

DRAIN_S: Final = 0.25  # how long a finished answer's connection may take to its proper end, to be used again
DRAIN_BYTES_MAX: Final = 65_536
FIELD_STATUSES: Final = (400, 422)
CLOSE_S: Final = 0.5


class OpenAIStream(AbstractAsyncContextManager["OpenAIStream"], AsyncIterator[list[ProviderChunk]]):
    """One answer on its way: enter to send the request, iterate for batches, leave to close."""

    def __init__(self, endpoint: OpenAIEndpoint, request: ChatRequest) -> None:
        self._endpoint = endpoint
        self._request = request
        self._deadlines = request.deadlines
        self._loop = asyncio.get_running_loop()
        self._progress = StreamProgress(requested_s=self._endpoint.now_s())
        self._splitter = SseSplitter()
        self._reading = AnswerReading()
        self._response: httpx2.Response | None = None
        self._headers: Mapping[str, str] = {}
        self._network: AsyncIterator[bytes]
        self._is_counted = False
        self._sending = Sending()
        self._is_sent_again = False
        self._is_page = False  # by its content type; some call an answer so
        self._limit = WaitLimit(self._loop, self.later)
        self._stalled_at: Deadline = "first_token"
        self._sent_field = endpoint.field_of(request)
        self._mended: set[Concern] = set()  # what refusals were about, for which the request was changed and made again
        self._is_left = False
        """Somebody else takes the call."""
        self._waits_for: WaitsFor = "answer"
        self._events = 0
        self._limits_seen: RateHeaders | None = None
        self._left_s = 0.0
        self._body_ended = False
        self._answer_ended = False
        self._failure: ProviderError | None = None

    async def __aenter__(self) -> OpenAIStream:
        """Cancellation: the request may have reached the provider and may be billed."""
        self._progress.requested_s = self._endpoint.now_s()
        self._response = await self.connected()
        self._left_s = self._endpoint.now_s()
        self._headers = self._response.headers
        self._is_page = self._headers.get("content-type", "").lower().startswith("text/html")
        self._network = self._response.aiter_bytes()
        self._limits_seen = read_rate_headers(self._headers, time.time())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._answer_ended and not self._body_ended:
                await self.drain()
        finally:
            await self.close()

    async def __anext__(self) -> list[ProviderChunk]:
        """Cancellation: what had arrived may be lost; leave the stream."""
        if self._limits_seen is not None:  # at once, and not with the first token
            seen, self._limits_seen = self._limits_seen, None
            return [LimitsChunk(seen)]
        self._progress.away_s += self._endpoint.now_s() - self._left_s
        while self._failure is None and not self._answer_ended:
            batch = self.take(await self.received())
            if batch:
                self._left_s = self._endpoint.now_s()
                return batch
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    async def connected(self) -> httpx2.Response:
        """The response, once its headers are there. Asks again where nobody has taken the request yet."""
        nobody_yet: ProviderError | None = None
        while True:
            verdict = self.judged()
            if isinstance(verdict, Stalled):
                raise self.given_up(nobody_yet or self.timed_out(verdict.deadline))
            self._waits_for = "answer"
            try:
                with self._limit.until(self._endpoint.on_loop_s(verdict.look_at_s)):
                    self._request = await self.fitted()
                    self._sent_field = self._endpoint.field_of(self._request)
                    return await self.responded()
            except ProviderAbsent as absent:
                nobody_yet = absent
                if not self.is_waited_for(absent):
                    raise
            except (openai.OpenAIError, *CONNECTION_ERRORS) as error:  # our own TimeoutError is an OSError
                if self._limit.expired:
                    raise self.given_up(self.timed_out(self._stalled_at)) from error
                if self.is_for_the_field(error) or self.goes_out_again(error):
                    continue
                nobody_yet = self.failure_of(error)
                if not self.is_waited_for(nobody_yet):
                    raise nobody_yet from error
            await asyncio.sleep(min(LOOK_AGAIN_S, max(0.0, verdict.look_at_s - self._endpoint.now_s())))

    async def fitted(self) -> ChatRequest:
        """The request for what the server is: its own model where none is named, an answer that its context holds.

        Raises ProviderAbsent where it has not said yet, ProviderDenied where it has several models.
        """
        server, request = self._endpoint.server, self._request
        facts = await server.facts() if server is not None else None
        if facts is None and (server is None or request.model):
            return request
        if facts is None:
            raise ProviderAbsent("the server has not said yet which model it has; name one with TOKENWIRE_MODEL")
        model = request.model or facts.own_model
        if not model:
            has = f"has several models ({facts.models_shown})" if facts.models else "does not say which models it has"
            raise ProviderDenied(f"the server {has}; name one with TOKENWIRE_MODEL")
        context_tokens = facts.context_of(model)
        if context_tokens is None:
            return replace(request, model=model)
        room = answer_room(request.max_tokens, input_tokens=request.input_tokens, context_tokens=context_tokens)
        return replace(request, model=model, max_tokens=room)

    def is_for_the_field(self, error: Exception) -> bool:
        """Whether the request was refused for the name of one field, and is made again without that name, once each."""
        if not isinstance(error, openai.APIStatusError) or error.status_code not in FIELD_STATUSES:
            return False
        concerns = stated_in(error).concerns
        if concerns in self._mended or not self._endpoint.learn(concerns, self._sent_field):
            return False
        self._mended.add(concerns)
        return True

    def goes_out_again(self, error: BaseException) -> bool:
        """Whether the request died unread with a connection that had idled too long, and is sent again, once.

        Not beside other calls of ours: a server that ends one because others wait looks the same.
        """
        now_s = self._loop.time()
        if self._is_sent_again or self._endpoint.calls_running or not self._sending.died_unread(error, now_s):
            return False
        self._is_sent_again = True
        self._endpoint.on_sent_again()
        return True

    async def responded(self) -> httpx2.Response:
        self._sending = Sending()
        before = sending.set(self._sending)
        self.count(+1)
        try:
            return (await self._endpoint.open_stream(self._request)).response
        except BaseException:  # a cancel too: a request that counts for ever keeps its provider open
            self.uncount()
            raise
        finally:
            sending.reset(before)

    def count(self, calls: int) -> None:
        self._is_counted = calls > 0
        self._endpoint.calls_running += calls
        if self._endpoint.server is not None:
            self._endpoint.server.calls_running += calls

    def uncount(self) -> None:
        """The call no longer runs."""
        if self._is_counted:
            self.count(-1)

    def failure_of(self, error: openai.OpenAIError | OSError | aiohttp.ClientError | httpx2.HTTPError) -> ProviderError:
        """Why nothing came; a model that the server does not have is named, with those it has."""
        server = self._endpoint.server
        if isinstance(error, openai.NotFoundError) and server is not None and server.known is not None:
            models = server.known.models_shown
            server.forget()
            if models:
                return ProviderDenied(f"the server has no model {self._request.model}; it has {models}")
        return failure_before_answer(error, self._deadlines, input_tokens=self._request.input_tokens)

    def is_waited_for(self, failure: ProviderError) -> bool:
        """Whether the request is to be made again in a while, as part of this call.

        A server that is not there is left at once where somebody else can take the call; one that loads its model will
        be there, and has as long as any other to begin.
        """
        if failure.waits_for is None or (failure.waits_for == "server" and self._request.may_leave()):
            return False
        self._waits_for = failure.waits_for
        self._request.on_wait(self._waits_for)
        return True

    def judged(self) -> Healthy | Stalled:
        """How the stream stands, once somebody else has been looked for where its first token is late."""
        self._progress.held_s = self._request.held_s()
        now_s = self._endpoint.now_s()
        verdict = watch(self._progress, self._deadlines, now_s)
        if not isinstance(verdict, Late):
            return verdict
        self._progress.looked_s = now_s
        if verdict.may_leave and self._request.may_leave():
            self._is_left = True
            return Stalled("first_token")
        self._request.on_wait(self._waits_for)
        return self.judged()

    def later(self) -> float | None:
        """A wait has outlasted its moment: the next one, or None where a deadline has run out."""
        verdict = self.judged()
        if isinstance(verdict, Healthy):
            return self._endpoint.on_loop_s(verdict.look_at_s)
        self._stalled_at = verdict.deadline
        return None

    def timed_out(self, deadline: Deadline) -> ProviderError:
        """A deadline of ours ran out, or the call is left while its first token is late."""
        deadlines = self._deadlines
        return timed_out(deadline, replace(deadlines, first_token_s=deadlines.leave_s) if self._is_left else deadlines)

    def given_up(self, failure: ProviderError) -> ProviderError:
        """The failure of a call that was waited for."""
        failure.waited_s = self._endpoint.now_s() - self._progress.requested_s
        return failure

    async def received(self) -> bytes:
        """The next read from the network; empty when there will be no more, or none that matters."""
        verdict = self.judged()
        if isinstance(verdict, Stalled):
            return self.stalled(verdict.deadline, None)
        try:
            with self._limit.until(self._endpoint.on_loop_s(verdict.look_at_s)):
                return await self._network.__anext__()
        except StopAsyncIteration:
            self._body_ended = True
        except CONNECTION_ERRORS as error:  # our own TimeoutError is an OSError
            if self._limit.expired:
                return self.stalled(self._stalled_at, error)
            self._body_ended = True
            if not self._reading.is_finished:
                raise cut(error) from error
        return b""

    def stalled(self, deadline: Deadline, error: BaseException | None) -> bytes:
        """A deadline ran out: an answer that had its finish reason is whole, any other has failed."""
        if not self._reading.is_finished:
            raise self.given_up(self.timed_out(deadline)) from error
        return b""

    def take(self, received: bytes) -> list[ProviderChunk]:
        """What these bytes bring; notes the end or the failure that follows it."""
        batch: list[ProviderChunk] = []
        for data in self._splitter.feed(received) if received else self._splitter.finish():
            self.take_event(data, batch)
            if self._answer_ended or self._failure is not None:
                break
        else:
            if self._splitter.fault is not None:
                self.take_end(
                    garbled_line(self._splitter.fault, is_page=self._is_page),
                    is_whole=self.is_told and self._splitter.fault == "foreign_line",
                )
        if not received:
            self.take_end(self.unfinished(), is_whole=self._reading.is_finished)
        if self._answer_ended or self._failure is not None:
            batch += self._reading.rest()
        return batch

    def unfinished(self) -> ProviderError:
        """Why a body that has ended is no whole answer."""
        if self.is_empty:
            return empty(self._request.input_tokens)
        return garbled_line("foreign_line", is_page=self._is_page) if self._splitter.is_json else cut(None)

    @property
    def is_told(self) -> bool:
        """Whether the answer is whole without a doubt, whatever may still come."""
        return self._reading.is_finished and not self._reading.is_doubtful

    @property
    def is_empty(self) -> bool:
        """Whether the body had its proper end, and nothing before it: where only the connection ended, it was cut."""
        return not self._events and ("transfer-encoding" in self._headers or self._headers.get("content-length") == "0")

    def take_event(self, data: bytes, batch: list[ProviderChunk]) -> None:
        self._events += 1
        match decode_chunk(data):
            case Decoded() as decoded:  # without a pattern for its fields, which would cost as much as decoding it
                batch += self._reading.take(decoded)
                self.note_progress(alive=decoded.alive)
                if decoded.error is not None:
                    self._failure = failure_in_band(decoded.error, self._request.input_tokens, self._headers)
            case EndOfStream():
                self.take_end(interrupted(), is_whole=self._reading.reason != "")
            case NotAChunk():
                if not self.is_told or data.lstrip().startswith(JSON_BEGINS):  # else a word of farewell
                    self._failure = ProviderGarbled("the provider sent a chunk that cannot be read")
            case unreachable:
                assert_never(unreachable)

    def note_progress(self, *, alive: bool) -> None:
        """An event has been read: what is waited for from now on."""
        progress, reading = self._progress, self._reading
        if alive:
            progress.alive_s, progress.away_s, progress.finished_s = self._endpoint.now_s(), 0.0, None
        if reading.is_finished and not reading.is_doubtful and progress.finished_s is None:
            progress.finished_s, progress.away_s = self._endpoint.now_s(), 0.0

    def take_end(self, unfinished: ProviderError, *, is_whole: bool) -> None:
        """`[DONE]` or the body's end. Without a finish reason the answer has failed, whatever its last bytes were."""
        if is_whole:
            if self._reading.is_wordless and self._failure is None:
                self._failure = wordless()
            self._answer_ended = self._failure is None
        elif self._failure is None or (
            isinstance(self._failure, ProviderGarbled) and self._progress.alive_s is not None
        ):
            self._failure = unfinished

    async def drain(self) -> None:
        """Read the few bytes after `[DONE]`, so that the connection can be used again."""
        drained_bytes = 0
        with contextlib.suppress(*CONNECTION_ERRORS, StopAsyncIteration):
            async with asyncio.timeout(DRAIN_S):
                while drained_bytes <= DRAIN_BYTES_MAX:
                    drained_bytes += len(await self._network.__anext__())

    async def close(self) -> None:
        """Close the response. A connection whose body has not ended is closed with it."""
        self._limit.close()
        self.uncount()
        if self._response is not None:
            with contextlib.suppress(*CONNECTION_ERRORS):
                async with asyncio.timeout(CLOSE_S):
                    await self._response.aclose()
