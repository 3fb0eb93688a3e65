"""The chat page as a person uses it: real browsers, the real page, the whole line behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import uuid4

import pytest
from playwright.async_api import Page, expect

from infra.simulated_provider.answer_text import answer_for
from schemas.prompts import ChatMessage
from schemas.session_events import EndReason
from tests.integration.ledger import Asked, check_ledger
from tests.integration.whole_line import WholeLine, running_line
from tests.unit.gateway.headless_browser import Browser, new_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

TOKENS: Final = 150
SLOWLY: Final = f"[[sim tokens={TOKENS} pace_ms=30]] "
FOREVER: Final = "[[sim tokens=3000 pace_ms=30]] "
ANSWERED_MS: Final = 30_000


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeLine]:
    with running_line(tmp_path_factory.mktemp("line")) as running:
        yield running


@asynccontextmanager
async def chat(browser: Browser, line: WholeLine, user: str) -> AsyncIterator[Page]:
    """The page at the address that a user would open."""
    async with new_page(browser) as page:
        await page.goto(line.page(user))
        await expect(page.locator("#connection")).to_have_attribute("data-state", "live")
        yield page


async def ask(page: Page, text: str) -> None:
    await page.locator("#prompt").fill(text)
    await page.locator("#send").click()


async def entries(page: Page) -> list[dict[str, Any]]:
    """What the page holds: one entry per prompt, with the answer's raw text."""
    found: list[dict[str, Any]] = await page.evaluate("() => tokenwire.conversation().entries")
    return found


async def asked_of(
    page: Page, user: str, entry: dict[str, Any], text: str | None, reason: EndReason = "complete"
) -> Asked:
    session = await page.evaluate("() => tokenwire.conversation().session")
    return Asked(user=user, session=session, prompt_id=entry["promptId"], text=text, reason=reason)


def answer_to(text: str, tokens: int = TOKENS) -> str:
    return "".join(answer_for([ChatMessage(role="user", content=text)], tokens=tokens))


async def test_reloaded_in_mid_answer_the_answer_is_there_once(browser: Browser, line: WholeLine) -> None:
    """Made dark, typed, seen to grow, reloaded while it grows: the whole answer, once, paid once; and still dark."""
    user = f"user-{uuid4().hex}"
    async with chat(browser, line, user) as page:
        await expect(page.locator("#simulated")).to_be_visible()
        await page.locator("#theme").click(click_count=2)
        await ask(page, SLOWLY + "Why do rivers bend?")
        answer = page.locator("[data-role=answer]")
        await expect(answer).to_be_visible()
        early = await answer.inner_text()
        await expect(answer).not_to_have_text(early)
        (before,) = await entries(page)
        await page.reload()
        await expect(page.locator("article[data-turn]")).to_have_attribute("data-state", "ended", timeout=ANSWERED_MS)
        (after,) = await entries(page)

        expected = answer_to("Why do rivers bend?")
        assert before["status"] == "running"
        assert 0 < len(before["text"]) < len(expected), "it was not reloaded in mid-answer"
        assert expected.startswith(before["text"])
        assert after["text"] == expected
        assert after["promptId"] == before["promptId"]
        await expect(page.locator("article[data-turn]")).to_have_count(1)
        await expect(page.locator("article[data-turn]")).to_have_attribute("data-reason", "complete")
        await expect(page.locator("[data-fact=cost]")).to_be_visible()
        await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        await check_ledger(line, [await asked_of(page, user, after, expected)])


async def test_prompts_in_line_and_the_stop_button(browser: Browser, line: WholeLine) -> None:
    """While one answer streams two more wait; one is removed, stop ends the first, the last is answered."""
    user = f"user-{uuid4().hex}"
    async with chat(browser, line, user) as page:
        await ask(page, FOREVER + "Count to a million.")
        await expect(page.locator("[data-role=answer]")).to_be_visible()
        await ask(page, "Never to be asked.")
        await ask(page, "[[sim tokens=20]] And then?")
        waiting = page.locator("#queue [data-queued]")
        await expect(waiting).to_have_count(2)
        await waiting.nth(0).locator("[data-action=remove]").click()
        await expect(waiting).to_have_count(1)
        await expect(waiting).to_contain_text("And then?")
        await page.locator("#stop").click()
        turns = page.locator("article[data-turn]")
        await expect(turns.filter(has_text="Count to")).to_have_attribute("data-reason", "cancelled")
        await expect(turns.filter(has_text="And then?")).to_have_attribute("data-state", "ended", timeout=ANSWERED_MS)
        stopped, removed, last = sorted(await entries(page), key=lambda entry: "million" not in entry["input"])

        await expect(waiting).to_have_count(0)
        if removed["input"].endswith("And then?"):
            removed, last = last, removed
        assert answer_to("Count to a million.", 3_000).startswith(stopped["text"])
        assert (removed["reason"], removed["text"]) == ("cancelled", "")
        assert (last["reason"], bool(last["text"])) == ("complete", True)
        await check_ledger(
            line,
            [
                await asked_of(page, user, stopped, stopped["text"], "cancelled"),
                await asked_of(page, user, removed, "", "cancelled"),
                await asked_of(page, user, last, last["text"]),
            ],
        )
