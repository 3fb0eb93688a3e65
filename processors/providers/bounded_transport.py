"""The openai client's transport, with a bound on what a response may bring.

The client reads the body of a refusal whole before it says a word of it, and decompresses it as it goes: a few hundred
kilobytes became gigabytes. Here such a body ends at ERROR_BYTES_MAX, and whatever is compressed is read piece by piece,
never by the client. No cookie is kept. Redirects are refusals (the client does not follow them): a key goes to the
address that it was set for, and to no other.
"""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator
from typing import Any, Final

import aiohttp
import httpx2

from processors.providers.connection_reuse import with_notes
from processors.providers.decisions.inflation import inflater_of
from processors.providers.openai_package import openai

__all__ = ["ERROR_BYTES_MAX", "BoundedClient", "BoundedTransport"]

ERROR_BYTES_MAX: Final = 65_536
"""Of a body with an error status, plain."""


class BoundedClient(openai.DefaultAioHttpClient):  # type: ignore[misc,valid-type,unused-ignore]  # a class at run time
    """The client's own, on a transport that bounds its responses."""

    def _init_transport(self, *args: object, **kwargs: object) -> httpx2.AsyncBaseTransport:
        return bounded(super()._init_transport(*args, **kwargs))  # type: ignore[arg-type]  # as they came

    def _init_proxy_transport(self, *args: object, **kwargs: object) -> httpx2.AsyncBaseTransport:
        return bounded(super()._init_proxy_transport(*args, **kwargs))  # type: ignore[arg-type]  # as they came


def bounded(transport: Any) -> BoundedTransport:
    """The client's own transport, bounded, whose session also notes how each request is sent (`connection_reuse`)."""

    def noting_session() -> aiohttp.ClientSession:
        transport.client = None  # it makes one of its own
        return with_notes(transport.get_client())

    transport.client = noting_session
    return BoundedTransport(transport)


class BoundedTransport(httpx2.AsyncBaseTransport):
    """Another transport, whose responses are bounded and plain."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response of the inner transport. Cancellation: as with that one."""
        response = await self.inner.handle_async_request(request)
        bytes_max = None if response.is_success else ERROR_BYTES_MAX
        encoding = response.headers.pop("content-encoding", "")
        response.headers.pop("set-cookie", None)  # the client would send it with every further call
        if bytes_max is None and not encoding:
            return response
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        return httpx2.Response(
            response.status_code,
            headers=response.headers,
            stream=BoundedStream(response.stream, encoding, bytes_max),
            request=request,
            extensions=response.extensions,
        )

    async def aclose(self) -> None:
        """Close every connection."""
        await self.inner.aclose()


class BoundedStream(httpx2.AsyncByteStream):
    """A body in plain bytes, up to so many; None: all of them, as they are read."""

    def __init__(self, inner: httpx2.AsyncByteStream, encoding: str, bytes_max: int | None) -> None:
        self._inner = inner
        self._inflater = inflater_of(encoding)
        self._bytes_max = bytes_max

    async def __aiter__(self) -> AsyncIterator[bytes]:
        given_bytes = 0
        async for received in self._inner:
            try:
                for piece in (received,) if self._inflater is None else self._inflater.feed(received):
                    left = piece if self._bytes_max is None else piece[: self._bytes_max - given_bytes]
                    given_bytes += len(left)
                    yield left
                    if given_bytes == self._bytes_max:
                        return
            except zlib.error as error:
                raise httpx2.DecodingError("the body is not compressed as it says") from error

    async def aclose(self) -> None:
        await self._inner.aclose()
