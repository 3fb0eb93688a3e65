"""What each kind of process may do at the brokers: the one table, from which rules are printed, made and tested.

A cluster with an authorizer refuses whatever no rule allows, so the table is a list of what is needed and nothing else.
A process of one kind shares a user with others of its kind; a line's rules name that line's topics and groups alone.

What the parts rest on: nobody but workers writes what a session's readers take for an answer; gateways make no topic,
whatever their clients ask for; nobody but workers reads the journal; who reads or writes logouts and tickets is a
gateway; a group's members are of one kind. A topic that may be read or written may be described as well, which Kafka
takes for granted and the table need not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal, TypeAlias

from schemas.topics import Layout, TopicNames

__all__ = ["Operation", "Right", "Role", "acl_arguments", "rights_of"]

Operation: TypeAlias = Literal["Read", "Write", "Create", "Delete", "Describe", "DescribeConfigs"]
Resource: TypeAlias = Literal["topic", "group", "cluster"]
CLUSTER: Final = "kafka-cluster"
"""What Kafka calls the one resource of this kind."""


class Role(StrEnum):
    """A kind of process, and what its user is called unless the operator says otherwise."""

    WORKER = "worker"
    GATEWAY = "gateway"
    ANALYTICS = "analytics"
    PRODUCER = "producer"
    """An upstream service that publishes prompts and reads no answer."""
    OPERATOR = "operator"
    """Commands of people: `send`, `batch`, `cancel`, `deadletters`."""
    MIGRATE = "migrate"


@dataclass(frozen=True, slots=True)
class Right:
    """What one role may do with one resource; prefixed: with all whose names begin so."""

    resource: Resource
    name: str
    operations: tuple[Operation, ...]
    prefixed: bool = False


FIXED_TOPICS: Final = (
    *("prompts", "turns", "ledger", "activity", "records", "access", "tickets", "dead_letters", "shared_sessions"),
)
RIGHTS: Final[Mapping[Role, Mapping[str, tuple[Operation, ...]]]] = {
    Role.WORKER: {
        "prompts": ("Read", "Write"),
        "turns": ("Read", "Write"),
        "ledger": ("Read", "Write"),
        "activity": ("Write",),
        "records": ("Write",),
        "dead_letters": ("Write",),
        "session logs": ("Read", "Write"),
        "session topics": ("Create", "Delete"),
    },
    Role.GATEWAY: {
        "prompts": ("Write",),
        "activity": ("Read",),
        "access": ("Read", "Write"),
        "tickets": ("Read", "Write"),
        "session logs": ("Read",),
        # /readyz says which topic is missing, of all
        "turns": ("Describe",),
        "ledger": ("Describe",),
        "records": ("Describe",),
        "dead_letters": ("Describe",),
    },
    Role.ANALYTICS: {"records": ("Read",), "dead_letters": ("Write",)},
    Role.PRODUCER: {"prompts": ("Write",)},
    Role.OPERATOR: {
        "prompts": ("Read", "Write"),
        "dead_letters": ("Read",),
        "session logs": ("Read",),
        "session topics": ("Create",),
    },
    Role.MIGRATE: dict.fromkeys(FIXED_TOPICS, ("Create", "Describe")),
}
"""By the property of TopicNames; `session logs` and `session topics` are what the layout makes of them."""


def rights_of(role: Role, names: TopicNames, layout: Layout, *, worker_group: str) -> tuple[Right, ...]:
    """All that a role may do on one line."""
    return (*topic_rights(role, names, layout), *other_rights(role, names, worker_group))


def topic_rights(role: Role, names: TopicNames, layout: Layout) -> Iterator[Right]:
    of_sessions: list[Operation] = []
    for which, operations in RIGHTS[role].items():
        if which == "session logs" or (which == "session topics" and layout == "dedicated"):
            of_sessions += operations
        elif which not in ("session topics", "shared_sessions"):
            yield Right("topic", getattr(names, which), operations)
        elif which == "shared_sessions" and layout == "shared":
            yield Right("topic", names.shared_sessions, operations)
    if of_sessions and layout == "dedicated":
        yield Right("topic", names.session_topics, tuple(of_sessions), prefixed=True)
    elif of_sessions:
        yield Right("topic", names.shared_sessions, tuple(of_sessions))


def other_rights(role: Role, names: TopicNames, worker_group: str) -> Iterator[Right]:
    if role is Role.WORKER:
        yield Right("group", worker_group, ("Read",))
    elif role is Role.GATEWAY:
        yield Right("group", worker_group, ("Describe",))  # /readyz
    elif role is Role.ANALYTICS:
        yield Right("group", names.member("analytics"), ("Read",))
    elif role is Role.MIGRATE:
        yield Right("cluster", CLUSTER, ("DescribeConfigs",))  # for its hints


def acl_arguments(right: Right, principal: str) -> str:
    """What Kafka's own `kafka-acls` is given to allow it, after its address and credentials."""
    operations = " ".join(f"--operation {operation}" for operation in right.operations)
    where = "--cluster" if right.resource == "cluster" else f"--{right.resource} {right.name}"
    pattern = " --resource-pattern-type prefixed" if right.prefixed else ""
    return f"--add --allow-principal {principal} {operations} {where}{pattern}"
