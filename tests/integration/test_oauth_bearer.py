"""Every client of the line over SASL OAUTHBEARER, with short-lived tokens of an endpoint on loopback."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from infra.settings import load_settings
from producers.errors import AccessDenied
from producers.sdk import Producer
from schemas.session_events import TokensEmitted, TurnEnded
from tests.fakes.token_endpoint import AUDIENCE, CLIENT_ID, CLIENT_SECRET, ISSUER, TokenEndpoint
from tests.integration.gateway_line import SECRET, WireClient, running_gateway, tag_of
from tests.integration.secure_broker import SecureBroker, secure_broker
from tests.integration.worker_line import open_line

__all__: list[str] = []

LIFE_S = 6.0
SESSION_MS_MAX = 3_600_000
ANSWERS = 3
TOKENS, PACE_MS = 500, 20
COMMAND_S = 60.0
READY_S = 60.0
BEARER = "org.apache.kafka.common.security.oauthbearer"


@asynccontextmanager
async def bearer_broker(folder: Path, endpoint: TokenEndpoint) -> AsyncIterator[SecureBroker]:
    """A broker that checks the endpoint's tokens, and closes a connection once its token has ended."""
    keys = endpoint.write_keys(folder / "jwks.json").as_uri()
    listener = "listener.name.bearer"
    properties = {
        "sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{listener}.sasl.enabled.mechanisms": "OAUTHBEARER",
        f"{listener}.oauthbearer.sasl.jaas.config": f"{BEARER}.OAuthBearerLoginModule required;",
        f"{listener}.oauthbearer.sasl.server.callback.handler.class": f"{BEARER}.OAuthBearerValidatorCallbackHandler",
        f"{listener}.oauthbearer.sasl.oauthbearer.jwks.endpoint.url": keys,
        f"{listener}.oauthbearer.sasl.oauthbearer.expected.audience": AUDIENCE,
        f"{listener}.oauthbearer.sasl.oauthbearer.expected.issuer": ISSUER,
        f"{listener}.oauthbearer.connections.max.reauth.ms": str(SESSION_MS_MAX),
    }
    allowed = f"-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}"
    async with secure_broker(folder / "broker", {"BEARER": "SASL_PLAINTEXT"}, properties, [allowed]) as reached:
        yield reached


def access_by(endpoint: TokenEndpoint, reached: SecureBroker) -> dict[str, Any]:
    """The settings that lead in."""
    return access_to(endpoint, reached.kafka("BEARER"))


def access_to(endpoint: TokenEndpoint, kafka: str) -> dict[str, Any]:
    return {
        "kafka": kafka,
        "kafka_security_protocol": "SASL_PLAINTEXT",
        "kafka_sasl_mechanism": "OAUTHBEARER",
        "kafka_oauth_url": endpoint.url,
        "kafka_oauth_client_id": CLIENT_ID,
        "kafka_oauth_client_secret": CLIENT_SECRET,
        "kafka_oauth_scope": "produce consume",
        "kafka_oauth_extensions": "logicalCluster=lkc-1",
    }


async def test_tokens_end_while_answers_stream(tmp_path: Path) -> None:
    """Connections end with their tokens, on every side; each chunk lies on the log once, and nobody is rebalanced."""
    async with (
        TokenEndpoint(life_s=LIFE_S) as endpoint,
        bearer_broker(tmp_path, endpoint) as reached,
        open_line(reached.broker, tmp_path, **access_by(endpoint, reached)) as line,
    ):
        worker = line.start_worker()
        await line.wait_for_log(worker, "worker_ready", READY_S)
        own = {"gateway_port": 0, "auth_secret": SECRET, "cursor_secret": SECRET[::-1]}
        async with running_gateway(load_settings(line.environment, **own)) as port:
            answers = await asyncio.gather(*(read_answer(port, number) for number in range(ANSWERS)))
        logs = [await line.events("alice", f"s{number}") for number in range(ANSWERS)]
        said = line.log_of(worker)

    for answer, on_log in zip(answers, logs, strict=True):
        appended = [event for _, event in on_log if isinstance(event, TokensEmitted)]
        places = [event.seq + place for event in appended for place in range(len(event.chunks))]
        assert places == list(range(TOKENS))
        assert answer.text == "".join(chunk for event in appended for chunk in event.chunks)
        assert [event.reason for _, event in on_log if isinstance(event, TurnEnded)] == ["complete"]
    assert said.count('"partitions_owned"') == 1
    assert said.count("KafkaConnectionError") > 0  # connections did end
    assert CLIENT_SECRET not in said
    gap_s = max(answer.longest_gap_s for answer in answers)
    print(f"\nlongest gap {gap_s:.2f} s, {len(endpoint.asked)} tokens")  # noqa: T201  # `pytest -s` shows it


@dataclass(frozen=True)
class ReadAnswer:
    """What a client was told, and the longest that it waited between two parts."""

    text: str
    longest_gap_s: float


async def read_answer(port: int, number: int) -> ReadAnswer:
    """Ask in a session of its own and read to the end."""
    text, at_s = "", []
    async with WireClient.connected(port) as client:
        ask = f"[[sim tokens={TOKENS} pace_ms={PACE_MS} jitter=0]] How long is {number}?"
        await client.send_raw(f'{{"type":"prompt","session":"s{number}","prompt_id":"q1","input":"{ask}"}}')
        while True:
            message = await client.next()
            match tag_of(message):
                case "delta":
                    text += message.text
                    at_s.append(time.monotonic())
                case "ping":
                    await client.send_raw('{"type":"pong"}')
                case "end":
                    return ReadAnswer(text, max(after - before for before, after in pairwise(at_s)))
                case tag:
                    assert tag != "error", message


async def test_token_endpoint_away_at_the_start(tmp_path: Path) -> None:
    """Each command ends with one sentence that says what to set, and the SDK raises it."""
    async with TokenEndpoint() as endpoint:
        endpoint.answer = (401, b'{"error":"invalid_client"}', {})
        access = access_to(endpoint, "127.0.0.1:9")
        environment = os.environ | {f"TOKENWIRE_{name.upper()}": str(value) for name, value in access.items()}
        for command in ("worker", "gateway", "analytics", "migrate"):
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tokenwire", command),
                env=environment | {"TOKENWIRE_HOME": str(tmp_path)},
                stderr=asyncio.subprocess.PIPE,
            )
            async with asyncio.timeout(COMMAND_S):
                _, said = await child.communicate()
            assert child.returncode == 1
            assert said.decode().splitlines()[-1].startswith("Error: no access token for the brokers: ")
            assert b"TOKENWIRE_KAFKA_OAUTH_CLIENT_ID" in said
            assert b"Traceback" not in said
            assert CLIENT_SECRET.encode() not in said
        with pytest.raises(AccessDenied, match="no access token"):
            await Producer(load_settings({}, **access)).start()
