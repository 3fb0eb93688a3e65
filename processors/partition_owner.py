"""The single writer of one partition of users, for as long as this worker owns it.

Loads the journal, mends what its predecessor left open, then takes commands in, side by side between sessions and in
order within one. A command is finished once the journal and the session's log have it; the offset to commit follows
behind in order. Turns run on their own: a long answer holds up neither the partition nor a cancel.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import partial
from itertools import takewhile
from typing import Any, Final, TypeVar

import msgspec
import structlog

from infra.clock import Clock
from infra.kafka.log_client import LogClient
from infra.kafka.session_topics import SessionTopics
from processors.activity_teller import ActivityTeller
from processors.answer_scorer import AnswerScorer
from processors.begin_gate import BeginGate
from processors.command_intake import CommandIntake
from processors.comparisons import Comparisons
from processors.dead_letter_writer import DeadLetterWriter
from processors.decisions.ack_window import AckWindow
from processors.decisions.busy_session import eta_s, smoothed
from processors.decisions.recovery import LEASE_US
from processors.journal_repair import JournalRepair
from processors.log_appender import LogAppender
from processors.session_lane import OpenTurn, SessionLane
from processors.session_watchers import SessionWatchers
from processors.session_writer import SessionWriter
from processors.suspect_line import SuspectLine
from processors.turn_journal import TurnJournal
from processors.turn_lines import TurnLines
from processors.turn_recovery import TurnRecovery
from processors.turn_runner import TurnRunner
from processors.unlogged_endings import UnloggedEndings
from processors.weather import WEATHER
from schemas.identifiers import SessionId, SessionKey, UserId, session_key_of
from schemas.permits import is_permit
from schemas.prompt_limits import PromptLimits
from schemas.topics import TopicNames

__all__ = ["Delivery", "OwnerLimits", "PartitionOwner", "WorkerParts"]

log = structlog.get_logger(__name__)

Done = TypeVar("Done")

RETRY_PAUSE_S: Final = 1.0
DELIVERY_OVERHEAD_BYTES: Final = 300
"""What a command costs in the inbox besides its bytes."""
SWEEP_EVERY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One record of the prompts topic."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    received_at_us: int

    @property
    def size_bytes(self) -> int:
        """What it takes in memory."""
        return len(self.key or b"") + len(self.value or b"") + DELIVERY_OVERHEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLimits:
    """Bounds of one partition's owner."""

    inbox_bytes_max: int = 16_777_216
    """Commands waiting to be taken in; beyond it the partition's consumer waits."""
    intake_max: int = 64
    """Commands taken in side by side."""
    lanes_max: int = 4_096
    """Sessions remembered; idle ones beyond it are forgotten and read again when they come back."""
    lane_idle_s: float = 300.0
    """So long after its last command a session that is idle is forgotten: most never come back, and those that do are
    read again in a few milliseconds."""
    session_queue_max: int = 32
    """Prompts that may wait in one session."""
    session_parallel_max: int = 4
    """Prompts of one session that run at once, where they ask for it; each with all its models."""
    lease_us: int = LEASE_US
    """How long a running turn is left to a worker that lost its partition, and after each of its records."""
    leave_grace_s: float = 30.0
    """Seconds without a device after which a turn with `on_leave: cancel` is ended."""
    reader_behind_bytes_max: int = 65_536
    """Bytes that an answer may be ahead of its readers, where they set its pace."""
    attempts_max: int = 3
    """Crashes after which a prompt is given up, if it was alone at the last one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What the owners of one worker share."""

    appender: LogAppender
    reader: LogClient
    topics: SessionTopics
    runner: TurnRunner
    dead_letters: DeadLetterWriter
    activity: ActivityTeller
    clock: Clock
    prompt_limits: Callable[[], PromptLimits]
    """What is accepted at this moment: the models change with the catalogue."""
    limits: OwnerLimits
    suspects: SuspectLine = field(default_factory=SuspectLine)
    scorer: AnswerScorer = field(default_factory=AnswerScorer)
    """Chooses among the answers of a comparison with `best`."""
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a partition can't be worked on any more for a fault of ours: the process must end and begin anew."""

    @property
    def names(self) -> TopicNames:
        """What the line's topics are called."""
        return self.appender.names


class PartitionOwner:
    """Everything this worker does for one partition of users."""

    def __init__(
        self, partition: int, parts: WorkerParts, mark_finished: Callable[[int, int, int], None], generation: int
    ) -> None:
        self.partition = partition
        self.work_name = f"partition-{partition}"
        self.parts = parts
        self.mark_finished = mark_finished
        self.generation = generation
        self.journal = TurnJournal(partition, appender=parts.appender, reader=parts.reader, clock=parts.clock)
        self.lanes: OrderedDict[SessionKey, SessionLane] = OrderedDict()
        self.window = AckWindow()
        self.inbox: deque[Delivery] = deque()
        self.inbox_bytes = 0
        self.arrived = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.intake_slots = asyncio.Semaphore(parts.limits.intake_max)
        self.ready = asyncio.Event()
        """Set once the journal is loaded and the predecessor's turns are in line."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.gate = BeginGate()
        self.lines = TurnLines(self)
        self.comparisons = Comparisons(self)
        self.recovery = TurnRecovery(self)
        self.intake = CommandIntake(self)
        self.watchers = SessionWatchers(self)
        self.unlogged = UnloggedEndings(self)
        self.delivered: int | None = None
        """One past the newest record that the consumer has handed over; None: it has handed over none."""
        self.stopping = False
        self.typical_turn_s: float | None = None
        """How long turns have taken of late, from their place to their end; None: none has ended yet."""

    def start(self) -> None:
        """Begin to load and to take in."""
        self.spawn(self.work(), name=self.work_name)

    async def stop(self) -> None:
        """End every task of the partition, turns included, without a further word.

        Cancellation: what was being appended may be on its log; the next owner's fold settles it.
        """
        self.stopping = True
        self.room.set()
        while self.tasks:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def retire(self) -> None:
        """Take nothing more in, start no further attempt, and let the running ones end on their own."""
        self.stopping = True
        self.gate.shut()
        self.room.set()
        running = self.running_turns()
        others = self.tasks - {turn.task for turn in running if turn.task is not None}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def when_done(self, call: Callable[[PartitionOwner], None]) -> None:
        """Call when the last task has ended."""
        for task in list(self.tasks):
            task.add_done_callback(lambda _: None if self.tasks else call(self))

    async def lease_running(self) -> None:
        """Journal that the running turns go on here for a while whoever owns the partition. Raises AppendFailed.

        No attempt begins from here on until the partition is known to be kept.
        """
        await self.gate.close()
        lease_until_us = self.parts.clock.now_us() + self.parts.limits.lease_us
        await asyncio.gather(*(self.lease(turn, lease_until_us) for turn in self.running_turns()))

    async def lease(self, turn: OpenTurn, lease_until_us: int) -> None:
        if turn.entry.phase == "running" and not turn.over:
            turn.entry = msgspec.structs.replace(turn.entry, lease_until_us=lease_until_us)
            await self.journal.write(turn.entry)

    async def end_leases(self) -> None:
        """Take the leases back: the partition stayed, so who owns it next need not wait for them."""
        leased = [turn for turn in self.running_turns() if turn.entry.lease_until_us]
        await asyncio.gather(*(self.lease(turn, 0) for turn in leased))

    def kept(self, generation: int) -> None:
        """The group was shuffled and the partition came back: what was not finished is delivered again."""
        self.generation = generation
        self.gate.open()
        self.spawn(self.until_done("lease", self.end_leases), name=f"leases-{self.partition}")
        self.window = AckWindow()
        self.inbox.clear()
        self.inbox_bytes = 0
        self.room.set()

    async def deliver(self, delivery: Delivery) -> None:
        """Take a record from the consumer; waits while the inbox is full.

        A word about a permit is heard at once: it must not wait behind prompts that are being taken in. What comes
        before it is known where the group reads on is left out: it comes again from there.
        """
        if self.window.due is None:
            return
        if is_permit(delivery.value):
            self.intake.hear_permit(delivery)
        self.delivered = delivery.offset + 1
        self.inbox.append(delivery)
        self.inbox_bytes += delivery.size_bytes
        self.arrived.set()
        if self.inbox_bytes > self.parts.limits.inbox_bytes_max:
            self.room.clear()
            await self.room.wait()

    def has_heard(self, end: int) -> bool:
        """Whether every command before this offset has been looked at. A consumer that brings nothing has nothing."""
        heard = self.inbox[0].offset if self.inbox else self.delivered
        return heard is None or heard >= end

    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run a piece of work that ends with this owner."""
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.ended)
        return task

    def ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("partition_task_failed", task=task.get_name(), exc_info=task.exception())
            if task.get_name() == self.work_name:
                self.parts.broken.set()

    async def work(self) -> None:
        await self.until_done("journal", self.journal.load)
        await self.until_done("journal", JournalRepair(self).repair)
        await self.recovery.recover_all()
        self.ready.set()
        self.spawn(self.sweep_now_and_then(), name=f"sweep-{self.partition}")
        while True:
            if not self.inbox:
                self.arrived.clear()
                await self.arrived.wait()
                continue
            delivery = self.inbox.popleft()
            self.inbox_bytes -= delivery.size_bytes
            self.room.set()
            window = self.window  # of this generation, even if the partition is shuffled while there is no slot
            hole = window.hole_before(delivery.offset)
            if hole is not None:
                await self.until_done("hole", partial(self.take_hole, hole, delivery.offset, window))
            await self.begin_with(delivery, window)

    async def take_hole(self, start: int, end: int, window: AckWindow) -> None:
        """Take what lies between two offsets from the log: the consumer passed it over. Raises LogError."""
        async for records in self.parts.reader.read(self.parts.names.prompts, self.partition, start, end):
            log.warning(
                "commands_passed_over", partition=self.partition, offset=records[0].offset, commands=len(records)
            )
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
            await self.intake_slots.acquire()
            self.spawn(self.take_in(delivery, window), name=f"intake-{self.partition}-{delivery.offset}")

    async def take_in(self, delivery: Delivery, window: AckWindow) -> None:
        """Take one command in, as often as the cluster's weather needs, then let the offset pass."""
        try:
            await self.until_done("intake", lambda: self.intake.take_in(delivery))
        finally:
            self.intake_slots.release()
        self.finished_with(delivery, window)

    def finished_with(self, delivery: Delivery, window: AckWindow) -> None:
        """Let the offset pass."""
        if window is self.window and window.finish(delivery.offset):
            self.mark_finished(self.partition, window.next_offset, self.generation)

    async def until_done(self, what: str, work: Callable[[], Coroutine[Any, Any, Done]]) -> Done:
        """Repeat work that failed for want of a broker; it can be repeated because every reader folds."""
        while True:
            try:
                return await work()
            except WEATHER as error:
                log.warning("partition_work_repeated", partition=self.partition, what=what, reason=str(error))
            await asyncio.sleep(RETRY_PAUSE_S)

    async def sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            self.forget_quiet_lanes()
            await self.until_done("sweep", self.sweep)

    async def sweep(self) -> None:
        forgotten = 0
        while batch := await self.journal.sweep():
            forgotten += batch
        if forgotten:
            log.info("turns_forgotten", partition=self.partition, turns=forgotten)

    def lane_of(self, user: str, session: str) -> SessionLane:
        """The session's lane, made if it is new."""
        key = session_key_of(UserId(user), SessionId(session))
        lane = self.lanes.get(key)
        if lane is None:
            self.forget_idle_lanes()
            lane = self.lanes[key] = SessionLane(key, user, session, self.journal, self.comparisons.settle)
            lane.joined = self.watchers.heed
        self.lanes.move_to_end(key)
        lane.used_s = self.parts.clock.monotonic_s()
        return lane

    async def open_log(self, lane: SessionLane) -> None:
        """Find or create the lane's log, anew where it turned out to be gone. Raises SessionTopicsError."""
        if lane.writer is not None and lane.writer.lost:
            log.warning("session_log_replaced", session=lane.key)
            self.parts.topics.forget(lane.key)
            lane.writer = None
        if lane.writer is None:
            session_log = await self.parts.topics.ensure(lane.key)
            parts = self.parts
            lane.writer = SessionWriter(
                lane.key, session_log, appender=parts.appender, reader=parts.reader, activity=parts.activity
            )

    async def has_log(self, lane: SessionLane) -> bool:
        """Whether the lane has a log; none is made. Raises SessionTopicsError."""
        return lane.writer is not None or await self.parts.topics.find(lane.key) is not None

    def running_turns(self) -> list[OpenTurn]:
        """The turns whose answer is under way."""
        return [turn for lane in self.lanes.values() for turn in lane.running if not turn.watched]

    def note_duration(self, taken_s: float) -> None:
        """A turn has ended after so long."""
        self.typical_turn_s = smoothed(self.typical_turn_s, taken_s)

    def eta_s(self, lane: SessionLane) -> float | None:
        """Seconds until a new turn of the session may start, as far as it is known."""
        return eta_s(lane.elapsed_s(self.parts.clock.monotonic_s()), self.typical_turn_s)

    async def hand_over(self, turn: OpenTurn) -> None:
        """Journal that a turn was left on purpose. Raises AppendFailed."""
        if turn.over:
            return
        entry = msgspec.structs.replace(turn.entry, phase="queued", updated_at_us=self.parts.clock.now_us())
        await self.journal.write(entry)

    def forget_idle_lanes(self) -> None:
        surplus = len(self.lanes) + 1 - self.parts.limits.lanes_max  # one is about to be added
        for lane in [lane for lane in self.lanes.values() if surplus > 0 and lane.idle][: max(0, surplus)]:
            self.forget_lane(lane)

    def forget_quiet_lanes(self) -> None:
        """Forget the sessions that nothing was heard of for a while."""
        quiet_since_s = self.parts.clock.monotonic_s() - self.parts.limits.lane_idle_s
        quiet = takewhile(lambda lane: lane.used_s < quiet_since_s, self.lanes.values())
        for lane in [lane for lane in quiet if lane.idle]:
            self.forget_lane(lane)

    def forget_lane(self, lane: SessionLane) -> None:
        del self.lanes[lane.key]
        if lane.writer is None:
            return
        self.parts.runner.conversations.forget(lane.writer.key)  # a new writer would read it anew anyway
        if not lane.writer.place.shared:
            self.parts.appender.forget(lane.writer.place.topic)
