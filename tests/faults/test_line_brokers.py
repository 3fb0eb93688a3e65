"""One of three brokers killed in mid-answer, as websockets see it: row R1 on a cluster."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from infra.simulated_provider.answer_text import answer_for
from schemas.identifiers import check_session_id, check_user_id, session_key_of
from schemas.prompts import ChatMessage
from tests.fakes.topic_names import fixed_topics, session_topic
from tests.integration.chat_client import ChatClient
from tests.integration.ledger import Asked, check_ledger
from tests.integration.whole_line import WholeLine, running_line

STREAMS: Final = 4
TOKENS: Final = 150
DIRECTIVE: Final = f"[[sim tokens={TOKENS} pace_ms=40 first_ms=50]] "
CHUNKS_BEFORE: Final = 5
ENDED_S: Final = 60.0
GOES_ON_S: Final = 15.0
QUERY_S: Final = 10.0


async def test_r1_one_of_three_brokers_killed_in_mid_answer(tmp_path: Path) -> None:
    """Sockets stay open, every answer goes on without it and ends whole, at its first attempt; it comes back."""
    questions = [f"Question {number}?" for number in range(STREAMS)]
    with running_line(tmp_path, "--brokers", "3", kafka_heap_mb=192) as line:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(ChatClient.connected(line.gateways[0], line.token(f"user-{number}")))
                for number in range(STREAMS)
            ]
            accepted = await asyncio.gather(
                *(each.prompt("s1", DIRECTIVE + words, "p1") for each, words in zip(clients, questions, strict=True))
            )
            turns = [each.turns[0] for each in accepted]
            await asyncio.gather(
                *(each.chunks_of(turn, CHUNKS_BEFORE) for each, turn in zip(clients, turns, strict=True))
            )
            killed = line.kill(await asyncio.to_thread(leader_of, line, "user-0"))
            killed_s = time.monotonic()
            seen = [client.turns[turn] for client, turn in zip(clients, turns, strict=True)]
            assert not any(turn.end for turn in seen)
            await asyncio.gather(*(each.ended(turn, ENDED_S) for each, turn in zip(clients, turns, strict=True)))
            took_s = time.monotonic() - killed_s

            assert took_s < TOKENS * 0.04 + GOES_ON_S, line.logs()
            assert all(client.is_open for client in clients)
            assert [turn.attempt for turn in seen] == [1] * STREAMS
            asked = [
                Asked(user=f"user-{number}", session="s1", prompt_id="p1", text=answer_to(words))
                for number, words in enumerate(questions)
            ]
            await check_ledger(line, asked, clients=clients)
        await asyncio.to_thread(line.until_restarted, killed)
        await asyncio.to_thread(assert_replicated, line)


def answer_to(words: str) -> str:
    return "".join(answer_for([ChatMessage(role="user", content=words)], tokens=TOKENS))


def leader_of(line: WholeLine, user: str) -> str:
    """The broker that leads a user's session, as the line calls it."""
    topic = session_topic(session_key_of(check_user_id(user), check_session_id("s1"))).name
    metadata = AdminClient({"bootstrap.servers": line.kafka}).list_topics(topic, timeout=QUERY_S)
    return f"kafka-{metadata.topics[topic].partitions[0].leader}"


def assert_replicated(line: WholeLine) -> None:
    """Every topic, Kafka's own included, has three replicas, two of which must have what is acknowledged."""
    client = AdminClient({"bootstrap.servers": line.kafka})
    topics = client.list_topics(timeout=QUERY_S).topics
    assert {spec.name for spec in fixed_topics("dedicated")} | {"__consumer_offsets"} <= topics.keys()
    for name, topic in topics.items():
        assert {len(partition.replicas) for partition in topic.partitions.values()} == {3}, name
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in topics]
    for resource, answer in client.describe_configs(resources, request_timeout=QUERY_S).items():
        config = answer.result(timeout=QUERY_S)
        assert config["min.insync.replicas"].value == "2", resource
        assert config["unclean.leader.election.enable"].value == "false", resource
