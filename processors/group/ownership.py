"""Which partitions of users this worker owns, as its consumer group says.

A group hands all partitions out anew at every change. What of a partition's turns goes on here follows from two facts:

- It comes back in the very next generation: it was nobody else's meanwhile. Its owner stays, with all its turns.
- This process is the member that it was: it let its partitions go knowingly, and leased its running turns. They go on
  wherever the partition went, though it may have been another's for a generation that was over before we heard of it;
  its owner retires, and a new one, here or elsewhere, loads the journal and follows them.
- It is another member now: the group had given it up, and may have handed its turns to others. But a coordinator that
  stood still gives everybody up as it wakes, and nobody has failed. So the sessions' logs are asked: turns that others
  have begun anew are stopped, the rest goes on as above.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

import structlog

from infra.kafka.lost_range import LostRange
from processors.group.partition_owner import PartitionOwner
from processors.intake.delivery import Delivery
from processors.turns.worker_parts import WorkerParts
from processors.writing.log_appender import AppendFailed
from schemas.topics import USER_PARTITIONS

__all__ = ["Ownership", "add_prompt_agent"]

log = structlog.get_logger(__name__)

DRAIN_POLL_S: Final = 0.05
LEASING_S: Final = 2.0


class Ownership:
    """The owners of this worker's partitions."""

    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self.owners: dict[int, PartitionOwner] = {}
        self.generation = -1
        self._member = ""
        """Who we are to the group; it gives another name to whom it has left behind."""
        self.mark_finished: Callable[[int, int, int], None] = lambda *_: None
        """Set to the consumer's; see `processors.group.ordered_commits`."""
        self._draining = False
        self.retired: set[PartitionOwner] = set()
        """Owners of lost partitions whose running turns are ending."""

    async def on_leaving(self) -> None:
        """Before the group is shuffled: journal that running turns go on here, wherever their partitions go."""
        owners = list(self.owners.values())
        try:
            async with asyncio.timeout(LEASING_S):
                await asyncio.gather(*(owner.lease_running() for owner in owners))
        except (TimeoutError, AppendFailed) as error:
            log.warning("leases_not_written", reason=repr(error))

    async def on_owned(self, partitions: set[int], generation: int, member: str) -> None:
        """Own these partitions from now on, and only these."""
        is_next, stayed = generation == self.generation + 1, member == self._member
        kept = {partition for partition in self.owners if is_next and partition in partitions}
        lost = [self.owners.pop(partition) for partition in list(self.owners) if partition not in kept]
        log.info("partitions_owned", owned=sorted(partitions), kept=len(kept), lost=len(lost), generation=generation)
        self.generation, self._member = generation, member
        self._parts.pool.set_share(frozenset(partitions), USER_PARTITIONS)
        await asyncio.gather(*(self.give_up(owner, leased=stayed or is_next) for owner in lost))
        for partition in kept:
            self.owners[partition].kept(generation)
        for partition in partitions - kept if not self._draining else ():
            owner = PartitionOwner(partition, self._parts, self.mark_finished, generation)
            self.owners[partition] = owner
            owner.start()

    def on_lost(self, lost: LostRange) -> None:
        """The consumer passed over what can't be read: tell of it, where the partition is still ours."""
        owner = self.owners.get(lost.partition)
        if owner is not None:
            work = owner.tasks.until_done("unreadable", partial(self._parts.dead_letters.write_lost, lost))
            owner.tasks.spawn(work, name=f"unreadable-{lost.partition}-{lost.start}")

    def on_sought(self, positions: Mapping[int, int]) -> None:
        """The consumer reads on from these offsets, by partition."""
        for partition, offset in positions.items():
            if partition in self.owners:
                self.owners[partition].inbox.window.begin_at(offset)

    async def give_up(self, owner: PartitionOwner, *, leased: bool) -> None:
        """Leave a partition: running turns end here, those aside that another worker has taken over.

        `leased`: none can have been.
        """
        await owner.retire()
        if not leased:
            await owner.stop_taken_over(LEASING_S)
        if owner.tasks.running:
            self.retired.add(owner)
            owner.tasks.when_all_done(partial(self.retired.discard, owner))

    async def deliver(self, message: Any) -> None:
        """Hand a consumed message to its partition's owner; one of a past generation comes again to its owner."""
        owner = self.owners.get(message.partition)
        if owner is None or message.generation_id != self.generation or self._draining:
            return
        await owner.inbox.deliver(
            Delivery(
                message.offset, int(message.timestamp * 1_000), message.key, message.value, self._parts.clock.now_us()
            )
        )

    async def drain(self, deadline_s: float) -> None:
        """Take nothing more in, let turns end until the deadline, then hand the rest over and stop.

        Turns handed over are journalled, so that the next owner does not count them as crashes; those of partitions
        that were lost before are not: their new owner has the word.
        """
        self._draining = True
        until_s = self._parts.clock.monotonic_s() + deadline_s
        while self.running_turns() and self._parts.clock.monotonic_s() < until_s:  # noqa: ASYNC110  # once per process
            await asyncio.sleep(DRAIN_POLL_S)
        owners, self.owners = list(self.owners.values()), {}
        left = [(owner, turn) for owner in owners for turn in owner.sessions.running_turns()]
        await asyncio.gather(*(owner.stop() for owner in (*owners, *self.retired)))
        try:
            async with asyncio.timeout(LEASING_S):
                await asyncio.gather(*(owner.hand_over(turn) for owner, turn in left))
        except (TimeoutError, AppendFailed) as error:
            log.warning("turns_not_handed_over", turns=len(left), reason=repr(error))
            return
        if left:
            log.info("turns_handed_over", turns=len(left))

    def running_turns(self) -> int:
        """Turns whose answer is under way."""
        return sum(len(owner.sessions.running_turns()) for owner in (*self.owners.values(), *self.retired))

    def waiting_turns(self) -> int:
        """Turns that were taken in and wait for their session or for a place."""
        return sum(owner.sessions.waiting_turns() for owner in self.owners.values())

    @property
    def ready(self) -> bool:
        """Whether every owned partition has its journal loaded."""
        return all(owner.ready.is_set() for owner in self.owners.values())


def add_prompt_agent(app: Any, ownership: Ownership, prompts: str) -> Any:
    """Wire the Faust agent that takes records off the topic of prompts to it; returns the agent.

    Faust's own acknowledgements mean nothing: what may be committed is known to the owner alone (see
    `processors.group.ordered_commits`). The agent raises nothing, so Faust never restarts it over a record.
    """
    topic = app.topic(prompts, key_type=bytes, value_type=bytes, key_serializer="raw", value_serializer="raw")

    async def answer_prompts(stream: Any) -> None:
        async for event in stream.noack().events():
            await ownership.deliver(event.message)
            event.ack()

    return app.agent(topic, name="answer-prompts")(answer_prompts)
