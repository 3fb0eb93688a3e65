"""The chat page in headless browsers: several answers to a question, several questions in line, and lost ones."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.unit.gateway.headless_browser import Browser
from tests.unit.gateway.web.scripted_page import WELCOME, ScriptedGateway, ask, chat, eventually

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]


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
