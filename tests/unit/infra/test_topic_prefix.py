from __future__ import annotations

import pytest

from infra.kafka.connection import librdkafka_options
from infra.settings import SettingsError, load_settings
from schemas.topics import PREFIX_CHARS_MAX

__all__: list[str] = []


@pytest.mark.parametrize("prefix", ["team-a.chat", "A", "0", "x" * PREFIX_CHARS_MAX, "a__b.c--d"])
def test_prefix_that_kafka_takes(prefix: str) -> None:
    """It stands in the place of `tokenwire` in the names of topics, groups and clients."""
    settings = load_settings({"TOKENWIRE_TOPIC_PREFIX": prefix})

    assert settings.topic_names.prompts == f"{prefix}.prompts"
    assert settings.worker_group_name == f"{prefix}-worker"
    assert all(topic.name.startswith(f"{prefix}.") for topic in settings.fixed_topics)
    assert librdkafka_options(settings)["client.id"] == prefix


@pytest.mark.parametrize(
    "prefix", ["", ".", "team.", "__x", "-a", "a b", "a/b", "ä", "a\n", "x" * (PREFIX_CHARS_MAX + 1)]
)
def test_prefix_that_kafka_refuses(prefix: str) -> None:
    """One sentence names the setting and says what is allowed."""
    with pytest.raises(SettingsError) as refused:
        load_settings({"TOKENWIRE_TOPIC_PREFIX": prefix})

    (fault,) = refused.value.faults
    assert fault.startswith("TOKENWIRE_TOPIC_PREFIX: ")
    assert "the first and the last" in fault


def test_group_that_is_named_by_the_operator() -> None:
    """It is taken as it stands."""
    settings = load_settings({"TOKENWIRE_TOPIC_PREFIX": "a", "TOKENWIRE_WORKER_GROUP": "answerers"})

    assert settings.worker_group_name == "answerers"
