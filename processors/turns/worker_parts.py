"""What the owners of one worker's partitions share, and the bounds of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.clock import Clock
from infra.kafka.log_client import LogClient
from infra.kafka.session_topics import SessionTopics
from processors.attempts.turn_calls import TurnCalls
from processors.attempts.turn_records import TurnRecords
from processors.attempts.turn_runner import TurnRunner
from processors.sessions.conversation import Conversations
from processors.sessions.decisions.recovery import LEASE_US
from processors.sessions.session_logs import SessionLogs
from processors.targets.target_pool import TargetPool
from processors.turns.answer_scorer import AnswerScorer
from processors.turns.suspect_queue import SuspectQueue
from processors.writing.activity_teller import ActivityTeller
from processors.writing.dead_letter_writer import DeadLetterWriter
from processors.writing.log_appender import LogAppender
from schemas.prompt_limits import PromptLimits
from schemas.tiers import Tiers
from schemas.topics import TopicNames

__all__ = ["OwnerLimits", "WorkerParts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLimits:
    """Bounds of one partition's owner."""

    inbox_bytes_max: int = 16_777_216
    """Commands waiting to be taken in; beyond it the partition's consumer waits."""
    parked_bytes_max: int = 4_194_304
    """Prompts that wait until their sessions' topics can be made; beyond it they end at once."""
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
    logs: SessionLogs
    runner: TurnRunner
    calls: TurnCalls
    records: TurnRecords
    pool: TargetPool
    conversations: Conversations
    dead_letters: DeadLetterWriter
    activity: ActivityTeller
    clock: Clock
    awake: Clock
    """Stands still while this process does: what is waited for by it is not blamed for that."""
    prompt_limits: Callable[[], PromptLimits]
    """What is accepted at this moment: the models change with the catalogue."""
    limits: OwnerLimits
    tiers: Callable[[], Tiers] = Tiers
    """What users may use, as the catalogue's file says at this moment."""
    suspects: SuspectQueue = field(default_factory=SuspectQueue)
    scorer: AnswerScorer = field(default_factory=AnswerScorer)
    """Chooses among the answers of a comparison with `best`."""
    broken: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a partition can't be worked on any more for a fault of ours: the process must end and begin anew."""

    @property
    def names(self) -> TopicNames:
        """What the line's topics are called."""
        return self.appender.names
