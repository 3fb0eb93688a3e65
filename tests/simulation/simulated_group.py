"""Worker processes and their consumer group in memory: joined, frozen out, killed at an append, drained.

Everything a worker does itself is the real code, from `Ownership` down; simulated are Kafka (`memory_log`), the model
(`scripted_provider`), Faust's consumer and the group's coordinator. A *zombie* is a process that the group has left
behind and that does not know it yet: it goes on writing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from infra.targets.model_catalogue import ModelCatalogue
from infra.telemetry.metric_names import WORKER_METRICS
from infra.telemetry.metrics import Metrics
from processors.attempts.decisions.hedge_delay import OBSERVED_MIN
from processors.attempts.turn_runner import TurnRunner
from processors.group.ownership import Ownership
from processors.providers.provider import ChatRequest
from processors.sessions.conversation import Conversations
from processors.sessions.session_logs import SessionLogs
from processors.turns.worker_parts import OwnerLimits, WorkerParts
from processors.writing.activity_teller import ActivityTeller
from processors.writing.attempt_recorder import PartLimits
from processors.writing.dead_letter_writer import DeadLetterWriter
from schemas.codec import decode_session_event
from schemas.prompt_limits import PromptLimits
from schemas.session_events import TurnHedged, TurnStarted
from schemas.tiers import Tiers
from tests.fakes.memory_log import CALM, Fate, MemoryAppender, MemoryLog, MemoryReader, MemoryTopics, Weather
from tests.fakes.one_target import one_model, pool_to
from tests.fakes.scripted_provider import Script, ScriptedProvider, question_of
from tests.fakes.topic_names import PROMPTS, RECORDS, SHARED_SESSIONS
from tests.fakes.virtual_loop import LoopClock

__all__ = ["Climate", "PaidCall", "SimulatedGroup", "SimulatedProcess"]

NEVER_S: Final = 1e9
POLL_S: Final = 0.05
COMMIT_EVERY_S: Final = 0.3
PART_LIMITS: Final = PartLimits(text_bytes_max=11, json_bytes_max=60)
"""Two chunks of the scripted answers, so that most records have several parts."""
MISSED_S: Final = 0.5
"""The least time after which a group goes on without a member that died: what that had sent has landed by then."""
USUALLY_S: Final = 0.1
"""What every target is known to take to its first token, so that a slower one is hedged."""


@dataclass(slots=True)
class Climate:
    """How bad the weather is: probabilities per append, per read and per call."""

    fails: float = 0.0
    unknown: float = 0.0
    twice: float = 0.0
    dies: float = 0.0
    read_fails: float = 0.0
    passed_over: float = 0.0
    """Commands that the consumer drops without a word, as Faust may around a rebalance; others follow."""
    skips: float = 0.0
    """Members that do not hear of a generation before the next one begins, as when others join in quick steps."""
    skew_s_max: float = 0.0
    """By how much a process's wall clock may be wrong."""
    travel_s_max: float = 0.004


@dataclass(frozen=True, slots=True)
class PaidCall:
    """A call that reached the provider, and the run it was made for."""

    process: int
    question: str
    started: TurnStarted | TurnHedged | None


@dataclass(slots=True)
class Message:
    """What Faust hands to the agent, as far as it is used."""

    partition: int
    offset: int
    timestamp: float
    key: bytes | None
    value: bytes | None
    generation_id: int


class SimulatedProcess:
    """One worker process."""

    def __init__(self, group: SimulatedGroup, number: int) -> None:
        self.group = group
        self.number = number
        skew_s = group.climate.skew_s_max
        self.clock = LoopClock(group.clock.loop, group.draw.uniform(-skew_s, skew_s)) if skew_s else group.clock
        self.dead = False
        self.died_s = 0.0
        self.announced: dict[str, TurnStarted | TurnHedged] = {}
        """By turn, the newest call that the log tells of."""
        self.appender = MemoryAppender(group.log, self.weather)
        self.appender.on_landed = self.note_start
        self.provider = ScriptedProvider(group.script_of, self.note_call)
        self.parts = self.build_parts()
        self.ownership = Ownership(self.parts)
        self.ownership.mark_finished = self.finish
        self.finished: dict[int, int] = {}
        self.positions: dict[int, int] = {}
        self.joined = 0
        """How often it has become a member: a name that changes where the group had left it behind."""
        self.pump: asyncio.Task[None] | None = None

    def build_parts(self) -> WorkerParts:
        group = self.group
        metrics = Metrics(WORKER_METRICS)
        runner = TurnRunner(
            appender=self.appender,
            pool=pool_to(self.provider, self.clock, calls_max=group.turns_running_max),
            catalogue=lambda: group.catalogue,
            conversations=Conversations(bytes_max=100_000),
            clock=self.clock,
            metrics=metrics,
            part_limits=PART_LIMITS,
        )
        runner.attempts.first_tokens = dict.fromkeys(group.catalogue.targets, (USUALLY_S,) * OBSERVED_MIN)
        activity = ActivityTeller(self.appender, self.clock)
        reader, self.topics = MemoryReader(group.log, self.read_weather), MemoryTopics(group.log)
        self.topics.is_away = group.makes_no_topics
        return WorkerParts(
            appender=self.appender,
            reader=reader,
            topics=self.topics,
            logs=SessionLogs(
                topics=self.topics,
                appender=self.appender,
                reader=reader,
                activity=activity,
                conversations=runner.conversations,
            ),
            runner=runner,
            calls=runner.calls,
            records=runner.records,
            pool=runner.pool,
            conversations=runner.conversations,
            dead_letters=DeadLetterWriter(self.appender, self.clock, metrics),
            activity=activity,
            clock=self.clock,
            awake=self.clock,
            prompt_limits=lambda: PromptLimits(prompt_bytes_max=10_000),
            limits=group.limits,
            tiers=lambda: group.tiers,
        )

    def weather(self, topic: str) -> Weather:
        """The fate of an append; sometimes the process dies of it, before or after it lands."""
        if self.dead:
            return Weather(there_s=NEVER_S)
        group, draw, climate = self.group, self.group.draw, self.group.climate
        group.appends += 1
        landed = group.deaths.get(group.appends)
        there_s, back_s = draw.uniform(0, climate.travel_s_max), draw.uniform(0, climate.travel_s_max)
        number = draw.random()
        if landed is None and number < climate.dies:
            landed = draw.random() >= 0.5
        if landed is not None:
            group.kill(self)
            return Weather(there_s=there_s, back_s=NEVER_S) if landed else Weather(there_s=NEVER_S)
        for fate, share in ((Fate.FAILS, climate.fails), (Fate.UNKNOWN, climate.unknown), (Fate.TWICE, climate.twice)):
            number -= share
            if number < climate.dies:
                return Weather(fate, there_s, back_s)
        return Weather(Fate.LANDS, there_s, back_s)

    def read_weather(self, _: str) -> Weather:
        """The fate of a read."""
        draw, climate = self.group.draw, self.group.climate
        if draw.random() < climate.read_fails:
            return Weather(Fate.FAILS)
        return Weather(there_s=draw.uniform(0, climate.travel_s_max)) if climate.travel_s_max else CALM

    def note_start(self, topic: str, value: bytes | None) -> None:
        if value is None or not topic.startswith(("tokenwire.session.", SHARED_SESSIONS)):
            return
        event = decode_session_event(value)
        if isinstance(event, TurnHedged) or (isinstance(event, TurnStarted) and event.cause != "hedge"):
            self.announced[event.turn] = event

    def note_call(self, request: ChatRequest) -> None:
        question = question_of(request)
        turn = self.group.turn_of(question, request.model)
        self.group.calls.append(PaidCall(self.number, question, self.announced.get(turn)))
        if "poison" in question and self.group.poison_kills:
            asyncio.get_running_loop().call_later(self.group.poison_after_s, self.group.kill, self)

    def finish(self, partition: int, next_offset: int, generation: int) -> None:
        if generation == self.ownership.generation:
            self.finished[partition] = next_offset

    async def work(self) -> None:
        """Faust's part: hand records over in offset order and commit now and then."""
        next_commit_s = 0.0
        while True:
            moved = False
            for partition in list(self.positions):
                moved |= await self.deliver_next(partition)
            if self.group.clock.monotonic_s() >= next_commit_s:
                self.group.commit(self)
                next_commit_s = self.group.clock.monotonic_s() + COMMIT_EVERY_S
            if not moved:
                await asyncio.sleep(POLL_S)

    async def deliver_next(self, partition: int) -> bool:
        records = self.group.log.records(PROMPTS, partition)
        position = self.positions.get(partition, len(records))
        if position >= len(records):
            return False
        self.positions[partition] = position + 1
        if position + 1 < len(records) and self.group.draw.random() < self.group.climate.passed_over:
            return True
        record = records[position]
        generation = self.ownership.generation
        await self.ownership.deliver(
            Message(partition, record.offset, record.timestamp_ms / 1_000, record.key, record.value, generation)
        )
        return True

    async def own(self, partitions: set[int], generation: int) -> None:
        """What Faust does on an assignment: seek to the commit, after the owner was told."""
        self.finished.clear()
        await self.ownership.on_owned(partitions, generation, f"{self.number}-{self.joined}")
        self.positions = {partition: self.group.committed.get(partition, 0) for partition in partitions}
        self.ownership.on_sought(self.positions)
        if self.pump is None and not self.dead:
            self.pump = asyncio.create_task(self.work(), name=f"pump-{self.number}")

    async def end(self) -> None:
        """Stop every task, as the death of the process does."""
        if self.pump is not None:
            self.pump.cancel()
            await asyncio.gather(self.pump, return_exceptions=True)
        for owner in (*self.ownership.owners.values(), *self.ownership.retired):
            await owner.stop()


@dataclass(slots=True)
class SimulatedGroup:
    """The cluster, the coordinator and every process."""

    log: MemoryLog
    clock: LoopClock
    draw: random.Random
    partitions: set[int]
    limits: OwnerLimits = field(default_factory=OwnerLimits)
    turns_running_max: int = 16
    climate: Climate = field(default_factory=Climate)
    script_of: Callable[[ChatRequest], Script] = lambda _: Script()
    catalogue: ModelCatalogue = field(default_factory=one_model)
    tiers: Tiers = field(default_factory=Tiers)
    turn_of: Callable[[str, str], str] = lambda *_: ""
    poison_kills: bool = False
    poison_after_s: float = 0.0
    """How long a worker that asks what is poison lives on."""
    deaths: dict[int, bool] = field(default_factory=dict)
    """At which of the group's appends a process dies, and whether the append lands all the same."""
    appends: int = 0
    generation: int = 0
    makes_no_topics: bool = False
    """Whether the cluster makes no topic at the moment."""
    skipped: int = 0
    """Generations of which some did not hear."""
    committed: dict[int, int] = field(default_factory=dict)
    processes: list[SimulatedProcess] = field(default_factory=list)
    members: list[SimulatedProcess] = field(default_factory=list)
    calls: list[PaidCall] = field(default_factory=list)
    endings: set[asyncio.Task[None]] = field(default_factory=set)
    shuffling: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def join(self) -> SimulatedProcess:
        """A new process joins."""
        process = SimulatedProcess(self, len(self.processes))
        self.processes.append(process)
        self.members.append(process)
        await self.shuffle()
        return process

    async def rejoin(self, process: SimulatedProcess) -> None:
        """A zombie finds out that it was left behind, and comes back."""
        if process.dead or process in self.members:
            return
        await process.ownership.on_leaving()
        process.joined += 1
        self.members.append(process)
        await self.shuffle()

    async def shuffle(self) -> None:
        """Hand all partitions out anew, as eager groups do."""
        async with self.shuffling:
            left: set[SimulatedProcess] = set()
            while await self.handed_out(left):
                self.skipped += 1

    async def handed_out(self, left: set[SimulatedProcess]) -> bool:
        """The next generation; True: some did not hear of it. `left`: those that own nothing since they last heard."""
        dying_s = max((process.died_s for process in self.members if process.dead), default=0.0)
        await asyncio.sleep(max(0.0, dying_s + MISSED_S - self.clock.monotonic_s()))
        members = [process for process in self.members if not process.dead]
        await asyncio.gather(*(process.ownership.on_leaving() for process in members if process not in left))
        left.update(members)
        members = [process for process in members if not process.dead and process in self.members]
        if not members:
            return False
        self.generation += 1
        deaf = {process for process in members if self.climate.skips and self.draw.random() < self.climate.skips}
        order = sorted(self.partitions)
        self.draw.shuffle(order)
        shares: dict[int, set[int]] = {process.number: set() for process in members}
        for index, partition in enumerate(order):
            shares[members[index % len(members)].number].add(partition)
        for process in deaf:
            process.positions.clear()
        for process in members:
            if not process.dead and process not in deaf:
                await process.own(shares[process.number], self.generation)
                left.discard(process)
        return bool(deaf)

    async def leave_behind(self, process: SimulatedProcess) -> None:
        """Make a zombie: the group goes on without it."""
        if process in self.members:
            self.members.remove(process)
            await self.shuffle()

    async def drain(self, process: SimulatedProcess, deadline_s: float) -> None:
        """Stop a process as SIGTERM does."""
        await process.ownership.drain(deadline_s)
        self.commit(process)
        if process in self.members:
            self.members.remove(process)
        process.dead = True
        await process.end()
        await self.shuffle()

    def make_topics(self, *, again: bool) -> None:
        """From now on the cluster makes topics, or none."""
        self.makes_no_topics = not again
        for process in self.processes:
            process.topics.is_away = not again

    def kill(self, process: SimulatedProcess) -> None:
        """The process is gone this instant; the group has not noticed."""
        if not process.dead:
            process.dead, process.died_s = True, self.clock.monotonic_s()
            task = asyncio.get_running_loop().create_task(process.end(), name=f"end-{process.number}")
            self.endings.add(task)
            task.add_done_callback(self.endings.discard)

    async def notice_deaths(self) -> None:
        """The session time-out of every dead member has passed."""
        if any(process.dead for process in self.members):
            self.members = [process for process in self.members if not process.dead]
            await self.shuffle()

    async def replace_dead(self) -> None:
        """Somebody joins if nobody is left."""
        await self.notice_deaths()
        if not self.members:
            await self.join()

    async def end(self) -> None:
        """All processes end."""
        for process in self.processes:
            await process.end()

    def commit(self, process: SimulatedProcess) -> None:
        """Accepted from members of the current generation alone."""
        if process in self.members and not process.dead and process.ownership.generation == self.generation:
            self.committed.update(process.finished)

    def recorded(self) -> list[bytes]:
        """Every record for analytics."""
        return [
            record.value
            for (topic, _), records in self.log.partitions.items()
            if topic == RECORDS
            for record in records
            if record.value is not None
        ]
