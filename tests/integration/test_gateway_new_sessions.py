"""Sessions that nobody has said anything in, on a real broker: to follow them makes nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from schemas.client_messages import Attach
from schemas.gateway_messages import Attached
from schemas.identifiers import check_session_id, check_user_id, session_key_of
from tests.fakes.topic_names import session_place
from tests.integration.gateway_line import SessionWriter, WireClient, answer_events, gateway_settings, running_gateway

__all__: list[str] = []

ATTACHES: Final = 1_000
USER: Final = "flooder"
ADMIN_S: Final = 10.0


async def test_S22_a_thousand_attaches_make_no_topic(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Each is attached at once, without a cursor; one that begins is told from its first word on."""
    settings = await gateway_settings(broker, tmp_path)
    sessions = [f"flood-{number}" for number in range(ATTACHES)]
    async with (
        running_gateway(settings) as port,
        WireClient.connected(port, USER) as client,
        SessionWriter(settings) as writer,
    ):
        for session in sessions:
            await client.send(Attach(session=session))
        answers = [await client.next("attached") for _ in sessions]
        admin = AdminClient(librdkafka_options(settings))
        topics = (await asyncio.to_thread(admin.list_topics, timeout=ADMIN_S)).topics
        await writer.append(USER, sessions[7], answer_events("t7", ["at ", "last"]))
        first = await client.until("delta")
        await client.until("end")

        assert answers == [Attached(session=session, head="", recovered="live") for session in sessions]
        assert not {topic_of(session) for session in sessions} & topics.keys()
        assert (first.session, first.text) == (sessions[7], "at ")
        async with WireClient.connected(port, USER, resume={sessions[7]: first.c}) as again:
            assert (await again.until("delta")).text == "last"


def topic_of(session: str) -> str:
    return session_place(session_key_of(check_user_id(USER), check_session_id(session)), "dedicated").topic
