"""The page's JavaScript modules in headless browsers: the suites, CommonMark's examples, and that reading is linear.

Skipped in a browser that is not there.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.async_api import CDPSession

from tests.unit.gateway.headless_browser import ORIGIN, Browser, new_page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

DATA: Final = Path(__file__).parents[3] / "data"
REASONS: Final = {"html": "<", "images": "![", "addresses": "https://"}
"""Why an example is shown otherwise, and what it holds then: HTML is text, images and bare addresses are links."""
EXAMPLE: Final = re.compile(r"^`{32} example\n(.*?)^\.\n(.*?)^`{32}$", re.MULTILINE | re.DOTALL)
EXAMPLES: Final = 652
SUITES: Final = sorted(path.name for path in Path(__file__).parent.glob("*_suite.js"))
CHARS: Final = 1_500
GROWTH: Final = 4
RUN_SUITES: Final = """
async (addresses) => {
  const failures = [];
  let cases = 0;
  for (const address of addresses) {
    for (const [name, run] of Object.entries((await import(address)).default)) {
      cases += 1;
      try {
        await run();
      } catch (error) {
        failures.push(`${address}, ${name}: ${error.message}`);
      }
    }
  }
  return { cases, failures };
}
"""
AT_ONCE: Final = 12
READ_SHAPES: Final = """
async ([from, to, chars]) => {
  const { NASTY_SHAPES } = await import("/suites/nasty_shapes.js");
  const { newDocument, readBlocks, readInline } = await import("/web/markdown.js");
  const shapes = NASTY_SHAPES.slice(from, to);
  for (const [, make] of shapes) {
    const document = newDocument();
    for (const block of readBlocks(make(chars), document, { ended: true }).blocks) readInline(block, document);
  }
  return [shapes.map(([name]) => name), NASTY_SHAPES.length];
}
"""


async def test_every_case_of_every_suite_holds(browser: Browser) -> None:
    """All cases pass; each says the situation it tries in its name."""
    async with new_page(browser) as page:
        await page.goto(f"{ORIGIN}/blank")
        outcome = await page.evaluate(RUN_SUITES, [f"/suites/{name}" for name in SUITES])

    assert outcome["failures"] == []
    assert outcome["cases"] > len(SUITES)


async def test_commonmark_is_shown_as_its_specification_says(browser: Browser) -> None:
    """All examples but those listed by number, each for its reason."""
    reasons: dict[str, list[int]] = json.loads((DATA / "commonmark_differences.json").read_text())
    async with new_page(browser) as page:
        await page.goto(f"{ORIGIN}/blank")
        differing: list[dict[str, Any]] = await page.evaluate(
            "async (examples) => (await import('/suites/commonmark.js')).differences(examples)", examples()
        )
    allowed = {number: REASONS[reason] for reason, numbers in reasons.items() for number in numbers}

    assert [each for each in differing if each["number"] not in allowed] == []
    assert allowed.keys() == {each["number"] for each in differing}
    assert all(sign in examples()[number - 1]["markdown"] for number, sign in allowed.items())


def examples() -> list[dict[str, Any]]:
    text = (DATA / "commonmark" / "spec.txt").read_text().partition("<!-- END TESTS -->")[0].replace("→", "\t")
    found = [
        {"number": number, "markdown": markdown, "html": html}
        for number, (markdown, html) in enumerate(EXAMPLE.findall(text), start=1)
    ]
    assert len(found) == EXAMPLES
    return found


async def test_reading_any_shape_of_text_is_linear(browser: Browser) -> None:
    """Four times the text makes the engine run its parts about four times as often: counted, not timed."""
    if browser.browser_type.name != "chromium":
        pytest.skip("only Chromium counts how often each part of a script runs")
    steep: list[tuple[list[str], int, int]] = []
    async with new_page(browser) as page:
        await page.goto(f"{ORIGIN}/blank")
        counter = await page.context.new_cdp_session(page)
        _, shapes = await page.evaluate(READ_SHAPES, [0, 1, 1])
        await counter.send("Profiler.enable")
        await counter.send("Profiler.startPreciseCoverage", {"callCount": True, "detailed": True})
        for first in range(0, shapes, AT_ONCE):
            some = [first, first + AT_ONCE]
            names, small = await steps(counter, page.evaluate(READ_SHAPES, [*some, CHARS]))
            _, large = await steps(counter, page.evaluate(READ_SHAPES, [*some, CHARS * GROWTH]))
            if large > small * GROWTH * 1.5:
                steep.append((names, small, large))

    assert steep == []
    assert shapes >= 200


async def steps(counter: CDPSession, reading: Any) -> tuple[list[str], int]:
    """How often the parts of the parser ran."""
    names, _ = await reading
    coverage = await counter.send("Profiler.takePreciseCoverage")
    ours = [script for script in coverage["result"] if "/web/" in script["url"]]
    counts = (part["count"] for script in ours for function in script["functions"] for part in function["ranges"])
    return names, sum(counts)
