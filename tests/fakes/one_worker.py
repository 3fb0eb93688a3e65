"""One partition's owner on Kafka in memory and virtual time, with everything of the worker that is real below it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeAlias

from infra.awake_clock import AwakeClock
from infra.telemetry.metric_names import WORKER_METRICS
from infra.telemetry.metrics import Metrics
from processors.attempts.turn_runner import TurnRunner
from processors.group.partition_owner import PartitionOwner
from processors.intake.delivery import Delivery
from processors.sessions.conversation import Conversations
from processors.sessions.session_logs import SessionLogs
from processors.turns.worker_parts import OwnerLimits, WorkerParts
from processors.writing.activity_teller import ActivityTeller
from processors.writing.dead_letter_writer import DeadLetterWriter
from schemas.codec import decode_dead_letter, decode_record, decode_session_event, encode
from schemas.dead_letters import DeadLetter
from schemas.identifiers import PromptId, SessionId, UserId, session_key_of, turn_id_of
from schemas.journal import JournalEntry
from schemas.prompt_limits import PromptLimits
from schemas.prompts import PromptCommand, PromptSubmitted
from schemas.records import TurnRecord
from schemas.session_events import SessionEvent
from schemas.tiers import Tiers
from schemas.topics import Layout, LogPlace, user_partition
from schemas.turn_fold import FoldedTurn, SessionFold
from tests.fakes.memory_log import CALM, Fate, MemoryAppender, MemoryLog, MemoryReader, MemoryTopics, Weather
from tests.fakes.one_target import one_model, pool_to
from tests.fakes.scripted_provider import ScriptedProvider
from tests.fakes.topic_names import DEAD_LETTERS, PROMPTS, RECORDS, TURNS, session_place
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__ = ["SESSION", "USER", "OneWorker", "Scene", "on_virtual_time", "prompt", "turn_of"]

USER = "user-1"
SESSION = "s1"
KEY = session_key_of(UserId(USER), SessionId(SESSION))
PARTITION = user_partition(USER)

Scene: TypeAlias = Callable[["OneWorker"], Coroutine[Any, Any, None]]


def prompt(prompt_id: str = "p1", **fields: Any) -> PromptSubmitted:
    """A prompt of the session."""
    named = {"user": USER, "session": SESSION, "input": f"ask {prompt_id}"}
    return PromptSubmitted(prompt_id=prompt_id, **named | fields)


def turn_of(prompt_id: str = "p1") -> str:
    """The id of its turn."""
    return turn_id_of(UserId(USER), SessionId(SESSION), PromptId(prompt_id))


class OneWorker:
    """A worker that owns one partition. `fates` holds what becomes of the next appends to topics of a name."""

    def __init__(
        self, clock: LoopClock, *, log: MemoryLog | None = None, layout: Layout = "dedicated", **limits: int
    ) -> None:
        self.clock = clock
        self.awake = AwakeClock(clock)
        self.log = log or MemoryLog(clock, layout=layout)
        self.fates: dict[str, list[Fate]] = {}
        self.read_fates: dict[str, list[Fate]] = {}
        self.slow_s = 0.0
        self.appender = MemoryAppender(self.log, lambda topic: self.weather(topic, self.fates))
        self.metrics = Metrics(WORKER_METRICS)
        self.dead_letter_writer = DeadLetterWriter(self.appender, self.clock, self.metrics)
        self.reader = MemoryReader(
            self.log,
            lambda topic: self.weather(topic, self.read_fates),
            on_lost=self.dead_letter_writer.write_lost,
        )
        self.topics = MemoryTopics(self.log)
        self.provider = ScriptedProvider()
        self.conversations = Conversations(bytes_max=1_000_000)
        self.tiers = Tiers()
        self.calls_max = limits.pop("turns_running_max", 8)
        self.parts = self.build_parts(OwnerLimits(**limits))
        self.finished: list[tuple[int, int, int]] = []
        self.owner = self.new_owner()
        self.offset = 0

    def build_parts(self, limits: OwnerLimits) -> WorkerParts:
        runner = TurnRunner(
            appender=self.appender,
            pool=pool_to(self.provider, self.clock, calls_max=self.calls_max),
            catalogue=one_model,
            conversations=self.conversations,
            clock=self.clock,
            metrics=self.metrics,
        )
        activity = ActivityTeller(self.appender, self.clock)
        return WorkerParts(
            appender=self.appender,
            reader=self.reader,
            topics=self.topics,
            logs=SessionLogs(
                topics=self.topics,
                appender=self.appender,
                reader=self.reader,
                activity=activity,
                conversations=self.conversations,
            ),
            runner=runner,
            calls=runner.calls,
            records=runner.records,
            pool=runner.pool,
            conversations=runner.conversations,
            dead_letters=self.dead_letter_writer,
            activity=activity,
            clock=self.clock,
            awake=self.awake,
            prompt_limits=lambda: PromptLimits(prompt_bytes_max=10_000),
            limits=limits,
            tiers=lambda: self.tiers,
        )

    def new_owner(self, generation: int = 1) -> PartitionOwner:
        """An owner of the partition that has not started."""
        return PartitionOwner(PARTITION, self.parts, lambda *finished: self.finished.append(finished), generation)

    def weather(self, topic: str, fates: dict[str, list[Fate]]) -> Weather:
        waiting = next((left for name, left in fates.items() if name in topic and left), None)
        if waiting:
            return Weather(waiting.pop(0), there_s=self.slow_s)
        return Weather(there_s=self.slow_s) if self.slow_s else CALM

    async def send(self, *commands: PromptCommand | bytes) -> None:
        """Hand commands to the owner as its consumer does."""
        for command in commands:
            await self.send_to(self.owner, self.offset, command)
            self.offset += 1

    async def send_to(
        self, owner: PartitionOwner, offset: int, command: PromptCommand | bytes, *, stamped_us: int | None = None
    ) -> None:
        """Hand a command of this offset to an owner. `stamped_us`: when the broker stamped it; None: just now."""
        value = command if isinstance(command, bytes) else encode(command)
        now_us = self.clock.now_us()
        stamped_ms = (now_us if stamped_us is None else stamped_us) // 1_000
        owner.inbox.window.begin_at(offset)
        await owner.inbox.deliver(Delivery(offset, stamped_ms, USER.encode(), value, now_us))

    @property
    def place(self) -> LogPlace:
        """Where the session's log is."""
        return session_place(KEY, self.log.layout)

    def write(self, *events: SessionEvent) -> None:
        """Append to the session's log as another worker does."""
        self.log.create(self.place.topic)
        for event in events:
            self.log.put(self.place.topic, self.place.partition, encode(event), key=KEY.encode())

    def fold(self) -> SessionFold:
        """The session's log, folded with texts."""
        fold = SessionFold(keep_text=True)
        for offset, event in self.told():
            fold.apply(event, offset)
        return fold

    def told(self) -> list[tuple[int, SessionEvent]]:
        """Everything on the session's log, with its offset; empty where there is none."""
        if (self.place.topic, self.place.partition) not in self.log.partitions:
            return []
        records = self.log.records(self.place.topic, self.place.partition)
        return [(record.offset, decode_session_event(record.value or b"")) for record in records]

    def turn(self, prompt_id: str = "p1") -> FoldedTurn:
        """A turn as the log shows it."""
        return self.fold().turns[turn_of(prompt_id)]

    def reason(self, prompt_id: str = "p1") -> str:
        """How a turn has ended; empty while it is open."""
        found = self.fold().turns.get(turn_of(prompt_id))
        return found.ended.reason if found is not None and found.ended is not None else ""

    def entry(self, prompt_id: str = "p1") -> JournalEntry | None:
        """What the owner remembers of a turn."""
        return self.owner.journal.get(turn_of(prompt_id))

    def journal(self, entry: JournalEntry) -> None:
        """Put an entry onto the journal as another worker does."""
        self.log.put(TURNS, PARTITION, encode(entry), key=entry.turn.encode())

    def records(self) -> list[TurnRecord]:
        """Every record for analytics."""
        return [
            decode_record(record.value or b"")
            for (topic, _), records in self.log.partitions.items()
            if topic == RECORDS
            for record in records
        ]

    def outcomes(self) -> dict[tuple[int, str], str]:
        """(attempt, run) → reason of every recorded attempt."""
        return {(r.attempt, r.run): r.outcome.reason for r in self.records() if r.outcome}

    def dead_letters(self) -> list[DeadLetter]:
        """Every dead letter."""
        return [decode_dead_letter(record.value or b"") for record in self.log.records(DEAD_LETTERS, 0)]

    def published(self) -> int:
        """Commands that were put onto the prompts topic."""
        return sum(len(records) for (topic, _), records in self.log.partitions.items() if topic == PROMPTS)

    def stand_still(self, duration_s: float) -> None:
        """Time passes in which nothing here runs."""
        self.clock.loop.jumping.elapsed_s += duration_s

    async def until(self, condition: Callable[[], bool], limit_s: float = 300.0) -> None:
        """Let time pass until something is so."""
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110  # virtual time costs nothing, and conditions are many
                await asyncio.sleep(0.005)


def on_virtual_time(scene: Scene) -> Callable[[], None]:
    """Make a test of a scene: a started worker comes in, and is stopped afterwards."""

    @wraps(scene)
    def test() -> None:
        loop = VirtualLoop()

        async def play() -> None:
            worker = OneWorker(LoopClock(loop))
            worker.owner.start()
            try:
                await scene(worker)
            finally:
                await worker.owner.stop()

        run_virtual(loop, play())

    del test.__dict__["__wrapped__"]  # pytest would ask for the scene's argument as a fixture
    return test
