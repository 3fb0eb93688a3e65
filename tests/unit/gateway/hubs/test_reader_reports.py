"""The worker hears who follows a session that wants it to, in virtual time and without Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.hubs.decisions.follower_reports import BETWEEN_S
from gateway.hubs.reader_reports import ReaderReports
from gateway.hubs.session_hubs import IDLE_GRACE_S
from producers.errors import PublishTimedOut
from schemas.prompts import WATCHED_EVERY_S, SessionWatched
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from tests.fakes.followed_log import FollowedLog, FollowedLogReader
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual
from tests.unit.gateway.gateway_parts import RecordedClient, key_of, services_over, settled

SESSION = "s1"


class RecordedReports:
    """What the worker was told."""

    def __init__(self) -> None:
        self.told: list[SessionWatched] = []
        self.fails = False

    async def watched(self, command: SessionWatched, *, deadline_s: float | None = None) -> None:
        """See `ReportPublisher.watched`."""
        if self.fails:
            raise PublishTimedOut("the test has taken Kafka away")
        self.told.append(command)

    def words(self) -> list[tuple[int, int]]:
        """Devices and read offsets."""
        return [(report.devices, report.read_offset) for report in self.told]


class WatchedLine:
    """A gateway with one session and its reports."""

    def __init__(self, tasks: asyncio.TaskGroup, clock: LoopClock) -> None:
        self.log = FollowedLog()
        self.reader = FollowedLogReader(self.log)
        self.reports = RecordedReports()
        self.watches = ReaderReports(self.reports, clock, gateway="g1")
        self.services = services_over(self.log, self.reader, on_wish=self.watches.heed)
        self.tasks = tasks
        self.running = tasks.create_task(self.watches.run(self.services.hubs))

    async def client(self) -> RecordedClient:
        """One device more."""
        client = RecordedClient(self.services, self.tasks)
        await client.attach(SESSION, "tail")
        return client

    async def write(self, *events: SessionEvent) -> None:
        """Append, relay, and let a moment pass."""
        self.log.append(key_of(SESSION), events)
        self.reader.deliver()
        await asyncio.sleep(2 * BETWEEN_S)


def on_a_line(story: Callable[[WatchedLine], Awaitable[None]]) -> Callable[[], None]:
    def test() -> None:
        loop = VirtualLoop()

        async def run() -> None:
            async with asyncio.TaskGroup() as tasks:
                line = WatchedLine(tasks, LoopClock(loop))
                await story(line)
                line.running.cancel()
                await line.services.hubs.close()

        run_virtual(loop, run())

    test.__doc__ = story.__doc__
    return test


@on_a_line
async def test_turn_that_is_cancelled_when_all_have_left(line: WatchedLine) -> None:
    """One device, two, none; then again and again while the turn is open, and not after."""
    first, second = await line.client(), await line.client()
    await line.write(TurnQueued(turn="t1", prompt_id="p1", on_leave="cancel"))
    first.attachments.close()
    await asyncio.sleep(2 * BETWEEN_S)
    second.attachments.close()
    await asyncio.sleep(2 * BETWEEN_S)
    assert line.reports.words() == [(2, -1), (1, -1), (0, -1)]
    assert line.reports.told[0] == SessionWatched(user="alice", session=SESSION, gateway="g1", devices=2)

    await asyncio.sleep(2 * WATCHED_EVERY_S)
    assert line.reports.words()[3:] == [(0, -1), (0, -1)]
    await line.write(TurnEnded(turn="t1", attempt=0, run="", reason="cancelled"))
    await asyncio.sleep(3 * WATCHED_EVERY_S)
    assert len(line.reports.told) == 5
    assert not line.watches.watched


@on_a_line
async def test_turn_at_its_readers_pace(line: WatchedLine) -> None:
    """The written position of the fastest follows; a session that wants no word gets none."""
    client = await line.client()
    await line.write(TurnQueued(turn="t0", prompt_id="p0"))
    assert line.reports.told == []
    await line.write(TurnQueued(turn="t1", prompt_id="p1", pace="reader"), TurnStarted(turn="t1", attempt=1, run="r"))
    for seq in range(40):
        await line.write(TokensEmitted(turn="t1", attempt=1, run="r", seq=seq, chunks=("x",)))

    words = line.reports.words()
    assert words[0][0] == 1
    assert words == sorted(words)
    assert len(words) < 25
    await asyncio.sleep(WATCHED_EVERY_S)
    assert line.reports.words()[-1] == (1, 43)
    client.attachments.close()


@on_a_line
async def test_hub_that_is_opened_while_the_turn_runs(line: WatchedLine) -> None:
    """The worker hears of a device that comes later, and that a dropped hub follows nothing."""
    line.log.append(key_of(SESSION), [TurnQueued(turn="t1", prompt_id="p1", on_leave="cancel")])
    client = await line.client()
    await asyncio.sleep(2 * BETWEEN_S)
    assert line.reports.words() == [(1, -1)]
    line.reader.lose(key_of(SESSION), "log_lost")
    client.attachments.close()
    await asyncio.sleep(2 * BETWEEN_S)
    assert line.reports.words()[-1] == (0, -1)


@on_a_line
async def test_session_that_nobody_follows_any_more(line: WatchedLine) -> None:
    """Its hub is dropped after the grace time; from then on the gateway is silent, having said so."""
    client = await line.client()
    await line.write(TurnQueued(turn="t1", prompt_id="p1", on_leave="cancel"))
    line.services.hubs.sweep(line.services.hubs.all(), 0.0)
    client.attachments.close()
    await asyncio.sleep(2 * BETWEEN_S)
    line.services.hubs.sweep(line.services.hubs.all(), 0.0)
    line.services.hubs.sweep(line.services.hubs.all(), IDLE_GRACE_S + 1)
    await asyncio.sleep(2 * WATCHED_EVERY_S)

    assert line.reports.words() == [(1, -1), (0, -1)]
    assert not line.watches.watched


@on_a_line
async def test_gateway_that_leaves_says_so(line: WatchedLine) -> None:
    """Devices 0, though they are still there; a report that failed is made up for by the next one."""
    client = await line.client()
    line.reports.fails = True
    await line.write(TurnQueued(turn="t1", prompt_id="p1", on_leave="cancel"))
    line.reports.fails = False
    await asyncio.sleep(WATCHED_EVERY_S)
    assert line.reports.words() == [(1, -1)]
    await line.watches.leave()
    await settled()

    assert line.reports.words() == [(1, -1), (0, -1)]
    client.attachments.close()
