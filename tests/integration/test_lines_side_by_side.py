"""Two whole lines on one broker that others use as well, told apart by their prefixes alone."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka import Producer as PlainProducer
from confluent_kafka.admin import AdminClient

from infra.embedded.broker import EmbeddedBroker
from infra.settings import Settings, load_settings
from infra.simulated_provider.answer_text import answer_for
from producers.dead_letters.dead_letter_box import DeadLetterBox, LetterFilter
from producers.sdk import Producer
from schemas.identifiers import SessionId, UserId, session_key_of
from schemas.prompts import ChatMessage
from schemas.topics import TopicNames, user_partition
from tests.integration.chat_client import ChatClient
from tests.integration.ledger import rows_of
from tests.integration.whole_line import POLL_S, WholeLine, running_line

ONE: Final = TopicNames("team")
OTHER: Final = TopicNames("team.session")
"""Begins as the names of the first line's session topics do."""
USER: Final = "alice"
WORDS: Final = "Why is the sky blue?"
GROUPS: Final = ("worker", "analytics")
QUIET_S: Final = 60.0
KAFKA_S: Final = 10.0


def settings_of(line: WholeLine, names: TopicNames) -> Settings:
    return load_settings({}, home=line.home, kafka=line.kafka, topic_prefix=names.prefix)


async def ask(line: WholeLine, names: TopicNames) -> None:
    """The same user, session and prompt id at every line: a prompt by websocket, another by the SDK, then poison."""
    async with (
        ChatClient.connected(line.gateways[0], line.token(USER)) as client,
        Producer(settings_of(line, names)) as producer,
    ):
        seen = await client.answer("s1", WORDS, prompt_id="p1")
        assert seen.text == "".join(answer_for([ChatMessage(role="user", content=WORDS)]))
        receipt = await producer.submit("And at dusk?", user=USER, session="s1", prompt_id=f"p2-{names.prefix}")
        ended = await client.ended(receipt.turn)
        assert ended.end is not None
        assert ended.end.reason == "complete"
        assert len(client.turns) == 2
    poison = PlainProducer({"bootstrap.servers": line.kafka})
    poison.produce(names.prompts, names.prefix.encode(), USER.encode(), partition=user_partition(USER))
    assert poison.flush(KAFKA_S) == 0


async def check_alone(line: WholeLine, names: TopicNames) -> None:
    """The line has its own two calls, rows and dead letter, and nothing of the other's."""
    assert len(await asyncio.to_thread(line.calls)) == 2
    rows: list[dict[str, Any]] = []
    async with asyncio.timeout(QUIET_S):
        while len(rows) < 2:
            rows = await asyncio.to_thread(rows_of, line, [USER])
            await asyncio.sleep(POLL_S)
    assert {row["prompt_id"] for row in rows} == {"p1", f"p2-{names.prefix}"}
    async with DeadLetterBox(settings_of(line, names)) as box, asyncio.timeout(QUIET_S):
        while not (letters := [found.letter async for found in box.newest(LetterFilter())]):  # noqa: ASYNC110  # a log
            await asyncio.sleep(POLL_S)
    assert [(letter.topic, letter.value) for letter in letters] == [(names.prompts, names.prefix.encode())]


def check_names(kafka: str) -> None:
    """What is on the broker: the two lines' topics and groups and Kafka's own, and no client goes by another name."""
    admin = AdminClient({"bootstrap.servers": kafka})
    key = session_key_of(UserId(USER), SessionId("s1"))
    topics = {spec.name for spec in ONE.fixed_topics("dedicated")} | {ONE.session_topic(key).name}
    topics |= {spec.name for spec in OTHER.fixed_topics("shared")}
    assert admin.list_topics(timeout=KAFKA_S).topics.keys() == topics | {"__consumer_offsets"}

    listed = admin.list_consumer_groups(request_timeout=KAFKA_S).result(KAFKA_S)
    groups = {names.member(role) for names in (ONE, OTHER) for role in GROUPS}
    assert {group.group_id for group in listed.valid} == groups
    for name, described in admin.describe_consumer_groups(list(groups), request_timeout=KAFKA_S).items():
        prefix = name.rpartition("-")[0]
        assert all(member.client_id.startswith(f"{prefix}-") for member in described.result(KAFKA_S).members), name


@pytest.mark.timeout(400)  # two lines start, on a machine that may be busy
async def test_two_lines_on_one_broker_do_not_see_each_other(private_broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Same user, session and prompt id in both: each answers, pays, stores and buries its own."""
    kafka = private_broker.bootstrap_servers
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    with (
        running_line(folders[0], kafka=kafka, topic_prefix=ONE.prefix) as one,
        running_line(folders[1], kafka=kafka, topic_prefix=OTHER.prefix, topic_layout="shared") as other,
    ):
        lines = ((one, ONE), (other, OTHER))
        await asyncio.gather(*(ask(line, names) for line, names in lines))
        await asyncio.gather(*(check_alone(line, names) for line, names in lines))
        await asyncio.to_thread(check_names, kafka)
