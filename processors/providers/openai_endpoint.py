"""Where a provider that speaks OpenAI's chat completions is reached, and what its refusals have taught of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import httpx2

from infra.network_environment import is_loopback, trusted_certificates
from infra.targets.model_catalogue import MaxTokensField
from infra.targets.server_questions import ServerQuestions
from processors.providers.bounded_transport import BoundedClient
from processors.providers.decisions.stated_error import Concern
from processors.providers.openai_package import openai
from processors.providers.provider import ChatRequest

__all__ = ["OPENAI_BASE_URL", "OpenAIEndpoint"]

OPENAI_BASE_URL: Final = "https://api.openai.com/v1"
CONNECTIONS_MAX: Final = 4_096
HEADERS: Final = {"Accept-Encoding": "identity"}  # compressing would hold tokens back


class OpenAIEndpoint:
    """A base URL with a key. Keeps its connections; `aclose` when done."""

    def __init__(
        self,
        *,
        name: str,
        api_key: str,
        base_url: str | None = None,
        connections_max: int = CONNECTIONS_MAX,
        server: ServerQuestions | None = None,
        on_sent_again: Callable[[], None] = lambda: None,
        stood_still_s: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """`server`: where it is to be asked what it is; its own model then serves calls that name none.

        `on_sent_again` is told of each request that died unread with an idle connection and went out once more.
        `stood_still_s`: for how long this process has not run so far, which counts against no deadline of a stream.
        """
        url = base_url or OPENAI_BASE_URL
        self.name = name
        self.server = server
        self.on_sent_again = on_sent_again
        self.stood_still_s = stood_still_s
        self.calls_running = 0
        speaks_newest = urlsplit(url).hostname == urlsplit(OPENAI_BASE_URL).hostname
        self._usual_field: MaxTokensField = "max_completion_tokens" if speaks_newest else "max_tokens"
        self._learned_field: MaxTokensField | None = None
        """What a refusal has taught: it goes before what the request says."""
        self._asks_for_usage = True  # until a refusal says that it knows no such field: tokens are then counted here
        limits = httpx2.Limits(max_connections=connections_max, max_keepalive_connections=connections_max)
        self.client = openai.AsyncOpenAI(
            api_key=api_key or "none",  # the client insists on one; local servers take any
            base_url=url,
            max_retries=0,
            timeout=httpx2.Timeout(None),
            http_client=BoundedClient(
                follow_redirects=False,
                limits=limits,
                timeout=httpx2.Timeout(None),
                trust_env=not is_loopback(url),  # no proxy stands before this machine
                verify=trusted_certificates(),  # which trust_env would decide as well
            ),
        )

    def now_s(self) -> float:
        """The loop's time without that in which this process stood still: nobody else was silent then."""
        return asyncio.get_running_loop().time() - self.stood_still_s()

    def on_loop_s(self, moment_s: float) -> float:
        """A moment to come, by the loop's own clock, unless this process stands still before it."""
        return moment_s + self.stood_still_s()

    async def open_stream(self, request: ChatRequest) -> openai.AsyncStream[object]:
        """Send the request and wait for the response's headers.

        The client's generic `post` instead of `chat.completions.create`: the same authentication and errors, without
        the walk through typed parameters that costs as much as the rest of a request (0.5 ms of CPU).
        """
        connect_s = request.deadlines.connect_s
        return await self.client.post(
            "/chat/completions",
            cast_to=object,
            body=self.body_of(request),
            options={"headers": HEADERS, "timeout": httpx2.Timeout(None, connect=connect_s, pool=connect_s)},
            stream=True,
            stream_cls=openai.AsyncStream[object],
        )

    def body_of(self, request: ChatRequest) -> dict[str, object]:
        """The request in JSON."""
        body: dict[str, object] = {
            "model": request.model,
            "messages": [{"role": message.role, "content": message.content} for message in request.messages],
            "stream": True,
            self.field_of(request): request.max_tokens,
        }
        if self._asks_for_usage:
            body["stream_options"] = {"include_usage": True}
        if request.temperature is not None:
            body["temperature"] = request.temperature
        return body | dict(request.fields)

    def field_of(self, request: ChatRequest) -> MaxTokensField:
        """What the target calls the longest answer: OpenAI's newest models know only `max_completion_tokens`, others
        only `max_tokens`."""
        return self._learned_field or request.max_tokens_field or self._usual_field

    def learn(self, concerns: Concern, sent: MaxTokensField) -> bool:
        """A request was refused for a field: from now on it is made without it, or with its other name."""
        match concerns:
            case "max_tokens":
                self._learned_field = "max_tokens" if sent == "max_completion_tokens" else "max_completion_tokens"
            case "stream_options":
                self._asks_for_usage = False
            case _:
                return False
        return True

    async def aclose(self) -> None:
        """Close every connection. Open streams fail as cut."""
        await self.client.close()
