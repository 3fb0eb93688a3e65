from __future__ import annotations

import re
from collections import Counter
from typing import get_args

import pytest
from aiokafka.partitioner import murmur2 as aiokafka_murmur2
from hypothesis import given
from hypothesis import strategies as st

from schemas.identifiers import SessionId, SessionKey, UserId, session_key_of
from schemas.topics import (
    PREFIX_CHARS_MAX,
    PREFIX_PATTERN,
    USER_PARTITIONS,
    Layout,
    TopicNames,
    murmur2,
    user_partition,
)
from tests.fakes.topic_names import (
    DEAD_LETTERS,
    PROMPTS,
    RECORDS,
    SHARED_SESSIONS,
    TURNS,
    fixed_topics,
    session_place,
    session_topic,
)

__all__: list[str] = []

HOUR_MS = 3_600_000
KEY = session_key_of(UserId("alice"), SessionId("s1"))


@given(st.binary(max_size=200))
def test_murmur2_agrees_with_another_client(key: bytes) -> None:
    """The hash is the one aiokafka (and Java, and librdkafka's murmur2_random) uses."""
    assert murmur2(key) == aiokafka_murmur2(key) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("key", "expected"),
    [(b"21", -973932308), (b"foobar", -790332482), (b"a-little-bit-long-string", -985981536), (b"abc", 479470107)],
)
def test_murmur2_of_known_keys(key: bytes, expected: int) -> None:
    """Values published with Kafka's own tests, as signed numbers."""
    assert murmur2(key) == expected & 0xFFFFFFFF


@given(st.text(min_size=1, max_size=128))
def test_user_partition_is_one_of_the_twelve(user: str) -> None:
    """Every user has a partition, the same each time."""
    assert 0 <= user_partition(user) < USER_PARTITIONS
    assert user_partition(user) == user_partition(user)


def test_users_spread_over_the_partitions() -> None:
    """No partition gets more than a fifth of 1,200 users."""
    counts = Counter(user_partition(f"user-{number}") for number in range(1_200))

    assert len(counts) == USER_PARTITIONS
    assert max(counts.values()) < 240


def test_prompts_and_journal_are_co_partitioned() -> None:
    """The owner of a user's prompts is the owner of the user's journal."""
    topics = {topic.name: topic for topic in fixed_topics("dedicated")}

    assert topics[PROMPTS].partitions == topics[TURNS].partitions == USER_PARTITIONS


def test_only_the_shared_layout_has_a_topic_of_sessions() -> None:
    """Dedicated topics come one by one; shared ones exist before anything starts."""
    dedicated = {topic.name for topic in fixed_topics("dedicated")}
    shared = {topic.name for topic in fixed_topics("shared")}

    assert shared - dedicated == {SHARED_SESSIONS}
    assert dedicated < shared


def test_retention_follows_the_catalogue() -> None:
    """Sessions 24 hours unless set, prompts and records 7 days, dead letters 30; the journal is compacted."""
    topics = {topic.name: topic.config for topic in fixed_topics("shared", session_retention_h=48)}

    assert topics[SHARED_SESSIONS]["retention.ms"] == str(48 * HOUR_MS)
    assert topics[PROMPTS]["retention.ms"] == topics[RECORDS]["retention.ms"] == str(7 * 24 * HOUR_MS)
    assert topics[DEAD_LETTERS]["retention.ms"] == str(30 * 24 * HOUR_MS)
    assert topics[TURNS]["cleanup.policy"] == "compact"
    assert session_topic(KEY).config["retention.ms"] == str(24 * HOUR_MS)


def test_every_topic_is_stamped_by_the_broker() -> None:
    """One clock for looking offsets up by time, however skewed the writers' clocks are."""
    for topic in (*fixed_topics("shared"), session_topic(KEY)):
        assert topic.config["message.timestamp.type"] == "LogAppendTime"


def test_dedicated_session_has_a_topic_of_its_own() -> None:
    """Its name holds the key and never the session id."""
    place = session_place(KEY, "dedicated")

    assert (place.topic, place.partition, place.shared) == (f"tokenwire.session.{KEY}", 0, False)
    assert session_topic(KEY).name == place.topic
    assert session_topic(KEY).partitions == 1


def test_shared_session_has_a_partition_of_the_shared_topic() -> None:
    """Sessions spread over the partitions that exist."""
    shared = {topic.name: topic for topic in fixed_topics("shared")}[SHARED_SESSIONS]
    places = [
        session_place(session_key_of(UserId("alice"), SessionId(f"s{number}")), "shared") for number in range(500)
    ]

    assert {place.topic for place in places} == {SHARED_SESSIONS}
    assert {place.partition for place in places} == set(range(shared.partitions))
    assert all(place.shared for place in places)


def every_name(names: TopicNames) -> list[str]:
    """All topics of a line in both layouts, a session's own among them."""
    return [*(topic.name for topic in names.fixed_topics("shared")), names.session_topic(KEY).name]


def test_names_without_a_prefix_of_ones_own() -> None:
    """They are what they always were: a new version finds the topics and groups of an old one."""
    assert every_name(TopicNames()) == [
        "tokenwire.prompts",
        "tokenwire.turns",
        "tokenwire.ledger",
        "tokenwire.activity",
        "tokenwire.records",
        "tokenwire.access",
        "tokenwire.tickets",
        "tokenwire.deadletters",
        "tokenwire.sessions",
        f"tokenwire.session.{KEY}",
    ]
    assert [TopicNames().member(role) for role in ("worker", "analytics")] == [
        "tokenwire-worker",
        "tokenwire-analytics",
    ]


@given(st.from_regex(PREFIX_PATTERN, fullmatch=True).map(lambda text: text[:PREFIX_CHARS_MAX]))
def test_every_name_is_one_that_kafka_takes(prefix: str) -> None:
    """Kafka's letters, at most 249 of them, beginning with the prefix."""
    for name in every_name(TopicNames(prefix)):
        assert re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", name)
        assert name.startswith(prefix)


@given(
    st.lists(st.from_regex(r"[ab]([.]?(session|prompts|[ab]))*", fullmatch=True), min_size=2, max_size=4, unique=True)
)
def test_lines_of_different_prefixes_share_no_name(prefixes: list[str]) -> None:
    """Also where one prefix begins with another, or ends like a topic."""
    names = [name for prefix in prefixes for name in every_name(TopicNames(prefix))]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("layout", get_args(Layout))
def test_dense_topics_are_those_that_are_not_compacted(layout: Layout) -> None:
    """On them an offset that is missing is lost; of others' topics nobody knows."""
    names = TopicNames("line-2")
    for topic in (*names.fixed_topics(layout), names.session_topic(SessionKey("a" * 32))):
        assert names.is_dense(topic.name) == (topic.config["cleanup.policy"] == "delete")
    assert not names.is_dense("records")
    assert not names.is_dense("line-1.records")
