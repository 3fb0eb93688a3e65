"""Runs the suspects of one worker alone: one at a time, and for a bounded time with no other turn beside it.

`sessions/decisions/recovery.py` says who is a suspect, for how long it is left alone, and what a crash then means. The
order, and what a death between two lines leaves behind:

1. the suspect is the head of the queue, and waits for a place at a provider like any other turn;
2. ordinary turns wait at the door, and the suspect for those that run: a death here is theirs, it has not begun;
3. nothing else runs: `alone` goes into its entry, journalled with the phase `running` before the work; a death from
   here on is the suspect's own. If others outlast its patience, it runs beside them and is not blamed;
4. it ends, or its time is over: then `alone` is taken back in the journal before the door is opened.

Whoever waits at the door is let in before the next suspect may close it again. A cancel ends every wait here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from infra.async_waits import done_at_last
from infra.kafka.cluster_errors import ClusterUnavailable
from processors.sessions.decisions.recovery import hold_of, is_suspect
from processors.sessions.decisions.turn_life import TurnEvent, after
from processors.sessions.open_turn import OpenTurn
from processors.sessions.partition_tasks import CLUSTER_BACKOFF
from processors.sessions.session_lane import SessionLane
from processors.targets.target_pool import OnWait
from processors.turns.begin_gate import GateShut
from schemas.journal import JournalEntry

__all__ = ["QUIET_START_S", "SuspectQueue"]

log = structlog.get_logger(__name__)

Done = TypeVar("Done")

QUIET_START_S: Final = 3.0
"""How long the door stays closed where a journal that was just loaded holds suspects: they begin first."""


class SuspectQueue:
    """Every attempt of the worker enters before it begins and leaves once it is over."""

    def __init__(self) -> None:
        self.running: set[OpenTurn] = set()
        self._left = asyncio.Event()
        self.head = asyncio.Lock()
        self.first: OpenTurn | None = None
        """The suspect at its head."""
        self._queued = 0
        """Suspects in the queue, the first included."""
        self.closers: set[object] = set()
        """Whoever keeps the door closed."""
        self._waiting: dict[OpenTurn, asyncio.Future[None]] = {}
        """Those who wait at the door."""
        self._hold: asyncio.Task[None] | None = None
        """Ends the first suspect's time; cancelled when it leaves before."""

    def expect(self, entries: Iterable[JournalEntry], *, attempts_max: int) -> None:
        """Suspects may be among these turns that a predecessor left open: let them begin before any other."""
        if any(is_suspect(entry.crashes + (entry.phase == "running"), attempts_max=attempts_max) for entry in entries):
            start = object()
            self.close(start)
            asyncio.get_running_loop().call_later(QUIET_START_S, self.open, start)

    def enter_now(self, turn: OpenTurn) -> bool:
        """Let a new turn in, if the door is open."""
        if not self.closers:
            self.running.add(turn)
        return not self.closers

    async def line_up(self, turn: OpenTurn, *, attempts_max: int, on_wait: OnWait) -> None:
        """Wait for the suspects before this one, or for its cancel; anybody else passes. Raises what `on_wait` does.

        Cancellation: leaves the queue.
        """
        if not is_suspect(turn.entry.crashes, attempts_max=attempts_max):
            return
        before, self._queued = self._queued, self._queued + 1
        try:
            if before:
                await on_wait(before, None)
            await unless_stopped(turn, lambda: self.take_head(turn))
        finally:
            if self.first is not turn:
                self._queued -= 1

    async def enter(self, lane: SessionLane, turn: OpenTurn, *, attempts_max: int) -> None:
        """Wait until the turn may begin, or is cancelled. A suspect must have lined up.

        Cancellation: it has not entered; `leave` is to be called all the same.
        """
        turn.note(TurnEvent.ISOLATED, alone=False)
        if self.first is not turn:
            await unless_stopped(turn, lambda: self.pass_door(turn))
            return
        hold_s = hold_of(turn.entry.crashes, attempts_max=attempts_max)
        self.close(turn)
        await unless_stopped(turn, lambda: self.find_solitude(turn, hold_s))
        log.info("suspect_begins", turn=turn.turn, crashes=turn.entry.crashes, alone=turn.entry.alone, hold_s=hold_s)
        self._hold = asyncio.create_task(self.end_hold(lane, turn, hold_s), name=f"hold-{turn.turn}")

    def leave(self, turn: OpenTurn) -> None:
        """The attempt is over, or never began."""
        self.running.discard(turn)
        self._left.set()
        self.release(turn)

    async def leaving(self, lane: SessionLane, turn: OpenTurn, attempt: Coroutine[Any, Any, Done]) -> Done:
        """Leave when the attempt is over.

        Cancellation, and GateShut: the partition is another worker's, and its journal nothing to write to any more.
        """
        lost = False
        try:
            return await attempt
        except (asyncio.CancelledError, GateShut):
            lost = True
            raise
        finally:
            if not lost:
                await self.take_back(lane, turn)
            self.leave(turn)

    async def take_head(self, turn: OpenTurn) -> None:
        await self.head.acquire()
        self.first = turn

    async def pass_door(self, turn: OpenTurn) -> None:
        if self.enter_now(turn):
            return
        self._waiting[turn] = asyncio.get_running_loop().create_future()
        try:
            await self._waiting[turn]
        finally:
            del self._waiting[turn]

    async def find_solitude(self, turn: OpenTurn, patience_s: float) -> None:
        """Wait for the running turns to end; if that takes too long, begin beside them, with the door open."""
        try:
            async with asyncio.timeout(patience_s):
                while self.running:
                    self._left.clear()
                    await self._left.wait()
            turn.note(TurnEvent.ISOLATED, alone=True)
        except TimeoutError:
            self.open(turn)
        self.running.add(turn)

    async def end_hold(self, lane: SessionLane, turn: OpenTurn, hold_s: float) -> None:
        """Let others begin while the suspect still runs."""
        await asyncio.sleep(hold_s)
        try:
            await self.take_back(lane, turn)
        finally:
            self.release(turn)

    async def take_back(self, lane: SessionLane, turn: OpenTurn) -> None:
        """Journal that a crash need not be this turn's own any more, unless it is over."""
        if turn.entry.alone:
            say = partial(log.warning, "suspect_still_alone", turn=turn.turn)
            take_back = partial(self.take_back_once, lane, turn)
            await done_at_last(take_back, CLUSTER_BACKOFF, ClusterUnavailable, lambda error, _: say(reason=str(error)))

    async def take_back_once(self, lane: SessionLane, turn: OpenTurn) -> None:
        async with lane.alone():  # so that no attempt is just being journalled
            if turn.over or not turn.entry.alone:
                return
            # else no attempt has been journalled here, or the journal may be another's by now: who keeps the partition
            # takes the lease back, and writes the same
            if turn.entry.phase == "running" and not turn.entry.lease_until_us:
                await lane.journal.write(after(turn.life, TurnEvent.ISOLATED, alone=False).entry)
            turn.note(TurnEvent.ISOLATED, alone=False)

    def release(self, turn: OpenTurn) -> None:
        """Open the door and let the next suspect come, if this one was first."""
        if self.first is not turn:
            return
        self.first = None
        self._queued -= 1
        hold, self._hold = self._hold, None
        if hold is not None and hold is not asyncio.current_task():
            hold.cancel()
        self.open(turn)
        self.head.release()

    def close(self, closer: object) -> None:
        self.closers.add(closer)

    def open(self, closer: object) -> None:
        """Let everybody in who waits, this instant: whoever closes the door next finds them running."""
        self.closers.discard(closer)
        for turn, let_in in self._waiting.items():
            if not self.closers and not let_in.done():
                self.running.add(turn)
                let_in.set_result(None)


async def unless_stopped(turn: OpenTurn, wait: Callable[[], Awaitable[None]]) -> None:
    """Wait for something, but no longer than until the turn is cancelled."""
    try:
        async with asyncio.timeout(None) as turn.scope:
            if not turn.entry.cancel_requested:
                await wait()
    except TimeoutError:
        return
    finally:
        turn.scope = None
