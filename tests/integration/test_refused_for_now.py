"""A prompt that is refused for now and sent again with its id, by each client, on a whole line: answered once."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import clickhouse_connect
import pytest

import tokenwire
from gateway.client.errors import AnswerFailed
from gateway.client.line import Line
from infra.simulated_provider.call_log import prompt_sha256
from tests.integration.whole_line import POLL_S, WholeLine, running_line
from tests.unit.gateway.web.node_client import BUILT_IN, run_node

WAIT_S: Final = 60.0
SENDINGS_MAX: Final = 60
SLOW: Final = "[[sim tokens=100 pace_ms=40]] the one before"
IN_NODE: Final = """
async ({ url, token, session, prompt_id, slow, text, sendings }, { TokenwireClient }) => {
  const client = new TokenwireClient({ url, token: async () => token });
  const first = client.ask(slow, { session });
  for await (const piece of first) break;
  const refusals = [];
  for (let sending = 0; sending < sendings; sending += 1) {
    try {
      const answer = await client.ask(text, { session, prompt_id, on_busy: "reject" });
      client.close();
      return { refusals, text: answer.text, state: answer.state };
    } catch (failure) {
      refusals.push({ code: failure.code, retry_after_s: failure.retry_after_s });
      await new Promise((done) => setTimeout(done, failure.retry_after_s * 1000));
    }
  }
}
"""


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeLine]:
    with running_line(tmp_path_factory.mktemp("line"), session_queue_max=1) as running:
        yield running


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex}"


def address_of(line: WholeLine) -> str:
    return line.gateways[0].replace("http://", "ws://") + "/v1/connect"


async def sent_until_answered(wire: Line, text: str, **options: Any) -> tuple[str, list[AnswerFailed]]:
    """The answer, and the refusals before it."""
    refusals: list[AnswerFailed] = []
    for _ in range(SENDINGS_MAX):
        try:
            return (await wire.ask(text, **options)).text, refusals
        except AnswerFailed as failure:
            refusals.append(failure)
            await asyncio.sleep(failure.retry_after_s or 1.0)
    raise AssertionError(refusals)


async def rows_of(line: WholeLine, user: str, prompt_id: str) -> list[tuple[int, str, str, str]]:
    """(attempt, run, reason, error code) of the prompt's rows, once there is that of its answer."""
    client = await asyncio.to_thread(clickhouse_connect.get_client, **line.analytics_access)
    query = (
        "SELECT attempt, run, reason, error_code FROM tokenwire.turns WHERE user = %(user)s AND prompt_id = %(prompt)s"
        " ORDER BY attempt, recorded_at"
    )
    give_up_s = time.monotonic() + WAIT_S
    while True:
        answer = await asyncio.to_thread(client.query, query, parameters={"user": user, "prompt": prompt_id})
        if any(row[0] for row in answer.result_rows) or time.monotonic() > give_up_s:
            return [(int(row[0]), str(row[1]), str(row[2]), str(row[3])) for row in answer.result_rows]
        await asyncio.sleep(POLL_S)


async def check_rows(line: WholeLine, user: str, prompt_id: str, text: str, codes: list[str]) -> None:
    """Each refusal is a row of its own sending, the answer is one, and one call was made."""
    rows = await rows_of(line, user, prompt_id)
    *refused, answered = rows

    assert [(attempt, reason, code) for attempt, _, reason, code in refused] == [
        (0, "rejected", code) for code in codes
    ]
    assert all(run.startswith("refused-") for _, run, *_ in refused)
    assert len({run for _, run, *_ in rows}) == len(rows)
    assert (answered[0], answered[2]) == (1, "complete")
    calls = await asyncio.to_thread(line.calls)
    assert sum(call.prompt_sha256 == prompt_sha256(text) for call in calls) == 1


async def test_session_that_is_busy(line: WholeLine, user: str) -> None:
    """The Python client is told when to send it again, and is answered once that is late enough."""
    text = f"not to wait {user}"
    async with asyncio.timeout(WAIT_S), tokenwire.connect(address_of(line), token=line.token(user)) as wire:
        before = wire.ask(SLOW, session="s1")
        await anext(aiter(before))
        answer, refusals = await sent_until_answered(wire, text, session="s1", prompt_id="p2", on_busy="reject")

    assert answer
    assert {(refused.code, refused.retry_after_s is not None) for refused in refusals} == {("session_busy", True)}
    await check_rows(line, user, "p2", text, ["session_busy"] * len(refusals))


async def test_queue_that_is_full(line: WholeLine, user: str) -> None:
    """The same, where too many wait."""
    text = f"one too many {user}"
    async with asyncio.timeout(WAIT_S), tokenwire.connect(address_of(line), token=line.token(user)) as wire:
        before = wire.ask(SLOW, session="s1")
        await anext(aiter(before))
        wire.prompt("the one that may wait", session="s1", prompt_id="p1")
        answer, refusals = await sent_until_answered(wire, text, session="s1", prompt_id="p2")

    assert answer
    assert {refused.code for refused in refusals} == {"queue_full"}
    await check_rows(line, user, "p2", text, ["queue_full"] * len(refusals))


async def test_javascript_client(line: WholeLine, user: str, tmp_path: Path) -> None:
    """The same in Node."""
    text = f"not to wait in Node {user}"
    given = {"url": address_of(line), "token": line.token(user), "session": "s1", "prompt_id": "p2"}
    given |= {"slow": SLOW, "text": text}
    seen = await run_node(IN_NODE, given | {"sendings": SENDINGS_MAX}, folder=tmp_path, options=BUILT_IN)

    assert (bool(seen["text"]), seen["state"]) == (True, "complete")
    assert {(refused["code"], refused["retry_after_s"] > 0) for refused in seen["refusals"]} == {("session_busy", True)}
    await check_rows(line, user, "p2", text, ["session_busy"] * len(seen["refusals"]))


async def test_batch_waits_and_sends_again(line: WholeLine, user: str, tmp_path: Path) -> None:
    """The producer's side: a line that is refused is no result; it is sent again until it is answered."""
    text = f"a line that does not wait {user}"
    lines = {"user": user, "session": "s1", "prompt_id": "p2", "input": text, "on_busy": "reject"}
    file = tmp_path / "prompts.jsonl"
    file.write_text(json.dumps(lines) + "\n")
    async with asyncio.timeout(WAIT_S), tokenwire.connect(address_of(line), token=line.token(user)) as wire:
        before = wire.ask(SLOW, session="s1")
        await anext(aiter(before))
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tokenwire", "send", "--file", str(file)),
            env=line.environment | {"TOKENWIRE_KAFKA": line.kafka},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()

    assert process.returncode == 0, (out.decode(), err.decode())
    (result,) = [json.loads(each) for each in (tmp_path / "prompts.jsonl.results.jsonl").read_text().splitlines()]
    assert (result["reason"], result["prompt_id"]) == ("complete", "p2")
    rows = await rows_of(line, user, "p2")
    await check_rows(line, user, "p2", text, ["session_busy"] * (len(rows) - 1))
    assert len(rows) > 1


async def test_worker_is_killed_between_a_refusal_and_what_follows_it(line: WholeLine, user: str) -> None:
    """kill -9 as soon as the client hears of it: the next worker lets it stay refused, and answers the next sending."""
    text = f"refused by a worker that died {user}"
    async with asyncio.timeout(2 * WAIT_S), tokenwire.connect(address_of(line), token=line.token(user)) as wire:
        before = wire.ask(SLOW, session="s1")
        await anext(aiter(before))
        with pytest.raises(AnswerFailed, match="Another prompt"):
            await wire.ask(text, session="s1", prompt_id="p2", on_busy="reject")
        killed = line.kill("worker")
        await asyncio.to_thread(line.until_restarted, killed)
        answer, refusals = await sent_until_answered(wire, text, session="s1", prompt_id="p2", on_busy="reject")

    assert answer
    await check_rows(line, user, "p2", text, ["session_busy"] * (1 + len(refusals)))
