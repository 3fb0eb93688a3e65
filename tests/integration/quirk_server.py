"""A server that answers as real providers were seen to: `tests/data/provider_quirks.jsonl`, one line an answer.

A quirk's calls go to `/<id>/v1`. Its `steps` are what follows the headers of a 200: `say` a text, a `delta` with its
`finish`, a whole `chunk`, one `choice`, `raw` text, `wait_s`, and `end`, which is the finish reason with the usage and
`[DONE]`. With a `status` the answer is its `body` instead; `unless_field` names a request field that makes it answer
the steps after all, `if_field` one without which it does. The path `/spare/v1` is the target that stands behind each.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from aiohttp import web

__all__ = ["SPARE_TEXT", "Quirk", "QuirkServer", "quirk_server", "quirks"]

Quirk: TypeAlias = dict[str, Any]

TABLE: Final = Path(__file__).parents[1] / "data" / "provider_quirks.jsonl"
SPARE: Final = "spare"
SPARE_TEXT: Final = "Somebody else says: rain."
USAGE: Final = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
DONE: Final = "data: [DONE]\n\n"


def quirks() -> list[Quirk]:
    """The table."""
    return [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]


class QuirkServer:
    """The running server: its address, and the calls that each quirk has had."""

    def __init__(self) -> None:
        self.origin = ""
        self.calls: Counter[str] = Counter()
        self.table = {quirk["id"]: quirk for quirk in quirks()}

    def url(self, name: str = SPARE) -> str:
        """Base URL of a quirk, or of the target behind it."""
        return f"{self.origin}/{name}/v1"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        name, asked = request.match_info["name"], await request.json()
        self.calls[name] += 1
        spare: Quirk = {"steps": [{"say": SPARE_TEXT}, {"end": "stop"}]}
        quirk = self.table[name] if name != SPARE else spare
        if "status" in quirk and quirk.get("unless_field", "") not in asked and quirk.get("if_field", "model") in asked:
            body = quirk["body"] if isinstance(quirk["body"], str) else json.dumps(quirk["body"])
            headers = {"Content-Type": "application/json"} | quirk.get("headers", {})
            return web.Response(body=body.encode(), status=quirk["status"], headers=headers)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"} | quirk.get("headers", {}))
        await response.prepare(request)
        for step in quirk["steps"]:
            if "wait_s" in step:
                await asyncio.sleep(step["wait_s"])  # the pace of the answer
            for event in events_of(step):
                await response.write(event.encode())
        return response


def events_of(step: dict[str, Any]) -> Iterator[str]:
    """What a step sends."""
    match step:
        case {"raw": text}:
            yield text
        case {"say": text}:
            yield event_of(choice_of({"content": text}))
        case {"delta": delta}:
            yield event_of(choice_of(delta, step.get("finish")))
        case {"choice": choice}:
            yield event_of({"choices": [choice]})
        case {"chunk": chunk}:
            yield event_of(chunk)
        case {"end": reason}:
            yield event_of(choice_of({}, reason) | {"usage": USAGE})
            yield DONE
        case _:
            pass  # a wait alone


def choice_of(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def event_of(chunk: object) -> str:
    return f"data: {json.dumps(chunk)}\n\n"


@asynccontextmanager
async def quirk_server() -> AsyncIterator[QuirkServer]:
    """The server on a port of its own."""
    server = QuirkServer()
    application = web.Application()
    application.router.add_post("/{name}/v1/chat/completions", server.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        server.origin = f"http://{host}:{port}"
        yield server
    finally:
        await runner.cleanup()
