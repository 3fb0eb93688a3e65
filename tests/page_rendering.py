"""How long the chat page takes over 2 MB of text made to be slow, and how long a key waits meanwhile, in Chromium.

    python -m tests.page_rendering [--chars 2000000] [--alone]      (make bench-page)

The text is made of all shapes of `tests/unit/gateway/web/nasty_shapes.js`, each of the same size. Reading is the parser
alone, one shape after the other; showing is the page's own `AnswerView` in the page, with the style and layout of all
of it, while keys are pressed. `--alone` reads each shape at a quarter of the size and at all of it, and prints the
steepest: what a browser's own functions cost (regular expressions among them) is in the time only, so that is where
one of them that is not linear would be seen. Absolute figures move with the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from typing import Any, Final

from playwright.async_api import Page, async_playwright

from tests.unit.gateway.headless_browser import ORIGIN, launch, new_page, require_browser

__all__ = ["main"]

CHARS: Final = 2_000_000
KEY_EVERY_S: Final = 0.05
SHOWN_S_MAX: Final = 600
STEEPEST: Final = 15
READ: Final = """
async (chars) => {
  const { NASTY_SHAPES } = await import("/suites/nasty_shapes.js");
  const { newDocument, readBlocks, readInline } = await import("/web/markdown.js");
  const read = (text) => {
    const document = newDocument();
    for (const block of readBlocks(text, document, { ended: true }).blocks) readInline(block, document);
  };
  const size = chars / NASTY_SHAPES.length;
  const texts = NASTY_SHAPES.map(([, make]) => make(size));
  const begunMs = performance.now();
  texts.forEach(read);
  const readMs = performance.now() - begunMs;
  return { shapes: texts.length, chars: texts.reduce((sum, text) => sum + text.length, 0), readMs };
}
"""
SHOW: Final = """
async (chars) => {
  const { NASTY_SHAPES } = await import("/suites/nasty_shapes.js");
  const { AnswerView } = await import("/web/answer_view.js");
  const text = NASTY_SHAPES.map(([, make]) => make(chars / NASTY_SHAPES.length)).join("\\n\\n");
  const shown = { chars: text.length, keys: 0, keyMs: 0, taskMs: 0, shownMs: 0 };
  globalThis.shown = shown;
  document.getElementById("prompt").addEventListener("keydown", ({ timeStamp }) => {
    shown.keys += 1;
    shown.keyMs = Math.max(shown.keyMs, performance.now() - timeStamp);
  });
  const view = new AnswerView();
  document.getElementById("transcript").append(view.node);
  const begunMs = performance.now();
  let lastMs = begunMs;
  const beat = new MessageChannel();
  beat.port1.onmessage = () => {
    const nowMs = performance.now();
    shown.taskMs = Math.max(shown.taskMs, nowMs - lastMs);
    lastMs = nowMs;
    if (view.node.getAttribute("aria-busy") === "true") return void beat.port2.postMessage(0);
    requestAnimationFrame(() => setTimeout(() => {
      shown.elements = view.node.querySelectorAll("*").length;
      shown.shownMs = performance.now() - begunMs;
    }));
  };
  beat.port2.postMessage(0);
  view.update(text, { attempt: 1, streaming: false });
}
"""
ALONE: Final = """
async (chars) => {
  const { NASTY_SHAPES } = await import("/suites/nasty_shapes.js");
  const { newDocument, readBlocks, readInline } = await import("/web/markdown.js");
  const took = (text) => {
    const document = newDocument();
    const begunMs = performance.now();
    for (const block of readBlocks(text, document, { ended: true }).blocks) readInline(block, document);
    return performance.now() - begunMs;
  };
  const best = (make, size) => Math.min(took(make(size)), took(make(size)));
  return NASTY_SHAPES.map(([name, make]) => [name, best(make, chars / 4), best(make, chars)]);
}
"""


async def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--chars", type=int, default=CHARS)
    options.add_argument("--alone", action="store_true")
    chosen = options.parse_args()
    async with async_playwright() as playwright:
        browser = await launch(playwright, "chromium", require_browser("chromium"))
        try:
            async with new_page(browser) as page:
                page.set_default_timeout(SHOWN_S_MAX * 1_000)
                await page.goto(f"{ORIGIN}/#token=e30.eyJzdWIiOiJhIn0.e30")
                await (alone(page, chosen.chars) if chosen.alone else together(page, chosen.chars))
        finally:
            await browser.close()


async def together(page: Page, chars: int) -> None:
    read: dict[str, float] = await page.evaluate(READ, chars)
    say(f"{read['shapes']} shapes, {read['chars']:,} characters: read in {read['readMs']:,.0f} ms")
    await page.evaluate(SHOW, chars)
    await page.locator("#prompt").focus()
    shown: dict[str, Any] = {}
    while not shown.get("shownMs"):
        await page.keyboard.press("a")
        await asyncio.sleep(KEY_EVERY_S)
        shown = await page.evaluate("() => globalThis.shown")
    say(
        f"shown in {shown['shownMs']:,.0f} ms as {shown['elements']:,} elements; longest task"
        f" {shown['taskMs']:,.0f} ms, longest wait of {shown['keys']} keys {shown['keyMs']:,.0f} ms"
    )


async def alone(page: Page, chars: int) -> None:
    took: list[tuple[str, float, float]] = await page.evaluate(ALONE, chars)
    took.sort(key=lambda shape: shape[2], reverse=True)
    say(f"{chars:,} characters each; {'quarter ms':>11} {'whole ms':>9}  shape")
    for name, quarter_ms, whole_ms in took[:STEEPEST]:
        say(f"{quarter_ms:29,.0f} {whole_ms:9,.0f}  {name}")


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    asyncio.run(main())
