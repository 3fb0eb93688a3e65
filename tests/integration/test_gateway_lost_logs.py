"""The gateway on a real broker whose logs are cut, deleted or away for a while."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from infra.settings import Settings
from schemas.client_messages import Attach, Prompt
from schemas.gateway_messages import Delta
from schemas.identifiers import check_session_id, check_user_id, session_key_of
from tests.fakes.topic_names import session_place
from tests.integration.gateway_line import (
    SessionWriter,
    WireClient,
    answer_events,
    gateway_settings,
    running_gateway,
)
from tests.integration.told_answers import OUTAGE_S_MAX, told_answer


async def test_G7_cursor_beyond_retention(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """What the log no longer holds is a gap, said before a snapshot of what is left; then live."""
    settings = await gateway_settings(broker, tmp_path)
    key = session_key_of(check_user_id("alice"), check_session_id("short"))
    async with SessionWriter(settings) as writer:
        async with running_gateway(settings) as port, WireClient.connected(port) as client:
            await client.send(Attach(session="short"))
            await client.next("attached")
            await writer.append("alice", "short", answer_events("t1", ["a", "b"]))
            await told_answer(client, "t1")
            cursor = next(message.c for message in client.told if isinstance(message, Delta))
        last = await writer.append("alice", "short", answer_events("t2", ["c", "d"], prompt_id="p2"))
        await cut_log(settings, session_place(key, "dedicated").topic, last - 4)
        async with running_gateway(settings) as port, WireClient.connected(port, resume={"short": cursor}) as client:
            assert (await client.next("attached")).recovered == "gap"
            assert (await client.next("gap")).reason == "expired"
            snapshot = await client.next("snapshot")
            await writer.append("alice", "short", answer_events("t3", ["e"], prompt_id="p3"))

            assert [(turn.turn, turn.text, turn.reason) for turn in snapshot.turns] == [("t2", "cd", "complete")]
            assert await told_answer(client, "t3") == "e"


async def test_topic_deleted_and_made_anew(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A cursor of the old log does not pass for one of the new: gap, then what there is."""
    settings = await gateway_settings(broker, tmp_path)
    key = session_key_of(check_user_id("alice"), check_session_id("anew"))
    async with (
        running_gateway(settings) as port,
        SessionWriter(settings) as writer,
        WireClient.connected(port) as client,
    ):
        await client.send(Attach(session="anew"))
        await client.next("attached")
        await writer.append("alice", "anew", answer_events("t1", ["a"]))
        await told_answer(client, "t1")
        cursor = next(message.c for message in client.told if isinstance(message, Delta))
    await delete_topic(settings, session_place(key, "dedicated").topic)
    async with running_gateway(settings) as port, SessionWriter(settings) as writer:
        await writer.append("alice", "anew", answer_events("t2", ["z"] * 9))
        async with WireClient.connected(port, resume={"anew": cursor}) as client:
            assert (await client.next("attached")).recovered == "gap"
            assert (await client.next("gap")).reason == "recreated"
            assert [turn.turn for turn in (await client.next("snapshot")).turns] == ["t2"]


async def test_broker_killed_and_restarted_in_mid_answer(private_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Sockets stay open, prompts are refused as temporary meanwhile, the stream goes on within 15 s (row R1)."""
    settings = await gateway_settings(private_broker, tmp_path)
    texts = [f"w{number} " for number in range(40)]
    events = answer_events("t1", texts)
    async with running_gateway(settings) as port, WireClient.connected(port) as client:
        async with SessionWriter(settings) as writer:
            await client.send(Attach(session="outage"))
            await client.next("attached")
            await writer.append("alice", "outage", events[:20])
        while not isinstance(message := await client.next(), Delta) or message.seq + message.n < 18:
            pass
        assert private_broker.pid is not None
        os.kill(private_broker.pid, signal.SIGKILL)
        await private_broker.wait()
        await client.send(Prompt(session="outage", prompt_id="p9", input="Hello"))
        refusal = await client.until("error")
        await private_broker.start()
        async with SessionWriter(settings) as writer:
            await writer.append("alice", "outage", events[20:])
        async with asyncio.timeout(OUTAGE_S_MAX):
            rest = await told_answer(client, "t1", from_seq=18)

        assert refusal.temporary
        assert refusal.code in ("unavailable", "unknown_outcome")
        assert refusal.retry_after_s is not None
        assert rest == "".join(texts[18:])


async def cut_log(settings: Settings, topic: str, start: int) -> None:
    admin = AdminClient(librdkafka_options(settings))
    futures = admin.delete_records([TopicPartition(topic, 0, start)])
    await asyncio.gather(*(asyncio.to_thread(future.result, 10) for future in futures.values()))


async def delete_topic(settings: Settings, topic: str) -> None:
    admin = AdminClient(librdkafka_options(settings))
    futures: dict[str, Any] = admin.delete_topics([topic])
    await asyncio.gather(*(asyncio.to_thread(future.result, 10) for future in futures.values()))
    async with asyncio.timeout(10):
        while topic in (await asyncio.to_thread(admin.list_topics, timeout=5)).topics:  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.05)
