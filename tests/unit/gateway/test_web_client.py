"""The page's JavaScript modules, each suite run in headless browsers. Skipped in a browser that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.unit.gateway.headless_browser import ORIGIN, Browser, new_page

SUITES: Final = sorted(path.name for path in (Path(__file__).parent / "web").glob("*_suite.js"))
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


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
async def test_every_case_of_every_suite_holds(browser: Browser) -> None:
    """All cases pass; each says the situation it tries in its name."""
    async with new_page(browser) as page:
        await page.goto(f"{ORIGIN}/blank")
        outcome = await page.evaluate(RUN_SUITES, [f"/suites/{name}" for name in SUITES])

    assert outcome["failures"] == []
    assert outcome["cases"] > len(SUITES)
