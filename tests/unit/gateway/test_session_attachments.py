"""Attachments where the schedules of tests/properties do not go: lost logs, outages, slow clients, leaving."""

from __future__ import annotations

import asyncio

from gateway.decisions.client_outbox import OutboxState
from schemas.client_messages import Attached, Compared, Delta, End, Error, Gap, Queued, Snapshot
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


async def test_slow_live_client_is_evicted_and_its_cursor_works() -> None:
    """Never above the cap; what was written is where the cursor stands; a sibling is told everything."""
    log = FollowedLog()
    reader = FollowedLogReader(log)
    services = services_over(log, reader)
    texts = [f"{number} {'x' * 2_000} " for number in range(200)]
    async with asyncio.TaskGroup() as tasks:
        slow, quick = RecordedClient(services, tasks, slow=True), RecordedClient(services, tasks)
        for client in (slow, quick):
            await client.attach("s1", "tail")
        slow_hold = slow.attachments.held["s1"]
        most = 0
        for event in turn("t1", texts):
            log.append(key_of("s1"), [event])
            reader.deliver()
            await asyncio.sleep(0)
            most = max(most, slow.writer.outbox.unsent_bytes)
        back = RecordedClient(services, tasks)
        await back.attach("s1", slow_hold.written_cursor)
        while not any(isinstance(message, End) for message in back.socket.told):
            await settled()
        for client in (quick, back):
            client.attachments.close()

    def text(client: RecordedClient) -> str:
        return "".join(message.text for message in client.socket.told if isinstance(message, Delta))

    assert slow.evicted
    assert slow.writer.outbox.state is OutboxState.EVICTED
    assert most <= services.rules.outbox_limits.connection_bytes_max
    assert text(quick) == "".join(texts)
    assert text(slow) + text(back) == "".join(texts)


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

    attached, queued, compared = client.socket.told
    assert isinstance(attached, Attached)
    assert isinstance(queued, Queued)
    assert (queued.turn, queued.models, queued.index) == ("t1", models, 1)
    assert isinstance(compared, Compared)
    assert compared.turn == "t0"


async def test_hub_that_nobody_needs() -> None:
    """Dropped after the grace time, not before, and not while somebody still catches up."""
    log = FollowedLog()
    services = services_over(log, FollowedLogReader(log))
    log.append(key_of("s1"), turn("t1", [f"{number} {'x' * 2_000} " for number in range(300)]))
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks, slow=True)
        await client.attach("s1", "start")
        await settled()
        services.hubs.sweep(0.0)
        services.hubs.sweep(1_000.0)
        kept_while_catching_up = len(services.hubs.hubs)
        client.attachments.close()
        services.hubs.sweep(1_001.0)
        services.hubs.sweep(1_020.0)
        kept_for_a_while = len(services.hubs.hubs)
        services.hubs.sweep(1_100.0)

    assert (kept_while_catching_up, kept_for_a_while, len(services.hubs.hubs)) == (1, 1, 0)
