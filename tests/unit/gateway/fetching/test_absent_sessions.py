"""Sessions that are followed before they have a log.

Covers: gateway.clients.decisions.session_refusals, gateway.hubs.session_hubs.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.clients.services import GatewayServices
from gateway.fetching.decisions import absent_logs
from gateway.hubs.decisions.new_sessions import NewSessions
from gateway.hubs.session_hubs import IDLE_GRACE_S
from infra.clock import SystemClock
from schemas.activity import SessionActivity
from schemas.gateway_messages import Attached, Delta, Error, Gap
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.integration.gateway_line import answer_events
from tests.unit.gateway.gateway_parts import ALICE, RecordedClient, key_of, services_over, settled

__all__: list[str] = []

KEY = key_of("s1")


class Scene:
    """A gateway's inside, and a session that has no log yet."""

    def __init__(self) -> None:
        self.log = FollowedLog()
        self.log.unmade = {KEY, key_of("s2")}
        self.reader = FollowedLogReader(self.log)
        self.services: GatewayServices = services_over(self.log, self.reader, clock=SystemClock())

    def made(self) -> None:
        """A worker makes the log and says so."""
        self.log.unmade.discard(KEY)
        self.log.append(KEY, answer_events("t1", ["one ", "two"]))
        self.say(SessionActivity(key=KEY, kind="queued", newest_offset=0))

    def say(self, word: SessionActivity) -> None:
        """A worker's word comes."""
        self.reader.awaited[KEY](word)


async def looked(scene: Scene) -> None:
    """All looks that were due are over."""
    await settled()
    while scene.services.hubs.absent.logs.next_look_s() < scene.services.clock.monotonic_s() + 0.2:  # noqa: ASYNC110 - by the clock
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("wish", ["tail", "start"])
async def test_S22_session_that_begins_while_it_is_followed(wish: str) -> None:
    """Attached at once without a cursor; then told everything from the log's first record, with cursors that work."""
    scene = Scene()
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", wish)
        await looked(scene)
        assert client.socket.told == [Attached(session="s1", head="", recovered="live")]
        assert client.attachments.heads() == client.attachments.cursors() == {}
        scene.made()
        await looked(scene)
        scene.reader.deliver()
        await settled()
        told = [message for message in client.socket.told if isinstance(message, Delta)]
        again = RecordedClient(scene.services, tasks)
        await again.attach("s1", told[0].c)
        await settled()

        assert "".join(message.text for message in told) == "one two"
        assert client.attachments.heads().keys() == {"s1"}
        assert [message.text for message in again.socket.told if isinstance(message, Delta)] == ["two"]
        assert KEY not in scene.reader.awaited
    await scene.services.hubs.close()


async def test_S22_foreign_and_absent_look_the_same() -> None:
    """Byte for byte, but for the session's id; and nothing was made."""
    scene = Scene()
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", "tail")
        await client.attach("s2", "tail")
        await settled()
        first, second = client.socket.told

        assert replace_session(first) == replace_session(second)
        assert not scene.log.records
    await scene.services.hubs.close()


def replace_session(message: object) -> Attached:
    assert isinstance(message, Attached)
    return Attached(session="-", head=message.head, recovered=message.recovered, source=message.source)


async def test_cursor_of_a_log_that_is_gone() -> None:
    """It was there once: a gap is told, then what begins anew."""
    scene = Scene()
    scene.log.unmade.clear()
    scene.log.append(KEY, answer_events("t0", ["old"]))
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", "tail")
        (cursor,) = client.attachments.heads().values()
        scene.log.unmade.add(KEY)
        scene.log.recreate(KEY)
        scene.services.hubs.lose(scene.services.hubs.hubs[KEY])
        again = RecordedClient(scene.services, tasks)
        await again.attach("s1", cursor)
        await settled()
        scene.made()
        await looked(scene)
        scene.reader.deliver()
        await settled()
        told = again.socket.told

        assert isinstance(told[1], Gap)
        assert told[1].reason == "expired"
        assert "".join(message.text for message in told if isinstance(message, Delta)) == "one two"
    await scene.services.hubs.close()


async def test_broker_that_has_not_heard_of_a_log() -> None:
    """Who shows a cursor shows that there was a log: it is asked for again before it counts as gone."""
    scene = Scene()
    scene.log.unmade.clear()
    scene.log.append(KEY, answer_events("t0", ["old"]))
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", "tail")
        (cursor,) = client.attachments.heads().values()
        client.attachments.close()
        scene.services.hubs.drop(scene.services.hubs.hubs[KEY])
        scene.log.unmade.add(KEY)
        looks = scene.log.looks
        again = RecordedClient(scene.services, tasks)
        attaching = tasks.create_task(again.attach("s1", cursor))
        while scene.log.looks == looks:  # noqa: ASYNC110 - until it was asked for once
            await asyncio.sleep(0)
        scene.log.unmade.discard(KEY)
        await attaching
        await settled()

        assert again.socket.told == [Attached(session="s1", head=cursor, recovered="live")]
    await scene.services.hubs.close()


async def test_process_that_needs_its_bytes_back() -> None:
    """It has live sessions served from their logs; who waits for one that has not begun keeps waiting, and is told."""
    scene = Scene()
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", "tail")
        await looked(scene)
        client.attachments.shed()
        scene.made()
        await looked(scene)
        client.attachments.shed()
        scene.reader.deliver()
        await settled()
        told = [message.text for message in client.socket.told if isinstance(message, Delta)]

        assert "".join(told) == "one two"
    await scene.services.hubs.close()


async def test_shared_topic_that_is_not_there() -> None:
    """Nothing can begin on it: the client is told to try again, and nobody waits for it."""
    log = FollowedLog("shared")
    log.unmade = {KEY}
    services = services_over(log, FollowedLogReader(log))
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(services, tasks)
        await client.attach("s1", "tail")
        await settled()
        (refusal,) = client.socket.told

        assert isinstance(refusal, Error)
        assert (refusal.code, refusal.temporary) == ("unavailable", True)
        assert KEY not in services.hubs.absent.logs
    await services.hubs.close()


async def test_word_that_gets_lost_delays_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is looked for all the same, soon where a prompt went out here."""
    monkeypatch.setattr(absent_logs, "PROMPTED_PAUSE_S", 0.01)
    scene = Scene()
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", "tail")
        await looked(scene)
        assert client.attachments.begin("s1") == 0
        scene.log.unmade.discard(KEY)
        async with asyncio.timeout(10):
            while KEY in scene.reader.awaited:  # noqa: ASYNC110 - time itself is waited for
                await asyncio.sleep(0.01)
        assert not scene.services.hubs.hubs[KEY].is_absent
    await scene.services.hubs.close()


async def test_S22_sessions_that_nobody_follows_are_not_awaited() -> None:
    """After the grace time nothing is left of one; one too many is refused with a time to wait."""
    scene = Scene()
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", "tail")
        hubs = scene.services.hubs
        for number in range(absent_logs.USER_WAITING_MAX):
            hubs.absent.logs.admit(key_of(f"other-{number}"), ALICE, 0.0)
        await client.attach("s2", "tail")
        await settled()
        refusal = client.socket.told[-1]
        client.attachments.detach("s1")
        now_s = scene.services.clock.monotonic_s()
        hubs.sweep(hubs.all(), now_s)
        hubs.sweep(hubs.all(), now_s + IDLE_GRACE_S + 1)

        assert isinstance(refusal, Error)
        assert (refusal.code, refusal.temporary) == ("too_many_new_sessions", True)
        assert KEY not in scene.reader.awaited
        assert KEY not in hubs.absent.logs
        assert not hubs.hubs
    await scene.services.hubs.close()


async def test_S22_new_sessions_of_a_user_are_counted() -> None:
    """One is begun once, however many prompts it is sent; one too many has to wait."""
    scene = Scene()
    scene.services = replace(scene.services, new_sessions=NewSessions(1, 10, now_s=0.0))
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", "tail")
        await client.attach("s2", "tail")

        assert client.attachments.begin("s1") == client.attachments.begin("s1") == 0
        assert 3_590 < client.attachments.begin("s2") <= 3_601
        assert client.attachments.begin("not followed") == 0
    await scene.services.hubs.close()


async def test_refused_log_is_told_to_who_follows() -> None:
    """A worker may not make it: the prompt's sender is told when to try again."""
    scene = Scene()
    async with asyncio.TaskGroup() as tasks:
        client = RecordedClient(scene.services, tasks)
        await client.attach("s1", "tail")
        scene.say(SessionActivity(key=KEY, kind="refused", newest_offset=-1, prompt_id="p1", retry_after_s=60.0))
        await settled()
        refusal = client.socket.told[-1]

        assert isinstance(refusal, Error)
        assert (refusal.code, refusal.prompt_id, refusal.retry_after_s) == ("unavailable", "p1", 60.0)
    await scene.services.hubs.close()
