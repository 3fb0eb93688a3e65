"""Addresses with a sign-in code, in headless browsers and against a scripted gateway."""

from __future__ import annotations

from typing import Final

import pytest
from playwright.async_api import Route, expect

from tests.unit.gateway.headless_browser import ORIGIN, Browser
from tests.unit.gateway.web.scripted_page import ScriptedGateway, ask, chat, eventually, token_for

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

CODE: Final = "e30.e30.c29kZQ"
OPENED: Final = f"#code={CODE}"


async def test_S43_a_code_signs_in_and_leaves_nothing_behind(browser: Browser) -> None:
    """The token is kept, over a reload; neither is in the address bar, and going back brings no code again."""
    gateway = ScriptedGateway()
    gateway.codes[CODE] = token = token_for("alice")
    async with chat(browser, gateway, fragment=OPENED) as page:
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await expect(page.locator("#token-panel")).to_be_hidden()
        assert page.url == f"{ORIGIN}/"
        await ask(page, "Hello")
        await eventually(page, lambda: bool(gateway.heard_of("prompt")))
        await page.reload()
        await eventually(page, lambda: len(gateway.heard_of("hello")) == 2)

        assert {hello["token"] for hello in gateway.heard_of("hello")} == {token}
        assert not gateway.codes
        await expect(page.locator("[data-note]")).to_have_count(0)


@pytest.mark.parametrize("place", ["address", "panel"])
async def test_S43_a_used_code_says_how_to_get_a_new_one(browser: Browser, place: str) -> None:
    """Also on a phone in the dark; a new address that is pasted, or opened in the same tab, is enough to go on."""
    gateway = ScriptedGateway()
    options = {"viewport": {"width": 360, "height": 640}, "color_scheme": "dark"}
    async with chat(browser, gateway, fragment=OPENED, **options) as page:
        await expect(page.locator("#token-why")).to_contain_text(
            "The code has been used; `tokenwire page` prints a new one"
        )
        await expect(page.locator("#token")).to_be_in_viewport()
        gateway.codes[CODE] = token_for("alice")
        if place == "panel":
            await page.locator("#token").fill(f"http://127.0.0.1:8080/{OPENED}")
            await page.locator("#token").press("Enter")
        else:
            await page.goto(f"{ORIGIN}/{OPENED}")

        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await expect(page.locator("#token-panel")).to_be_hidden()


async def test_S43_the_address_that_people_keep_opens_the_page_again(browser: Browser) -> None:
    """Used up, it still leads to the page: who is signed in stays so, in this tab and in another one, and is told."""
    gateway = ScriptedGateway()
    gateway.codes[CODE] = token = token_for("alice")
    async with chat(browser, gateway, fragment=OPENED) as page:
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        other = await page.context.new_page()
        await other.route_web_socket("**/v1/connect", gateway.accept)
        for tab in (page, other):
            await tab.goto(f"{ORIGIN}/{OPENED}")
            await expect(tab.locator("[data-note=plain]")).to_contain_text("has been used")
            await expect(tab.locator("[data-note=plain]")).to_contain_text("access token, of “alice”, is used.")
            await expect(tab.locator("#connection")).to_have_attribute("data-state", "live")

        assert {hello["token"] for hello in gateway.heard_of("hello")} == {token}


async def test_S43_two_tabs_with_the_same_new_address_both_come_in(browser: Browser) -> None:
    """One of them has the token; the other, told that the code is used, finds it in the browser they share."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway, fragment=OPENED) as page:
        await expect(page.locator("#token-why")).to_contain_text("has been used")
        first_token = token_for("alice")
        await page.evaluate("(token) => localStorage.setItem('tokenwire.token', token)", first_token)
        await page.goto(f"{ORIGIN}/{OPENED}")

        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        assert [hello["token"] for hello in gateway.heard_of("hello")] == [first_token]


async def test_S43_a_code_of_somebody_else_asks_first(browser: Browser) -> None:
    """As a token in an address does: who is here stays here until told otherwise."""
    gateway = ScriptedGateway()
    async with chat(browser, gateway) as page:
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        gateway.codes[CODE] = bobs = token_for("bob")
        await page.goto(f"{ORIGIN}/{OPENED}")
        await expect(page.locator("[data-note]", has_text="bob")).to_contain_text("You are here as “alice”")
        assert all(hello["token"] != bobs for hello in gateway.heard_of("hello"))
        await page.get_by_role("button", name="Switch to “bob”").click()
        await eventually(page, lambda: gateway.heard_of("hello")[-1]["token"] == bobs)


async def test_S43_a_code_replaces_a_token_that_is_no_good_any_more(browser: Browser) -> None:
    """The keys were changed: the kept token is refused; a used code says so, a good one is taken and its token kept."""
    gateway = ScriptedGateway()
    gateway.refuses = token_for("alice", 7_200)
    async with chat(browser, gateway, fragment=f"#token={gateway.refuses}") as page:
        await expect(page.locator("#token-why")).to_contain_text("signature is wrong")
        await page.goto(f"{ORIGIN}/{OPENED}")
        await expect(page.locator("#token-why")).to_contain_text("The code has been used")
        gateway.codes[CODE] = token = token_for("alice")
        await page.goto(f"{ORIGIN}/{OPENED}")
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        await page.reload()
        await eventually(page, lambda: len(gateway.heard_of("hello")) == 3)

        assert gateway.heard_of("hello")[-1]["token"] == token


@pytest.mark.parametrize("answer", ["html", "nothing"])
async def test_S43_a_gateway_that_does_not_answer_is_said(browser: Browser, answer: str) -> None:
    """What a proxy says in between is not shown to people."""

    async def fail(route: Route) -> None:
        if answer == "html":
            await route.fulfill(status=502, content_type="text/html", body="<h1>nginx</h1>")
        else:
            await route.abort()

    gateway = ScriptedGateway()
    async with chat(browser, gateway, fragment="") as page:
        await page.context.route("**/v1/token", fail)
        await page.goto(f"{ORIGIN}/{OPENED}")
        why = page.locator("#token-why")
        await expect(why).to_contain_text("gateway answered with 502" if answer == "html" else "gateway did not answer")
        await expect(why).not_to_contain_text("nginx")
