"""Finds the logs of sessions, and waits for those that are not there yet (`decisions/absent_logs.py`).

Nothing here makes a topic: a session's log is made by a worker, with its first prompt.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import structlog

from gateway.fetching.decisions.absent_logs import AbsentLogs
from gateway.fetching.log_reader import LogFinder, SessionReader
from infra.async_waits import end_tasks, set_within
from infra.clock import Clock
from infra.kafka.session_topics import SessionLog, SessionTopicsError, SessionTopicsUnavailable
from schemas.activity import SessionActivity
from schemas.identifiers import SessionKey, UserId

__all__ = ["AbsentSessions", "TooManyAbsent"]

log = structlog.get_logger(__name__)

LOOKED_FOR_AT_ONCE_MAX: Final = 500
NEXT_TICK_S: Final = 1.0
"""Looks that are due later than that are begun by the next tick."""
LAG_PAUSES_S: Final = (0.02, 0.1, 0.5)
"""Between looks for a log that was there: a broker may be behind with what it has heard of."""


class TooManyAbsent(Exception):
    """So many sessions without a log are followed already."""


@dataclass(eq=False)
class AbsentSessions:
    """The sessions without a log that one gateway waits for.

    `on_found` hears of each log that has come, `on_refused` that a worker may not make it.
    """

    topics: LogFinder
    reader: SessionReader
    clock: Clock
    on_found: Callable[[SessionKey, SessionLog], None]
    on_refused: Callable[[SessionKey, SessionActivity], None]
    logs: AbsentLogs = field(default_factory=AbsentLogs, init=False)
    _questions: dict[SessionKey, asyncio.Future[SessionLog | None]] = field(default_factory=dict, init=False)
    _asking: asyncio.Task[None] | None = field(default=None, init=False)
    _looking: asyncio.Task[None] | None = field(default=None, init=False)
    _sooner: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def found(self, key: SessionKey, user: UserId, *, was_there: bool) -> SessionLog:
        """The session's log; one without an epoch is not there, and is waited for until `leave`.

        `was_there`: a cursor of ours shows that it was. Raises SessionTopicsError, TooManyAbsent.
        """
        found = await self.asked(key)
        for pause_s in LAG_PAUSES_S if was_there else ():
            if found is None:
                await asyncio.sleep(pause_s)
                found = await self.asked(key)
        if found is not None:
            return found
        if self.topics.place(key).shared:
            raise SessionTopicsUnavailable("the topic that sessions share is not there; `tokenwire migrate` makes it")
        if not self.logs.admit(key, user, self.clock.monotonic_s()):
            raise TooManyAbsent
        self.reader.await_log(key, lambda word: self.told(key, word))
        self.look()  # a word that came while we asked was for nobody
        return SessionLog(self.topics.place(key), "")

    async def asked(self, key: SessionKey) -> SessionLog | None:
        """Ask for it, together with whoever asks meanwhile. Raises SessionTopicsError."""
        answer = self._questions.get(key)
        if answer is None:
            answer = self._questions[key] = asyncio.get_running_loop().create_future()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self.ask_all(), name="sessions-asked-for")
        return await asyncio.shield(answer)

    async def ask_all(self) -> None:
        while self._questions:
            keys = list(islice(self._questions, LOOKED_FOR_AT_ONCE_MAX))
            answers = {key: self._questions.pop(key) for key in keys}
            fault: SessionTopicsError = SessionTopicsUnavailable("stopping")
            try:
                found = await self.topics.find_all(keys)
                for key, answer in answers.items():
                    answer.set_result(found.get(key))
            except SessionTopicsError as error:
                fault = error
            finally:
                for answer in answers.values():
                    if not answer.done():
                        answer.set_exception(fault)
                        answer.exception()  # whoever asked may have gone

    def told(self, key: SessionKey, word: SessionActivity) -> None:
        """A worker speaks of the session."""
        if word.kind == "refused":
            self.on_refused(key, word)
        elif word.kind != "deleted":
            self.logs.heard(key, self.clock.monotonic_s())
            self.look(anew=True)

    def prompted(self, key: SessionKey) -> None:
        """A prompt goes out: its log is likely to come."""
        self.logs.prompted(key, self.clock.monotonic_s())
        self.look(anew=True)

    def leave(self, key: SessionKey) -> None:
        """Nobody waits for it any more."""
        if key in self.logs:
            self.logs.leave(key)
            self.reader.await_no_more(key)

    def look(self, *, anew: bool = False) -> None:
        """Look for what is due, if nobody does; call every second or so. `anew`: something is due sooner."""
        if self._looking is not None and not self._looking.done():
            if anew:
                self._sooner.set()
            return
        if self.logs.next_look_s() <= self.clock.monotonic_s() + NEXT_TICK_S:
            self._looking = asyncio.create_task(self.look_for_all(), name="absent-sessions")

    async def look_for_all(self) -> None:
        while True:
            self._sooner.clear()
            wait_s = self.logs.next_look_s() - self.clock.monotonic_s()
            if wait_s > NEXT_TICK_S:
                return
            if wait_s > 0:
                await set_within(self._sooner, wait_s)
                continue
            await self.look_once(self.logs.due(self.clock.monotonic_s(), LOOKED_FOR_AT_ONCE_MAX))

    async def look_once(self, keys: list[SessionKey]) -> None:
        try:
            found = await self.topics.find_all(keys)
        except SessionTopicsError as error:
            log.info("absent_sessions_not_looked_for", sessions=len(keys), error=type(error).__name__)
            return
        for key, session_log in found.items():
            if key in self.logs:
                self.leave(key)
                self.on_found(key, session_log)

    async def close(self) -> None:
        """Ask and look no more; whoever waits for an answer has to be cancelled."""
        await end_tasks(self._asking, self._looking)
