"""The embedded brokers of a line: one alone, or three of them that replicate everything.

Each of three is a broker and a member of the quorum that agrees on the cluster's metadata, in a folder of its own with
its own data, ports and log. All must be known to each other by port before the first one starts, so the ports of all
are chosen first. Three go on when one is gone: a topic's partition is then led by another within seconds, and what two
have is acknowledged.

One broker's data is not taken over by three: they live in another folder.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, Self

import structlog

from infra.embedded.broker import JAVA_OPTIONS, BrokerStartFailed, EmbeddedBroker, new_cluster_id
from infra.embedded.broker_files import NO_PROPERTIES, ClusterMember
from infra.embedded.broker_jars import JarsProgress, jars_folder
from infra.kafka.readiness import answers_metadata
from infra.ports import LOOPBACK
from infra.settings import Settings

__all__ = ["EmbeddedCluster"]

READY_DEADLINE_S: Final = 90.0
STOP_DEADLINE_S: Final = 10.0
READY_POLL_S: Final = 0.1
SEVERAL_MIN: Final = 3
"""Fewer brokers could not lose one and still acknowledge by two."""

log = structlog.get_logger(__name__)


class EmbeddedCluster:
    """The brokers of one folder. `start` and `stop` may alternate; data and ports stay."""

    def __init__(
        self,
        *,
        folder: Path,
        jars_folder: Path,
        brokers: int = SEVERAL_MIN,
        port: int = 0,
        heap_mb: int = 768,
        extra_properties: Mapping[str, str] = NO_PROPERTIES,
        java_options: Sequence[str] = JAVA_OPTIONS,
        on_jars_progress: Callable[[JarsProgress], None] | None = None,
    ) -> None:
        if brokers != 1 and brokers < SEVERAL_MIN:
            raise ValueError(f"{brokers} brokers: one alone, or at least {SEVERAL_MIN}")
        self._folder = folder.absolute()
        self.brokers = [
            EmbeddedBroker(
                folder=folder if brokers == 1 else folder / f"broker-{number}",
                jars_folder=jars_folder,
                port=port if number == 1 else 0,
                heap_mb=heap_mb,
                extra_properties=extra_properties,
                java_options=java_options,
                on_jars_progress=on_jars_progress if number == 1 else None,
            )
            for number in range(1, brokers + 1)
        ]

    @classmethod
    def from_settings(cls, settings: Settings, on_jars_progress: Callable[[JarsProgress], None] | None = None) -> Self:
        """The brokers of `tokenwire up`: as many as the settings say."""
        brokers = settings.kafka_brokers
        return cls(
            folder=settings.home / ("kafka" if brokers == 1 else f"kafka-{brokers}"),
            jars_folder=jars_folder(settings.home),
            brokers=brokers,
            port=settings.kafka_port,
            heap_mb=settings.kafka_heap_mb,
            on_jars_progress=on_jars_progress,
        )

    @property
    def replication(self) -> int:
        """How many replicas topics can and must have here."""
        return min(len(self.brokers), SEVERAL_MIN)

    @property
    def bootstrap_servers(self) -> str:
        """Where clients find it; known once `prepare` or `start` was called."""
        return ",".join(broker.bootstrap_servers for broker in self.brokers)

    async def prepare(self) -> list[list[str]]:
        """Everything before the start; the command that starts each broker. Raises as `EmbeddedBroker.prepare`.

        The folders are held until `stop` or the end of this process.

        Cancellation: nothing is half done that a second call would not mend.
        """
        try:
            self._introduce()
            first, *others = self.brokers
            commands = [await first.prepare()]  # fetches the jars
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(broker.prepare()) for broker in others]
        except BaseException as error:  # a cancel too: brokers that were prepared or started hold folders and ports
            await self.stop()
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from error
            raise
        return commands + [task.result() for task in tasks]

    async def start(self, deadline_s: float = READY_DEADLINE_S) -> None:
        """Start all and wait until they know each other. Raises as `EmbeddedBroker.start`.

        Cancellation: those that were started are killed or stopped.
        """
        await self.prepare()
        try:
            async with asyncio.TaskGroup() as group:
                for broker in self.brokers:
                    group.create_task(broker.start(deadline_s))
            async with asyncio.timeout(deadline_s):
                while not await self.is_complete():  # noqa: ASYNC110  # the brokers tell nobody
                    await asyncio.sleep(READY_POLL_S)
        except BaseException as error:  # a cancel too: brokers that were prepared or started hold folders and ports
            await self.stop()
            if isinstance(error, BaseExceptionGroup):
                raise error.exceptions[0] from error
            if isinstance(error, TimeoutError):
                raise BrokerStartFailed(f"The brokers in {self._folder} did not find each other.") from error
            raise

    async def stop(self, deadline_s: float = STOP_DEADLINE_S) -> None:
        """Stop all that run, at once: the last of them cannot hand over to anybody. The data is safe."""
        await asyncio.gather(*(broker.stop(deadline_s) for broker in self.brokers))

    async def is_complete(self) -> bool:
        """Whether every broker answers and knows all others: topics with a replica on each can be made."""
        count = len(self.brokers)
        answers = [answers_metadata(LOOPBACK, broker.port, brokers_min=count) for broker in self.brokers]
        return all(await asyncio.gather(*answers))

    def _introduce(self) -> None:
        """Choose everybody's ports, and tell each who the others are."""
        ports = [broker.hold() for broker in self.brokers]
        if len(ports) == 1:
            return
        voters = ",".join(f"{node_id}@{LOOPBACK}:{port.controller}" for node_id, port in enumerate(ports, start=1))
        cluster_id = self._kept_cluster_id()
        for node_id, broker in enumerate(self.brokers, start=1):
            broker.member = ClusterMember(node_id, cluster_id, voters)

    def _kept_cluster_id(self) -> str:
        """Every broker's storage is formatted with the same id, also one that is formatted later than the others."""
        file = self._folder / "cluster.id"
        if file.exists():
            return file.read_text().strip()
        cluster_id = new_cluster_id()
        unfinished = file.with_suffix(".new")
        unfinished.write_text(cluster_id)
        unfinished.replace(file)
        return cluster_id
