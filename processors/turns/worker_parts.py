"""What the owners of one worker's partitions share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from infra.clock import Clock
from infra.kafka.log_client import LogClient
from infra.kafka.session_topics import SessionTopics
from processors.attempts.turn_runner import TurnRunner
from processors.sessions.owner_limits import OwnerLimits
from processors.sessions.session_logs import SessionLogs
from processors.turns.answer_scorer import AnswerScorer
from processors.turns.suspect_line import SuspectLine
from processors.writing.activity_teller import ActivityTeller
from processors.writing.dead_letter_writer import DeadLetterWriter
from processors.writing.log_appender import LogAppender
from schemas.prompt_limits import PromptLimits
from schemas.topics import TopicNames

__all__ = ["WorkerParts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerParts:
    """What the owners of one worker share."""

    appender: LogAppender
    reader: LogClient
    topics: SessionTopics
    logs: SessionLogs
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
