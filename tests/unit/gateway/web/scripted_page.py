"""The chat page against a gateway that says what a test wants: parts of the page's tests."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

from playwright.async_api import Page, Route, WebSocketRoute

from tests.unit.gateway.headless_browser import ORIGIN, SEEN_MS, Browser, new_page

__all__ = ["CODE_USED", "WELCOME", "ScriptedGateway", "ask", "chat", "eventually", "token_for"]

Message = dict[str, Any]
CODE_USED: Final = "the code has been used; `tokenwire page` prints a new one where the gateway runs"
WELCOME: Final[Message] = {
    "type": "welcome",
    "connection": "c",
    "user": "alice",
    "ping_s": 20,
    "pong_s": 10,
    "frame_bytes_max": 65_536,
    "models": ["simulated"],
    "simulated": True,
}


def token_for(user: str, lifetime_s: float = 3_600) -> str:
    """Shaped like an access token; nobody here checks its signature."""
    claims = json.dumps({"sub": user, "exp": time.time() + lifetime_s}).encode()
    return "e30." + base64.urlsafe_b64encode(claims).decode().rstrip("=") + ".e30"


class ScriptedGateway:
    """Speaks the protocol for one page, keeps one log, and answers when the test says so."""

    def __init__(self) -> None:
        self.log: list[Message] = []
        self.said: list[Message] = []
        """What the page has said, over all connections."""
        self.socket: WebSocketRoute | None = None
        self.welcome: Message = WELCOME
        self.closing: asyncio.Future[None] | None = None
        self.refusal: Message | None = None
        self.refuses = ""
        """A token that is no good."""
        self.codes: dict[str, str] = {}
        """Codes that were not used yet, and their tokens."""
        self.rejection: Message | None = None
        """What is answered to each prompt instead of taking it."""

    def accept(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(lambda frame: self.heard(json.loads(frame)))

    def heard(self, message: Message) -> None:
        self.said.append(message)
        match message:
            case {"type": "hello"} if self.refusal is not None:
                self.send(self.refusal)
            case {"type": "hello", "token": token} if token == self.refuses:
                self.send({"type": "disconnect", "code": 4401, "reason": "signature is wrong", "reconnect": False})
                self.closing = asyncio.ensure_future(self.close(4401))
            case {"type": "prompt", "session": session, "prompt_id": prompt_id} if self.rejection is not None:
                self.send({**self.rejection, "session": session, "prompt_id": prompt_id})
            case {"type": "hello", "resume": resume}:
                self.send(self.welcome)
                for session, cursor in resume.items():
                    self.attach(session, int(cursor))
            case {"type": "attach", "session": session, "from": "start"}:
                self.attach(session, 0)
            case {"type": "prompt", "models": [*models]}:
                self.take_in(message, models)
            case {"type": "prompt", "session": session, "prompt_id": prompt_id, "input": text}:
                turn = f"turn-{prompt_id}"
                self.send({"type": "accepted", "session": session, "prompt_id": prompt_id, "turns": [turn]})
                self.append(type="queued", session=session, turn=turn, prompt_id=prompt_id, input=text)
            case _:
                pass  # heard, and on the list of what was said

    async def exchange(self, route: Route) -> None:
        """`POST /v1/token`, as the gateway answers it."""
        code = route.request.headers["authorization"].removeprefix("Bearer ")
        token = self.codes.pop(code, None)
        if token is None:
            await route.fulfill(status=401, content_type="text/plain; charset=utf-8", body=f"{CODE_USED}\n")
        else:
            await route.fulfill(json={"token": token, "user": "whose it is", "expires_at_s": 1})

    def take_in(self, prompt: Message, models: list[str]) -> None:
        """A comparison: a turn per model."""
        place = {"session": prompt["session"], "prompt_id": prompt["prompt_id"]}
        turns = [f"turn-{index}" for index in range(len(models))]
        self.send({"type": "accepted", **place, "turns": turns})
        about = {"input": prompt["input"], "models": models, "compare": prompt["compare"], "at_us": 1_000_000}
        for index, (turn, model) in enumerate(zip(turns, models, strict=True)):
            self.append(type="queued", **place, turn=turn, model=model, index=index, **about)

    def compare(self, prompt: Message, texts: list[str]) -> list[str]:
        """Every model answers, all at the same time; the turns."""
        turns = [f"turn-{index}" for index in range(len(texts))]
        places = [{"session": prompt["session"], "turn": turn, "attempt": 1} for turn in turns]
        for place, model in zip(places, prompt["models"], strict=True):
            self.append(type="start", **place, model=model, at_us=1_100_000)
        for place, text in zip(places, texts, strict=True):
            self.append(type="delta", **place, seq=0, n=1, text=text)
        for place in places:
            facts = {"usage": {"output_tokens": 9}, "cost_nano_usd": 1_000, "first_text_s": 0.5, "at_us": 3_000_000}
            self.append(type="end", **place, reason="complete", **facts)
        return turns

    def attach(self, session: str, position: int) -> None:
        self.send({"type": "attached", "session": session, "head": str(len(self.log)), "recovered": "replayed"})
        for record in self.log[position:]:
            self.send(record)

    def append(self, **record: Any) -> None:
        """One record more on the log, told to the page if it is there."""
        self.log.append({**record, "c": str(len(self.log) + 1)})
        if self.socket is not None:
            self.send(self.log[-1])

    def answer(self, text: str, *, ends: bool = True, turn: int = -1) -> None:
        """Start the turn of the n-th prompt, say `text` in two deltas, end."""
        queued = [record for record in self.log if record["type"] == "queued"][turn]
        place = {"session": queued["session"], "turn": queued["turn"], "attempt": 1}
        half = len(text) // 2
        self.append(type="start", **place, model="simulated", at_us=1)
        self.append(type="delta", **place, seq=0, n=2, text=text[:half])
        self.append(type="delta", **place, seq=2, n=3, text=text[half:])
        if ends:
            usage = {"input_tokens": 7, "output_tokens": 5}
            self.append(type="end", **place, reason="complete", usage=usage, cost_nano_usd=42_000, at_us=500_001)

    def send(self, message: Message) -> None:
        assert self.socket is not None
        self.socket.send(json.dumps(message))

    async def close(self, code: int) -> None:
        assert self.socket is not None
        await self.socket.close(code=code, reason="")

    def heard_of(self, kind: str) -> list[Message]:
        return [message for message in self.said if message["type"] == kind]


@asynccontextmanager
async def chat(
    browser: Browser, gateway: ScriptedGateway, *, fragment: str | None = None, **options: object
) -> AsyncIterator[Page]:
    """The page, opened with a token in its address."""
    async with new_page(browser, **options) as page:
        await page.route_web_socket("**/v1/connect", gateway.accept)
        await page.context.route("**/v1/token", gateway.exchange)
        await page.goto(f"{ORIGIN}/{'#token=' + token_for('alice') if fragment is None else fragment}")
        yield page


async def ask(page: Page, text: str) -> None:
    await page.locator("#prompt").fill(text)
    await page.locator("#prompt").press("Enter")


async def eventually(page: Page, condition: Callable[[], bool]) -> None:
    """Until the scripted gateway has heard what the page did; the page's events drive it. What the gateway answered at
    once has then reached the page: a frame of the page comes behind it."""
    async with asyncio.timeout(SEEN_MS / 1_000):
        is_heard = False
        while not is_heard:
            is_heard = condition()
            await page.evaluate("() => new Promise((resolve) => requestAnimationFrame(resolve))")
