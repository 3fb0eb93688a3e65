"""Asking ClickHouse on behalf of clients: within a deadline, few at once, and not again right after it failed."""

from __future__ import annotations

import asyncio

from gateway.clients.archive_reader import ARCHIVE_S, AT_ONCE, PAUSE_S, WAITING_MAX, ArchiveReader
from gateway.sockets.gateway_metrics import GatewayMetrics
from infra.clickhouse.decisions.archived_turns import ArchivedTurn
from infra.telemetry.metric_names import GATEWAY_ARCHIVE_READS
from schemas.identifiers import check_session_id, check_user_id
from tests.fakes.kept_turns import KeptTurns
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual
from tests.faults.test_gateway_cursors import archived

__all__: list[str] = []

ALICE, SESSION = check_user_id("alice"), check_session_id("s1")
KEPT = {"s1": archived("t1", "t2")}


class SlowTurns(KeptTurns):
    """Answers after a while."""

    def __init__(self, answer_s: float) -> None:
        super().__init__(KEPT)
        self.answer_s = answer_s
        self.at_once = self.most = 0

    async def turns(self, user: str, session: str) -> tuple[ArchivedTurn, ...]:
        """See `Archive.turns`."""
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(self.answer_s)
        finally:
            self.at_once -= 1
        return await super().turns(user, session)


class Stage:
    """A reader on virtual time."""

    def __init__(self, archive: KeptTurns) -> None:
        self.loop = VirtualLoop()
        self.clock = LoopClock(self.loop)
        self.metrics = GatewayMetrics(self.clock)
        self.archive = archive
        self.reader = ArchiveReader(archive, self.metrics, self.clock)

    async def ask(self) -> tuple[ArchivedTurn, ...]:
        return await self.reader.turns(ALICE, SESSION)

    def counted(self, outcome: str) -> float:
        name = f'{GATEWAY_ARCHIVE_READS.name}{{outcome="{outcome}"}} '
        lines = [line for line in self.metrics.exposition().decode().splitlines() if line.startswith(name)]
        return float(lines[0].removeprefix(name)) if lines else 0.0


def test_database_that_is_away_is_left_alone_for_a_while() -> None:
    """One client waits for it; those who come within the pause are told at once; then it is asked again."""
    stage = Stage(KeptTurns(KEPT))

    async def play() -> None:
        stage.archive.reachable = False
        assert await stage.ask() == ()
        stage.archive.reachable = True
        assert await stage.ask() == ()
        assert len(stage.archive.asked) == 1
        await asyncio.sleep(PAUSE_S)
        assert await stage.ask() == KEPT["s1"]

    run_virtual(stage.loop, play())
    assert [stage.counted(outcome) for outcome in ("failed", "passed_over", "answered")] == [1, 1, 1]


def test_database_that_does_not_answer() -> None:
    """Nobody waits longer than the deadline."""
    stage = Stage(SlowTurns(60.0))

    async def play() -> None:
        began_s = stage.clock.monotonic_s()
        assert await stage.ask() == ()
        assert stage.clock.monotonic_s() - began_s <= ARCHIVE_S + 0.001

    run_virtual(stage.loop, play())
    assert stage.counted("failed") == 1


def test_many_at_once() -> None:
    """Few ask at a time, a bounded number waits, the others are told what the log holds."""
    archive = SlowTurns(0.01)
    stage = Stage(archive)

    async def play() -> list[tuple[ArchivedTurn, ...]]:
        return await asyncio.gather(*(stage.ask() for _ in range(WAITING_MAX + 36)))

    answers = run_virtual(stage.loop, play())
    assert archive.most == AT_ONCE
    assert sum(answer == KEPT["s1"] for answer in answers) == WAITING_MAX
    assert stage.counted("passed_over") == 36
