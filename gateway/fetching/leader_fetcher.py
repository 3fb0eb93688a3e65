"""Reads what one broker leads, over one incremental fetch session (KIP-227) and a second connection for joiners.

Kafka's Python clients repeat every partition in every fetch; with a session the broker remembers them, and a request
names only what moved (`decisions/fetch_session.py`). Requests of one session follow each other, so a log that joins
while one waits at the broker would wait as well: such joiners are read by a sessionless fetch on a second connection
until the session's next request takes them in. Both loops feed the same positions, and what came twice is cut off.

An outage closes nothing: the loops try again with growing pauses, and positions stay. Which partitions are read here
is the assignment's business; one that leaves is forgotten with the session's next request. Nothing to read: nothing is
asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, Final, Protocol

import structlog
from aiokafka.errors import FetchSessionIdNotFound, InvalidFetchSessionEpoch, KafkaError, for_code

from gateway.fetching.decisions.fetch_session import FetchSession, pause_s
from infra.async_waits import end_tasks, set_within
from infra.decisions.backoff import Backoff
from infra.kafka.fetch_request import FetchedPartition, PartitionName, SessionFetchRequest, answer_of, sessionless
from infra.kafka.node_connection import NodeAddress, NodeConnection

__all__ = [
    "OUTAGE_BACKOFF",
    "PARTITION_BYTES_MAX",
    "PARTITION_PAUSE_S",
    "LeaderFetcher",
    "LedPartitions",
    "reader_loop",
]

log = structlog.get_logger(__name__)

WAIT_MS: Final = 100
"""How long the broker may hold a request without news; also the longest that a join can wait."""
PARTITION_BYTES_MAX: Final = 65_536
DELIVERED_BYTES_MAX: Final = 32_768
"""Delivered in one go before other work gets its turn."""
REFUSED_BACKOFF: Final = Backoff(0.05)
OUTAGE_BACKOFF: Final = Backoff(0.1, growth="doubling", longest_pause_s=1.0)
OUTAGES_MIN: Final = 3
PARTITION_PAUSE_S: Final = 0.1
"""A partition that the broker refuses is left out for so long."""


class LedPartitions(Protocol):
    """What a fetcher reads and tells (`fetch_session_reader.FetchSessionReader`)."""

    def wanted(self, node: int) -> dict[PartitionName, int]:
        """The partitions to ask the node for now, and from where."""

    def leads(self, node: int) -> bool:
        """Whether anything is read there, be it left out for the moment."""

    def position_at(self, node: int, name: PartitionName) -> int | None:
        """Where to read a partition from; None where it is not read there, or left out for the moment."""

    def bytes_max(self) -> int:
        """The most that one answer may hold now."""

    def take(self, fetched: FetchedPartition, asked_from: int) -> None:
        """Deliver what came."""

    def refused(self, node: int, fetched: FetchedPartition) -> None:
        """The node answered with an error instead."""

    def failed(self, node: int) -> None:
        """The node did not answer."""


class LeaderFetcher:
    """The two loops of one node."""

    def __init__(
        self, node: int, work: LedPartitions, address: Callable[[int], NodeAddress | None], options: Mapping[str, Any]
    ) -> None:
        self.node = node
        self._work = work
        self.session: FetchSession[PartitionName] = FetchSession()
        self._joining: dict[PartitionName, None] = {}
        """Read here, but not part of a session's request yet."""
        self._changed = asyncio.Event()
        self._joined = asyncio.Event()
        self._following = NodeConnection(lambda: address(node), options)
        self._catching = NodeConnection(lambda: address(node), options)
        self._tasks: list[asyncio.Task[None]] = []
        self._outages = 0
        self.refusals = 0
        """Requests that the broker answered with "no such session": each one costs a full fetch."""

    @property
    def reachable(self) -> bool:
        """False once several requests in a row have failed; one alone may be a connection that had grown old."""
        return self._outages < OUTAGES_MIN

    def start(self) -> None:
        """Start both loops; the broker need not be there yet."""
        self._tasks = [
            reader_loop(self.follow_session(), f"fetch-session-{self.node}"),
            reader_loop(self.follow_joiners(), f"fetch-joiners-{self.node}"),
        ]

    async def stop(self) -> None:
        """End both loops and close the connections."""
        await end_tasks(*self._tasks)
        self._tasks = []
        await asyncio.gather(self._following.close(), self._catching.close())

    def join(self, name: PartitionName) -> None:
        """A partition is read here from now on."""
        self._joining[name] = None
        self._changed.set()
        self._joined.set()

    async def follow_session(self) -> None:
        """The session's loop: one request after the other."""
        while True:
            wanted = self._work.wanted(self.node)
            if not wanted:
                await self.wait_for_work()
                continue
            plan = self.session.next_request(wanted)
            for name in plan.changed:
                self._joining.pop(name, None)
            request = SessionFetchRequest(
                plan.changed,
                plan.forgotten,
                session_id=plan.session_id,
                epoch=plan.epoch,
                wait_ms=WAIT_MS,
                bytes_max=self._work.bytes_max(),
                partition_bytes_max=PARTITION_BYTES_MAX,
            )
            response = await self.answered(request, self._following)
            if response is None:
                self.session.lost()
                continue
            error_code, session_id, fetched = answer_of(response)
            if error_code:
                await self.session_refused(error_code)
                continue
            self.session.answered(session_id)
            await self.take_all(fetched, self.session.known or plan.changed)
            await asyncio.sleep(pause_s(len(wanted)))

    async def follow_joiners(self) -> None:
        """The joiners' loop: asks for those that the session's waiting request does not cover."""
        while True:
            await self._joined.wait()
            await asyncio.sleep(0)  # an idle session takes them in at once, and then there is nothing to do here
            asked = self.joiners()
            if not asked:
                self._joined.clear()
                continue
            request = sessionless(asked, wait_ms=WAIT_MS, bytes_max=PARTITION_BYTES_MAX)
            response = await self.answered(request, self._catching)
            if response is not None:
                error_code, _, fetched = answer_of(response)
                if not error_code:
                    await self.take_all(fetched, asked)

    def joiners(self) -> dict[PartitionName, int]:
        """Those that joined, and from where to read them; who has left or moved away meanwhile is no joiner.

        Nor is one that was refused: the session takes it in when it is due.
        """
        asked = {}
        for name in tuple(self._joining):
            position = self._work.position_at(self.node, name)
            if position is None:
                del self._joining[name]
            else:
                asked[name] = position
        return asked

    async def take_all(self, fetched: Iterator[FetchedPartition], asked: dict[PartitionName, int]) -> None:
        """Deliver an answer, giving the sockets a turn now and then: a backlog must not pile up in their outboxes."""
        bytes_taken = 0
        for partition in fetched:
            if partition.error_code:
                self._work.refused(self.node, partition)
            elif partition.name in asked:
                self._work.take(partition, asked[partition.name])
                bytes_taken += len(partition.raw)
                if bytes_taken >= DELIVERED_BYTES_MAX:
                    bytes_taken = 0
                    await asyncio.sleep(0)

    async def session_refused(self, error_code: int) -> None:
        """The broker has evicted the session or counts otherwise: begin with a full fetch again."""
        error = for_code(error_code)
        self.session.lost()
        self.refusals += 1
        if error not in (FetchSessionIdNotFound, InvalidFetchSessionEpoch):
            log.warning("fetch_refused", node=self.node, error=error.__name__)
        await asyncio.sleep(REFUSED_BACKOFF.pause_s())

    async def wait_for_work(self) -> None:
        """Until something is read here, or a partition that was left out is due again."""
        self._outages = 0  # nothing is asked, so nothing is known to fail
        self._changed.clear()
        limit_s = PARTITION_PAUSE_S if self._work.leads(self.node) else None
        await set_within(self._changed, limit_s)

    async def answered(self, request: SessionFetchRequest, connection: NodeConnection) -> Any:
        """The broker's answer, or None after a pause when there is none."""
        try:
            response = await connection.send(request)
        except (KafkaError, OSError, TimeoutError) as error:
            self._outages += 1
            if self._outages == 1:
                log.warning("broker_unreachable", node=self.node, error=type(error).__name__)
            self._work.failed(self.node)
            await asyncio.sleep(OUTAGE_BACKOFF.pause_s(self._outages))
            return None
        if self._outages:
            log.info("broker_reachable_again", node=self.node, failures=self._outages)
            self._outages = 0
        return response


def reader_loop(loop: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """A task that ends only when its owner cancels it; if it ends otherwise, the log says why."""
    task = asyncio.create_task(loop, name=name)  # owned by whoever asks
    task.add_done_callback(say_why_it_ended)
    return task


def say_why_it_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("reader_loop_failed", loop=task.get_name(), exc_info=task.exception())
