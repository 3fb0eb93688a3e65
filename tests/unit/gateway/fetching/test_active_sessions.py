"""Sessions left out of the fetch and taken in again, over a log in memory that delivers when the test says so.

Covers: gateway.fetching.activity_reader.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.fetching.active_sessions import ActiveSessions
from gateway.fetching.activity_reader import ActivityReader
from gateway.fetching.decisions.active_set import LOOK_EVERY_S, LOOK_S, PROMPT_S, QUIET_S
from gateway.fetching.decisions.resume_cursor import GapReason
from infra.kafka.log_client import LogRecord
from schemas.activity import SessionActivity
from schemas.codec import encode
from schemas.session_events import TurnWaiting
from schemas.topics import Layout, LogPlace, record_partition
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.fakes.topic_names import ACTIVITY
from tests.fakes.virtual_clock import VirtualClock
from tests.unit.gateway.gateway_parts import key_of, settled

__all__: list[str] = []

KEY = key_of("s1")
EVENT = TurnWaiting(turn="t1", position=1)


class Follower:
    """Keeps the offsets it was given."""

    def __init__(self) -> None:
        self.offsets: list[int] = []
        self.reasons: list[GapReason] = []
        self.expecting = False

    def deliver(self, records: Sequence[LogRecord]) -> None:
        self.offsets.extend(record.offset for record in records)

    def lost(self, reason: GapReason) -> None:
        self.reasons.append(reason)

    def expects_records(self) -> bool:
        return self.expecting


class Scene:
    """One session that is followed from its log's start."""

    def __init__(self, layout: Layout = "dedicated") -> None:
        self.log = FollowedLog(layout)
        self.fetching = FollowedLogReader(self.log)
        self.clock = VirtualClock()
        self.returns: list[str] = []
        self.sessions = ActiveSessions(self.fetching, self.clock, on_return=self.returns.append)
        self.follower = Follower()
        self.place = self.log.place(KEY)
        assert self.sessions.follow(self.place, KEY, 0, self.follower)

    def pass_s(self, seconds: float) -> None:
        """Time goes by, looked at once at its end."""
        self.clock.advance(seconds)
        self.sessions.tick(self.clock.monotonic_s())

    def append(self, records: int = 1) -> None:
        """Records come, and are delivered if anybody fetches them."""
        self.log.append(KEY, [EVENT] * records)
        self.fetching.deliver()

    def fetched(self) -> bool:
        """Whether a record would be delivered now."""
        return self.fetching.position(self.place) is not None


def test_silent_session_is_left_out_and_nothing_is_lost() -> None:
    """It is fetched as long as records come, then not; the worker's word brings it back where it stood."""
    scene = Scene()
    scene.append(2)
    scene.pass_s(QUIET_S - 1)
    scene.append()
    scene.pass_s(QUIET_S - 1)
    assert scene.fetched()

    scene.pass_s(QUIET_S)
    assert not scene.fetched()
    scene.append(2)
    assert scene.follower.offsets == [0, 1, 2]

    scene.sessions.heard(KEY, 2)  # late word of what was read already
    assert not scene.fetched()
    scene.sessions.heard(KEY, 3)
    scene.fetching.deliver()
    assert scene.follower.offsets == [0, 1, 2, 3, 4]
    assert scene.returns == ["activity"]


def test_open_turn_keeps_a_session() -> None:
    """However long a turn is silent, its session is fetched until it has ended."""
    scene = Scene()
    scene.follower.expecting = True
    scene.pass_s(10_000)
    assert scene.fetched()

    scene.follower.expecting = False
    scene.pass_s(1)
    assert not scene.fetched()


@pytest.mark.parametrize(("why", "keep_s"), [("prompted", PROMPT_S), ("attached", LOOK_S), ("deleted", PROMPT_S)])
def test_what_goes_on_here_brings_it_back(why: str, keep_s: float) -> None:
    """A prompt, an attach, a deletion: fetched at once, and for a while."""
    scene = Scene()
    scene.pass_s(QUIET_S)
    assert not scene.fetched()

    getattr(scene.sessions, why)(KEY)
    assert scene.fetched()
    scene.pass_s(keep_s - 1)
    assert scene.fetched()
    scene.pass_s(1)
    assert not scene.fetched()


def test_lost_word_costs_time_only() -> None:
    """A record that nobody told of is found by the next look."""
    scene = Scene()
    scene.pass_s(QUIET_S)
    scene.append()
    scene.pass_s(LOOK_EVERY_S - 1)
    assert not scene.fetched()
    scene.pass_s(1)
    scene.fetching.deliver()

    assert scene.follower.offsets == [0]
    assert scene.returns == ["look"]
    scene.pass_s(LOOK_S)
    assert scene.fetched()  # something came, so a little longer
    scene.pass_s(QUIET_S)
    assert not scene.fetched()


def test_followers_may_go_at_any_time() -> None:
    """Unfollowed while left out, or lost while fetched: forgotten, and word of it is no fault."""
    scene = Scene()
    scene.pass_s(QUIET_S)
    scene.sessions.unfollow(scene.place, KEY)
    assert not scene.sessions.knows(KEY)
    for tell in (scene.sessions.attached, scene.sessions.prompted, scene.sessions.deleted):
        tell(KEY)
    scene.sessions.heard(KEY, 9)
    assert not scene.fetched()

    assert scene.sessions.follow(scene.place, KEY, 0, scene.follower)
    scene.fetching.lose(KEY, "log_lost")
    scene.pass_s(1)
    assert scene.follower.reasons == ["log_lost"]
    assert not scene.sessions.knows(KEY)


def test_shared_partitions_are_fetched_all_the_time() -> None:
    """Nothing is left out where sessions share partitions."""
    scene = Scene("shared")
    scene.sessions.prompted(KEY)
    scene.pass_s(10_000)

    assert scene.fetched()
    assert scene.sessions.position(scene.place) == 0
    assert scene.sessions.reachable
    assert not scene.sessions.follow(scene.place, KEY, -1, scene.follower)


async def test_word_of_the_worker_is_heard() -> None:
    """Of a session that is known here; what does not decode, or concerns nobody, is passed over."""
    scene = Scene()
    reader = ActivityReader(scene.fetching, scene.log, scene.sessions, ACTIVITY)
    scene.log.reachable = False
    await reader.start()
    await settled()
    assert reader.missing, "the topic can't be read yet"
    await reader.stop()
    scene.log.reachable = True
    await reader.start()
    await settled()
    assert not reader.missing
    scene.pass_s(QUIET_S)

    tell(scene, b"{", KEY.encode())
    tell(scene, encode(SessionActivity(key="other", kind="queued", newest_offset=5)), b"\xff")
    tell(scene, None, KEY.encode())
    tell(scene, b"{}", None)
    assert not scene.fetched()
    tell(scene, encode(SessionActivity(key=KEY, kind="queued", newest_offset=0)), KEY.encode())
    assert scene.fetched()
    scene.pass_s(1_000)
    tell(scene, encode(SessionActivity(key=KEY, kind="deleted", newest_offset=-1)), KEY.encode())
    assert scene.returns == ["activity", "deleted"]

    scene.fetching.partitions.lose((ACTIVITY, 3), "expired")
    assert reader.missing == {3}
    await settled()
    assert not reader.missing
    await reader.stop()
    assert scene.fetching.position(LogPlace(ACTIVITY, 0, shared=False)) is None


def tell(scene: Scene, value: bytes | None, key: bytes | None) -> None:
    """Put a record on the activity topic, where the session's records lie."""
    partition = record_partition(KEY)
    log = scene.log.records[ACTIVITY, partition]
    log.append(LogRecord(len(log), 0, key, value))
    scene.fetching.deliver()
