"""One running line with two gateways, everything real: rows R16, R18, S4 and S6 as a client meets them."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen
from uuid import uuid4

import msgspec
import pytest
from confluent_kafka import Producer as PlainProducer
from confluent_kafka.admin import AdminClient
from prometheus_client.parser import text_string_to_metric_families

from infra.ports import is_port_free
from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.call_log import prompt_sha256
from schemas.client_messages import Attach, Cancel, ClientMessage, Hello, Prompt
from schemas.gateway_messages import Delta, Error, ServerMessage
from schemas.prompts import ChatMessage
from schemas.topics import user_partition
from tests.fakes.topic_names import PROMPTS, fixed_topics
from tests.integration.broker_release import chosen_release
from tests.integration.chat_client import ChatClient
from tests.integration.ledger import Asked, check_ledger, letters_of
from tests.integration.process_probe import other_server_on, until
from tests.integration.whole_line import BROKERS_VARIABLE, WholeLine, running_line

STRANGE_SESSIONS: Final = {
    "a path": "../x",
    "dots": "..",
    "a topic of the broker": "__consumer_offsets",
    "300 characters": "x" * 300,
    "beyond ASCII": "séance-\N{SNOWMAN}",
    "a right-to-left override": "s\N{RIGHT-TO-LEFT OVERRIDE}1",
    "a line break": "s1\n",
    "NUL": "s\x001",
    "SQL": "s1' OR '1'='1",
    "a blank": " ",
}
HARMLESS_SESSIONS: Final = ("tokenwire.prompts", "a..b", "tenant:x@y_z-1", "x" * 128)
SESSION_TOPIC: Final = re.compile(r"tokenwire\.session\.[a-z2-7]{32}")
FETCHED: Final = "tokenwire_gateway_sessionsfetched"
BY_ACTIVITY: Final = "tokenwire_gateway_sessions_returned_totalactivity"
FIXED_TOPICS: Final = {spec.name for spec in fixed_topics("dedicated")}


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeLine]:
    with running_line(tmp_path_factory.mktemp("line"), "--gateways", "2") as running:
        yield running


@pytest.fixture
def user() -> str:
    """A user of the test's own: the tests share a line."""
    return f"user-{uuid4().hex}"


def answer_to(text: str, tokens: int | None = None) -> str:
    return "".join(answer_for([ChatMessage(role="user", content=text)], tokens=tokens))


async def paid(line: WholeLine, text: str) -> int:
    """Calls that the provider has had for this prompt, without its directive."""
    calls = await asyncio.to_thread(line.calls)
    return sum(call.prompt_sha256 == prompt_sha256(text) for call in calls)


def without_names(message: ServerMessage) -> dict[str, Any]:
    """What a message says besides which session it is about."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    return {name: value for name, value in fields.items() if name not in ("session", "head")}


def test_its_brokers_are_of_the_release_that_was_asked_for(line: WholeLine) -> None:
    """Whatever TOKENWIRE_TEST_BROKER says, or the product's own: seen in the class path of the running brokers."""
    brokers = [pid for name, pid in line.children().items() if name.startswith("kafka")]
    commands = [Path(f"/proc/{pid}/cmdline").read_text() for pid in brokers]

    assert len(brokers) == int(os.environ.get(BROKERS_VARIABLE, "1"))
    assert all(f"kafka_2.13-{chosen_release()}.jar" in command for command in commands)


async def test_one_prompt_through_the_whole_line(line: WholeLine, user: str) -> None:
    """The client is told the provider's own text, token by token, once; ClickHouse has its row; one call was paid."""
    prompt = f"Why is the sky blue, {user}?"
    async with ChatClient.connected(line.gateways[0], line.token(user)) as client:
        seen = await client.answer("s1", prompt, prompt_id="p1")

        assert seen.text == answer_to(prompt)
        assert sum(isinstance(message, Delta) for message in client.told) > 20, "it did not stream"
        asked = Asked(user=user, session="s1", prompt_id="p1", text=answer_to(prompt))
        ledger = await check_ledger(line, [asked], clients=[client])
        (row,) = ledger.rows[seen.turn]
        assert row["cost_nano_usd"] > 0
        assert await paid(line, prompt) == 1


async def test_r18_same_prompt_at_two_gateways_and_again(line: WholeLine, user: str) -> None:
    """At once, in mid-answer, after the end: one turn, one paid call, told whole to both; other words are refused."""
    words = f"Say it once, {user}."
    prompt = Prompt(session="s1", prompt_id="p1", input=f"[[sim tokens=60 pace_ms=20]] {words}")
    async with (
        ChatClient.connected(line.gateways[0], line.token(user)) as laptop,
        ChatClient.connected(line.gateways[1], line.token(user)) as phone,
    ):
        await asyncio.gather(laptop.attach("s1"), phone.attach("s1"))
        turns = await asyncio.gather(*(client.prompt("s1", prompt.input, "p1") for client in (laptop, phone)))
        turn = turns[0].turns[0]
        await phone.chunks_of(turn, 5)
        again = [await phone.prompt("s1", prompt.input, "p1")]
        await asyncio.gather(laptop.ended(turn), phone.ended(turn))
        again.append(await laptop.prompt("s1", prompt.input, "p1"))
        reused = await laptop.refusal(msgspec.structs.replace(prompt, input="Other words."))

        assert {accepted.turns for accepted in (*turns, *again)} == {(turn,)}
        asked = Asked(user=user, session="s1", prompt_id="p1", text=answer_to(words, 60))
        await check_ledger(line, [asked], clients=[laptop, phone])
        assert await paid(line, words) == 1
        assert (reused.code, reused.prompt_id) == ("id_reused", "p1")


async def test_r16_poison_beside_a_prompt(line: WholeLine, user: str) -> None:
    """Records that are no prompts become dead letters; the prompt behind them is answered."""
    poison = [b"{not json", b"", b'{"type": "prompt.submitted.v9"}', b"\xff\xfe", b'{"type": "prompt.submitted"}']
    async with ChatClient.connected(line.gateways[0], line.token(user)) as client:
        publisher = PlainProducer({"bootstrap.servers": line.kafka})
        for value in poison:
            publisher.produce(PROMPTS, value=value, key=user.encode(), partition=user_partition(user))
        assert publisher.flush(10) == 0
        seen = await client.answer("s1", f"Are you well, {user}?", prompt_id="p1")

        assert seen.text == answer_to(f"Are you well, {user}?")
        asked = Asked(user=user, session="s1", prompt_id="p1", text=seen.text)
        await check_ledger(line, [asked], clients=[client], dead_letters=len(poison))
        letters = await asyncio.to_thread(letters_of, line, [user])
        assert {(letter.topic, letter.partition) for letter in letters} == {(PROMPTS, user_partition(user))}
        assert len({letter.offset for letter in letters}) == len(poison)


async def test_s4_foreign_session_looks_like_an_absent_one(line: WholeLine, user: str) -> None:
    """Its log, its cursors, its prompt ids: another user meets nothing of it and cannot tell that it is there."""
    secret = f"canary{uuid4().hex}"
    words = f"Keep {secret} to yourself."
    async with (
        ChatClient.connected(line.gateways[0], line.token(user)) as alice,
        ChatClient.connected(line.gateways[1], line.token(f"{user}-mallory")) as mallory,
    ):
        accepted = await alice.prompt("private", f"[[sim tokens=120 pace_ms=20]] {words}", "p1")
        await alice.chunks_of(accepted.turns[0], 5)
        cursor = alice.cursors["private"]
        answers = {session: await snoop(mallory, session, cursor) for session in ("private", "absent")}
        await alice.ended(accepted.turns[0])
        own = await mallory.answer("private", "What did I say before?", prompt_id="p2")

        assert answers["private"] == answers["absent"]
        assert "cursor_refused" in json.dumps(answers["private"])
        assert own.text == answer_to("What did I say before?"), "it has no history"
        asked = [
            Asked(user=user, session="private", prompt_id="p1", text=answer_to(words, 120)),
            Asked(user=f"{user}-mallory", session="private", prompt_id="p2", text=own.text),
        ]
        await check_ledger(line, asked, clients=[alice, mallory])
        assert not any(secret in repr(message) for message in mallory.told)
    kept = "".join(file.read_text(errors="replace") for file in (line.home / "logs").glob("*.log"))
    assert secret not in kept + line.said()
    assert alice.token not in kept + line.said()


async def snoop(client: ChatClient, session: str, cursor: str) -> list[dict[str, Any]]:
    """Everything that a client can ask of a session by its id, a cursor or a prompt id; the answers."""
    answers: list[ServerMessage] = [await client.attach(session, "start"), await client.attach(session, "tail")]
    answers.append(await client.refusal(Attach(session=session, from_=cursor)))
    answers.append(await client.refusal(Hello(token=client.token, resume={session: cursor})))
    await client.cancel(session, "p1")
    before = len(client.told)
    answers.append(await client.attach(session, "start"))
    answers += client.told[before:-1]
    return [without_names(message) for message in answers]


async def test_s6_session_ids_that_are_no_names(line: WholeLine, user: str) -> None:
    """Refused by name of the field, the rest of the connection goes on; what is allowed is hashed, never a topic."""
    async with ChatClient.connected(line.gateways[0], line.token(user)) as client:
        running = await client.prompt("good", f"[[sim tokens=100 pace_ms=20]] Go on, {user}.", "p1")
        errors: list[Error] = []
        for session in STRANGE_SESSIONS.values():
            asked_of_it: list[ClientMessage] = [
                Attach(session=session, from_="start"),
                Prompt(session=session, prompt_id="p1", input="Hello"),
                Cancel(session=session, prompt_id="p1"),
            ]
            errors += [await client.refusal(message) for message in asked_of_it]
        for number, session in enumerate(HARMLESS_SESSIONS):
            await client.answer(session, f"[[sim tokens=5]] Number {number}", prompt_id="p1")
        await client.ended(running.turns[0])

        assert {(error.code, error.field) for error in errors} == {("invalid_field", "session")}
        assert all(len(error.message) < 300 for error in errors)
        asked = [Asked(user=user, session="good", prompt_id="p1", text=answer_to(f"Go on, {user}.", 100))]
        asked += [
            Asked(user=user, session=session, prompt_id="p1", text=answer_to(f"Number {number}", 5))
            for number, session in enumerate(HARMLESS_SESSIONS)
        ]
        await check_ledger(line, asked, clients=[client])
    topics = AdminClient({"bootstrap.servers": line.kafka}).list_topics(timeout=10).topics
    ours = {name for name in topics if not name.startswith(("__", "tokenwire-worker"))}
    assert {name for name in ours - FIXED_TOPICS if SESSION_TOPIC.fullmatch(name) is None} == set()


async def test_silent_session_hears_a_prompt_of_another_gateway(line: WholeLine, user: str) -> None:
    """A gateway hears of the log of a session that had none, and takes a silent one into its fetch again, both on the
    worker's word."""
    prompt = f"Who is there, {user}?"
    first, second = line.gateways[:2]
    async with (
        ChatClient.connected(first, line.token(user)) as waiting,
        ChatClient.connected(second, line.token(user)) as asking,
    ):
        await waiting.attach("s1")
        begun = await waiting.ended((await asking.answer("s1", prompt, prompt_id="p1")).turn)
        await metrics_when(first, lambda metrics: metrics[FETCHED] == 1)
        before = await metrics_when(first, lambda metrics: metrics[FETCHED] == 0)
        told = await asking.answer("s1", "And now?", prompt_id="p2")
        seen = await waiting.ended(told.turn)
        after = await metrics_when(first, lambda metrics: metrics[FETCHED] == 1)

    assert begun.text == answer_to(prompt)
    assert seen.text == told.text
    assert not waiting.faults
    assert after[BY_ACTIVITY] == before.get(BY_ACTIVITY, 0.0) + 1


async def test_ports_of_dead_children_are_taken(line: WholeLine, user: str) -> None:
    """Each of them, the broker too, waits until the others have left and comes back on its own port; answers go on."""
    broker = max(name for name in line.children() if name.startswith("kafka"))  # of several the last one
    ports = {
        broker: int(line.kafka.rpartition(":")[2]),
        "provider": int(line.addresses["provider"].removesuffix("/v1").rpartition(":")[2]),
        "analytics": int(line.environment_of("analytics")["TOKENWIRE_METRICS_PORT"]) + 1,
        "reader": line.analytics_port,
        "worker": int(line.environment_of("worker")["TOKENWIRE_METRICS_PORT"]),
        "gateway-2": int(line.gateways[1].rpartition(":")[2]),
    }
    with ExitStack() as others:
        leaves = {}
        with line.paused():
            killed = [line.kill(name) for name in ports]
            await until(lambda: all(map(is_port_free, ports.values())))
            for name, port in ports.items():
                leaves[name] = others.enter_context(ExitStack())
                leaves[name].enter_context(other_server_on(port))
        for name, port in ports.items():  # in the order of their needs: who needs another waits for that one first
            await asyncio.to_thread(line.until_said, f"{name} waits for port {port}, which another program has")
            leaves[name].close()
        for each in killed:
            await asyncio.to_thread(line.until_restarted, each)
    async with ChatClient.connected(line.gateways[1], line.token(user)) as client:
        seen = await client.answer("s1", f"Are you there, {user}?")

    assert seen.text == answer_to(f"Are you there, {user}?")
    assert "giving up" not in line.said()


async def metrics_when(gateway: str, condition: Callable[[dict[str, float]], bool]) -> dict[str, float]:
    """What a gateway's metrics say once the condition holds."""
    async with asyncio.timeout(30):
        while True:
            text = await asyncio.to_thread(lambda: urlopen(f"{gateway}/metrics").read().decode())
            samples = {
                sample.name + "".join(sorted(sample.labels.values())): sample.value
                for family in text_string_to_metric_families(text)
                for sample in family.samples
            }
            if condition(samples):
                return samples
            await asyncio.sleep(0.1)
