"""What the gateway refuses, and that a refusal harms nobody else: bad input, tokens, origins, foreign sessions.

Covers: gateway.clients.decisions.session_refusals, gateway.process.http_routes, gateway.process.readiness.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from websockets.exceptions import InvalidStatus

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import aiokafka_options
from infra.settings import Settings
from schemas.client_messages import Attach, Hello, Prompt
from schemas.codec import decode_prompt_command
from schemas.prompt_parts import parts_of
from schemas.prompts import PromptSubmitted
from tests.fakes.topic_names import PROMPTS
from tests.integration.gateway_line import (
    SessionWriter,
    WireClient,
    answer_events,
    gateway_settings,
    http,
    running_gateway,
    tag_of,
    token_for,
)

LONG = "x" * 300


def prompt(**fields: Any) -> str:
    return json.dumps({"type": "prompt", "session": "s1", "prompt_id": "p1", "input": "Hello"} | fields)


BAD_MESSAGES = [
    pytest.param("{not json", "malformed", "", id="malformed_json"),
    pytest.param("[" * 5_000, "malformed", "", id="depth_bomb"),
    pytest.param('{"type": "prompt", "session": 5}', "malformed", "session", id="wrong_type_of_field"),
    pytest.param('{"type": "prompt", "session": "s1"}', "malformed", "prompt_id", id="missing_field"),
    pytest.param('{"type": "warp"}', "unknown_type", "type", id="unknown_type"),
    pytest.param(b"\x00\x01", "malformed", "", id="binary_frame"),
    pytest.param(prompt(model="gpt-9000"), "unknown_model", "model", id="unknown_model"),
    pytest.param(prompt(input="  "), "empty_prompt", "input", id="empty_prompt"),
    pytest.param(prompt(session="../x"), "invalid_field", "session", id="session_like_a_path"),
    pytest.param(prompt(session="__consumer_offsets"), "invalid_field", "session", id="session_like_a_topic"),
    pytest.param(prompt(session=LONG), "invalid_field", "session", id="session_of_300_characters"),
    pytest.param(prompt(session="s\u00e9ance"), "invalid_field", "session", id="session_beyond_ascii"),
    pytest.param(prompt(prompt_id="a b"), "invalid_field", "prompt_id", id="prompt_id_with_a_space"),
    pytest.param(prompt(max_tokens=0), "invalid_field", "max_tokens", id="no_tokens"),
    pytest.param('{"type": "attach", "session": "a/b"}', "invalid_field", "session", id="attach_to_a_path"),
    pytest.param('{"type": "attach", "session": "s1", "from": "now"}', "cursor_refused", "from", id="made_up_cursor"),
]


@pytest.mark.parametrize(("frame", "code", "field"), BAD_MESSAGES)
async def test_bad_message(broker: EmbeddedBroker, tmp_path: Path, frame: str | bytes, code: str, field: str) -> None:
    """An error names what is wrong and what to do; the connection's other session goes on."""
    settings = await gateway_settings(broker, tmp_path)
    session = f"good-{secrets.token_hex(4)}"
    async with (
        running_gateway(settings) as port,
        SessionWriter(settings) as writer,
        WireClient.connected(port) as client,
    ):
        await client.send(Attach(session=session))
        await client.next("attached")
        await client.send_raw(frame)
        error = await client.next("error")
        await writer.append("alice", session, answer_events("t1", ["fine"]))

        assert (error.code, error.field) == (code, field)
        assert len(error.message) > 20
        assert LONG not in error.message
        assert (await client.until("end")).reason == "complete"


async def test_bad_message_among_good_ones(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """In an array each message stands alone."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port, WireClient.connected(port) as client:
        await client.send_raw('[{"type": "attach", "session": "a"}, {"type": "warp"}, {"type": "pong"}]')
        told = {tag_of(await client.next()), tag_of(await client.next())}

        assert told == {"attached", "error"}


async def test_client_that_cannot_speak_the_protocol(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Three malformed frames end in 4400, said in a disconnect first."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port, WireClient.connected(port) as client:
        for _ in range(3):
            await client.send_raw("{")
        code, words = await client.closed()

        assert code == 4400
        assert words is not None
        assert not words.reconnect


async def test_oversize_frame(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """1009, for the sender alone."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port, WireClient.connected(port) as other:
        async with WireClient.connected(port) as client:
            await client.send_raw("x" * (settings.frame_bytes_max + 1))
            assert (await client.closed())[0] == 1009
        await other.send(Attach(session="s1"))
        await other.next("attached")


async def test_flood(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Messages beyond the burst end in 4429 with the time to wait."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port, WireClient.connected(port) as client:
        await client.send_raw("[" + ",".join(['{"type": "pong"}'] * 1_024) + "]")
        await client.send_raw("[" + ",".join(['{"type": "pong"}'] * 1_024) + "]")
        code, words = await client.closed()

        assert code == 4429
        assert words is not None
        assert words.retry_after_s


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "token_missing"),
        ("nonsense", "token_invalid"),
        (token_for("alice", ttl_s=-120), "token_expired"),
        (token_for("alice", secret="another-secret-that-is-long-enough-0123456789"), "token_invalid"),
        (token_for("alice", audience="another"), "token_invalid"),
        (token_for("alice", issuer="another"), "token_invalid"),
        ("x" * 9_000, "token_invalid"),
    ],
    ids=["missing", "nonsense", "expired", "other_key", "other_audience", "other_issuer", "too_long"],
)
async def test_token_that_does_not_open(broker: EmbeddedBroker, tmp_path: Path, token: str, code: str) -> None:
    """In `hello`: an error that says what to do, then 4401. In the header: 401 before the upgrade."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port:
        async with WireClient.connected(port, None) as client:
            await client.send(Hello(token=token))
            error = await client.next("error")
            close_code, _ = await client.closed()
        if token:
            with pytest.raises(InvalidStatus) as refused:
                async with WireClient.connected(port, None, additional_headers={"Authorization": f"Bearer {token}"}):
                    pass
            assert refused.value.response.status_code in (401, 431)  # 431: the library's own limit of a header

        assert (error.code, error.field, close_code) == (code, "token", 4401)
        assert "tokenwire token" in error.message


async def test_token_in_the_header(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A good one makes the token of `hello` unnecessary."""
    settings = await gateway_settings(broker, tmp_path)
    headers = {"Authorization": f"Bearer {token_for('dora')}"}
    async with (
        running_gateway(settings) as port,
        WireClient.connected(port, None, additional_headers=headers) as client,
    ):
        await client.send(Hello())

        assert (await client.next("welcome")).user == "dora"


async def test_message_before_hello(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """It is refused, and hello is still welcome."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port, WireClient.connected(port, None) as client:
        await client.send(Prompt(session="s1", prompt_id="p1", input="Hello"))
        assert (await client.next("error")).code == "hello_expected"
        await client.send(Hello(token=token_for("alice")))
        await client.next("welcome")


async def test_token_of_another_user_on_a_live_socket(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A second hello may renew the token, not change the user."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port, WireClient.connected(port) as client:
        await client.send(Hello(token=token_for("alice")))
        await client.next("welcome")
        await client.send(Hello(token=token_for("mallory")))
        assert (await client.next("error")).code == "forbidden"
        assert (await client.closed())[0] == 4403


@pytest.mark.parametrize("own", [True, False])
async def test_origin(broker: EmbeddedBroker, tmp_path: Path, own: bool) -> None:
    """The gateway's own page and listed origins connect; every other page is answered 403."""
    settings = await gateway_settings(broker, tmp_path, gateway_origins="https://chat.example")
    async with running_gateway(settings) as port:
        if own:
            for origin in (f"http://127.0.0.1:{port}", f"http://localhost:{port}", "https://chat.example"):
                async with WireClient.connected(port, origin=origin):
                    pass
            return
        for origin in ("https://evil.example", f"http://127.0.0.1:{port + 1}", f"https://127.0.0.1:{port}", "null"):
            with pytest.raises(InvalidStatus) as refused:
                async with WireClient.connected(port, origin=origin):
                    pass
            assert refused.value.response.status_code == 403


async def test_G7_S4_foreign_session_and_cursor(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Another user's session and one that never was look the same, cursors included (row S4)."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port, SessionWriter(settings) as writer:
        async with WireClient.connected(port) as alice:
            await alice.send(Attach(session="private"))
            await alice.next("attached")
            await writer.append("alice", "private", answer_events("t1", ["canary"]))
            cursor = (await alice.until("end")).c
        async with WireClient.connected(port, "mallory") as mallory:
            for session in ("private", "never-was"):
                await mallory.send(Attach(session=session, from_="start"))
                assert (await mallory.next("attached")).recovered == "live"
                await mallory.send(Attach(session=session, from_=cursor))
                assert (await mallory.next("error")).code == "cursor_refused"

            assert not any("canary" in repr(message) for message in mallory.told)


async def test_plain_http(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Alive; not ready without a worker; metrics; 404 elsewhere; the socket's path wants an upgrade; no POST."""
    settings = await gateway_settings(broker, tmp_path)
    async with running_gateway(settings) as port:
        assert await http(port, "/healthz") == (200, "alive\n")
        assert await http(port, "/readyz") == (503, "no worker has joined its group yet\n")
        status, metrics = await http(port, "/metrics")
        assert (status, "tokenwire_gateway_connections" in metrics) == (200, True)
        for path in ("/nothing", "/../settings.py", "/%2e%2e/settings.py", "/_private"):
            assert (await http(port, path))[0] == 404
        assert (await http(port, "/v1/connect"))[0] == 426


async def test_readiness_with_a_worker(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Ready once a member of the workers' group owns partitions of the prompts."""
    settings = await gateway_settings(broker, tmp_path, worker_group=f"workers-{secrets.token_hex(4)}")
    worker = AIOKafkaConsumer(PROMPTS, group_id=settings.worker_group, **aiokafka_options(settings))
    async with running_gateway(settings) as port:
        before, _ = await http(port, "/readyz")
        await worker.start()
        try:
            async with asyncio.timeout(15):
                while (await http(port, "/readyz"))[0] != 200:  # noqa: ASYNC110  # as a supervisor asks
                    await asyncio.sleep(0.1)
        finally:
            await worker.stop()

        assert before == 503


async def test_long_prompt_in_parts(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """One record within the prompt size; beyond it, an error that names the field; the connection goes on."""
    settings = await gateway_settings(broker, tmp_path, prompt_bytes_max=400_000)
    size, session = settings.frame_bytes_max, f"s-{secrets.token_hex(6)}"
    words = 'Said "é",\n' * 36_000
    async with running_gateway(settings) as port, WireClient.connected(port) as client:
        for part in parts_of(Prompt(session=session, prompt_id="long", input=words), size):
            await client.send(part)
        accepted = await client.until("accepted")
        for part in parts_of(Prompt(session=session, prompt_id="longer", input="x" * 400_001), size):
            await client.send(part)
        longer = await client.until("error")
        huge, *rest = parts_of(Prompt(session=session, prompt_id="huge", input="x" * 990_000), size)
        await client.send(huge)
        refused_at_once = await client.until("error")
        for part in rest[:2]:
            await client.send(part)
        await client.send(Prompt(session=session, prompt_id="short", input="Hello"))
        answer = await client.until("accepted")

    assert (accepted.prompt_id, answer.prompt_id) == ("long", "short")
    assert (longer.prompt_id, longer.code, longer.field) == ("longer", "prompt_too_large", "input")
    assert (refused_at_once.prompt_id, refused_at_once.field) == ("huge", "bytes")
    assert refused_at_once.code == "prompt_too_large"
    published = [prompt for prompt in await prompts_of(settings, session, 2) if prompt.prompt_id != "short"]
    assert [(prompt.prompt_id, prompt.input) for prompt in published] == [("long", words)]


async def prompts_of(settings: Settings, session: str, count: int) -> list[PromptSubmitted]:
    """The first prompts of a session that lie on the topic."""
    found: list[PromptSubmitted] = []
    consumer = AIOKafkaConsumer(PROMPTS, auto_offset_reset="earliest", group_id=None, **aiokafka_options(settings))
    await consumer.start()
    try:
        async with asyncio.timeout(10):
            async for record in consumer:
                command = decode_prompt_command(record.value)
                if isinstance(command, PromptSubmitted) and command.session == session:
                    found.append(command)
                if len(found) == count:
                    return found
    finally:
        await consumer.stop()
    return found
