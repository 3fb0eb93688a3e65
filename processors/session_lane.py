"""One session's open turns in their order, those that run and those that wait, and the session's log.

Every command of the session is taken in, and every attempt begun, with the lane's lock, so that the log tells what
happened in the order in which it was decided. Running turns append to the log side by side: the fold's verdicts say
what counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from processors.decisions.busy_session import LineTurn, may_start
from processors.reader_brake import ReaderBrake
from processors.session_writer import SessionWriter
from processors.turn_journal import TurnJournal
from schemas.identifiers import SessionKey
from schemas.journal import JournalEntry
from schemas.prompts import PromptSubmitted, models_of
from schemas.session_events import StartCause, TurnQueued

if TYPE_CHECKING:
    from processors.turn_records import FailedCall

__all__ = ["OpenTurn", "SessionLane"]


@dataclass(slots=True, eq=False)
class OpenTurn:
    """A turn that has not ended, as its worker sees it."""

    entry: JournalEntry
    prompt: PromptSubmitted
    dequeued_at_us: int
    cause: StartCause = "first"
    """Why its next attempt is started."""
    watched: bool = False
    """Another worker is at work on it; this one only follows the log."""
    over: bool = False
    """Its ending is on the log: only records and the journal are left to write, and nothing else may be journalled."""
    runs: set[str] = field(default_factory=set)
    """The runs that this worker has started, or tried to."""
    recorded_runs: set[str] = field(default_factory=set)
    """Runs whose records are written."""
    failed: FailedCall | None = None
    """The newest call, where it failed and nothing was written of that yet: its record, and whether the next attempt
    goes on from its text, are decided when that one starts."""
    answers: list[tuple[str, str]] | None = None
    """The (model, answer) pairs that it merges, once they were read."""
    scope: asyncio.Timeout | None = None
    """Around whatever the turn waits for; moving it to now ends the wait."""
    claimed: bool = False
    """Somebody is at work on it: it is not started again."""
    placed: bool = False
    """It has a place among the turns that the worker runs at once."""
    task: asyncio.Task[None] | None = None
    """What runs it."""
    brake: ReaderBrake | None = None
    """Holds the read from the provider back while its readers are behind."""
    started_s: float | None = None
    """When it got its place, on the monotonic clock."""

    @property
    def turn(self) -> str:
        """The turn's id."""
        return self.entry.turn

    @property
    def since_ms(self) -> int:
        """No record of the turn is older."""
        return self.entry.accepted_at_us // 1_000

    def queued(self, *, position: int, at_us: int, eta_s: float | None = None) -> TurnQueued:
        """The record that opens the turn."""
        return TurnQueued(
            turn=self.turn,
            prompt_id=self.prompt.prompt_id,
            input=self.prompt.input,
            messages=self.prompt.messages,
            model=models_of(self.prompt)[self.entry.index],
            position=position,
            eta_s=eta_s,
            on_leave=self.prompt.on_leave,
            pace=self.prompt.pace,
            index=self.entry.index,
            models=models_of(self.prompt) if self.prompt.models else (),
            compare=self.prompt.compare,
            metadata=self.prompt.metadata,
            at_us=at_us,
        )

    def begin_place(self, now_s: float) -> None:
        """It has got its place among the running turns; a further attempt changes nothing."""
        if not self.placed:
            self.placed = True
            self.started_s = now_s

    def as_line_turn(self) -> LineTurn:
        """What the decisions about its session's line need of it."""
        return LineTurn(self.prompt.prompt_id, self.prompt.on_busy == "parallel", self.claimed, self.over)

    def stop_waiting(self) -> None:
        """End the call to the provider, or whatever the turn waits for, if it is under way."""
        if self.scope is not None and not self.scope.expired():
            self.scope.reschedule(asyncio.get_running_loop().time())


Settle: TypeAlias = Callable[["SessionLane", OpenTurn], Awaitable[bool]]


class SessionLane:
    """One session as its single writer sees it."""

    def __init__(self, key: SessionKey, user: str, session: str, journal: TurnJournal, settle: Settle) -> None:
        self.key = key
        self.user = user
        self.session = session
        self.journal = journal
        self.settle = settle
        """Asked about a turn whose records are written, before its journal entry is closed; False: leave it open."""
        self.settling = asyncio.Lock()
        """Held while a comparison is settled; never while waiting for `lock`."""
        self.lock = asyncio.Lock()
        """Held while events are appended, in the order of the prompts."""
        self.claims = 0
        """Those who hold the lock or wait for it."""
        self.used_s = 0.0
        """When its last command came, on the monotonic clock."""
        self.writer: SessionWriter | None = None
        self.turns: list[OpenTurn] = []
        """Every open turn, in the order of the line."""
        self.joined: Callable[[SessionLane, OpenTurn], None] = lambda *_: None
        """Told of each turn that joins."""

    @property
    def open_turns(self) -> int:
        """Turns running or in line."""
        return len(self.turns)

    @property
    def open_prompts(self) -> int:
        """Prompts that they answer."""
        return len({turn.prompt.prompt_id for turn in self.turns})

    @property
    def position(self) -> int:
        """Turns that a new one at the end of the line finds before it; those that are ending don't count."""
        return sum(not turn.over and not turn.entry.cancel_requested for turn in self.turns)

    @property
    def running(self) -> list[OpenTurn]:
        """The turns with a place among those that the worker runs, and those that another worker runs."""
        return [turn for turn in self.turns if turn.placed]

    @property
    def idle(self) -> bool:
        """Whether the lane can be forgotten."""
        return not self.turns and not self.claims

    def join(self, turn: OpenTurn) -> None:
        """Put a turn into the line: behind the others of its prompt, else at the end."""
        self.note_lost(turn)
        prompts = [known.prompt.prompt_id for known in self.turns]
        behind = [place for place, prompt_id in enumerate(prompts) if prompt_id == turn.prompt.prompt_id]
        self.turns.insert(behind[-1] + 1 if behind else len(prompts), turn)
        self.joined(self, turn)

    def note_lost(self, turn: OpenTurn) -> None:
        """Stop a turn whose comparison, as the log says, another model has won meanwhile."""
        comparison = self.log().fold.comparisons.get(turn.prompt.prompt_id) if turn.prompt.models else None
        if comparison is None or comparison.mode != "first" or comparison.turn in ("", turn.turn):
            return
        if not turn.entry.cancel_requested:
            turn.entry = msgspec.structs.replace(turn.entry, cancel_requested=True, stop="lost_comparison")

    def leave(self, turn: OpenTurn) -> None:
        """Take a turn out that is over, or another owner's."""
        if turn in self.turns:
            self.turns.remove(turn)

    def line(self) -> list[LineTurn]:
        """The line as decisions see it."""
        return [turn.as_line_turn() for turn in self.turns]

    def elapsed_s(self, now_s: float) -> list[float | None]:
        """Of each turn that a new one would wait for, how long it has run; None: it has not begun."""
        waited_for = (turn for turn in self.turns if not turn.over and not turn.entry.cancel_requested)
        return [None if turn.started_s is None else now_s - turn.started_s for turn in waited_for]

    def startable(self, *, prompts_max: int) -> list[OpenTurn]:
        """The turns whose time to start has come."""
        places = may_start(self.line(), prompts_max=prompts_max)
        return [self.turns[place] for place in places]

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold the lock; whoever waits for it keeps the lane from being forgotten."""
        self.claims += 1
        try:
            async with self.lock:
                yield
        finally:
            self.claims -= 1

    def find(self, turn: str) -> OpenTurn | None:
        """The open turn of this id."""
        return next((known for known in self.turns if known.turn == turn), None)

    def log(self) -> SessionWriter:
        """The session's log; it was opened before the first turn was taken in."""
        if self.writer is None:
            raise RuntimeError("the lane's log is not open")
        return self.writer
