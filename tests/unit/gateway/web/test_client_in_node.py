"""The JavaScript client where there is no browser, on Node's own WebSocket, against a scripted gateway."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.client.line import Line
from infra.ports import find_free_port
from schemas import prompts
from schemas.client_messages import Cancel, Hello, Prompt
from schemas.gateway_messages import Accepted, End, Welcome
from schemas.prompt_limits import PromptLimits
from tests.unit.gateway.client.scripted_gateway import (
    ANSWER,
    ScriptedPeer,
    answer,
    attached,
    half,
    opening,
    scripted,
    whole,
)
from tests.unit.gateway.client.test_client_answer import answers_all, one_turn
from tests.unit.gateway.headless_browser import WEB_FOLDER
from tests.unit.gateway.web.node_client import BUILT_IN, run_node

CHECK = (WEB_FOLDER / "prompt_check.js").read_text()


async def tried(program: str, folder: Path, **given: Any) -> Any:
    return await run_node(program, given, folder=folder, options=BUILT_IN)


def test_what_may_be_said_of_a_prompt_is_the_wires(tmp_path: Path) -> None:
    """Fields, choices and limits are those of the struct: one list, checked against the other."""
    fields = re.search(r"FIELDS = \{(.*?)\n\};", CHECK, re.DOTALL)
    choices = re.search(r"CHOICES = \{(.*?)\n\};", CHECK, re.DOTALL)
    limits = re.search(r"LIMITS = \{(.*?)\n\};", CHECK, re.DOTALL)
    assert fields is not None
    assert choices is not None
    assert limits is not None
    told = {name: json.loads(f"[{words}]") for name, words in re.findall(r"(\w+): \[(.*?)\]", choices[1])}
    kinds = {"compare": "CompareMode", "on_busy": "OnBusy", "on_leave": "OnLeave", "pace": "Pace"}
    ours = PromptLimits()

    assert re.findall(r"^  (\w+): check", fields[1], re.MULTILINE) == [
        field.name for field in msgspec.structs.fields(Prompt)
    ]
    assert told == {
        name: list(getattr(prompts, kind).__args__) for name, kind in (kinds | {"priority": "Priority"}).items()
    }
    for name, number in re.findall(r"(\w+): ([\d_]+),", limits[1]):
        assert int(number) == (2 if name == "temperature_max" else getattr(ours, name))


ASKS = """
async ({ url, options, text = "Hi" }, { TokenwireClient }) => {
  const client = new TokenwireClient({ url, token: "x" });
  const answer = client.ask(text, options);
  let pieces = "";
  let failed = null;
  try {
    for await (const piece of answer) pieces += piece;
  } catch (error) {
    failed = { name: error.name, code: error.code, message: error.message };
  }
  const whole = await answer.then((facts) => facts, (error) => error.code);
  client.close();
  return { pieces, failed, whole, text: answer.text, state: answer.state };
}
"""


async def test_answer_as_promise_and_as_iterator(tmp_path: Path) -> None:
    """Both say the whole of it, and what it took; nobody has to connect first."""
    async with scripted(answers_all) as url:
        outcome = await tried(ASKS, tmp_path, url=url, options={"session": "s", "prompt_id": "p"})

    assert (outcome["pieces"], outcome["failed"]) == ("Hi", None)
    assert outcome["whole"]["usage"]["output_tokens"] == 4
    assert outcome["whole"] | {"usage": None} == {
        "session": "s",
        "prompt_id": "p",
        "text": "Hi",
        "state": "complete",
        "model": "small-2026",
        "usage": None,
        "cost_nano_usd": 7,
    }


async def test_answer_that_fails_ends_both_ways(tmp_path: Path) -> None:
    """With the reason; what there is of it stays."""

    async def fails(peer: ScriptedPeer) -> None:
        await peer.welcome()
        await peer.heard(Prompt)
        await peer.say(attached(), *one_turn("s", "p", "half", reason="cancelled"))
        await peer.socket.wait_closed()

    async with scripted(fails) as url:
        outcome = await tried(ASKS, tmp_path, url=url, options={"session": "s", "prompt_id": "p"})

    assert outcome["failed"]["name"] == "AnswerFailed"
    assert (outcome["failed"]["code"], outcome["whole"]) == ("cancelled", "cancelled")
    assert (outcome["text"], outcome["state"]) == ("half", "cancelled")


REFUSES = """
async ({ url, bad }, { TokenwireClient, InvalidField }) => {
  const client = new TokenwireClient({ url, token: "x" });
  const refused = [];
  const hear = (call) => {
    try {
      call();
      refused.push(null);
    } catch (error) {
      refused.push(error instanceof InvalidField ? error.field : String(error));
    }
  };
  for (const request of bad) hear(() => client.prompt({ session: "s", input: "Hi", ...request }));
  hear(() => client.prompt({ session: "s", input: "cut \\ud83d" }));
  hear(() => client.prompt({ session: "s", input: "Hi", metadata: { a: "\\udc00" } }));
  hear(() => client.prompt({ session: "s", input: "Hi", temperature: NaN }));
  hear(() => client.prompt({ session: "s", input: "Hi", metadata: { a: 1n } }));
  hear(() => client.prompt({ session: "s", input: "Hi", metadata: new Map([["a", "b"]]) }));
  hear(() => client.ask("Hi", { models: ["a", "b"] }));
  hear(() => client.ask("Hi", { foo: 1 }));
  hear(() => client.ask(undefined));
  hear(() => client.attach("a b"));
  hear(() => client.attach("s", { form: "start" }));
  hear(() => client.cancel("s", null));
  hear(() => client.refresh(undefined));
  hear(() => new TokenwireClient({ url, tokn: "x" }));
  hear(() => new TokenwireClient({ url: "http://a/v1/connect" }));
  hear(() => new TokenwireClient({ url, token: null }));
  hear(() => new TokenwireClient({ url, WebSocket: null }));
  const { text } = await client.ask("Hi", { session: "s", prompt_id: "p" });
  client.close();
  return { refused, text, connections: client.counts.connections };
}
"""
BAD: list[tuple[dict[str, Any], str]] = [
    ({"on_busy": "bogus"}, "on_busy"),
    ({"input": None, "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}, "messages"),
    ({"input": ["Hi"]}, "input"),
    ({"input": " "}, "input"),
    ({"foo": 1}, "foo"),
    ({"session": "a b"}, "session"),
    ({"session": None}, "session"),
    ({"prompt_id": "/"}, "prompt_id"),
    ({"model": 3}, "model"),
    ({"models": "a"}, "models"),
    ({"models": ["a"]}, "models"),
    ({"compare": "best"}, "compare"),
    ({"max_tokens": 1.5}, "max_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"cache": "yes"}, "cache"),
    ({"metadata": ["a"]}, "metadata"),
    ({"metadata": {"a": 1}}, "metadata"),
]


async def test_bad_prompts_and_unknown_options_are_refused_at_once(tmp_path: Path) -> None:
    """Each by its field; nothing of them is sent, and the prompt after them is answered."""
    async with scripted(whole) as url:
        outcome = await tried(REFUSES, tmp_path, url=url, bad=[request for request, _ in BAD])
    others = ["input", "metadata", "temperature", "metadata", "metadata", "models", "foo", "input"]
    others += ["session", "form", "prompt_id", "token", "tokn", "url", "token", "WebSocket"]

    assert outcome["refused"] == [field for _, field in BAD] + others
    assert (outcome["text"], outcome["connections"]) == (ANSWER, 1)


CHANGES = """
async ({ url }, { TokenwireClient }) => {
  const client = new TokenwireClient({ url, token: "x" });
  const messages = [{ role: "user", content: "Hi", id: 1n }];
  messages[0].self = messages;
  const answer = client.ask(undefined, { session: "s", prompt_id: "p", messages });
  messages.push(null);
  const { text } = await answer;
  client.close();
  return text;
}
"""


async def test_prompt_whose_lists_change_after_it_was_asked(tmp_path: Path) -> None:
    """What was checked is what is sent, without what no message has a field for."""
    async with scripted(whole) as url:
        assert await tried(CHANGES, tmp_path, url=url) == ANSWER


LEAVES = """
async ({ url, cancels }, { TokenwireClient }) => {
  const client = new TokenwireClient({ url, token: "x" });
  const ended = new Promise((done) => client.addEventListener("end", ({ detail }) => done(detail.reason)));
  const answer = client.ask("Hi", { session: "s", prompt_id: "p", cancel_on_exit: cancels });
  for await (const piece of answer) break;
  const reason = await ended;
  client.close();
  return { reason, state: answer.state };
}
"""


async def test_iteration_left_early_cancels_where_asked(tmp_path: Path) -> None:
    """Else the turn goes on."""

    async def hears(peer: ScriptedPeer) -> None:
        await half(peer)
        assert (await peer.heard(Cancel)).prompt_id == "p"
        await peer.say(End(session="s", turn="t", attempt=1, reason="cancelled", c="e"))
        await peer.socket.wait_closed()

    async with scripted(hears) as url:
        assert (await tried(LEAVES, tmp_path, url=url, cancels=True))["reason"] == "cancelled"
    async with scripted(whole) as url:
        assert (await tried(LEAVES, tmp_path, url=url, cancels=False))["reason"] == "complete"


REFRESHES = """
async ({ url }, { TokenwireClient }) => {
  const client = new TokenwireClient({ url, token: "first" });
  const answer = client.ask("Hi", { session: "s", prompt_id: "p" });
  let refreshed = false;
  for await (const piece of answer) {
    if (!refreshed) client.refresh("second");
    refreshed = true;
  }
  client.close();
  return { text: answer.text, ...client.counts };
}
"""


async def test_token_is_refreshed_on_the_running_connection(tmp_path: Path) -> None:
    """The second welcome is no new connection, and nothing is asked again."""

    async def refreshes(peer: ScriptedPeer) -> None:
        assert (await peer.welcome()).token == "first"
        await peer.heard(Prompt)
        await peer.say(Accepted(session="s", prompt_id="p", turns=("t",)), attached(), *opening())
        await answer(peer, ["one "])
        hello: Hello = await peer.heard(Hello)
        assert hello.token == "second"
        await peer.say(Welcome(connection="c", user="alice", ping_s=20, pong_s=20, frame_bytes_max=65_536))
        await answer(peer, ["two ", "three ", "four"], 1)
        await peer.say(End(session="s", turn="t", attempt=1, reason="complete", c="e"))
        await peer.socket.wait_closed()

    async with scripted(refreshes) as url:
        outcome = await tried(REFRESHES, tmp_path, url=url)

    assert outcome == {"text": ANSWER, "connections": 1, "duplicates": 0, "holes": 0}


COMES_BACK = """
async ({ url }, { TokenwireClient }) => {
  const client = new TokenwireClient({ url, token: "x" });
  const states = [];
  client.addEventListener("state", ({ detail }) => states.push(detail.state));
  const { text } = await client.ask("Hi", { session: "s", prompt_id: "p" });
  client.close();
  return { text, states };
}
"""


async def test_refused_connection_is_a_reconnect(tmp_path: Path) -> None:
    """The process goes on, and the next address answers."""
    async with scripted(whole) as url:
        nobody = f"ws://127.0.0.1:{find_free_port()}/v1/connect"
        outcome = await tried(COMES_BACK, tmp_path, url=[nobody, url])

    assert outcome["text"] == ANSWER
    assert outcome["states"][:2] == ["connecting", "reconnecting"]


async def test_line_that_ends_ends_its_answers(tmp_path: Path) -> None:
    """With the gateway's reason."""

    async def refuses(peer: ScriptedPeer) -> None:
        await peer.heard(Hello)
        await peer.leave(4401, reconnect=False, reason="logged out")

    async with scripted(refuses) as url:
        outcome = await tried(ASKS, tmp_path, url=url, options={"session": "s"})

    assert (outcome["failed"]["name"], outcome["failed"]["code"]) == ("LineClosed", 4401)
    assert "logged out" in outcome["failed"]["message"]


async def test_without_a_websocket_it_says_what_to_install(tmp_path: Path) -> None:
    """At once, and not when it connects. Later Nodes have one."""
    program = """
    async ({}, { TokenwireClient }) => {
      delete globalThis.WebSocket;
      try {
        new TokenwireClient({ url: "ws://a/" });
      } catch (error) {
        return [error.name, error.field, error.message];
      }
    }
    """
    name, field, message = await run_node(program, {}, folder=tmp_path)

    assert (name, field) == ("InvalidField", "WebSocket")
    assert "package ws" in message


@pytest.mark.parametrize(
    "python", ["attach", "detach", "cursor", "prompt", "cancel", "refresh", "log_out", "ask", "prompt_of"]
)
def test_names_are_those_of_the_python_client(python: str) -> None:
    """In the writing of each language."""
    first, *others = python.split("_")
    assert hasattr(Line, python)
    client = (WEB_FOLDER / "tokenwire_client.js").read_text()
    assert re.search(rf"^  {first}{''.join(word.title() for word in others)}\(", client, re.MULTILINE)
