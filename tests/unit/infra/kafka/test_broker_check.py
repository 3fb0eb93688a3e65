"""Brokers that lack what we need are found before anything is done with them, over a real socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.process.server import serve_gateway
from infra.kafka.broker_check import BrokersUnfit, check_brokers
from infra.kafka.session_topics import SessionTopics, SessionTopicsUnavailable
from infra.kafka.topic_admin import ensure_topics
from infra.ports import find_free_port
from infra.settings import Settings, load_settings
from processors.app import serve_worker
from schemas.identifiers import SessionKey
from tests.fakes.scripted_broker import MODERN, ScriptedBroker, scripted_broker
from tests.fakes.topic_names import PROMPTS, fixed_topics, session_place

__all__: list[str] = []

AN_ID = bytes(range(16))
ZEROS = bytes(16)
OLD = {**MODERN, 3: (0, 9)}
"""Kafka 2.7."""
KEY = SessionKey("asessionskey")


def settings_for(broker: ScriptedBroker, home: Path | None = None) -> Settings:
    return load_settings({}, kafka=broker.bootstrap_servers, home=home or Path(".tokenwire"))


async def test_broker_that_has_everything() -> None:
    """Nothing is said, whether there are topics already or not."""
    for topics in ({}, {PROMPTS: AN_ID}):
        async with scripted_broker(topics=topics) as broker:
            await check_brokers(settings_for(broker))
            assert broker.asked[-1] == (3, 10)


async def test_broker_before_topic_ids() -> None:
    """The sentence names the address, the request, both versions and what to do."""
    async with scripted_broker(OLD) as broker:
        with pytest.raises(BrokersUnfit, match="versions 0 to 9 of the request Metadata; version 10 is needed") as told:
            await check_brokers(settings_for(broker))

    assert broker.bootstrap_servers in str(told.value)
    assert "upgrade the brokers" in str(told.value)


async def test_broker_whose_topics_have_no_ids() -> None:
    """Sixteen zeros are no id."""
    async with scripted_broker(topics={PROMPTS: ZEROS}) as broker:
        with pytest.raises(BrokersUnfit, match=r"be used\. They give topic tokenwire\.prompts no id"):
            await check_brokers(settings_for(broker))


async def test_several_servers_of_which_one_answers() -> None:
    """The others are passed over; where none answers there is no news."""
    nowhere = f"127.0.0.1:{find_free_port()}"
    await check_brokers(load_settings({}, kafka=nowhere))
    async with scripted_broker(OLD) as broker:
        with pytest.raises(BrokersUnfit):
            await check_brokers(load_settings({}, kafka=f"{nowhere},{broker.bootstrap_servers}"))


async def test_every_process_that_needs_it_asks(tmp_path: Path) -> None:
    """Worker, gateway and `migrate` end with the sentence before they have touched anything."""
    async with scripted_broker(OLD) as broker:
        settings = settings_for(broker, tmp_path / "home")
        for starting in (
            serve_worker(settings),
            serve_gateway(settings, stop=asyncio.Event()),
            ensure_topics(settings, fixed_topics("dedicated")),
        ):
            with pytest.raises(BrokersUnfit):
                await starting

    assert set(broker.asked) == {(18, 0)}
    assert not (tmp_path / "home").exists()


async def test_session_topic_without_an_id() -> None:
    """It is no log whose cursors could be told apart: whoever asks is told so, and may ask again."""
    async with scripted_broker(topics={session_place(KEY, "dedicated").topic: ZEROS}) as broker:
        topics = SessionTopics(settings_for(broker))
        await topics.start()
        try:
            with pytest.raises(SessionTopicsUnavailable, match="no id"):
                await topics.find(KEY)
            with pytest.raises(SessionTopicsUnavailable, match="no id"):
                await topics.ensure(KEY)
        finally:
            await topics.stop()


async def test_broker_that_is_replaced_by_an_older_one() -> None:
    """Whoever asks is told so; the asker lives on and serves the next one once a newer broker answers."""
    topic = session_place(KEY, "dedicated").topic
    async with scripted_broker(OLD, {topic: AN_ID}) as broker:
        topics = SessionTopics(settings_for(broker))
        await topics.start()
        try:
            with pytest.raises(SessionTopicsUnavailable, match="TopicIdsRequest"):
                await topics.ensure(KEY)
            broker.offered = MODERN
            await topics.directory.close()

            assert (await topics.ensure(KEY)).epoch == "AAECAwQFBgcICQoLDA0ODw"
        finally:
            await topics.stop()
