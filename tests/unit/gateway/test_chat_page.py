"""The chat page in headless browsers, against a scripted gateway. Skipped in a browser that is not there."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from tests.unit.gateway.headless_browser import ORIGIN, SEEN_MS, Browser, new_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

MARKUP: Final = "Here is <img src=x onerror=alert(1)> and **bold**."
LIGHT: Final = "rgb(251, 250, 247)"
DARK: Final = "rgb(21, 24, 26)"
Message = dict[str, Any]
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
        self.refusal: Message | None = None

    def accept(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        socket.on_message(lambda frame: self.heard(json.loads(frame)))

    def heard(self, message: Message) -> None:
        self.said.append(message)
        match message:
            case {"type": "hello"} if self.refusal is not None:
                self.send(self.refusal)
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

    def heard_of(self, kind: str) -> list[Message]:
        return [message for message in self.said if message["type"] == kind]


@asynccontextmanager
async def chat(
    browser: Browser, gateway: ScriptedGateway, *, fragment: str | None = None, **options: object
) -> AsyncIterator[Page]:
    """The page, opened with a token in its address."""
    async with new_page(browser, **options) as page:
        await page.route_web_socket("**/v1/connect", gateway.accept)
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


async def test_a_prompt_is_sent_and_its_answer_shown_with_its_facts(browser: Browser) -> None:
    """Enter sends; text, markup inert, and the footer appear; the token leaves the address bar."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await expect(page.locator("#simulated")).to_be_visible()
        await ask(page, "Hello there")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        gateway.answer(MARKUP)
        turn = page.locator("[data-turn]")

        await expect(turn).to_have_attribute("data-state", "ended")
        await expect(turn.locator("[data-role=answer]")).to_have_text(MARKUP.replace("**", ""))
        await expect(turn.locator("[data-role=answer] img")).to_have_count(0)
        await expect(turn.locator("[data-fact=cost]")).to_have_text("$0.000042")
        await expect(turn.locator("[data-fact=ttft]")).to_contain_text("to first token")
        assert page.url == f"{ORIGIN}/"


async def test_a_reload_in_mid_answer_shows_the_whole_answer_once(browser: Browser) -> None:
    """The conversation is rebuilt from the log, and goes on."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await ask(page, "Tell me")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        gateway.answer("One two three", ends=False)
        await expect(page.locator("[data-role=answer]")).to_have_text("One two three")
        gateway.socket = None
        await page.reload()
        await expect(page.locator("[data-role=answer]")).to_have_text("One two three")
        place = {"session": gateway.log[0]["session"], "turn": gateway.log[0]["turn"], "attempt": 1}
        gateway.append(type="delta", **place, seq=5, n=1, text=" four")
        gateway.append(type="end", **place, reason="complete", usage={"output_tokens": 6}, at_us=500_001)

        await expect(page.locator("[data-role=answer]")).to_have_text("One two three four")
        await expect(page.locator("[data-turn]")).to_have_count(1)
        await expect(page.locator("[data-role=prompt] .bubble")).to_have_text("Tell me")
        await expect(page.locator("[data-fact=ttft]")).to_have_count(0)


async def test_answers_whose_questions_are_gone(browser: Browser) -> None:
    """A session that only the archive remembers is shown; there is nothing to send again."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await ask(page, "Tell me")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        gateway.answer("One two three")
        await expect(page.locator("[data-role=answer]")).to_have_text("One two three")
        session = gateway.log[0]["session"]
        error = {"code": "overloaded", "message": "it was not completed"}
        turns = [
            {
                "turn": "t1",
                "prompt_id": "p1",
                "text": "An old answer",
                "attempt": 1,
                "next_seq": 3,
                "reason": "complete",
            },
            {"turn": "t2", "prompt_id": "p2", "text": "Half", "attempt": 1, "reason": "error", "error": error},
        ]
        gateway.log.clear()
        gateway.log += [
            {"type": "snapshot", "session": session, "turns": [turn], "c": str(number + 1)}
            for number, turn in enumerate(turns)
        ]
        gateway.socket = None
        await page.reload()

        await expect(page.locator("[data-role=answer]")).to_have_text(["An old answer", "Half"])
        await expect(page.locator("[data-role=prompt] .bubble")).to_have_text(["The question is kept no longer."] * 2)
        await expect(page.locator("[data-action=retry]")).to_have_count(0)


async def test_an_answer_that_changes_hands_goes_on(browser: Browser) -> None:
    """The text before the switch stands, the reader is told why, and the facts name who wrote which part."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await ask(page, "Tell me")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        gateway.answer("One two ", ends=False)
        place = {"session": gateway.log[0]["session"], "turn": gateway.log[0]["turn"], "attempt": 2}
        gateway.append(type="switch", **place, from_seq=5, provider="south", model="m2", cause="failover", at_us=2)
        await expect(page.locator("[data-role=attempt-note]")).to_contain_text("Goes on: now on attempt 2")
        gateway.append(type="delta", **place, seq=5, n=1, text="three!!!")
        gateway.append(type="end", **place, reason="complete", usage={"output_tokens": 6}, at_us=500_001)

        await expect(page.locator("[data-role=answer]")).to_have_text("One two three!!!")
        await expect(page.locator("[data-fact=spans]")).to_have_text("simulated 50 % → south/m2 50 %")
        await expect(page.locator("[data-role=attempt-note]")).to_be_hidden()


async def test_several_models_answer_side_by_side(browser: Browser) -> None:
    """Chosen by keyboard, stopped together; each with its numbers, the winner marked, and all of it after a reload."""
    gateway = ScriptedGateway()
    gateway.welcome = {**WELCOME, "models": ["north", "south", "west"]}
    async with chat(browser, gateway, viewport={"width": 390, "height": 780}) as page:
        await expect(page.locator("#compare")).to_be_visible()
        await page.locator("#compare").press("Enter")
        await page.keyboard.press("Space")
        await page.locator("#compare-models input").nth(1).press("Space")
        await page.locator("#compare-modes input[value=best]").check()
        await page.keyboard.press("Escape")
        await expect(page.locator("#compare-panel")).to_be_hidden()
        await ask(page, "Who is right?")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        asked = gateway.heard_of("prompt")[0]
        assert (asked["models"], asked["compare"], "model" in asked) == (["north", "south"], "best", False)
        await expect(page.locator(".candidate")).to_have_count(2)
        await page.locator("#stop").click()
        await eventually(page, lambda: len(gateway.heard_of("cancel")) == 1)
        turns = gateway.compare(asked, ["I am.", "No, I am."])
        gateway.append(type="compared", session=asked["session"], prompt_id=asked["prompt_id"], mode="best",
                       turn=turns[1], scores={turns[0]: 0.25, turns[1]: 0.75})  # fmt: skip
        for _ in range(2):
            chosen = page.locator(".candidate[data-chosen=true]")
            await expect(chosen.locator("h3")).to_have_text("south")
            await expect(chosen.locator("[data-role=answer]")).to_have_text("No, I am.")
            await expect(chosen.locator("[data-fact=ttft]")).to_contain_text("to first token")
            await expect(page.locator(".candidate [data-fact=cost]")).to_have_count(2)
            await expect(page.locator("[data-role=comparison]")).to_have_text(
                "2 models, the best answer goes on: south"
            )
            await expect(page.locator("[data-fact=total-time]")).to_have_text("2.0 s in all")
            await expect(page.locator("article.turn")).to_have_count(1)
            assert await page.evaluate("document.documentElement.scrollHeight") == 780
            gateway.socket = None
            await page.reload()


async def test_a_prompt_may_take_the_running_one_back(browser: Browser) -> None:
    """What is to become of the running answer is offered while there is one; what is forgotten is folded away."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await ask(page, "first")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        gateway.answer("Going on", ends=False)
        await page.locator("#on-busy").select_option("rollback")
        await ask(page, "second")
        await eventually(page, lambda: len(gateway.heard_of("prompt")) == 2)
        assert [message.get("on_busy") for message in gateway.heard_of("prompt")] == [None, "rollback"]
        place = {"session": gateway.log[0]["session"], "turn": gateway.log[0]["turn"], "attempt": 1}
        gateway.append(type="end", **place, reason="superseded", forgotten=True, at_us=9)
        gateway.answer("Another answer")

        first = page.locator("article.turn").nth(0)
        await expect(first).to_have_attribute("data-forgotten", "")
        await expect(first.locator("[data-role=answer]")).to_be_hidden()
        await first.get_by_role("button", name="Show").click()
        await expect(first.locator("[data-role=answer]")).to_have_text("Going on")
        await expect(first.locator("[data-fact=reason]")).to_have_text("superseded by a newer prompt")
        await expect(page.locator("#busy-field")).to_be_hidden()


async def test_prompts_wait_in_line_while_an_answer_streams(browser: Browser) -> None:
    """They go out at once, are listed, can be removed, and stop ends the running one."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await ask(page, "first")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        gateway.answer("Going on", ends=False)
        await ask(page, "second")
        await ask(page, "third")
        await expect(page.locator("[data-queued]")).to_have_count(2)
        await page.locator("[data-queued] [data-action=remove]").nth(0).click()
        await page.locator("#prompt").press("Escape")
        await eventually(page, lambda: len(gateway.heard_of("cancel")) == 2)
        prompts = {message["input"]: message["prompt_id"] for message in gateway.heard_of("prompt")}

        assert [message["prompt_id"] for message in gateway.heard_of("cancel")] == [prompts["second"], prompts["first"]]
        session, turn = gateway.log[0]["session"], f"turn-{prompts['second']}"
        gateway.append(type="end", session=session, turn=turn, attempt=0, reason="cancelled")
        await expect(page.locator("[data-queued]")).to_have_count(1)
        await expect(page.locator(f"[data-turn={turn}] [data-role=problem]")).to_have_text("Removed before it started.")


async def test_a_lost_connection_is_resumed_and_said_so(browser: Browser) -> None:
    """The page says that it reconnects, comes back with its cursor, and shows what it missed once."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await ask(page, "first")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        gateway.answer("Going on", ends=False)
        await expect(page.locator("[data-role=answer]")).to_have_text("Going on")
        assert gateway.socket is not None
        lost, gateway.socket = gateway.socket, None
        place = {"session": gateway.log[0]["session"], "turn": gateway.log[0]["turn"], "attempt": 1}
        gateway.append(type="delta", **place, seq=5, n=1, text=" and on")
        await lost.close(code=4508, reason="slow")

        await expect(page.locator("[data-note=good]")).to_have_text("Resumed — nothing was lost.")
        await expect(page.locator("[data-role=answer]")).to_have_text("Going on and on")
        assert gateway.heard_of("hello")[-1]["resume"] == {place["session"]: "4"}


async def test_a_page_that_may_not_connect_is_told_its_address(browser: Browser) -> None:
    """A browser hides what the socket was refused with; the page asks, says it, and does not go on trying."""
    sentence = f"this address is not allowed: {ORIGIN}; whoever runs this gateway lists it"
    tries: list[WebSocketRoute] = []

    async def refuse(socket: WebSocketRoute) -> None:
        tries.append(socket)
        await socket.close()

    async with new_page(browser) as page:
        await page.route_web_socket("**/v1/connect", refuse)
        await page.route("**/v1/connect", lambda route: route.fulfill(status=403, body=f"{sentence}\n"))
        await page.goto(f"{ORIGIN}/#token={token_for('alice')}")
        strip = page.locator("[data-note=connection]")
        await expect(strip).to_contain_text(f"This address is not allowed: {ORIGIN};")
        await expect(page.locator("#connection")).to_have_attribute("data-state", "stopped")

    assert len(tries) == 1


async def test_a_device_that_is_offline_says_so_at_once(browser: Browser) -> None:
    """And comes back as soon as it is online."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        connection = page.locator("#connection")
        await expect(connection).to_have_attribute("data-state", "live")
        await page.evaluate("dispatchEvent(new Event('offline'))")
        await expect(connection).not_to_have_attribute("data-state", "live")
        await page.evaluate("dispatchEvent(new Event('online'))")
        await expect(connection).to_have_attribute("data-state", "live")

    assert len(gateway.heard_of("hello")) == 2


async def test_a_reader_that_is_behind_is_said_to_be(browser: Browser) -> None:
    """How the connection is served stands beside its state, and goes with it."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        words = page.locator("#connection-words")
        await expect(words).to_have_text("Live")
        for mode, said in (("rollup", "Live, joined"), ("log", "Catching up"), ("direct", "Live")):
            gateway.send({"type": "lag", "mode": mode})

            await expect(words).to_have_text(said)


async def test_a_refused_token_opens_the_panel_and_another_one_connects(browser: Browser) -> None:
    """The reason is said; a pasted address with a token is enough to go on."""
    gateway = ScriptedGateway()
    gateway.refusal = {"type": "disconnect", "code": 4401, "reason": "signature is wrong", "reconnect": False}
    async with chat(browser, gateway) as page:
        await eventually(page, lambda: bool(gateway.heard_of("hello")))
        assert gateway.socket is not None
        await gateway.socket.close(code=4401, reason="")
        await expect(page.locator("#token-why")).to_contain_text("signature is wrong")
        await expect(page.locator("#connection")).to_have_attribute("data-state", "signed_out")
        gateway.refusal = None
        await page.locator("#token").fill(f"http://127.0.0.1:8080/#token={token_for('bob')}")
        await page.locator("#token").press("Enter")

        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await expect(page.locator("#token-panel")).to_be_hidden()


async def test_without_a_token_the_page_says_how_to_get_one(browser: Browser) -> None:
    """No connection is tried."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway, fragment="") as page:
        await expect(page.locator("#token-panel")).to_contain_text("tokenwire token --user you")

        assert gateway.socket is None


async def test_several_sessions_stream_at_once_and_say_what_is_unread(browser: Browser) -> None:
    """A session in the background goes on; its answer is marked until it is opened."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await ask(page, "first chat")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        await page.locator("#new-session").click()
        await ask(page, "second chat")
        await eventually(page, lambda: len(gateway.heard_of("prompt")) == 2)
        gateway.answer("In the background", turn=0)
        first = page.locator("[data-session]", has_text="first chat")
        await expect(first).to_have_attribute("data-unread", "true")
        await first.click()

        await expect(first).to_have_attribute("data-unread", "false")
        await expect(page.locator("[data-role=answer]")).to_have_text("In the background")
        assert len({message["session"] for message in gateway.heard_of("prompt")}) == 2


async def test_dark_and_light(browser: Browser) -> None:
    """Dark where the system wishes it, unless the button says otherwise, and so it stays over a reload."""
    async with chat(browser, ScriptedGateway(), color_scheme="dark") as page:
        ground, button = page.locator("body"), page.locator("#theme")
        for name, colour in (("System", DARK), ("Light", LIGHT), ("Dark", DARK)):
            await expect(button).to_have_text(f"{name} theme")
            await expect(ground).to_have_css("background-color", colour)
            if name == "Light":
                await page.reload()
                await expect(ground).to_have_css("background-color", colour)
            await button.click()

        await expect(button).to_have_text("System theme")


async def test_a_narrow_screen_keeps_everything_within_reach(browser: Browser) -> None:
    """At 360 pixels nothing overflows, the list is a drawer, and Escape closes it."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway, viewport={"width": 360, "height": 700}, has_touch=True) as page:
        await expect(page.locator("#sidebar")).not_to_be_in_viewport()
        await page.locator("#menu").click()
        await expect(page.locator("#new-session")).to_be_in_viewport()
        await page.keyboard.press("Escape")

        await expect(page.locator("#sidebar")).not_to_be_in_viewport()
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
