"""Attachments where the schedules of tests/properties do not go: lost logs, outages, slow clients, leaving.

Covers: gateway.clients.attachment, gateway.hubs.decisions.attach_plan, gateway.hubs.session_hub.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from infra.kafka.log_client import LogBounds
from schemas.gateway_messages import Attached, Compared, Delta, End, Error, Gap, Lag, Snapshot
from schemas.session_events import ComparisonEnded, SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.unit.gateway.gateway_parts import RecordedClient, key_of, services_over, settled


def turn(name: str, chunks: list[str], *, end: bool = True) -> list[SessionEvent]:
    events: list[SessionEvent] = [
        TurnQueued(turn=name, prompt_id=f"p-{name}", input="?"),
        TurnStarted(turn=name, attempt=1, run=name),
        *(TokensEmitted(turn=name, attempt=1, run=name, seq=n, chunks=(text,)) for n, text in enumerate(chunks)),
    ]
    return [*events, TurnEnded(turn=name, attempt=1, run=name, reason="complete")] if end else events


def told_text(client: RecordedClient) -> str:
    return "".join(message.text for message in client.socket.told if isinstance(message, Delta))


async def test_log_made_anew_under_a_live_client() -> None:
    """Gap, a snapshot of what there is, then live on the new log; the old cursor is a gap as well."""
    log = FollowedLog()
    reader = FollowedLogReader(log)
    services = services_over(log, reader)
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks)
        await client.attach("s1", "tail")
        log.append(key_of("s1"), turn("t1", ["old"]))
        reader.deliver()
        await settled()
        cursor = next(message.c for message in client.socket.told if isinstance(message, End))
        log.recreate(key_of("s1"))
        log.append(key_of("s1"), turn("t2", ["new "], end=False))
        reader.lose(key_of("s1"), "log_lost")
        await settled()
        log.append(key_of("s1"), [TokensEmitted(turn="t2", attempt=1, run="t2", seq=1, chunks=("words",))])
        reader.deliver()
        await settled()
        late = RecordedClient(services, tasks)
        await late.attach("s1", cursor)
        await settled()
        client.attachments.close()
        late.attachments.close()

    gap, snapshot, delta = client.socket.told[-3:]
    assert isinstance(gap, Gap)
    assert isinstance(snapshot, Snapshot)
    assert isinstance(delta, Delta)
    assert [(told.turn, told.text, told.next_seq) for told in snapshot.turns] == [("t2", "new ", 1)]
    assert (delta.seq, delta.text) == (1, "words")
    assert isinstance(late.socket.told[1], Gap)
    assert late.socket.told[1].reason == "recreated"
    assert [told.text for told in late.socket.told[2].turns] == ["new words"]  # type: ignore[union-attr]


class LosingLog(FollowedLog):
    """Loses something the next time that somebody asks for bounds."""

    lose: Callable[[], None] | None = None

    async def bounds(self, topic: str, partition: int) -> LogBounds:
        """See `PastReader.bounds`."""
        lose, self.lose = self.lose, None
        if lose is not None:
            lose()
        return await super().bounds(topic, partition)


async def test_log_lost_while_an_attach_waits() -> None:
    """Whoever waits is attached to what there is afterwards, and hears what comes there."""
    log = LosingLog()
    reader = FollowedLogReader(log)
    services = services_over(log, reader)

    def made_anew() -> None:
        log.recreate(key_of("s1"))
        reader.lose(key_of("s1"), "log_lost")

    async with asyncio.TaskGroup() as tasks:
        first, second = RecordedClient(services, tasks), RecordedClient(services, tasks)
        log.append(key_of("s1"), turn("t1", ["old"]))
        await first.attach("s1", "tail")
        log.lose = made_anew
        await second.attach("s1", "start")
        await settled()
        log.append(key_of("s1"), turn("t2", ["new"]))
        reader.deliver()
        await settled()
        first.attachments.close()
        second.attachments.close()

    assert [told_text(client) for client in (first, second)] == ["new", "new"]


async def test_attach_while_kafka_is_away() -> None:
    """An error that is temporary and says when to try again; trying again works."""
    log = FollowedLog()
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services_over(log, FollowedLogReader(log)), tasks)
        log.reachable = False
        await client.attach("s1", "tail")
        log.reachable = True
        await client.attach("s1", "tail")
        await settled()
        client.attachments.close()

    refused, attached = client.socket.told
    assert isinstance(refused, Error)
    assert (refused.code, refused.temporary, refused.session) == ("unavailable", True, "s1")
    assert refused.retry_after_s
    assert isinstance(attached, Attached)


async def test_slow_live_client_is_served_from_the_log_and_comes_back_up() -> None:
    """Bounded while it stalls, told of each rung; in the end all of the answer; a sibling waits for nothing."""
    log = FollowedLog()
    reader = FollowedLogReader(log)
    services = services_over(log, reader)
    texts = [f"{number} {'x' * 2_000} " for number in range(200)]
    async with asyncio.TaskGroup() as tasks:
        slow, quick = RecordedClient(services, tasks, slow=True), RecordedClient(services, tasks)
        for client in (slow, quick):
            await client.attach("s1", "tail")
        most = 0
        for event in turn("t1", texts):
            log.append(key_of("s1"), [event])
            reader.deliver()
            await asyncio.sleep(0)
            most = max(most, slow.writer.outbox.unsent_bytes)
        quick_by_then = told_text(quick)
        rungs_while_stalled = [message.mode for message in slow.socket.told if isinstance(message, Lag)]
        while not any(isinstance(message, End) for message in slow.socket.told):
            slow.socket.drain()
            await settled()
        slow.socket.slow = False
        slow.socket.drain()
        await settled()
        slow.writer.tick(0)
        await settled()
        rungs = [message.mode for message in slow.socket.told if isinstance(message, Lag)]
        for client in (quick, slow):
            client.attachments.close()

    assert not slow.evicted
    assert most <= services.rules.outbox_limits.high_bytes + 2_500
    assert quick_by_then == "".join(texts)
    assert rungs_while_stalled == []  # it is told when it reads on
    assert rungs == ["rollup", "log", "rollup", "direct"]
    assert told_text(slow) == "".join(texts)


async def test_client_that_asked_to_skip_is_taken_to_the_newest() -> None:
    """Further behind than 128 records: a gap that says so, a picture of the open turn, then live; nothing twice."""
    log = FollowedLog()
    reader = FollowedLogReader(log)
    services = services_over(log, reader)
    texts = [f"{number} {'x' * 200} " for number in range(400)]
    events = turn("t1", texts)
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks, slow=True)
        await client.attach("s1", "tail", on_slow="skip")
        log.append(key_of("s1"), turn("t0", ["long over"]))
        for event in events[:350]:
            log.append(key_of("s1"), [event])
            reader.deliver()
            await asyncio.sleep(0)
        client.socket.slow = False
        client.socket.drain()
        await settled()
        log.append(key_of("s1"), events[350:])
        reader.deliver()
        await settled()
        client.attachments.close()

    told = client.socket.told
    gap = next(place for place, message in enumerate(told) if isinstance(message, Gap))
    snapshots = [message for message in told if isinstance(message, Snapshot)]
    before = [message for message in told[:gap] if isinstance(message, Delta) and message.turn == "t1"]
    after = [message for message in told[gap:] if isinstance(message, Delta)]
    assert told[gap] == Gap(session="s1", reason="skipped")
    assert "".join(message.text for message in before) == "".join(texts[: sum(message.n for message in before)])
    assert {piece.turn for message in snapshots for piece in message.turns} == {"t1"}
    assert "".join(piece.text for message in snapshots for piece in message.turns) == "".join(texts[:348])
    assert "".join(message.text for message in after) == "".join(texts[348:])
    assert any(isinstance(message, End) for message in told[-2:])
    assert b"tokenwire_gateway_skips_total 1.0" in services.metrics.exposition()


async def test_process_that_needs_the_bytes() -> None:
    """What waits for a slow client is dropped; it is told all of it from the log when it reads on."""
    log = FollowedLog()
    reader = FollowedLogReader(log)
    services = services_over(log, reader)
    texts = [f"{number} {'x' * 1_000} " for number in range(12)]
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks, slow=True)
        await client.attach("s1", "tail")
        for event in turn("t1", texts):
            log.append(key_of("s1"), [event])
            reader.deliver()
            await asyncio.sleep(0)
        before = client.writer.outbox.queued_bytes
        client.attachments.shed()
        after = client.writer.outbox.queued_bytes
        while not any(isinstance(message, End) for message in client.socket.told):
            client.socket.drain()
            await settled()
        client.attachments.close()

    assert before > 5_000
    assert after < 100  # the word of the new rung
    assert told_text(client) == "".join(texts)


async def test_log_that_retention_has_cut_under_a_slow_client() -> None:
    """Nothing is left out in silence: gap, and a picture of what there is."""
    log = FollowedLog()
    reader = FollowedLogReader(log)
    services = services_over(log, reader)
    texts = [f"{number} {'x' * 2_000} " for number in range(200)]
    key = key_of("s1")
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks, slow=True)
        await client.attach("s1", "tail")
        for event in turn("t1", texts):
            log.append(key, [event])
            reader.deliver()
            await asyncio.sleep(0)
        log.append(key, turn("t2", ["what is left"]))
        reader.deliver()
        place = log.place(key)
        log.starts[place.topic, place.partition] = len(texts) + 3
        for _ in range(20):
            client.socket.drain()
            await settled()
        client.attachments.close()

    told = client.socket.told
    gaps = [message.reason for message in told if isinstance(message, Gap)]
    pictures = [piece.text for message in told if isinstance(message, Snapshot) for piece in message.turns]
    assert gaps == ["expired"]
    assert pictures == ["what is left"]


async def test_slow_client_that_catches_up_is_not_evicted() -> None:
    """A replay waits for its client, however long the history."""
    log = FollowedLog()
    services = services_over(log, FollowedLogReader(log))
    texts = [f"{number} {'x' * 2_000} " for number in range(300)]
    log.append(key_of("s1"), turn("t1", texts))
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks, slow=True)
        await client.attach("s1", "start")
        await settled()
        assert not any(isinstance(message, End) for message in client.socket.told)
        while not any(isinstance(message, End) for message in client.socket.told):
            client.socket.drain()
            await settled()
        client.attachments.close()

    assert not client.evicted
    assert "".join(message.text for message in client.socket.told if isinstance(message, Delta)) == "".join(texts)


async def test_late_client_of_a_comparison_that_has_a_winner() -> None:
    """At the tail it is told the turn that is still open and what the comparison came to, not the winner's answer."""
    log = FollowedLog()
    services = services_over(log, FollowedLogReader(log))
    models = ("a", "b")
    log.append(
        key_of("s1"),
        [
            TurnQueued(turn="t1", prompt_id="p", models=models, compare="first", index=1),
            TurnQueued(turn="t0", prompt_id="p", models=models, compare="first"),
            TurnEnded(turn="t0", attempt=0, run="", reason="complete"),
            ComparisonEnded(prompt_id="p", mode="first", turn="t0"),
        ],
    )
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks)
        await client.attach("s1", "tail")
        await settled()
        client.attachments.close()

    attached, snapshot, compared, last = client.socket.told
    assert isinstance(attached, Attached)
    assert isinstance(snapshot, Snapshot)
    assert isinstance(last, Snapshot)
    assert (snapshot.c, bool(last.c)) == ("", True)
    assert [(told.turn, told.models, told.index) for told in snapshot.turns] == [("t1", models, 1)]
    assert isinstance(compared, Compared)
    assert compared.turn == "t0"


async def test_late_client_joins_in_mid_answer() -> None:
    """One picture of the open turn, however long it is, then what everybody is told; both end with the same text."""
    log = FollowedLog()
    reader = FollowedLogReader(log)
    services = services_over(log, reader)
    texts = [f"{number} {'x' * 500} " for number in range(40)]
    events = turn("t1", texts)
    log.append(key_of("s1"), turn("t0", ["long over"]))
    async with asyncio.TaskGroup() as tasks:
        first, second = RecordedClient(services, tasks), RecordedClient(services, tasks)
        await first.attach("s1", "tail")
        log.append(key_of("s1"), events[:32])
        reader.deliver()
        await second.attach("s1", "tail")
        log.append(key_of("s1"), events[32:36])
        reader.deliver()  # while the picture is being made
        await settled()
        log.append(key_of("s1"), events[36:])
        reader.deliver()
        await settled()
        for client in (first, second):
            client.attachments.close()

    attached, *told = second.socket.told
    pictures = [message for message in told if isinstance(message, Snapshot)]
    deltas = [message for message in told if isinstance(message, Delta)]
    assert isinstance(attached, Attached)
    assert (attached.recovered, attached.source) == ("snapshot", "log")
    assert told[: len(pictures)] == pictures
    assert {piece.turn for picture in pictures for piece in picture.turns} == {"t1"}
    assert {piece.next_seq for picture in pictures for piece in picture.turns} == {30}
    assert deltas[0].seq == 30
    assert "".join(piece.text for picture in pictures for piece in picture.turns) == "".join(texts[:30])
    assert "".join(delta.text for delta in deltas) == "".join(texts[30:])
    assert told_text(first) == "".join(texts)


async def test_late_client_that_reads_nothing_has_no_cursor_of_a_picture_it_has_not_seen() -> None:
    """Whoever is sent away before its picture was written is given no cursor: it would lose the text before it."""
    log = FollowedLog()
    services = services_over(log, FollowedLogReader(log))
    log.append(key_of("s1"), turn("t1", ["x" * 5_000 for _ in range(20)], end=False))
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks, slow=True)
        await client.attach("s1", "tail")
        await settled()
        before, live = client.attachments.cursors(), client.attachments.heads()
        for _ in range(60):
            client.socket.drain()
            await settled()
        after = client.attachments.cursors()
        client.attachments.close()

    assert (before, live) == ({}, {})
    last = client.socket.told[-1]
    assert isinstance(last, Snapshot)
    assert after == {"s1": last.c}


async def test_hub_that_nobody_needs() -> None:
    """Dropped after the grace time, not before, and not while somebody still catches up."""
    log = FollowedLog()
    services = services_over(log, FollowedLogReader(log))
    log.append(key_of("s1"), turn("t1", [f"{number} {'x' * 2_000} " for number in range(300)]))
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks, slow=True)
        await client.attach("s1", "start")
        await settled()
        services.hubs.sweep(services.hubs.all(), 0.0)
        services.hubs.sweep(services.hubs.all(), 1_000.0)
        kept_while_catching_up = len(services.hubs.hubs)
        client.attachments.close()
        services.hubs.sweep(services.hubs.all(), 1_001.0)
        services.hubs.sweep(services.hubs.all(), 1_020.0)
        kept_for_a_while = len(services.hubs.hubs)
        services.hubs.sweep(services.hubs.all(), 1_100.0)

    assert (kept_while_catching_up, kept_for_a_while, len(services.hubs.hubs)) == (1, 1, 0)
