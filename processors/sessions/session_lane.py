"""One session's open turns in their order, those that run and those that wait, and the session's log.

Every command of the session is taken in, and every attempt begun, with the lane's lock, so that the log tells what
happened in the order in which it was decided. Running turns append to the log side by side: the fold's verdicts say
what counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from processors.ledger.user_accounts import UserAccounts
from processors.sessions.decisions.busy_session import LaneTurn, may_start
from processors.sessions.decisions.turn_life import TurnEvent
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_writer import SessionWriter
from processors.sessions.turn_journal import TurnJournal
from schemas.identifiers import SessionKey

__all__ = ["Joined", "SessionLane", "Settle"]


Settle: TypeAlias = Callable[["SessionLane", OpenTurn], Awaitable[bool]]
Joined: TypeAlias = Callable[["SessionLane", OpenTurn], None]


class SessionLane:
    """One session as its single writer sees it."""

    def __init__(
        self,
        key: SessionKey,
        session: str,
        journal: TurnJournal,
        accounts: UserAccounts,
        *,
        settle: Settle,
        joined: Joined,
    ) -> None:
        self.key = key
        self.session = session
        self.journal = journal
        self.accounts = accounts
        self.settle = settle
        """Asked about a turn whose records are written, before its journal entry is closed; False: leave it open."""
        self._joined = joined
        """Told of each turn that joins."""
        self.settling = asyncio.Lock()
        """Held while a comparison is settled; never while waiting for `lock`."""
        self.lock = asyncio.Lock()
        """Held while events are appended, in the order of the prompts."""
        self._claims = 0
        """Those who hold the lock or wait for it."""
        self.used_s = 0.0
        """When its last command came, on the monotonic clock."""
        self.writer: SessionWriter | None = None
        self.turns: list[OpenTurn] = []
        """Every open turn, in the order of the lane."""

    @property
    def open_turns(self) -> int:
        """Turns running or waiting."""
        return len(self.turns)

    @property
    def open_prompts(self) -> int:
        """Prompts that they answer."""
        return len({turn.prompt.prompt_id for turn in self.turns})

    @property
    def position(self) -> int:
        """Turns that a new one at the end of the lane finds before it; those that are ending don't count."""
        return sum(not turn.over and not turn.entry.cancel_requested for turn in self.turns)

    @property
    def running(self) -> list[OpenTurn]:
        """The turns with a place among those that the worker runs."""
        return [turn for turn in self.turns if turn.life.placed]

    @property
    def idle(self) -> bool:
        """Whether the lane can be forgotten."""
        return not self.turns and not self._claims

    def join(self, turn: OpenTurn) -> None:
        """Put a turn into the lane: behind the others of its prompt, else at the end."""
        self.note_lost(turn)
        turn.note(TurnEvent.JOINED)
        prompts = [known.prompt.prompt_id for known in self.turns]
        behind = [place for place, prompt_id in enumerate(prompts) if prompt_id == turn.prompt.prompt_id]
        self.turns.insert(behind[-1] + 1 if behind else len(prompts), turn)
        self._joined(self, turn)

    def note_lost(self, turn: OpenTurn) -> None:
        """Stop a turn whose comparison, as the log says, another model has won meanwhile."""
        comparison = self.log().fold.comparisons.get(turn.prompt.prompt_id) if turn.prompt.models else None
        if comparison is None or comparison.mode != "first" or comparison.turn in ("", turn.turn):
            return
        if not turn.entry.cancel_requested:
            turn.note(TurnEvent.STOPPED, stop="lost_comparison")

    def leave(self, turn: OpenTurn) -> None:
        """Take a turn out that is over, or another owner's."""
        if turn in self.turns:
            self.turns.remove(turn)

    def in_order(self) -> list[LaneTurn]:
        """Its turns as decisions see them."""
        return [turn.as_lane_turn() for turn in self.turns]

    def elapsed_s(self, now_s: float) -> list[float | None]:
        """Of each turn that a new one would wait for, how long it has run; None: it has not begun."""
        waited_for = (turn for turn in self.turns if not turn.over and not turn.entry.cancel_requested)
        return [None if turn.started_s is None else now_s - turn.started_s for turn in waited_for]

    def startable(self, *, prompts_max: int) -> list[OpenTurn]:
        """The turns whose time to start has come."""
        places = may_start(self.in_order(), prompts_max=prompts_max)
        return [self.turns[place] for place in places]

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Hold the lock; whoever waits for it keeps the lane from being forgotten."""
        self._claims += 1
        try:
            async with self.lock:  # what is done under it ends by the appender's own deadline
                yield
        finally:
            self._claims -= 1

    def find(self, turn: str) -> OpenTurn | None:
        """The open turn of this id."""
        return next((known for known in self.turns if known.turn == turn), None)

    def is_refused(self, turn: OpenTurn) -> bool:
        """Whether a refusal has taken the turn back, as far as the log was read."""
        return self.log().is_refused(turn.turn, turn.prompt.prompt_id, turn.entry.try_offset)

    def has_refused(self, prompt_id: str) -> bool:
        """Whether a prompt was refused for now, as far as the log was read."""
        return self.writer is not None and prompt_id in self.writer.fold.refused

    def log(self) -> SessionWriter:
        """The session's log; it was opened before the first turn was taken in."""
        if self.writer is None:
            raise RuntimeError("the lane's log is not open")
        return self.writer
