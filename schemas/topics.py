"""The topic catalogue: the only place that builds a topic's name or chooses a partition.

Everything keyed by a user is partitioned by murmur2 of the user id, as Java clients and librdkafka's
`murmur2_random` do, so that one worker is the single writer of a user: quotas, order and idempotency then need no
other store. Partition counts are fixed for life: changing one would move users to other partitions.

Every name begins with a line's prefix, so that lines can share a cluster. The names are a value that is handed to
whoever reads or writes a topic, never a global: tests and tools have to do with several lines in one process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from schemas.identifiers import SESSION_KEY_CHARS, SessionKey

__all__ = [
    "PREFIX",
    "PREFIX_CHARS_MAX",
    "PREFIX_PATTERN",
    "PROMPT_CARRIER_BYTES_MAX",
    "USER_PARTITIONS",
    "Layout",
    "LogPlace",
    "TopicNames",
    "TopicSpec",
    "murmur2",
    "record_partition",
    "user_partition",
]

PREFIX: Final = "tokenwire"
"""What every name begins with unless the operator says otherwise."""
PREFIX_PATTERN: Final = "[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?"
"""Kafka's own letters; it leads to no name that Kafka's tools take for an internal one (`__…`)."""
TOPIC_CHARS_MAX: Final = 249  # Kafka's own limit
DEDICATED: Final = ".session."
DENSE: Final = frozenset({".prompts", ".activity", ".records", ".tickets", ".deadletters", ".sessions"})
"""Fixed topics that are not compacted, without their prefix."""
PREFIX_CHARS_MAX: Final = TOPIC_CHARS_MAX - len(DEDICATED) - SESSION_KEY_CHARS
"""The name of a session's own topic is the longest."""

USER_PARTITIONS: Final = 12
RECORD_PARTITIONS: Final = 12
SHARED_PARTITIONS: Final = 32
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
RECORD_BYTES_MAX: Final = 262_144
"""No record of ours is larger, save one that carries a prompt."""
PROMPT_CARRIER_BYTES_MAX: Final = 983_040
"""A record that carries a prompt whole: on `tokenwire.prompts`, in the journal, at the head of its turn on the
session's log. With its batch's own bytes it stays within 1 MiB, what a broker takes unless told otherwise."""
FOREIGN_PROMPT_BYTES_MAX: Final = 2_097_152
"""Prompts of foreign producers may be larger than we accept: they get an answer saying so, not a silent refusal."""

Layout: TypeAlias = Literal["dedicated", "shared"]


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as it must exist: its name, partitions and configuration."""

    name: str
    partitions: int
    config: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Where a session's log lives: a partition of its own, or one shared with other sessions' keys."""

    topic: str
    partition: int
    shared: bool


@dataclass(frozen=True, slots=True)
class TopicNames:
    """The names of one line's topics, and those that its processes go by at the brokers."""

    prefix: str = PREFIX

    @property
    def prompts(self) -> str:
        """Prompts and other commands, by user."""
        return f"{self.prefix}.prompts"

    @property
    def turns(self) -> str:
        """The workers' journal, by user."""
        return f"{self.prefix}.turns"

    @property
    def ledger(self) -> str:
        """What users have used, by user."""
        return f"{self.prefix}.ledger"

    @property
    def activity(self) -> str:
        """In which sessions something happens."""
        return f"{self.prefix}.activity"

    @property
    def records(self) -> str:
        """What analytics keeps, by session."""
        return f"{self.prefix}.records"

    @property
    def access(self) -> str:
        """Logouts."""
        return f"{self.prefix}.access"

    @property
    def tickets(self) -> str:
        """Tickets that were used."""
        return f"{self.prefix}.tickets"

    @property
    def dead_letters(self) -> str:
        """What could not be processed."""
        return f"{self.prefix}.deadletters"

    @property
    def shared_sessions(self) -> str:
        """The logs of all sessions, in the shared layout."""
        return f"{self.prefix}.sessions"

    @property
    def session_topics(self) -> str:
        """What the names of sessions' own topics begin with, in the dedicated layout; nothing else does."""
        return self.prefix + DEDICATED

    def is_dense(self, topic: str) -> bool:
        """Whether every offset from the log's start to its end is there, unless it was lost: what is not compacted."""
        return topic.removeprefix(self.prefix) in DENSE or topic.startswith(self.session_topics)

    def member(self, role: str) -> str:
        """How processes of a role show themselves to the brokers: their consumer group, their client id."""
        return f"{self.prefix}-{role}"

    def fixed_topics(self, layout: Layout, *, session_retention_h: int = 24) -> tuple[TopicSpec, ...]:
        """Every topic that must exist before a process starts (dedicated session topics come later, one by one)."""
        topics = (
            TopicSpec(self.prompts, USER_PARTITIONS, retained(7 * DAY_MS, bytes_max=FOREIGN_PROMPT_BYTES_MAX)),
            TopicSpec(self.turns, USER_PARTITIONS, compacted(HOUR_MS)),
            TopicSpec(self.ledger, USER_PARTITIONS, compacted(HOUR_MS)),
            TopicSpec(self.activity, RECORD_PARTITIONS, retained(HOUR_MS)),
            TopicSpec(self.records, RECORD_PARTITIONS, retained(7 * DAY_MS)),
            TopicSpec(self.access, 1, compacted(DAY_MS)),
            TopicSpec(self.tickets, 1, retained(HOUR_MS)),
            TopicSpec(self.dead_letters, 1, retained(30 * DAY_MS)),
        )
        if layout == "shared":
            sessions = TopicSpec(self.shared_sessions, SHARED_PARTITIONS, retained(session_retention_h * HOUR_MS))
            return (*topics, sessions)
        return topics

    def session_topic(self, key: SessionKey, *, session_retention_h: int = 24) -> TopicSpec:
        """The topic of one session in the dedicated layout."""
        return TopicSpec(self.session_topics + key, 1, retained(session_retention_h * HOUR_MS))

    def session_place(self, key: SessionKey, layout: Layout) -> LogPlace:
        """Session → topic and partition; the one function that knows the layouts."""
        if layout == "dedicated":
            return LogPlace(self.session_topics + key, 0, shared=False)
        return LogPlace(self.shared_sessions, positive_murmur2(key.encode()) % SHARED_PARTITIONS, shared=True)


def user_partition(user: str) -> int:
    """The partition of `tokenwire.prompts` and `tokenwire.turns` that belongs to a user."""
    return positive_murmur2(user.encode()) % USER_PARTITIONS


def record_partition(key: SessionKey) -> int:
    """The partition of `tokenwire.records` that holds a session's records, in order."""
    return positive_murmur2(key.encode()) % RECORD_PARTITIONS


def compacted(segment_ms: int) -> dict[str, str]:
    """The newest record of each key; what a woken worker overwrites can still be read for a minute (decision 0089)."""
    return {"cleanup.policy": "compact", "segment.ms": str(segment_ms), "min.compaction.lag.ms": "60000"} | sized()


def retained(retention_ms: int, *, bytes_max: int = RECORD_BYTES_MAX) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(retention_ms)} | sized(bytes_max)


def sized(bytes_max: int = RECORD_BYTES_MAX) -> dict[str, str]:
    """`max.message.bytes` counts a whole batch: up to 1 MiB of records may travel together.

    The broker stamps records itself, so that every reader shares one clock for looking offsets up by time.
    """
    return {"max.message.bytes": str(max(1_048_576, bytes_max)), "message.timestamp.type": "LogAppendTime"}


def positive_murmur2(key: bytes) -> int:
    return murmur2(key) & 0x7FFFFFFF


def murmur2(key: bytes) -> int:
    """The 32-bit hash of Kafka's default partitioner (org.apache.kafka.common.utils.Utils.murmur2)."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    length = len(key)
    state = (0x9747B28C ^ length) & mask
    whole = length - length % 4
    for start in range(0, whole, 4):
        word = int.from_bytes(key[start : start + 4], "little") * multiplier & mask
        word = (word ^ word >> 24) * multiplier & mask
        state = state * multiplier & mask ^ word
    if whole != length:
        state = (state ^ int.from_bytes(key[whole:], "little")) * multiplier & mask
    state = (state ^ state >> 13) * multiplier & mask
    return state ^ state >> 15
