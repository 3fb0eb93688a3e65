"""A turn that has not ended, as its worker sees it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from uuid import uuid4

from processors.ledger.run_meter import RunMeter
from processors.sessions.attempt import FailedCall
from processors.sessions.decisions.busy_session import LaneTurn
from processors.sessions.decisions.turn_life import TurnEvent, TurnLife, TurnState, after
from processors.sessions.reader_brake import ReaderBrake
from schemas.journal import JournalEntry
from schemas.ledger import RunAccount
from schemas.prompts import PromptSubmitted, models_of
from schemas.session_events import StartCause, TurnQueued
from schemas.turn_fold import FoldedTurn

__all__ = ["OpenTurn", "first_offset_of"]


@dataclass(slots=True, eq=False)
class OpenTurn:
    """A turn that has not ended, as its worker sees it."""

    life: TurnLife
    """Changed by `note` alone."""
    prompt: PromptSubmitted
    dequeued_at_us: int
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
    task: asyncio.Task[TurnEvent] | None = None
    """What runs it."""
    meters: dict[str, RunMeter] = field(default_factory=dict)
    """By run, of those that hold something of the user's account."""
    brake: ReaderBrake | None = None
    """Holds the read from the provider back while its readers are behind."""
    leased_at_us: int = 0
    """When the worker that it is left to said so, or was first seen at it, by the broker's stamps; 0: to nobody."""
    started_s: float | None = None
    """When it got its place, on the monotonic clock."""

    def note(self, event: TurnEvent, *, cause: StartCause | None = None, **written: object) -> None:
        """This has happened to it; `written`: what the journal's entry is told by that. Raises IllegalEvent."""
        self.life = after(self.life, event, cause=cause, **written)

    @property
    def entry(self) -> JournalEntry:
        """What the journal says of it, or is about to."""
        return self.life.entry

    @property
    def over(self) -> bool:
        """Its ending is on the log."""
        return self.life.over

    @property
    def waits(self) -> bool:
        """It waits for its session, or for a place at a target."""
        return self.life.state in (TurnState.WAITING, TurnState.PLACING)

    @property
    def followed(self) -> bool:
        """Another worker is at work on it; this one only follows the log."""
        return self.life.state is TurnState.FOLLOWED

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
            try_offset=self.entry.try_offset,
            at_us=at_us,
        )

    def held_runs(self) -> tuple[RunAccount, ...]:
        """The accounts of its runs as they are now."""
        return tuple(self.meters[run.run].run if run.run in self.meters else run for run in self.entry.runs)

    def next_run(self, folded: FoldedTurn | None) -> tuple[int, str]:
        """Number and name of its next attempt; `folded`: the turn as the log shows it."""
        run = uuid4().hex[:12]
        self.runs.add(run)
        return max(self.entry.attempt, folded.attempts_known if folded else 0) + 1, run

    def begin_place(self, now_s: float) -> None:
        """It has got its place among the running turns; a further attempt changes nothing."""
        if self.life.state is TurnState.PLACING:
            self.started_s = now_s
        self.note(TurnEvent.PLACED)

    def as_lane_turn(self) -> LaneTurn:
        """What the decisions about its session's lane need of it."""
        return LaneTurn(self.prompt.prompt_id, self.prompt.on_busy == "parallel", self.life.claimed, self.over)

    def stop_waiting(self) -> None:
        """End the call to the provider, or whatever the turn waits for, if it is under way."""
        if self.scope is not None and not self.scope.expired():
            self.scope.reschedule(asyncio.get_running_loop().time())


def first_offset_of(entry: JournalEntry, folded: FoldedTurn | None) -> int:
    """Where the turn begins on the log, as far as it is known."""
    return folded.first_offset if folded is not None else entry.first_offset
