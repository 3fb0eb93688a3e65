"""What the embedded broker reads at its start: server.properties and the configuration of its log.

Values in, text out. Sized for one machine: few threads, small internal topics, so that the broker is ready in seconds;
nothing is created by being asked for. A broker alone keeps one replica of everything. One of several is a member of
their quorum as well as a broker, and every topic, Kafka's own included, has a replica on three of them, two of which
must have what is acknowledged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from infra.ports import LOOPBACK

__all__ = ["MESSAGE_BYTES_MAX", "NO_PROPERTIES", "ClusterMember", "log_configuration", "server_properties"]

MESSAGE_BYTES_MAX: Final = 2 * 1024**2 + 64 * 1024
"""Largest record batch: 2 MiB of records and their frame."""
INTERNAL_PARTITIONS: Final = 8
NO_PROPERTIES: Final[Mapping[str, str]] = MappingProxyType({})

FIXED: Final = {
    "process.roles": "broker,controller",
    "listener.security.protocol.map": "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "CLIENT",
    "controller.listener.names": "CONTROLLER",
    # Topics exist because somebody made them, never because somebody asked about them.
    "auto.create.topics.enable": "false",
    "delete.topic.enable": "true",
    "default.replication.factor": "1",
    "min.insync.replicas": "1",
    "unclean.leader.election.enable": "false",
    # Groups: the first join need not wait for others, and tests may use short sessions.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": str(INTERNAL_PARTITIONS),
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": str(INTERNAL_PARTITIONS),
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": str(INTERNAL_PARTITIONS),
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "message.max.bytes": str(MESSAGE_BYTES_MAX),
    "replica.fetch.max.bytes": str(MESSAGE_BYTES_MAX),
    # A broker that comes back after kill -9 is a duplicate of itself until its old session ends.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "controlled.shutdown.enable": "true",
    # Little is kept for long, so look for it often; and let go of deleted files soon.
    "log.retention.check.interval.ms": "30000",
    "log.segment.delete.delay.ms": "5000",
    "log.cleaner.threads": "1",
    "log.cleaner.dedupe.buffer.size": str(16 * 1024**2),
    # An index is mapped at its full size from the start: thousands of session topics must not map 20 MB each.
    "log.index.size.max.bytes": str(1024**2),
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "num.recovery.threads.per.data.dir": "2",
    "metadata.max.idle.interval.ms": "5000",
}

REPLICATED: Final = {
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "transaction.state.log.replication.factor": "3",
    "transaction.state.log.min.isr": "2",
    "share.coordinator.state.topic.replication.factor": "3",
    "share.coordinator.state.topic.min.isr": "2",
}


@dataclass(frozen=True, slots=True)
class ClusterMember:
    """One of several brokers: its number from 1 on, the id that all of them share, and everybody's controller."""

    node_id: int
    cluster_id: str
    voters: str
    """As Kafka writes it: number@host:port, with commas."""


def server_properties(
    *,
    data_folder: Path,
    port: int,
    controller_port: int,
    member: ClusterMember | None = None,
    extra_properties: Mapping[str, str] = NO_PROPERTIES,
) -> str:
    """The text of server.properties; `extra_properties` win over ours."""
    values = FIXED | ({} if member is None else REPLICATED)
    values |= {
        "node.id": str(1 if member is None else member.node_id),
        "listeners": f"CLIENT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"CLIENT://{LOOPBACK}:{port}",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}" if member is None else member.voters,
        "log.dirs": str(data_folder.absolute()),
        **extra_properties,
    }
    return "".join(f"{name}={escape_property(value)}\n" for name, value in values.items())


def log_configuration(log_file: Path) -> str:
    """The text of log4j2.properties: one file, two older ones, 10 MB each."""
    path = escape_property(str(log_file.absolute()))
    return f"""status = error
appender.file.type = RollingFile
appender.file.name = file
appender.file.fileName = {path}
appender.file.filePattern = {path}.%i
appender.file.layout.type = PatternLayout
appender.file.layout.pattern = %d{{ISO8601}} %p %c{{1}} %m%n
appender.file.policies.type = Policies
appender.file.policies.size.type = SizeBasedTriggeringPolicy
appender.file.policies.size.size = 10MB
appender.file.strategy.type = DefaultRolloverStrategy
appender.file.strategy.max = 2
rootLogger.level = warn
rootLogger.appenderRef.file.ref = file
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = info
logger.lifecycle.name = org.apache.kafka.server.BrokerLifecycleManager
logger.lifecycle.level = info
"""


def escape_property(value: str) -> str:
    """A backslash is the escape character of Java's property files."""
    return value.replace("\\", "\\\\")
