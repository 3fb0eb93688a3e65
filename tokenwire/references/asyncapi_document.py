"""The AsyncAPI 3.0 document: every topic and the websocket, told from the side of a program that uses Tokenwire.

Messages refer to the JSON Schemas beside it, so a field is described in one place. What a program sends and receives
are its operations; channels without one are between Tokenwire's own processes. Three topics are left out, for their
records promise nothing to anybody: `tokenwire.turns` and `tokenwire.ledger`, which only the worker that owns a
partition reads, and `tokenwire.tickets`, which only gateways read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final, cast

from schemas.client_messages import SUBPROTOCOL
from schemas.topics import TopicNames, TopicSpec

__all__ = ["asyncapi_document"]

SCHEMA_FORMAT: Final = "application/schema+json;version=draft-2020-12"
SCHEMA_FOLDER: Final = "../../schemas/json_schema"
NAMES: Final = TopicNames()
"""Those of a line without a prefix of its own."""
SESSION_PARAMETER: Final = "{session_key}"
LISTS: Final = frozenset({"cleanup.policy"})
NOT_IN_BINDING: Final = frozenset({"min.compaction.lag.ms", "segment.ms", "message.timestamp.type"})
"""Configuration that version 0.5.0 of the Kafka binding has no place for."""

TOPIC_SCHEMAS: Final = {
    NAMES.prompts: ("prompts", "permits"),
    NAMES.records: ("records",),
    NAMES.activity: ("activity",),
    NAMES.access: ("access",),
    NAMES.dead_letters: ("dead_letters",),
    NAMES.shared_sessions: ("session_events",),
}
OWN_TAGS: Final = frozenset({"session.watched", "session.expired"})
"""Records of a channel with operations that only Tokenwire's own processes write."""
OPERATIONS: Final = (
    ("submit", "send", "prompts", "prompts", "Ask, and cancel."),
    ("follow", "receive", "session", "session_events", "Read a session's log (layout dedicated)."),
    ("follow_shared", "receive", "sessions", "session_events", "Read sessions' logs (layout shared)."),
    ("account", "receive", "records", "records", "Read what each turn took and cost."),
    ("inspect", "receive", "deadletters", "dead_letters", "Read what could not be processed, and why."),
    ("say", "send", "connect", "client_messages", "What a client says to a gateway."),
    ("hear", "receive", "connect", "server_messages", "What a gateway says to its client."),
)
"""Id, action, channel, schema of its messages, meaning."""


def asyncapi_document(schemas: Mapping[str, Mapping[str, Any]]) -> str:
    """The document as JSON; `schemas`: the JSON Schemas by the names of their files."""
    tags = {name: message_tags(name, schema) for name, schema in schemas.items()}
    channels = {**topic_channels(tags), "connect": websocket_channel(tags)}
    document = {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tokenwire",
            "version": SUBPROTOCOL,
            "description": "Drawn from the sources by `make schemas`: change those, not this. Values are JSON; fields "
            "at their default are left out, and readers pass over fields that they do not know.",
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {"host": "127.0.0.1:9092", "protocol": "kafka"},
            "gateway": {"host": "127.0.0.1:8080", "protocol": "ws"},
        },
        "channels": channels,
        "operations": {
            name: operation(
                action, channel, [f"{schema}.{tag}" for tag in tags[schema] if tag not in OWN_TAGS], meaning
            )
            for name, action, channel, schema, meaning in OPERATIONS
        },
        "components": {"messages": component_messages(schemas, tags)},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def message_tags(name: str, schema: Mapping[str, Any]) -> dict[str, str]:
    """Each message of a schema file, by its tag, or by the file's name where there is one without a tag."""
    if "discriminator" in schema:
        return dict(schema["discriminator"]["mapping"])
    (definition,) = [schema["$ref"]]
    tag = schema["$defs"][definition.rpartition("/")[2]]["properties"].get("type", {}).get("enum", [name])
    return {tag[0]: definition}


def topic_channels(tags: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for topic in NAMES.fixed_topics("shared"):
        names = TOPIC_SCHEMAS.get(topic.name)
        if names is not None:
            found[topic.name.rpartition(".")[2]] = topic_channel(topic, channel_messages(names, tags))
    key = cast("Any", SESSION_PARAMETER)
    session = topic_channel(NAMES.session_topic(key), channel_messages(("session_events",), tags))
    words = "Of user and session, as `schemas/identifiers.py` makes it."
    return {**found, "session": session | {"parameters": {"session_key": {"description": words}}}}


def topic_channel(topic: TopicSpec, messages: dict[str, Any]) -> dict[str, Any]:
    binding: dict[str, Any] = {"partitions": topic.partitions, "topicConfiguration": configuration(topic)}
    if SESSION_PARAMETER not in topic.name:
        binding["topic"] = topic.name
    return {
        "address": topic.name,
        "servers": [{"$ref": "#/servers/kafka"}],
        "messages": messages,
        "bindings": {"kafka": {**binding, "bindingVersion": "0.5.0"}},
    }


def configuration(topic: TopicSpec) -> dict[str, Any]:
    return {
        name: [value] if name in LISTS else int(value)
        for name, value in topic.config.items()
        if name not in NOT_IN_BINDING
    }


def websocket_channel(tags: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {
        "address": "/v1/connect",
        "description": f"Subprotocol `{SUBPROTOCOL}`; the first message is `hello`. A frame is a message or a list of "
        "them. Close codes: protocol.md.",
        "servers": [{"$ref": "#/servers/gateway"}],
        "messages": channel_messages(("client_messages", "server_messages"), tags),
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
    }


def channel_messages(names: tuple[str, ...], tags: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {f"{name}.{tag}": {"$ref": f"#/components/messages/{name}.{tag}"} for name in names for tag in tags[name]}


def operation(action: str, channel: str, messages: list[str], meaning: str) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "summary": meaning,
        "messages": [{"$ref": f"#/channels/{channel}/messages/{message}"} for message in messages],
    }


def component_messages(
    schemas: Mapping[str, Mapping[str, Any]], tags: Mapping[str, Mapping[str, str]]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, by_tag in tags.items():
        for tag, reference in by_tag.items():
            definition = schemas[name]["$defs"][reference.rpartition("/")[2]]
            payload = {"$ref": f"{SCHEMA_FOLDER}/{name}.json{reference}"}
            found[f"{name}.{tag}"] = {
                "name": tag,
                "title": definition["title"],
                "summary": " ".join(definition.get("description", "").split()),
                "payload": {"schemaFormat": SCHEMA_FORMAT, "schema": payload},
            }
    return found
