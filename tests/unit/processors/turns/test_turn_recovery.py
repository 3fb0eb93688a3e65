"""What a new owner finds, and does about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from infra.kafka.log_client import LogUnavailable
from processors.sessions.decisions.recovery import LEASE_US, SLACK_US
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from processors.turns.turn_recovery import SESSIONS_SIDE_BY_SIDE_MAX
from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from tests.fakes.memory_log import Fate, MemoryLog
from tests.fakes.one_worker import OneWorker, prompt, turn_of
from tests.fakes.scripted_provider import answer_chunks
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

SECOND_US = 1_000_000
SKEWS_S = (-300.0, 0.0, 300.0)


def entry_of(worker: OneWorker, prompt_id: str = "p1") -> JournalEntry:
    asked = prompt(prompt_id)
    now_us = worker.clock.now_us()
    return JournalEntry(
        turn=turn_of(prompt_id),
        user=asked.user,
        session=asked.session,
        prompt_id=prompt_id,
        phase="queued",
        prompt=asked,
        accepted_at_us=now_us,
        updated_at_us=now_us,
    )


def left_behind(prompt_id: str = "p1", *, attempts: int = 0, ended: bool = False) -> list[SessionEvent]:
    turn = turn_of(prompt_id)
    events: list[SessionEvent] = [TurnQueued(turn=turn, prompt_id=prompt_id, input=f"ask {prompt_id}")]
    for attempt in range(1, attempts + 1):
        events.append(TurnStarted(turn=turn, attempt=attempt, run=f"r{attempt}", model="simulated"))
        events.append(
            TokensEmitted(turn=turn, attempt=attempt, run=f"r{attempt}", seq=0, chunks=("half ",), gaps_us=(1,))
        )
    if ended:
        events.append(TurnEnded(turn=turn, attempt=attempts, run=f"r{attempts}", reason="complete"))
    return events


def recovered(scene: Callable[[OneWorker], None], *, seconds: float = 60.0, skew_s: float = 0.0) -> OneWorker:
    """Let a new owner start on what a scene left behind."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        await asyncio.sleep(10)  # so that "earlier" is not before the log's beginning
        worker = OneWorker(LoopClock(loop, skew_s), log=MemoryLog(LoopClock(loop)), attempts_max=3)
        scene(worker)
        worker.owner.start()
        await asyncio.sleep(seconds)
        assert worker.owner.ready.is_set()
        await worker.owner.stop()
        return worker

    return run_virtual(loop, play())


def test_nothing_was_left() -> None:
    """It is ready at once."""
    assert recovered(lambda _: None, seconds=0.1).log.epochs


def test_turn_that_was_only_journalled() -> None:
    """It is told to the session and answered."""
    worker = recovered(lambda worker: worker.journal(entry_of(worker)))

    assert (worker.reason(), worker.turn().text) == ("complete", "".join(answer_chunks("ask p1")))


def test_turn_whose_worker_died() -> None:
    """The next attempt answers it; the one that died is on record with an estimate of what it cost."""

    def scene(worker: OneWorker) -> None:
        worker.journal(msgspec.structs.replace(entry_of(worker), phase="running", attempt=1, run="r1"))
        worker.write(*left_behind(attempts=1))

    worker = recovered(scene)

    assert (worker.reason(), worker.turn().attempt) == ("complete", 2)
    assert worker.outcomes()[1, "r1"] == "void"
    outcome = next(record.outcome for record in worker.records() if record.attempt == 1)
    assert outcome is not None
    assert outcome.usage.output_tokens > 0
    entry = worker.entry()
    assert entry is not None
    assert entry.crashes == 1


def test_turn_whose_workers_died_too_often() -> None:
    """It ends in error, billed for what was written, and its prompt is a dead letter."""

    def scene(worker: OneWorker) -> None:
        entry = msgspec.structs.replace(entry_of(worker), phase="running", attempt=3, run="r3", crashes=2, alone=True)
        worker.journal(entry)
        worker.write(*left_behind(attempts=3))

    worker = recovered(scene)
    ended = worker.turn().ended

    assert ended is not None
    assert ended.reason == "error"
    assert ended.usage.output_tokens > 0
    assert [letter.reason for letter in worker.dead_letters()] == ["crashed"]
    assert worker.outcomes() == {(1, "r1"): "void", (2, "r2"): "void", (3, "r3"): "error"}
    assert worker.provider.calls == []


def test_turn_that_the_log_shows_ended() -> None:
    """Its record is rebuilt from the log and its entry closed."""

    def scene(worker: OneWorker) -> None:
        worker.journal(msgspec.structs.replace(entry_of(worker), phase="running", attempt=2, run="r2"))
        worker.write(*left_behind(attempts=2, ended=True))

    worker = recovered(scene)
    entry = worker.entry()

    assert entry is not None
    assert (entry.phase, entry.reason, entry.last_offset) == ("ended", "complete", 5)
    assert worker.outcomes() == {(1, "r1"): "void", (2, "r2"): "complete"}


def test_turn_cancelled_as_its_worker_died() -> None:
    """It ends cancelled without another call, billed for what was written."""

    def scene(worker: OneWorker) -> None:
        entry = msgspec.structs.replace(entry_of(worker), phase="running", attempt=1, run="r1", cancel_requested=True)
        worker.journal(entry)
        worker.write(*left_behind(attempts=1))

    worker = recovered(scene)
    ended = worker.turn().ended

    assert ended is not None
    assert (ended.reason, ended.usage.estimated, worker.provider.calls) == ("cancelled", True, [])
    assert ended.cost_nano_usd > 0
    assert worker.outcomes() == {(1, "r1"): "cancelled"}


def test_turn_cancelled_before_it_was_told_to_the_session() -> None:
    """It ends cancelled, unpaid."""
    worker = recovered(lambda worker: worker.journal(msgspec.structs.replace(entry_of(worker), cancel_requested=True)))

    assert (worker.reason(), worker.turn().attempt, worker.provider.calls) == ("cancelled", 0, [])


def test_leftover_of_a_turn_older_than_the_memory() -> None:
    """What compaction left of a turn that nobody remembers is not answered again."""

    def scene(worker: OneWorker) -> None:
        old_us = worker.clock.now_us() - (ENDED_KEPT_S + 1) * SECOND_US
        entry = msgspec.structs.replace(entry_of(worker), phase="running", attempt=1, accepted_at_us=old_us)
        worker.journal(entry)

    worker = recovered(scene)

    assert (worker.reason(), worker.provider.calls) == ("expired", [])


@pytest.mark.parametrize("their_skew_s", SKEWS_S)
@pytest.mark.parametrize("our_skew_s", SKEWS_S)
def test_r31_turn_leased_by_a_worker_whose_clock_is_wrong(our_skew_s: float, their_skew_s: float) -> None:
    """It is left alone for as long as the lease is, by the broker's stamps, then answered here: neither sooner nor
    later, whatever either worker's own clock says."""

    def scene(worker: OneWorker) -> None:
        theirs_us = worker.clock.now_us() + round((their_skew_s - our_skew_s) * SECOND_US)
        entry = msgspec.structs.replace(
            entry_of(worker), phase="running", attempt=1, run="r1", lease_until_us=theirs_us + LEASE_US
        )
        worker.journal(entry)
        worker.write(*left_behind(attempts=1))

    lease_s = (LEASE_US + SLACK_US) / SECOND_US
    assert recovered(scene, seconds=lease_s - 1, skew_s=our_skew_s).provider.calls == []
    assert len(recovered(scene, seconds=lease_s + 1, skew_s=our_skew_s).provider.calls) == 1


@pytest.mark.parametrize("their_skew_s", SKEWS_S)
def test_r31_records_that_prolong_a_lease(their_skew_s: float) -> None:
    """The stamp of the newest one counts, not the time that its writer tells; once they stop, the turn is ours."""
    loop = VirtualLoop()
    turn, told_s = turn_of(), 30

    async def play() -> tuple[int, int]:
        worker = OneWorker(LoopClock(loop))
        entry = msgspec.structs.replace(entry_of(worker), phase="running", attempt=1, run="r1", lease_until_us=1)
        worker.journal(entry)
        worker.write(*left_behind(attempts=1))
        worker.owner.start()
        for seq in range(1, told_s + 1):
            await asyncio.sleep(1.0)
            at_us = worker.clock.now_us() + round(their_skew_s * SECOND_US)
            worker.write(
                TokensEmitted(turn=turn, attempt=1, run="r1", seq=seq, chunks=("a",), gaps_us=(1,), at_us=at_us)
            )
        before = len(worker.provider.calls)
        await asyncio.sleep((LEASE_US + SLACK_US) / SECOND_US + 1)
        after = len(worker.provider.calls)
        await worker.owner.stop()
        return before, after

    assert run_virtual(loop, play()) == (0, 1)


def test_turn_goes_back_into_its_lane_while_the_lane_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker fell silent, and in the moment in which that is found another turn's end wakes the lane: it is started
    once, and its end is its own."""

    def scene(worker: OneWorker) -> None:
        entry = msgspec.structs.replace(
            entry_of(worker), phase="running", attempt=1, run="r1", lease_until_us=worker.clock.now_us() + LEASE_US
        )
        worker.journal(entry)
        worker.write(*left_behind(attempts=1))
        starter = worker.owner.starter
        followed = starter.loop.followed

        async def woken_meanwhile(lane: SessionLane, turn: OpenTurn) -> bool:
            ended = await followed(lane, turn)
            asyncio.get_running_loop().call_soon(starter.wake, lane)
            return ended

        monkeypatch.setattr(starter.loop, "followed", woken_meanwhile)

    worker = recovered(scene)

    assert (worker.reason(), len(worker.provider.calls)) == ("complete", 1)
    assert [lane.turns for lane in worker.owner.sessions.lanes.values()] == [[]]


@pytest.mark.parametrize("told_s", [0, 30])
def test_r3_turn_of_a_worker_that_was_given_up_alive(told_s: int) -> None:
    """It left no lease, and writes on: it is left to it until no record comes any more. A dead one writes nothing."""
    loop = VirtualLoop()
    turn = turn_of()

    async def play() -> list[int]:
        worker = OneWorker(LoopClock(loop))
        worker.journal(msgspec.structs.replace(entry_of(worker), phase="running", attempt=1, run="r1"))
        worker.write(*left_behind(attempts=1))
        await asyncio.sleep(0 if told_s else 10)
        worker.owner.start()
        for seq in range(1, told_s + 1):
            await asyncio.sleep(1.0)
            worker.write(TokensEmitted(turn=turn, attempt=1, run="r1", seq=seq, chunks=("a",), gaps_us=(1,)))
        calls = [len(worker.provider.calls)]
        await asyncio.sleep((LEASE_US + SLACK_US) / SECOND_US + 1)
        calls.append(len(worker.provider.calls))
        await worker.owner.stop()
        return calls

    assert run_virtual(loop, play()) == [0, 1]


def test_two_prompts_of_one_millisecond() -> None:
    """They are answered in the order in which the log tells them, whatever the journal's order is by now."""

    def scene(worker: OneWorker) -> None:
        second, first = entry_of(worker, "p2"), entry_of(worker, "p1")
        worker.journal(second)
        worker.journal(msgspec.structs.replace(first, phase="running", attempt=1, run="r1"))
        worker.write(*left_behind("p1", attempts=1), *left_behind("p2"))

    worker = recovered(scene)

    assert [call.messages[-1].content for call in worker.provider.calls] == ["ask p1", "ask p2"]


def test_turn_that_recovery_fails_on() -> None:
    """It is given up; the partition's other turns are recovered, and it takes commands in."""

    def scene(worker: OneWorker) -> None:
        worker.journal(entry_of(worker, "p1"))
        worker.journal(entry_of(worker, "p2"))
        act = worker.owner.recovery.act

        async def poisoned(lane: object, turn: object) -> None:
            if turn.prompt.prompt_id == "p1":  # type: ignore[attr-defined]
                raise ZeroDivisionError
            await act(lane, turn)  # type: ignore[arg-type]

        worker.owner.recovery.act = poisoned  # type: ignore[method-assign]  # a fault cannot be provoked from outside

    worker = recovered(scene)

    assert (worker.reason("p1"), worker.reason("p2")) == ("error", "complete")
    assert [letter.prompt_id for letter in worker.dead_letters()] == ["p1"]


def test_broker_that_is_away_at_first() -> None:
    """Everything is tried again until it answers."""

    def scene(worker: OneWorker) -> None:
        worker.journal(entry_of(worker))
        worker.read_fates["tokenwire"] = [Fate.FAILS] * 5
        worker.fates["tokenwire"] = [Fate.FAILS] * 3

    assert recovered(scene).reason() == "complete"


def test_more_sessions_than_lanes_are_kept() -> None:
    """All are recovered, each in one lane."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        worker = OneWorker(LoopClock(loop), lanes_max=2)
        for number in range(6):
            asked = prompt(f"p{number}", session=f"s{number}")
            worker.journal(
                msgspec.structs.replace(
                    entry_of(worker, f"p{number}"), turn=f"turn-{number}", session=f"s{number}", prompt=asked
                )
            )
        worker.owner.start()
        await asyncio.sleep(60)
        await worker.owner.stop()
        return worker

    worker = run_virtual(loop, play())

    outcomes = [record.outcome for record in worker.records() if record.outcome]
    assert [outcome.reason for outcome in outcomes] == ["complete"] * 6
    assert len(worker.owner.sessions.lanes) <= worker.owner.parts.limits.lanes_max + SESSIONS_SIDE_BY_SIDE_MAX


def test_reader_that_is_away() -> None:
    """The fake says so as the real one does."""
    loop = VirtualLoop()
    worker = OneWorker(LoopClock(loop), log=MemoryLog(LoopClock(loop)))
    worker.read_fates["tokenwire"] = [Fate.FAILS]

    with pytest.raises(LogUnavailable):
        run_virtual(loop, worker.reader.end("tokenwire.prompts", 0))
