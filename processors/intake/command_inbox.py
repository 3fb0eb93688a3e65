"""The way of one partition's commands from the consumer to their taking-in, and of their offsets to the commit.

Commands are begun in the order of the partition and taken in side by side. An offset passes once its command is taken
in; the one to commit follows behind in order. What the consumer passed over is taken from the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog

from processors.intake.command_intake import CommandIntake
from processors.intake.decisions.ack_window import AckWindow
from processors.intake.delivery import Delivery, DeliveryQueue
from processors.intake.parked_prompts import TopicUnmade
from processors.sessions.partition_tasks import PartitionTasks
from processors.turns.worker_parts import WorkerParts
from schemas.permits import is_permit

__all__ = ["CommandInbox"]

log = structlog.get_logger(__name__)


@dataclass(eq=False, kw_only=True)
class CommandInbox:
    """The commands of one partition. `mark_finished` is told (partition, next offset, generation)."""

    parts: WorkerParts
    tasks: PartitionTasks
    queue: DeliveryQueue
    intake: CommandIntake
    mark_finished: Callable[[int, int, int], None]
    generation: int
    slots: asyncio.Semaphore
    """One for each command that is taken in side by side."""
    window: AckWindow = field(default_factory=AckWindow, init=False)

    def begin_anew(self, generation: int) -> None:
        """The group was shuffled and the partition came back: what was not finished is delivered again."""
        self.generation = generation
        self.window = AckWindow()
        self.queue.clear()

    async def deliver(self, delivery: Delivery) -> None:
        """Take a record from the consumer; waits while the inbox is full.

        A word about a permit is heard at once: it must not wait behind prompts that are being taken in. What comes
        before it is known where the group reads on is left out: it comes again from there.
        """
        if self.window.due is None:
            return
        if is_permit(delivery.value):
            self.intake.hear_permit(delivery)
        await self.queue.put(delivery)

    async def work(self) -> None:
        """Take in what is delivered, for as long as the partition is owned."""
        while True:
            delivery = await self.queue.get()
            window = self.window  # of this generation, even if the partition is shuffled while there is no slot
            hole = window.hole_before(delivery.offset)
            if hole is not None:
                await self.tasks.until_done("hole", partial(self.take_hole, hole, delivery.offset, window))
            await self.begin_with(delivery, window)

    async def take_hole(self, start: int, end: int, window: AckWindow) -> None:
        """Take what lies between two offsets from the log: the consumer passed it over. Raises LogError."""
        partition = self.tasks.partition
        async for records in self.parts.reader.read(self.parts.names.prompts, partition, start, end):
            log.warning("commands_passed_over", partition=partition, offset=records[0].offset, commands=len(records))
            for record in records:
                now_us = self.parts.clock.now_us()
                delivery = Delivery(record.offset, record.timestamp_ms, record.key, record.value, now_us)
                await self.begin_with(delivery, window)

    async def begin_with(self, delivery: Delivery, window: AckWindow) -> None:
        """Begin to take a command in, as soon as there is a slot, unless that was begun before."""
        if not window.hand_out(delivery.offset):
            return
        if is_permit(delivery.value):  # heard when it was delivered; one that was passed over is said again, or lost
            self.finished_with(delivery, window)
        else:
            await self.slots.acquire()
            name = f"intake-{self.tasks.partition}-{delivery.offset}"
            self.tasks.spawn(self.take_in(delivery, window), name=name)

    async def take_in(self, delivery: Delivery, window: AckWindow) -> None:
        """Take one command in, as often as the cluster fails meanwhile, then let the offset pass."""
        try:
            await self.tasks.until_done("intake", lambda: self.intake.take_in(delivery))
            unmade = None
        except TopicUnmade as error:
            unmade = error.key
        finally:
            self.slots.release()
        if unmade is not None:
            again, give_up = partial(self.take_in_parked, delivery), partial(self.end_parked, delivery)
            await self.intake.parked.wait(unmade, delivery, again=again, give_up=give_up)
        self.finished_with(delivery, window)

    async def take_in_parked(self, delivery: Delivery) -> None:
        """Take in a prompt whose session's topic is there by now. Raises TopicUnmade."""
        async with self.slots:  # no lock is held but that of those parked for the same session
            await self.tasks.until_done("intake", lambda: self.intake.take_in(delivery, is_parked=True))

    async def end_parked(self, delivery: Delivery) -> None:
        """End a prompt whose session's topic could not be made."""
        await self.tasks.until_done("unmade", lambda: self.intake.end_parked(delivery))

    def finished_with(self, delivery: Delivery, window: AckWindow) -> None:
        """Let the offset pass."""
        if window is self.window and window.finish(delivery.offset):
            self.mark_finished(self.tasks.partition, window.next_offset, self.generation)
