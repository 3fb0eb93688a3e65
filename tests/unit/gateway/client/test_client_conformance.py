"""Both clients, Python's and JavaScript's, against the same gateway with the same faults: the same in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Page

import tokenwire
from gateway.client.errors import LineClosed
from gateway.client.line import Hole, Line
from schemas.gateway_messages import Attached, Delta, End, Snapshot, Start, Switch
from tests.unit.gateway.client.client_scripts import SCRIPTS, FaultScript
from tests.unit.gateway.client.scripted_gateway import WAIT_S, scripted
from tests.unit.gateway.headless_browser import Browser, new_page
from tests.unit.gateway.web.node_client import BUILT_IN, run_node

IN_THE_BROWSER = """
async ({ url, asks, cancelAt, tokens, joins, waitMs }) => {
  const { TokenwireClient } = await import("/web/tokenwire_client.js");
  const token = async () => (tokens.length > 1 ? tokens.shift() : tokens[0]);
  const client = new TokenwireClient({ url, token });
  const seen = { text: "", end: null, holes: 0, stopped: null };
  let cancelled = false;
  let more = false;
  const grow = (text) => {
    seen.text = text;
    if (cancelAt && text === cancelAt && !cancelled) {
      cancelled = true;
      client.cancel("s", "p");
    }
  };
  await new Promise((done, failed) => {
    const late = setTimeout(() => failed(new Error("not in time: " + JSON.stringify(seen))), waitMs);
    late.unref?.(); // Node would wait for it
    client.addEventListener("start", () => grow(""));
    client.addEventListener("switch", ({ detail }) => detail.from_seq || grow(""));
    client.addEventListener("delta", ({ detail }) => grow(seen.text + detail.text));
    client.addEventListener("snapshot", ({ detail }) => {
      const piece = detail.turns.find(({ turn }) => turn === "t").text;
      grow(more ? seen.text + piece : piece);
      more = detail.turns.some((turn) => turn.more);
    });
    client.addEventListener("attached", () => (more = false));
    client.addEventListener("hole", () => (seen.holes += 1));
    client.addEventListener("end", ({ detail }) => done((seen.end = detail.reason)));
    client.addEventListener("state", ({ detail }) => detail.state === "stopped" && done((seen.stopped = detail.code)));
    client.connect();
    if (joins) client.attach("s");
    else client.prompt(asks, { session: "s", prompt_id: "p" });
  });
  const outcome = { ...seen, connections: client.counts.connections };
  client.close();
  return outcome;
}
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """One page for all scripts, in each browser."""
    async with new_page(browser) as shared:
        yield shared


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_python_client(script: FaultScript) -> None:
    """Through every fault the program sees the answer once and whole, or is told what is missing."""
    async with scripted(*script.scenes, full=script.full) as url:
        async with asyncio.timeout(WAIT_S):
            outcome = await seen_by_python(url, script)

    assert {name: outcome[name] for name in script.expects} == script.expects


@pytest.mark.browser
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
async def test_javascript_client(script: FaultScript, page: Page) -> None:
    """The same in a browser."""
    async with scripted(*script.scenes, full=script.full) as url:
        given = {
            "url": url,
            "asks": script.asks,
            "cancelAt": script.cancel_at,
            "tokens": list(script.tokens),
            "joins": script.joins,
            "waitMs": WAIT_S * 1_000,
        }
        await page.goto(url.replace("ws:", "http:").replace("/v1/connect", "/blank"))
        outcome = await page.evaluate(IN_THE_BROWSER, given)

    assert {name: outcome[name] for name in script.expects} == script.expects


IN_NODE = ("nothing", "cut in mid-answer", "a full house", "cut after a prompt was refused", "told to stay away")
"""The rest of it is the same code as in a browser."""


@pytest.mark.parametrize("name", IN_NODE)
async def test_javascript_client_in_node(name: str, tmp_path: Path) -> None:
    """The same without a browser."""
    script = SCRIPTS[name]
    program = IN_THE_BROWSER.replace(
        'const { TokenwireClient } = await import("/web/tokenwire_client.js");', ""
    ).replace("waitMs })", "waitMs }, { TokenwireClient })")
    async with scripted(*script.scenes, full=script.full) as url:
        given = {"url": url, "asks": script.asks, "cancelAt": "", "tokens": list(script.tokens), "joins": False}
        given["waitMs"] = WAIT_S * 1_000
        outcome = await run_node(program, given, folder=tmp_path, options=BUILT_IN)

    assert {name: outcome[name] for name in script.expects} == script.expects


async def seen_by_python(url: str, script: FaultScript) -> dict[str, Any]:
    """What a program puts together from the line's messages."""
    tokens = list(script.tokens)

    async def token() -> str:
        return tokens.pop(0) if len(tokens) > 1 else tokens[0]

    seen: dict[str, Any] = {"text": "", "end": None, "holes": 0, "stopped": None, "connections": 0}
    try:
        async with tokenwire.connect(url, token=token) as line:
            if script.joins:
                line.attach("s")
            else:
                line.prompt(script.asks, session="s", prompt_id="p")
            await follow(line, script.cancel_at, seen)
            seen["connections"] = line.connections
    except LineClosed as closed:
        seen["stopped"] = closed.code
    return seen


async def follow(line: Line, cancel_at: str, seen: dict[str, Any]) -> None:
    cancelled = more = False
    async for message in line:
        match message:
            case Attached():
                more = False
            case Start():
                seen["text"] = ""
            case Switch():
                seen["text"] = seen["text"] if message.from_seq else ""
            case Delta():
                seen["text"] += message.text
            case Snapshot():
                (piece,) = message.turns
                seen["text"], more = (seen["text"] if more else "") + piece.text, piece.more
            case Hole():
                seen["holes"] += 1
            case End():
                seen["end"] = message.reason
                return
            case _:
                pass
        if cancel_at and seen["text"] == cancel_at and not cancelled:
            cancelled = True
            line.cancel("s", "p")
