"""The AsyncAPI document: well formed by the rules of AsyncAPI 3.0, and complete."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.topic_names import NAMES, TICKETS, TURNS, fixed_topics
from tokenwire.references.generated_references import ROOT, references

PLACE = Path("docs/reference/asyncapi.json")
DOCUMENT: dict[str, Any] = json.loads(references()[PLACE])
KEY = re.compile(r"[A-Za-z0-9._-]+")
ALLOWED = {
    "root": {"asyncapi", "id", "info", "defaultContentType", "servers", "channels", "operations", "components"},
    "server": {"host", "protocol", "protocolVersion", "pathname", "description", "security", "tags", "bindings"},
    "channel": {
        "address", "messages", "title", "summary", "description", "servers", "parameters", "tags", "externalDocs",
        "bindings",
    },
    "operation": {
        "action", "channel", "title", "summary", "description", "security", "tags", "externalDocs", "bindings",
        "traits", "messages", "reply",
    },
    "message": {
        "headers", "payload", "correlationId", "contentType", "name", "title", "summary", "description", "tags",
        "externalDocs", "bindings", "examples", "traits",
    },
    "parameter": {"enum", "default", "description", "examples", "location"},
    "kafka": {"topic", "partitions", "replicas", "topicConfiguration", "bindingVersion"},
    "configuration": {
        "cleanup.policy", "retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes",
    },
    "ws": {"method", "query", "headers", "bindingVersion"},
}  # fmt: skip
"""What AsyncAPI 3.0.0, and the bindings of Kafka 0.5.0 and websockets 0.1.0, allow in each object."""


def local_references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from local_references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from local_references(inner)


def resolved(reference: str) -> Any:
    """What a reference leads to, in this document or in a file beside it. Raises KeyError, OSError."""
    file, _, pointer = reference.partition("#")
    found: Any = json.loads((ROOT / PLACE.parent / file).read_text()) if file else DOCUMENT
    for part in pointer.removeprefix("/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def test_head() -> None:
    """Version, title and nothing unknown at the top."""
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    assert DOCUMENT.keys() <= ALLOWED["root"]
    for server in DOCUMENT["servers"].values():
        assert {"host", "protocol"} <= server.keys() <= ALLOWED["server"]


@pytest.mark.parametrize("name", DOCUMENT["channels"])
def test_channel(name: str) -> None:
    """Its servers and messages are references, every parameter of its address is told of, bindings are known."""
    channel = DOCUMENT["channels"][name]

    assert KEY.fullmatch(name)
    assert channel.keys() <= ALLOWED["channel"]
    assert all(each["$ref"].startswith("#/servers/") for each in channel["servers"])
    assert channel["messages"]
    assert all(each.keys() == {"$ref"} for each in channel["messages"].values())
    assert set(re.findall(r"\{(\w+)\}", channel["address"])) == channel.get("parameters", {}).keys()
    assert all(each.keys() <= ALLOWED["parameter"] for each in channel.get("parameters", {}).values())
    for protocol, binding in channel["bindings"].items():
        assert binding.keys() <= ALLOWED[protocol]
        assert binding.get("topicConfiguration", {}).keys() <= ALLOWED["configuration"]
    (server,) = (resolved(each["$ref"]) for each in channel["servers"])
    assert list(channel["bindings"]) == [server["protocol"]]


@pytest.mark.parametrize("name", DOCUMENT["operations"])
def test_operation(name: str) -> None:
    """It sends or receives on a channel, and each of its messages is one of that channel."""
    operation = DOCUMENT["operations"][name]
    channel = operation["channel"]["$ref"]

    assert {"action", "channel"} <= operation.keys() <= ALLOWED["operation"]
    assert operation["action"] in ("send", "receive")
    assert re.fullmatch(r"#/channels/[\w.-]+", channel)
    assert operation["messages"]
    assert all(each["$ref"].startswith(f"{channel}/messages/") for each in operation["messages"])


@pytest.mark.parametrize("name", DOCUMENT["components"]["messages"])
def test_message(name: str) -> None:
    """It is used, and its payload is a definition with that very tag in the JSON Schema beside it."""
    message = DOCUMENT["components"]["messages"][name]
    payload = message["payload"]
    definition = resolved(payload["schema"]["$ref"])

    assert KEY.fullmatch(name)
    assert message.keys() <= ALLOWED["message"]
    assert payload.keys() == {"schemaFormat", "schema"}
    assert definition["type"] == "object"
    tag = definition["properties"].get("type", {}).get("enum")
    assert tag in (None, [message["name"]])
    assert any(name in channel["messages"] for channel in DOCUMENT["channels"].values())


def test_every_reference_leads_somewhere() -> None:
    """In this document and in the files beside it."""
    for reference in set(local_references(DOCUMENT)):
        resolved(reference)


def test_nothing_is_left_out() -> None:
    """Each topic is a channel but those that one kind of process keeps for itself; each schema has its messages."""
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    files = {path.stem for path in (ROOT / "schemas" / "json_schema").glob("*.json")}

    assert {topic.name for topic in fixed_topics("shared")} - addresses == {TURNS, NAMES.ledger, TICKETS}
    assert {name.partition(".")[0] for name in DOCUMENT["components"]["messages"]} == files
