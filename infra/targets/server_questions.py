"""Asks a model server what it is: at most three requests, bounded in time and bytes, to its own address only."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from infra.network_environment import is_loopback
from infra.targets.server_facts import ServerFacts, facts_of, with_props, with_show

__all__ = ["ASK_S", "ServerQuestions", "ask_server"]

ASK_S: Final = 5.0
"""Longest time that all questions take together."""
ANSWER_BYTES_MAX: Final = 1_048_576
ASK_AGAIN_S: Final = 1.0
PATIENCE: Final = 10
"""A server that gave no answer is left in peace for so many times as long as it was waited for."""


class ServerQuestions:
    """Asks one server what it is: once, until it answers, and only while no call of this worker runs there.

    Some servers answer nothing between two tokens: a question beside a call would wait for that call's end.
    """

    def __init__(self, base_url: str, key: str, on_facts: Callable[[ServerFacts], None]) -> None:
        self._base_url = base_url
        self._key = key
        self._on_facts = on_facts
        self.known: ServerFacts | None = None
        self.calls_running = 0
        self._not_before_s = -math.inf
        self._asking = asyncio.Lock()

    async def facts(self) -> ServerFacts | None:
        """What is known of the server, after asking it where that is due: at most ASK_S. None: nothing yet.

        Cancellation: nothing has changed; whoever comes next asks.
        """
        if not self.is_due():
            return self.known
        async with self._asking:
            if self.is_due():  # nobody else has asked meanwhile
                began_s = time.monotonic()
                self.known = await ask_server(self._base_url, self._key)
                now_s = time.monotonic()
                self._not_before_s = now_s + max(ASK_AGAIN_S, PATIENCE * (now_s - began_s))
                if self.known is not None:
                    self._on_facts(self.known)
        return self.known

    def is_due(self) -> bool:
        """Whether it is to be asked now."""
        return self.known is None and not self.calls_running and time.monotonic() >= self._not_before_s

    def forget(self) -> None:
        """The server is not what it was: ask it anew, in a while."""
        self.known = None
        self._not_before_s = time.monotonic() + ASK_AGAIN_S


async def ask_server(base_url: str, key: str, *, ask_s: float = ASK_S) -> ServerFacts | None:
    """What the server at this base URL is; None: it gave no answer, in time or at all, and may later.

    Cancellation: the connection is closed; nothing else has happened.
    """
    headers = {"Accept-Encoding": "identity", **({"Authorization": f"Bearer {key}"} if key else {})}
    trust_env = not is_loopback(base_url)
    plain = aiohttp.ClientSession(headers=headers, trust_env=trust_env, auto_decompress=False)  # as long as it is read
    try:
        async with asyncio.timeout(ask_s), plain as session:
            return await asked(session, base_url.rstrip("/"))
    except (TimeoutError, aiohttp.ClientError, OSError):
        return None


async def asked(session: aiohttp.ClientSession, base_url: str) -> ServerFacts | None:
    status, server, listing = await answer_to(session, "GET", f"{base_url}/models")
    if status >= 500:
        return None  # it is about to load its model, or ill
    facts, root = facts_of(listing, server), base_url.removesuffix("/v1")
    if facts.preset == "llama-server" and not facts.context_tokens:
        return with_props(facts, (await answer_to(session, "GET", f"{root}/props"))[2])
    if facts.preset in ("", "ollama") and facts.models and urlsplit(base_url).scheme == "http":
        _, _, version = await answer_to(session, "GET", f"{root}/api/version")
        if isinstance(version, dict) and isinstance(version.get("version"), str):
            facts = facts_of(listing, server, has_ollama_version=True)
            shown = await answer_to(session, "POST", f"{root}/api/show", {"model": facts.own_model})
            return with_show(facts, facts.own_model, shown[2])
    return facts


async def answer_to(session: aiohttp.ClientSession, method: str, url: str, body: object = None) -> tuple[int, str, Any]:
    """Status, `Server` header and the JSON of an answer; None in its place where it is none, or too long."""
    async with session.request(method, url, json=body, allow_redirects=False) as response:
        raw = b""
        while (chunk := await response.content.read(65_536)) and len(raw) <= ANSWER_BYTES_MAX:
            raw += chunk
        server = response.headers.get("Server", "")
        if response.status != 200 or len(raw) > ANSWER_BYTES_MAX:
            return response.status, server, None
        try:
            return response.status, server, msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return response.status, server, None
