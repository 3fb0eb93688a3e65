"""Session ids that would like to be something else: a topic, a path, a query (row S6)."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any, Final

from confluent_kafka.admin import AdminClient

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from infra.settings import Settings
from schemas.client_messages import Attach
from schemas.gateway_messages import Delta
from schemas.identifiers import SessionId, UserId, session_key_of
from tests.fakes.topic_names import PROMPTS, session_topic
from tests.integration.gateway_line import (
    SessionWriter,
    WireClient,
    answer_events,
    gateway_settings,
    running_gateway,
    token_for,
)

REFUSED: Final = {
    "..": "..",
    "path": "../../etc/passwd",
    "topic of the broker": "__consumer_offsets",
    "300 characters": "s" * 300,
    "not ASCII": "s\u00e9ance-\u0441\u0435\u0441\u0441\u0438\u044f",
    "NUL": "a\0b",
    "line": "a\nb",
    "SQL": "x'; DROP TABLE turns; --",
    "SQL that is always true": "x' OR '1'='1",
    "blank": " ",
}
TAKEN: Final = (PROMPTS, "tokenwire.sessions", "consumer_offsets", "a..b", "s-1@x:y", "s" * 128)
"""Ids within the rules, some of them names of topics: keys are made of them, never names."""
ADMIN_S: Final = 10.0


async def test_S6_session_ids_never_become_names_of_topics(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Refused with a sentence that says what an id may be, or hashed; the topics that came are named by keys alone."""
    settings = await gateway_settings(broker, tmp_path)
    before = await topics(settings)
    async with running_gateway(settings) as port, SessionWriter(settings) as writer:
        async with WireClient.connected(port, "namer") as client:
            for name, session in REFUSED.items():
                for ask in asks(session):
                    await client.send_raw(json.dumps(ask))
                    error = await client.until("error")  # a hello is welcomed first
                    assert (error.code, error.field) == ("invalid_field", ask.get("names", "session")), name
                    assert "begin with a letter or digit" in error.message, name
                    assert session.strip() in ("", "..") or session not in error.message, name
            for session in TAKEN:
                await client.send(Attach(session=session))
                await client.next("attached")
                await writer.append("namer", session, answer_events("t1", [f"of {session[:20]}"]))
                assert (await client.until("end")).reason == "complete"
        texts = [message.text for message in client.told if isinstance(message, Delta)]
    new = await topics(settings) - before

    assert texts == [f"of {session[:20]}" for session in TAKEN]
    assert new == {session_topic(session_key_of(UserId("namer"), SessionId(session))).name for session in TAKEN}


def asks(session: str) -> list[dict[str, Any]]:
    """Each way to name a session."""
    return [
        {"type": "attach", "session": session},
        {"type": "detach", "session": session},
        {"type": "prompt", "session": session, "prompt_id": "p1", "input": "Hello"},
        {"type": "cancel", "session": session, "prompt_id": "p1"},
        {"type": "hello", "token": token_for("namer"), "resume": {session: "tail"}, "names": "resume"},
    ]


async def topics(settings: Settings) -> set[str]:
    """All there are."""
    admin = AdminClient(librdkafka_options(settings))
    return set((await asyncio.to_thread(admin.list_topics, timeout=ADMIN_S)).topics)
