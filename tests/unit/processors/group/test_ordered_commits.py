"""How the worker's consumer fetches. What it commits is tried on a real broker (`tests/faults`)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from faust.transport.drivers.aiokafka import AIOKafkaConsumerThread

from processors.group.ordered_commits import FETCH_WAIT_MS, PromptsConsumerThread


def created(monkeypatch: pytest.MonkeyPatch, consumer: Any) -> Any:
    """What our thread makes of the consumer that Faust's would have created. Faust's own start opens event loops."""
    monkeypatch.setattr(AIOKafkaConsumerThread, "_create_worker_consumer", lambda *_: consumer)
    return object.__new__(PromptsConsumerThread)._create_worker_consumer(None)


async def test_fetches_are_kept_for_a_short_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real consumer, set up as Faust does, gets our limit before it starts."""
    consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1", fetch_max_wait_ms=1_500)

    same = created(monkeypatch, consumer)
    await consumer.stop()

    assert same is consumer
    assert consumer._fetch_max_wait_ms == FETCH_WAIT_MS


def test_aiokafka_that_keeps_it_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version without that attribute would fetch slowly without a word: the worker does not start."""
    with pytest.raises(RuntimeError, match="aiokafka"):
        created(monkeypatch, SimpleNamespace())
