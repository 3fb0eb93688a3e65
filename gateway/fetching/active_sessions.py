"""The reader as hubs see it: follows every session that it was asked to, but fetches only those where records are due.

Between the hubs and the reader that fetches (`fetch_session_reader.py`). In the shared layout there is nothing to do:
all partitions are fetched anyhow. In the dedicated one a session that has fallen silent is *left out*: its position is
kept, its follower hears nothing, and it is fetched again, from that position, as soon as something may have happened
there (`decisions/active_set.py`). A record is delivered later for it, never lost: what brings a session back is only
ever a reason to look.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from gateway.fetching.decisions.active_set import SessionStanding, looks_at_once
from gateway.fetching.decisions.open_turns import OpenTurns
from gateway.fetching.log_reader import LogFollower, LogReader
from infra.clock import Clock
from schemas.activity import SessionActivity
from schemas.identifiers import SessionKey
from schemas.topics import LogPlace

__all__ = ["ActiveSessions"]


@dataclass(slots=True)
class KnownSession:
    """One session with a log of its own."""

    place: LogPlace
    follower: LogFollower
    standing: SessionStanding


class ActiveSessions:
    """A `LogReader` over another one."""

    def __init__(self, reader: LogReader, clock: Clock, *, on_return: Callable[[str], None] = lambda _: None) -> None:
        self._reader = reader
        self._clock = clock
        self._fetched: dict[SessionKey, KnownSession] = {}
        self._left_out: dict[SessionKey, KnownSession] = {}
        """Longest first."""
        self._awaited: dict[SessionKey, Callable[[SessionActivity], None]] = {}
        """Sessions without a log, and who waits for it."""
        self._ticked_at_s = clock.monotonic_s()
        self._on_return = on_return
        """Told why a session is fetched again."""

    @property
    def reachable(self) -> bool:
        """See `LogReader.reachable`."""
        return self._reader.reachable

    def follow(self, place: LogPlace, key: SessionKey, offset: int, follower: LogFollower) -> bool:
        """See `LogReader.follow`."""
        if not self._reader.follow(place, key, offset, follower):
            return False
        if not place.shared:
            self._left_out.pop(key, None)
            standing = SessionStanding(offset, self._clock.monotonic_s())
            self._fetched[key] = KnownSession(place, follower, standing)
        return True

    def unfollow(self, place: LogPlace, key: SessionKey) -> None:
        """See `LogReader.unfollow`."""
        self._fetched.pop(key, None)
        self._left_out.pop(key, None)
        self._reader.unfollow(place, key)

    def position(self, place: LogPlace) -> int | None:
        """See `LogReader.position`. A session that is left out is followed by nobody."""
        return self._reader.position(place)

    def note_turns(self, place: LogPlace, turns: OpenTurns) -> None:
        """See `LogReader.note_turns`."""
        self._reader.note_turns(place, turns)

    def knows(self, key: SessionKey) -> bool:
        """Whether word about the session is of use here."""
        return key in self._fetched or key in self._left_out or key in self._awaited

    def attached(self, key: SessionKey) -> None:
        """See `LogReader.attached`."""
        known = self.brought_back(key, "attach")
        if known is not None:
            known.standing.attached(self._clock.monotonic_s())

    def prompted(self, key: SessionKey, *, why: str = "prompt") -> None:
        """See `SessionReader.prompted`."""
        known = self.brought_back(key, why)
        if known is not None:
            known.standing.prompted(self._clock.monotonic_s())

    def await_log(self, key: SessionKey, told: Callable[[SessionActivity], None]) -> None:
        """See `SessionReader.await_log`."""
        self._awaited[key] = told

    def await_no_more(self, key: SessionKey) -> None:
        """See `SessionReader.await_no_more`."""
        self._awaited.pop(key, None)

    def told(self, key: SessionKey, word: SessionActivity) -> None:
        """A worker says what happened in a session."""
        awaiting = self._awaited.get(key)
        if awaiting is not None:
            awaiting(word)
        elif word.kind == "deleted":
            self.deleted(key)
        else:
            self.heard(key, word.newest_offset)

    def heard(self, key: SessionKey, newest: int) -> None:
        """The worker told of a record on the session's log."""
        known = self._left_out.get(key)
        if known is not None and newest >= known.standing.position:
            known = self.brought_back(key, "activity")
        known = known or self._fetched.get(key)
        if known is not None:
            known.standing.heard(newest, self._clock.monotonic_s())

    def deleted(self, key: SessionKey) -> None:
        """The session's log is gone: look, so that its follower learns."""
        self.prompted(key, why="deleted")

    def tick(self, now_s: float) -> tuple[int, int]:
        """See `SessionReader.tick`: leave out what is silent, and look at some that were left out."""
        for key, known in list(self._fetched.items()):
            position = self._reader.position(known.place)
            if position is None:  # lost, and its follower knows
                del self._fetched[key]
                continue
            known.standing.read_to(position, now_s)
            if known.standing.is_quiet(now_s) and not known.follower.expects_records():
                self.leave_out(key, known, now_s)
        looks = looks_at_once(len(self._left_out), now_s - self._ticked_at_s)
        self._ticked_at_s = now_s
        for key in list(islice(self._left_out, looks)):
            if self._left_out[key].standing.is_due(now_s):
                known = self.brought_back(key, "look") or self._fetched[key]
                known.standing.looked_at(now_s)
        return len(self._fetched), len(self._left_out)

    def leave_out(self, key: SessionKey, known: KnownSession, now_s: float) -> None:
        self._reader.unfollow(known.place, key)
        del self._fetched[key]
        known.standing.left_at_s = now_s
        self._left_out[key] = known

    def brought_back(self, key: SessionKey, why: str) -> KnownSession | None:
        """The session, fetched from now on; None where it is not known."""
        known = self._left_out.pop(key, None)
        if known is None:
            return self._fetched.get(key)
        followed = self._reader.follow(known.place, key, known.standing.position, known.follower)
        assert followed, "nobody else follows a session's own log"
        self._fetched[key] = known
        self._on_return(why)
        return known
