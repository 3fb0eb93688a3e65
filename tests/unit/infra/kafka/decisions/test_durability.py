"""When the brokers' defaults put acknowledged records at risk."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from infra.kafka.decisions.durability import durability_hint

__all__: list[str] = []


@given(st.integers(1, 7), st.integers(1, 7))
def test_nothing_is_said_only_where_one_broker_may_go(replicas: int, insync_min: int) -> None:
    """Neither its records nor the writing must depend on a single one."""
    safe = insync_min >= 2 and replicas > insync_min

    assert (durability_hint(replicas=replicas, insync_min=insync_min) is None) == safe


def test_kafka_as_it_comes() -> None:
    """One replica: the sentence names the setting of ours that mends it."""
    assert "TOKENWIRE_KAFKA_REPLICATION=3" in (durability_hint(replicas=1, insync_min=1) or "")
