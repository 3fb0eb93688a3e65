"""No request of ours lets a broker create a topic; what is known of aiokafka for that still holds."""

from __future__ import annotations

import ast
from pathlib import Path
from types import SimpleNamespace

import aiokafka
import faust
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import IncompatibleBrokerVersion
from aiokafka.protocol.metadata import MetadataRequest

from infra.kafka.existing_topics import ExistingTopicsRequest
from infra.kafka.sparse_metadata import SparseMetadataClient, without_creation

__all__: list[str] = []

METADATA = 3
ASKERS = {
    ("aiokafka/client.py", "bootstrap"),  # names no topic
    ("aiokafka/client.py", "_metadata_update"),  # replaced by ours
    ("aiokafka/admin/client.py", "_get_cluster_metadata"),  # not used
    ("faust/transport/drivers/aiokafka.py", "_get_controller_node"),  # names no topic
}


@pytest.mark.parametrize("newest", [4, 5, 13])
def test_request_says_no(newest: int) -> None:
    """Whatever version a broker has, the last byte is the no, with topics and without."""
    for topics in (["a", "b"], [], None):
        request = ExistingTopicsRequest(topics).prepare({METADATA: (0, newest)})
        assert request.encode()[-1] == 0


def test_broker_that_cannot_be_told_no() -> None:
    """It is not asked at all."""
    with pytest.raises(IncompatibleBrokerVersion, match="up to version 3"):
        ExistingTopicsRequest(["a"]).prepare({METADATA: (0, 3)})


def test_aiokafka_still_says_yes_where_it_is_not_told() -> None:
    """If this fails, a part of our precaution may have become needless."""
    assert MetadataRequest(["a"]).prepare({METADATA: (0, 5)}).encode()[-1] == 1


async def test_clients_that_aiokafka_builds() -> None:
    """They become ours before they are started; one of another kind is refused."""
    producer = AIOKafkaProducer(bootstrap_servers="127.0.0.1:1")
    consumer = AIOKafkaConsumer(bootstrap_servers="127.0.0.1:1")
    for client in (producer.client, consumer._client):
        without_creation(client)
        assert type(client) is SparseMetadataClient
    with pytest.raises(RuntimeError, match="SimpleNamespace"):
        without_creation(SimpleNamespace())
    await producer.stop()
    await consumer.stop()


def test_who_asks_for_metadata_in_aiokafka_and_faust() -> None:
    """A new place would have to be looked at: it may ask for topics, and let them be created."""
    found = set()
    for package in (aiokafka, faust):
        folder = Path(package.__path__[0])
        for file in folder.rglob("*.py"):
            source = file.read_text()
            for function in ast.walk(ast.parse(source)) if "MetadataRequest" in source else ():
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and asks(function):
                    found.add((file.relative_to(folder.parent).as_posix(), function.name))

    assert found == ASKERS


def asks(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether a metadata request is made in the function."""
    calls = (node.func for node in ast.walk(function) if isinstance(node, ast.Call))
    return any(isinstance(called, ast.Name) and called.id.startswith("MetadataRequest") for called in calls)
