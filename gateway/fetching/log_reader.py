"""Where the gateway gets session logs from: finding them, following their ends, reading their past.

A follower is called from the event loop, in log order, and must not wait. Between two calls nothing is lost and
nothing comes twice; what could not be had is said by `lost`, after which the follower is no longer followed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol

from gateway.fetching.decisions.open_turns import OpenTurns
from gateway.fetching.decisions.resume_cursor import GapReason
from infra.kafka.log_client import LogBounds, LogRecord
from infra.kafka.session_topics import SessionLog
from schemas.activity import SessionActivity
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace

__all__ = ["LogFinder", "LogFollower", "LogReader", "PastReader", "SessionReader"]


class LogFollower(Protocol):
    """Takes the records of one session."""

    def deliver(self, records: Sequence[LogRecord]) -> None:
        """The next records of the session, in order."""

    def lost(self, reason: GapReason) -> None:
        """The log does not hold the position any more; nothing further will be delivered."""

    def expects_records(self) -> bool:
        """Whether more is due on the log by what is known of it: a turn is open."""


class LogReader(Protocol):
    """Follows the ends of many sessions' logs."""

    @property
    def reachable(self) -> bool:
        """False while the broker is known not to answer."""

    def follow(self, place: LogPlace, key: SessionKey, offset: int, follower: LogFollower) -> bool:
        """Deliver the session's records from `offset` on (in a shared place perhaps from before: the follower knows
        where it stands). False: the place is read beyond it already; read the past up to `position(place)` and ask
        again."""

    def unfollow(self, place: LogPlace, key: SessionKey) -> None:
        """Deliver nothing more of the session."""

    def position(self, place: LogPlace) -> int | None:
        """Every record before it has been delivered to whoever follows; None where nobody follows the place."""

    def note_turns(self, place: LogPlace, turns: OpenTurns) -> None:
        """Note the turns of a shared place's sessions as records come, from `turns.known_to` on; nothing while nobody
        follows the place."""


class SessionReader(LogReader, Protocol):
    """Also knows which sessions are silent, and wants to hear where something is to be expected."""

    def attached(self, key: SessionKey) -> None:
        """Somebody attaches to a session that is followed already: make sure that it is up to date."""

    def prompted(self, key: SessionKey) -> None:
        """A prompt or a cancel of the session is about to be published."""

    def await_log(self, key: SessionKey, told: Callable[[SessionActivity], None]) -> None:
        """Somebody waits for the session's log: pass on what workers say of it."""

    def await_no_more(self, key: SessionKey) -> None:
        """Nobody does any more."""

    def tick(self, now_s: float) -> tuple[int, int]:
        """Look at the time, every second or so: how many sessions are fetched then, and how many left out."""


class PastReader(Protocol):
    """Reads what lies on a log, each read on its own (`infra.kafka.log_client.LogClient`)."""

    async def bounds(self, topic: str, partition: int) -> LogBounds:
        """First and next offset. Raises LogError."""

    async def end(self, topic: str, partition: int) -> int:
        """The offset of the next record. Raises LogError."""

    def read(self, topic: str, partition: int, start: int, end: int) -> AsyncIterator[list[LogRecord]]:
        """Batches of records with start ≤ offset < end. Raises LogError."""


class LogFinder(Protocol):
    """Knows where sessions' logs are (`infra.kafka.session_topics.SessionTopics`)."""

    async def find_all(self, keys: Sequence[SessionKey]) -> dict[SessionKey, SessionLog]:
        """The logs of those sessions that have one. Raises SessionTopicsError."""

    def place(self, key: SessionKey) -> LogPlace:
        """Where the session's log is, once it is there."""

    def forget(self, key: SessionKey) -> None:
        """Ask the cluster again next time."""
