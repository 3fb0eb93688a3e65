"""The chat page in headless browsers, against a scripted gateway. Skipped in a browser that is not there."""

from __future__ import annotations

import base64
import json
from typing import Final

import pytest
from playwright.async_api import WebSocketRoute, expect

from tests.unit.gateway.headless_browser import ORIGIN, Browser, new_page
from tests.unit.gateway.web.scripted_page import ScriptedGateway, ask, chat, eventually, token_for

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


MARKUP: Final = "Here is <img src=x onerror=alert(1)> and **bold**."


LIGHT: Final = "rgb(251, 250, 247)"


DARK: Final = "rgb(21, 24, 26)"


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
        before = len(tries)  # it goes on trying until the answer is there
        await page.evaluate("dispatchEvent(new Event('online'))")  # where it waits for its next try, it tries now
        await expect(page.locator("#connection")).to_have_attribute("data-state", "stopped")

    assert before == len(tries)


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
        await expect(page.locator("#token-panel")).to_contain_text("tokenwire page")

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


async def test_the_composer_has_the_focus_at_once(browser: Browser) -> None:
    """Who opens the page may type."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await expect(page.locator("#prompt")).to_be_focused()
        await page.keyboard.type("Hello")
        await page.keyboard.press("Enter")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))

        assert gateway.heard_of("prompt")[0]["input"] == "Hello"


async def test_a_refused_prompt_comes_back_to_be_changed(browser: Browser) -> None:
    """Its words stand in the box again, before what is being written; nothing is sent by itself."""
    gateway = ScriptedGateway()
    gateway.rejection = {"type": "error", "code": "invalid", "message": "it is too long", "field": "input"}
    async with chat(browser, gateway) as page:
        await ask(page, "Tell me all")
        await expect(page.locator("[data-role=problem]")).to_contain_text("it is too long")
        await page.locator("#prompt").fill("And more")
        await page.locator("[data-action=retry]").click()

        await expect(page.locator("#prompt")).to_have_value("Tell me all\n\nAnd more")
        await expect(page.locator("#prompt")).to_be_focused()
        await expect(page.locator("article.turn")).to_have_count(0)
        assert len(gateway.heard_of("prompt")) == 1


async def test_S41_text_made_to_freeze_the_page_is_shown_and_keys_are_answered(browser: Browser) -> None:
    """3 KB of these shapes took 25 s and more once; the page shows them, and what is typed goes out."""
    shapes = (
        f"# a{' ' * 3_000}\u2028b",
        f"a | b\n{' -' * 1_500}a",
        f"x{' ' * 3_000}\u2028{' ' * 3_000}\n" * 3,
        f"{'> ' * 1_500}a",
        f"{'- ' * 1_500}a",
        f"[{'[a](' * 750}",
        f"{'*a **b ' * 400}",
        "\n".join(f"{'  ' * depth}- a" for depth in range(70)),
        f"```{'`' * 1_500}\n{'``` ' * 700}",
    )
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await ask(page, "Freeze")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        gateway.answer("\n\n".join(shapes) + "\n\nAll of it.", ends=False)
        await page.locator("#prompt").press_sequentially("Still here")
        await page.locator("#prompt").press("Enter")
        await eventually(page, lambda: len(gateway.heard_of("prompt")) == 2)

        await expect(page.locator("[data-role=answer]")).to_contain_text("All of it.")


async def test_S42_an_address_with_the_token_of_somebody_else_asks_first(browser: Browser) -> None:
    """Anybody can make a link: who is here stays here, also over a reload, until told otherwise."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await page.goto(f"{ORIGIN}/#token={token_for('mallory')}")
        note = page.locator("[data-note]", has_text="mallory")
        await expect(note).to_contain_text("You are here as “alice”")
        assert page.url == f"{ORIGIN}/"
        await page.reload()
        await eventually(page, lambda: len(gateway.heard_of("hello")) == 2)
        assert {user_of(hello["token"]) for hello in gateway.heard_of("hello")} == {"alice"}
        await page.goto(f"{ORIGIN}/#token={token_for('bob')}")
        await page.get_by_role("button", name="Switch to “bob”").click()
        await eventually(page, lambda: user_of(gateway.heard_of("hello")[-1]["token"]) == "bob")


async def test_S42_a_forged_token_in_an_address_costs_nobody_their_own(browser: Browser) -> None:
    """It names the right user, so it is tried; the gateway refuses it, and the page goes on with the one it had."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        genuine = gateway.heard_of("hello")[0]["token"]
        gateway.refuses = forged = token_for("alice", 7_200)
        await page.goto(f"{ORIGIN}/#token={forged}")
        await eventually(page, lambda: len(gateway.heard_of("hello")) == 3)

        assert [hello["token"] for hello in gateway.heard_of("hello")] == [genuine, forged, genuine]
        await expect(page.locator("[data-note=bad]")).to_contain_text("the one of this browser is used")
        await expect(page.locator("#token-panel")).to_be_hidden()
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")


@pytest.mark.parametrize(
    "fragment",
    ["#token=%E0%A4", "#token=", "#token=abc", "#a=b&token=e30.e30.e30", "#token=x.y.z%", "#code=x.y", "#code=%E0%A4"],
)
async def test_S42_an_address_whose_token_is_malformed_says_so(browser: Browser, fragment: str) -> None:
    """Cut on its way, as by a mail program: the page tells what to do, and goes on where it has a token."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway, fragment=fragment) as page:
        await expect(page.locator("#token-why")).to_contain_text("is malformed")
        await page.goto(f"{ORIGIN}/#token={token_for('alice')}")
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await page.goto(f"{ORIGIN}/{fragment}")

        await expect(page.locator("[data-note=bad]")).to_contain_text("is malformed")
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")


def user_of(token: str) -> str:
    claims: dict[str, str] = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    return claims["sub"]
