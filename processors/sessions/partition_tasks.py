"""The tasks of one partition: they end with its owner, and work that fails for want of the cluster is done again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from infra.async_waits import done_at_last, end_tasks
from infra.decisions.backoff import Backoff
from infra.kafka.cluster_errors import ClusterUnavailable

__all__ = ["CLUSTER_BACKOFF", "PartitionTasks"]

log = structlog.get_logger(__name__)

Done = TypeVar("Done")

CLUSTER_BACKOFF: Final = Backoff(1.0)
"""Between tries of work that the cluster did not do: as long as the partition is this worker's."""


class PartitionTasks:
    """Owns every task that works for a partition."""

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.running: set[asyncio.Task[Any]] = set()
        self.stopping = False
        """Nothing more is to be begun: the owner is about to leave its partition."""

    def spawn(self, work: Coroutine[Any, Any, Done], *, name: str) -> asyncio.Task[Done]:
        """Run a piece of work that ends with the partition's owner."""
        task = asyncio.create_task(work, name=name)
        self.running.add(task)
        task.add_done_callback(self.ended)
        return task

    def ended(self, task: asyncio.Task[Any]) -> None:
        self.running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("partition_task_failed", task=task.get_name(), exc_info=task.exception())

    async def until_done(self, what: str, work: Callable[[], Coroutine[Any, Any, Done]]) -> Done:
        """Repeat work that failed for want of a broker; it can be repeated because every reader folds."""
        say = partial(log.warning, "partition_work_repeated", partition=self.partition, what=what)
        return await done_at_last(work, CLUSTER_BACKOFF, ClusterUnavailable, lambda error, _: say(reason=str(error)))

    async def end(self, tasks: Collection[asyncio.Task[Any]]) -> None:
        """Cancel some of them and wait until they have ended."""
        await end_tasks(*tasks)

    async def end_all(self) -> None:
        """Cancel all of them, and those that they spawn meanwhile."""
        while self.running:
            await self.end(set(self.running))

    def when_all_done(self, call: Callable[[], None]) -> None:
        """Call when the last task has ended."""
        for task in list(self.running):
            task.add_done_callback(lambda _: None if self.running else call())
