"""Who follows session logs for the gateway: sessions in, records out.

A follower is called from the event loop, in log order, and must not wait. Between two calls nothing is lost and
nothing comes twice; what could not be had is said by `lost`, after which the follower is no longer followed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.decisions.resume_cursor import GapReason
from infra.kafka.log_client import LogRecord
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace

__all__ = ["LogFollower", "LogReader"]


class LogFollower(Protocol):
    """Takes the records of one session."""

    def deliver(self, records: Sequence[LogRecord]) -> None:
        """The next records of the session, in order."""
        ...

    def lost(self, reason: GapReason) -> None:
        """The log does not hold the position any more; nothing further will be delivered."""
        ...


class LogReader(Protocol):
    """Follows the ends of many sessions' logs."""

    @property
    def reachable(self) -> bool:
        """False while the broker is known not to answer."""
        ...

    def follow(self, place: LogPlace, key: SessionKey, offset: int, follower: LogFollower) -> bool:
        """Deliver the session's records from `offset` on. False: the place is read beyond it already; read the
        past up to `position(place)` and ask again."""
        ...

    def unfollow(self, place: LogPlace, key: SessionKey) -> None:
        """Deliver nothing more of the session."""
        ...

    def position(self, place: LogPlace) -> int | None:
        """Every record before it has been delivered to whoever follows; None where nobody follows the place."""
        ...
