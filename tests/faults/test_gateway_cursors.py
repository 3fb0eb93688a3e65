"""Cursors that are old, unknown, forged, or point where the log no longer is (row G7): told, never skipped in silence.

Every cursor that a session ever gave is tried against every point at which its log may have been cut, on real
sockets; what is told must be everything after the cursor, or a gap and a picture of what there is. Then it goes on.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any, Final

from gateway.fetching.decisions.resume_cursor import CursorKeys, CursorSigner, LogPosition, epoch_digest
from infra.clickhouse.decisions.archived_turns import ArchivedTurn
from schemas.client_messages import Attach, Detach
from schemas.gateway_messages import Attached, Delta, End, Error, Gap, ServerMessage, Snapshot
from schemas.session_events import Usage
from tests.fakes.followed_log import FollowedLog
from tests.fakes.kept_turns import KeptTurns
from tests.faults.full_size import measured
from tests.faults.memory_gateway import MemoryGateway
from tests.faults.on_uvloop import on_uvloop
from tests.integration.gateway_line import WireClient, answer_events
from tests.unit.gateway.gateway_parts import key_of

SESSION: Final = "s1"
TURNS: Final = {"t1": ["a1 ", "a2 ", "a3 "], "t2": ["b1 ", "b2 "], "t3": ["c1 ", "c2 ", "c3 ", "c4 "]}
MARKS: Final = count()


@dataclass(slots=True)
class Told:
    """What one attach brought, up to a turn that came after it."""

    first: Attached | Error
    gaps: list[str] = field(default_factory=list)
    snapshots: dict[str, str] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    """By turn, of deltas."""
    ended: set[str] = field(default_factory=set)

    @property
    def refused(self) -> bool:
        return isinstance(self.first, Error)


async def told_from(gateway: MemoryGateway, client: WireClient, from_: str) -> Told:
    """Attach, let one more answer come, and leave again."""
    await client.send(Attach(session=SESSION, from_=from_))
    told = Told(await client.next("attached", "error"))
    if told.refused:
        return told
    mark = f"mark-{next(MARKS)}"
    await gateway.append(SESSION, answer_events(mark, ["now"], prompt_id=mark))
    while mark not in told.ended:
        note(told, await client.next())
    await client.send(Detach(session=SESSION))
    while (await client.next()).__struct_config__.tag != "detached":
        pass
    assert "now" in (told.texts.pop(mark, ""), told.snapshots.pop(mark, ""))
    return told


def note(told: Told, message: Any) -> None:
    match message:
        case Gap():
            assert not told.texts
            told.gaps.append(message.reason)
        case Snapshot():
            assert not told.texts
            for turn in message.turns:
                told.snapshots[turn.turn] = told.snapshots.get(turn.turn, "") + turn.text
                if turn.reason is not None:
                    told.ended.add(turn.turn)
        case Delta():
            told.texts[message.turn] = told.texts.get(message.turn, "") + message.text
        case End():
            told.ended.add(message.turn)
        case _:
            pass


@contextmanager
def cut(log: FollowedLog, start: int) -> Iterator[None]:
    """The log's records before `start` are gone; they come back, for the next try."""
    place = log.place(key_of(SESSION))
    log.starts[place.topic, place.partition] = start
    try:
        yield
    finally:
        log.starts[place.topic, place.partition] = 0


async def cursors_of(gateway: MemoryGateway, client: WireClient) -> list[tuple[str, str]]:
    """Every cursor that a client was given while the turns came, and all the text that it knew by then."""
    await client.send(Attach(session=SESSION))
    await client.next("attached")
    known, given = "", []
    for turn, texts in TURNS.items():
        for event in answer_events(turn, texts, prompt_id=f"p-{turn}"):
            await gateway.append(SESSION, [event])
        message: ServerMessage | None = None
        while not (isinstance(message, End) and message.turn == turn):
            message = await client.next()
            known += message.text if isinstance(message, Delta) else ""
            if cursor := getattr(message, "c", ""):
                given.append((cursor, known))
    await client.send(Detach(session=SESSION))
    await client.next("detached")
    return given


def turns_begun_from(start: int) -> set[str]:
    """The turns whose first record lies at or behind an offset: queued, started, texts, ended."""
    firsts, offset = {}, 0
    for turn, texts in TURNS.items():
        firsts[turn] = offset
        offset += len(texts) + 3
    return {turn for turn, first in firsts.items() if first >= start}


def known_of(turn: str) -> str:
    return "".join(TURNS[turn])


WHOLE: Final = "".join(known_of(turn) for turn in TURNS)
RECORDS: Final = sum(len(texts) + 3 for texts in TURNS.values())


def archived(*turns: str) -> tuple[ArchivedTurn, ...]:
    """As ClickHouse knows them."""
    return tuple(
        ArchivedTurn(
            turn=turn,
            prompt_id=f"p-{turn}",
            attempt=1,
            provider="simulated",
            model="simulated",
            next_seq=len(TURNS[turn]),
            text=known_of(turn),
            reason="complete",
            error_code="",
            usage=Usage(),
            cost_nano_usd=0,
            accepted_at=datetime(2026, 1, number + 1, tzinfo=UTC),
        )
        for number, turn in enumerate(turns)
    )


@on_uvloop
async def test_G7_every_cursor_at_every_cut(tmp_path: Path) -> None:
    """All after the cursor, or a gap and every turn that the log still holds; the archive brings the others back."""
    archive = KeptTurns({SESSION: archived(*TURNS)})
    tried = gaps = 0
    async with MemoryGateway.opened(tmp_path, archive=archive) as gateway, WireClient.connected(gateway.port) as client:
        given = await cursors_of(gateway, client)
        for start in range(RECORDS + 1):
            for cursor, known in given:
                archive.reachable = (tried := tried + 1) % 2 == 0
                gateway.gateway.services.archive.paused_until_s = 0.0
                await forget_session(gateway)
                with cut(gateway.log, start):
                    told = await told_from(gateway, client, cursor)
                marks = {turn for turn in told.snapshots if turn.startswith("mark")}
                if told.gaps:
                    gaps += 1
                    assert told.gaps == ["expired"]
                    assert told.first.recovered == "gap"  # type: ignore[union-attr]
                    assert told.first.source == ("archive" if archive.reachable else "log")  # type: ignore[union-attr]
                    held = set(TURNS) if archive.reachable else turns_begun_from(start)
                    assert {turn: told.snapshots[turn] for turn in set(told.snapshots) - marks} == {
                        turn: known_of(turn) for turn in held
                    }
                else:
                    assert told.first.recovered in ("live", "replayed")  # type: ignore[union-attr]
                    after = "".join(text for turn, text in told.texts.items() if not turn.startswith("mark"))
                    assert known + after == WHOLE
    measured("G7", f"{tried} tries, {len(given)} cursors at {RECORDS + 1} cuts of the log: {gaps} gaps, all said")

    assert 0 < gaps < tried


async def forget_session(gateway: MemoryGateway) -> None:
    """As a gateway that never heard of it."""
    await gateway.gateway.services.hubs.close()


@on_uvloop
async def test_G7_forged_cursors_are_refused(tmp_path: Path) -> None:
    """Changed anywhere it is no cursor of ours: refused, or of a key that is not known, which is a gap."""
    async with MemoryGateway.opened(tmp_path) as gateway, WireClient.connected(gateway.port) as client:
        cursor = (await cursors_of(gateway, client))[4][0]
        raw = base64.urlsafe_b64decode(cursor)
        outcomes = {"refused": 0, "gap": 0}
        for at in range(len(raw)):
            changed = bytes((*raw[:at], raw[at] ^ 0x41, *raw[at + 1 :]))
            told = await told_from(gateway, client, base64.urlsafe_b64encode(changed).decode())
            if isinstance(told.first, Error):
                assert told.first.code == "cursor_refused"
                outcomes["refused"] += 1
            else:
                assert told.gaps == ["unknown_cursor"]
                outcomes["gap"] += 1
        for nonsense in ("", "x", cursor[:-1], cursor + "A", "é" * len(cursor), "A" * 4_096):
            if nonsense:
                assert (await told_from(gateway, client, nonsense)).refused
        assert outcomes["refused"] > 10 * outcomes["gap"]

        assert not (await told_from(gateway, client, cursor)).gaps


@on_uvloop
async def test_G7_cursor_of_a_key_that_is_gone(tmp_path: Path) -> None:
    """A gap that says so, the whole session, then live: even if the key was never ours."""
    async with MemoryGateway.opened(tmp_path) as gateway, WireClient.connected(gateway.port) as client:
        await cursors_of(gateway, client)
        strange = CursorSigner(CursorKeys([b"another"]), key_of(SESSION))
        told = await told_from(gateway, client, strange.sign(epoch_digest("epoch-0"), LogPosition(3), 0))

    assert told.gaps == ["unknown_cursor"]
    assert told.snapshots == {turn: known_of(turn) for turn in TURNS}


@on_uvloop
async def test_G7_log_made_anew(tmp_path: Path) -> None:
    """A gap that says so; what the old log held comes from the archive, before what the new one holds."""
    archive = KeptTurns({SESSION: archived("t1", "t2")})
    async with MemoryGateway.opened(tmp_path, archive=archive) as gateway, WireClient.connected(gateway.port) as client:
        cursor = (await cursors_of(gateway, client))[5][0]
        await forget_session(gateway)
        gateway.log.recreate(key_of(SESSION))
        gateway.log.append(key_of(SESSION), answer_events("t9", ["new ", "log"], prompt_id="p9"))
        told = await told_from(gateway, client, cursor)

    assert told.gaps == ["recreated"]
    assert told.first.source == "archive"  # type: ignore[union-attr]
    assert list(told.snapshots.items()) == [("t1", known_of("t1")), ("t2", known_of("t2")), ("t9", "new log")]


@on_uvloop
async def test_G7_everything_of_a_log_that_was_cut(tmp_path: Path) -> None:
    """From the start: one picture with the archive's turns; without an archive what the log holds, turn by turn."""
    archive = KeptTurns({SESSION: archived("t1", "t2")})
    async with MemoryGateway.opened(tmp_path, archive=archive) as gateway, WireClient.connected(gateway.port) as client:
        await cursors_of(gateway, client)
        whole = await told_from(gateway, client, "start")
        await forget_session(gateway)
        with cut(gateway.log, 7):
            old = await told_from(gateway, client, "start")
            await forget_session(gateway)
            archive.reachable = False
            rest = await told_from(gateway, client, "start")

    assert (whole.first.recovered, whole.first.source, archive.asked) == (  # type: ignore[union-attr]
        "replayed",
        "log",
        [("alice", SESSION)] * 2,
    )
    assert (old.first.recovered, old.first.source) == ("snapshot", "archive")  # type: ignore[union-attr]
    assert {turn: old.snapshots.get(turn) for turn in TURNS} == {turn: known_of(turn) for turn in TURNS}
    assert (rest.first.recovered, rest.snapshots) == ("replayed", {})  # type: ignore[union-attr]
    assert rest.texts["t3"] == known_of("t3")
    assert "t1" not in rest.texts
