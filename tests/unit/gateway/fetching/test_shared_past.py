"""Opening sessions in a partition that others share: it is read once, whoever comes, and never from behind."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice

import pytest

from gateway.fetching.decisions.resume_cursor import LogPosition, SignedPosition, epoch_digest
from gateway.hubs.session_hubs import SessionHubs
from schemas.identifiers import SessionId, SessionKey, check_session_id
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.unit.gateway.gateway_parts import ALICE, key_of, services_over

__all__: list[str] = []

BATCH = 3


def neighbours() -> Iterator[SessionId]:
    """Sessions of one partition."""
    log = FollowedLog("shared")
    place = log.place(key_of("s0"))
    return (check_session_id(name) for name in map("s{}".format, count()) if log.place(key_of(name)) == place)


def turn(name: str, *, ends: bool = True) -> list[SessionEvent]:
    events: list[SessionEvent] = [
        TurnQueued(turn=name, prompt_id=f"p-{name}", input="?"),
        TurnStarted(turn=name, attempt=1, run=name),
        *(TokensEmitted(turn=name, attempt=1, run=name, seq=seq, chunks=("x",)) for seq in range(20)),
    ]
    return [*events, TurnEnded(turn=name, attempt=1, run=name, reason="complete")] if ends else events


class Stage:
    """A partition with a long past, and a gateway."""

    def __init__(self, sessions: list[SessionId]) -> None:
        self.log = FollowedLog("shared", records_per_read=BATCH)
        self.sessions = sessions
        for number, session in enumerate(sessions):
            self.log.append(key_of(session), turn(f"t{number}"))
        self.reader = FollowedLogReader(self.log)
        self.hubs = self.gateway()

    def gateway(self) -> SessionHubs:
        return services_over(self.log, self.reader).hubs

    async def reads_of(self, *sessions: SessionId) -> int:
        """Batches read to open them."""
        before = self.log.reads
        for session in sessions:
            await self.hubs.open(ALICE, session, None)
        return self.log.reads - before

    def open_turns(self, session: SessionId) -> list[str]:
        hub = self.hubs.hubs[SessionKey(key_of(session))]
        return [open_turn.queued.turn for open_turn in hub.reading.fold.open_turns()]


@pytest.fixture
def stage() -> Stage:
    """Ten sessions that each had an answer."""
    return Stage(list(islice(neighbours(), 10)))


async def test_partition_is_read_once(stage: Stage) -> None:
    """By the first session that is opened; for the others nothing is read, also of what came meanwhile."""
    size = len(stage.log.records[next(iter(stage.log.records))])
    assert await stage.reads_of(stage.sessions[0]) == -(-size // BATCH)
    assert await stage.reads_of(*stage.sessions[1:6]) == 0

    stage.log.append(key_of(stage.sessions[7]), turn("goes-on", ends=False))
    stage.log.append(key_of(stage.sessions[8]), turn("over"))
    stage.reader.deliver()
    assert await stage.reads_of(stage.sessions[8]) == 0
    assert stage.open_turns(stage.sessions[8]) == []
    assert 0 < await stage.reads_of(stage.sessions[7]) < 3 * 23 // BATCH
    assert stage.open_turns(stage.sessions[7]) == ["goes-on"]
    assert stage.hubs.hubs[key_of(stage.sessions[0])].position == stage.hubs.hubs[key_of(stage.sessions[7])].position


async def test_partition_that_nobody_followed_for_a_while(stage: Stage) -> None:
    """What came meanwhile is read, and no more."""
    await stage.reads_of(stage.sessions[0])
    for hub in stage.hubs.all():
        stage.hubs.drop(hub)
    stage.log.append(key_of(stage.sessions[1]), turn("goes-on", ends=False))

    assert await stage.reads_of(stage.sessions[2]) == -(-22 // BATCH)
    assert stage.open_turns(stage.sessions[2]) == []
    assert await stage.reads_of(stage.sessions[1]) == -(-22 // BATCH)
    assert stage.open_turns(stage.sessions[1]) == ["goes-on"]
    assert await stage.reads_of(stage.sessions[3]) == 0


async def test_records_that_are_on_the_log_and_not_relayed_yet(stage: Stage) -> None:
    """Are read on their own, and noted when they are relayed; then nothing is read again."""
    await stage.reads_of(stage.sessions[0])
    stage.log.append(key_of(stage.sessions[1]), turn("goes-on", ends=False))
    await stage.reads_of(stage.sessions[1])
    assert stage.open_turns(stage.sessions[1]) == ["goes-on"]
    stage.reader.deliver()
    stage.log.append(key_of(stage.sessions[2]), turn("over"))
    stage.reader.deliver()

    assert await stage.reads_of(stage.sessions[3]) == 0
    assert await stage.reads_of(stage.sessions[2]) == 0


async def test_who_comes_with_a_cursor_does_not_wait_for_the_partition(stage: Stage) -> None:
    """What nobody has noted yet is not read for it, also where the partition was read once."""
    await stage.reads_of(stage.sessions[0])
    for hub in stage.hubs.all():
        stage.hubs.drop(hub)
    stage.log.append(key_of(stage.sessions[1]), turn("over"))
    end = len(stage.log.records[next(iter(stage.log.records))])
    before = stage.log.reads
    await stage.hubs.open(ALICE, stage.sessions[2], SignedPosition(epoch_digest("epoch-0"), LogPosition(end), end))

    assert stage.log.reads == before
    assert stage.open_turns(stage.sessions[2]) == []


async def test_log_made_anew(stage: Stage) -> None:
    """What is known of the old one is of no account."""
    await stage.reads_of(stage.sessions[0])
    for hub in stage.hubs.all():
        stage.hubs.drop(hub)
    for session in stage.sessions:
        stage.log.recreate(key_of(session))
    stage.log.append(key_of(stage.sessions[1]), turn("new", ends=False))

    assert await stage.reads_of(stage.sessions[1])
    assert stage.open_turns(stage.sessions[1]) == ["new"]
    assert len(stage.hubs.past.partitions) == 1
