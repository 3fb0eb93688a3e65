"""A journal that has lost entries: its turns are known again from the prompts and the sessions' logs.

Covers: processors.sessions.decisions.lost_entries.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processors.sessions.decisions.admission import body_hash_of
from schemas.codec import encode
from schemas.journal import ENDED_KEPT_S, JournalEntry
from schemas.prompts import OnBusy, PromptCancelled, PromptCommand
from schemas.session_events import PromptRefused, SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from schemas.topics import Layout
from tests.fakes.one_worker import PARTITION, SESSION, USER, OneWorker, prompt, turn_of
from tests.fakes.topic_names import PROMPTS, TURNS
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

Stage: TypeAlias = Literal["queued", "running", "ended"]
"""How far a turn's first worker got."""
RUN = "r1"
HOUR_S = 3_600.0


def put(worker: OneWorker, command: PromptCommand) -> None:
    """Onto the prompts, as a producer does."""
    worker.log.put(PROMPTS, PARTITION, encode(command), key=USER.encode())


def entries_of(worker: OneWorker, prompt_id: str, stage: Stage) -> list[JournalEntry]:
    """What the journal was told of a turn, in order."""
    asked, now_us = prompt(prompt_id), worker.clock.now_us()
    queued = JournalEntry(
        turn=turn_of(prompt_id),
        user=asked.user,
        session=asked.session,
        prompt_id=prompt_id,
        phase="queued",
        body_hash=body_hash_of(asked),
        prompt=asked,
        accepted_at_us=now_us,
        updated_at_us=now_us,
    )
    running = msgspec.structs.replace(queued, phase="running", attempt=1, run=RUN)
    ended = msgspec.structs.replace(running, phase="ended", prompt=None, reason="complete")
    return [queued, running, ended][: get_args(Stage).index(stage) + 1]


def events_of(prompt_id: str, stage: Stage) -> list[SessionEvent]:
    """What the session was told of it."""
    turn = turn_of(prompt_id)
    events: list[SessionEvent] = [TurnQueued(turn=turn, prompt_id=prompt_id, input=f"ask {prompt_id}")]
    if stage != "queued":
        events.append(TurnStarted(turn=turn, attempt=1, run=RUN, model="simulated"))
        events.append(TokensEmitted(turn=turn, attempt=1, run=RUN, seq=0, chunks=("half ",), gaps_us=(1,)))
    if stage == "ended":
        events.append(TurnEnded(turn=turn, attempt=1, run=RUN, reason="complete"))
    return events


def leave(worker: OneWorker, prompt_id: str, stage: Stage) -> range:
    """A prompt, its turn and its journal; returns the journal's offsets."""
    put(worker, prompt(prompt_id))
    worker.write(*events_of(prompt_id, stage))
    first = len(worker.log.records(TURNS, PARTITION))
    for entry in entries_of(worker, prompt_id, stage):
        worker.journal(entry)
    return range(first, len(worker.log.records(TURNS, PARTITION)))


def lose(worker: OneWorker, offsets: range) -> None:
    worker.log.damage(TURNS, PARTITION, offsets.start, offsets.stop)


def recovered(
    scene: Callable[[OneWorker], None],
    *,
    later_s: float = 0.0,
    then: Callable[[OneWorker], None] = lambda _: None,
    layout: Layout = "dedicated",
) -> OneWorker:
    """Let a new owner start on what a scene, and another one so much later, left behind."""
    loop = VirtualLoop()

    async def play() -> OneWorker:
        await asyncio.sleep(10)  # so that "earlier" is not before the log's beginning
        worker = OneWorker(LoopClock(loop), attempts_max=3, layout=layout)
        scene(worker)
        await asyncio.sleep(later_s)
        then(worker)
        worker.owner.start()
        await asyncio.sleep(60.0)
        assert worker.owner.ready.is_set()
        await worker.send(prompt("p1"))  # whoever sends it again is not answered twice
        await asyncio.sleep(60.0)
        await worker.owner.stop()
        return worker

    return run_virtual(loop, play())


@pytest.mark.parametrize("layout", get_args(Layout))
@pytest.mark.parametrize("stage", get_args(Stage))
def test_lost_entries_of_a_turn(stage: Stage, layout: Layout) -> None:
    """A turn that the log shows open is answered, one that it shows ended is left alone, also if it is sent again."""
    worker = recovered(lambda worker: lose(worker, leave(worker, "p1", stage)), layout=layout)
    entry = worker.entry()

    assert worker.reason() == "complete"
    assert len(worker.provider.calls) == (stage != "ended")
    assert entry is not None
    assert (entry.phase, entry.first_offset) == ("ended", 0)
    assert entry.attempt == worker.turn().attempt


@given(
    stages=st.lists(st.sampled_from(get_args(Stage)), min_size=1, max_size=5),
    lost=st.sets(st.integers(0, 14)),
    layout=st.sampled_from(get_args(Layout)),
)
@settings(max_examples=20, deadline=None)
def test_any_entries_are_lost(stages: list[Stage], lost: set[int], layout: Layout) -> None:
    """Each turn ends once, and calls are made for those that had not ended, as if nothing were lost."""

    def scene(worker: OneWorker) -> None:
        for number, stage in enumerate(stages, start=1):
            leave(worker, f"p{number}", stage)
        for offset in lost & set(range(len(worker.log.records(TURNS, PARTITION)))):
            lose(worker, range(offset, offset + 1))

    worker = recovered(scene, layout=layout)

    assert [worker.reason(f"p{number}") for number in range(1, len(stages) + 1)] == ["complete"] * len(stages)
    assert len(worker.provider.calls) == sum(stage != "ended" for stage in stages)
    assert {record.turn for record in worker.records()} >= {
        turn_of(f"p{number}") for number, stage in enumerate(stages, start=1) if stage != "ended"
    }


def test_turn_that_ended_as_its_worker_died() -> None:
    """Its record may not have been written, so it is."""

    def scene(worker: OneWorker) -> None:
        put(worker, prompt("p2"))
        *events, ended = events_of("p2", "ended")
        worker.write(*events, msgspec.structs.replace(ended, at_us=worker.clock.now_us()))
        worker.journal(entries_of(worker, "p2", "running")[-1])
        lose(worker, range(1))

    worker = recovered(scene)

    assert worker.outcomes()[1, RUN] == "complete"
    assert len(worker.provider.calls) == 1  # p1's


def test_entry_that_does_not_decode() -> None:
    """It is as good as lost."""

    def scene(worker: OneWorker) -> None:
        put(worker, prompt("p1"))
        worker.write(*events_of("p1", "running"))
        worker.log.put(TURNS, PARTITION, b"{", key=turn_of("p1").encode())

    assert recovered(scene).reason() == "complete"


def test_turn_that_its_session_does_not_show() -> None:
    """It was never told to its session, or may have ended on a log that is gone: whoever sends it again is answered."""

    def scene(worker: OneWorker) -> None:
        put(worker, prompt("p2"))
        for entry in entries_of(worker, "p2", "queued"):
            worker.journal(entry)
        lose(worker, range(1))

    worker = recovered(scene)

    assert (worker.reason("p1"), worker.reason("p2")) == ("complete", "")


@pytest.mark.parametrize("stage", ["queued", "running"])
@pytest.mark.parametrize("kept", [0, 1])
def test_turn_that_was_cancelled(stage: Stage, kept: int) -> None:
    """It ends without a call, whether nothing is left of its entries or only those from before the cancel."""

    def scene(worker: OneWorker) -> None:
        offsets = leave(worker, "p1", stage)
        put(worker, PromptCancelled(user=USER, session=SESSION, prompt_id="p1"))
        worker.journal(msgspec.structs.replace(entries_of(worker, "p1", stage)[-1], cancel_requested=True))
        lose(worker, range(offsets.start + kept, offsets.stop + 1))

    worker = recovered(scene)

    assert (worker.reason(), worker.provider.calls) == ("cancelled", [])


def test_cancel_before_its_prompt() -> None:
    """It is remembered as long as it would have been."""

    def scene(worker: OneWorker) -> None:
        put(worker, PromptCancelled(user=USER, session=SESSION, prompt_id="p1"))
        worker.journal(msgspec.structs.replace(entries_of(worker, "p1", "queued")[0], phase="cancelled_early"))
        lose(worker, range(1))

    assert recovered(scene).reason() == "cancelled"
    assert recovered(scene, later_s=HOUR_S).reason() == "complete"


@pytest.mark.parametrize(("on_busy", "reason"), [("interrupt", "superseded"), ("enqueue", "complete")])
def test_turn_that_another_prompt_stopped(on_busy: OnBusy, reason: str) -> None:
    """The newer prompt takes its place, as it did before."""

    def scene(worker: OneWorker) -> None:
        offsets = leave(worker, "p1", "running")
        put(worker, prompt("p2", on_busy=on_busy))
        worker.write(*events_of("p2", "queued"))
        lose(worker, offsets)
        entry = entries_of(worker, "p2", "queued")[0]
        worker.journal(msgspec.structs.replace(entry, prompt=prompt("p2", on_busy=on_busy)))

    worker = recovered(scene)

    assert (worker.reason("p1"), worker.reason("p2")) == (reason, "complete")


def test_entries_lost_long_ago() -> None:
    """Where what was journalled behind them is older than the memory of ended turns, no prompt is read any more."""

    def scene(worker: OneWorker) -> None:
        lose(worker, leave(worker, "p2", "running"))
        leave(worker, "p4", "ended")

    def then(worker: OneWorker) -> None:
        leave(worker, "p3", "ended")

    assert recovered(scene, later_s=ENDED_KEPT_S / 2, then=then).reason("p2") == "complete"
    late = recovered(scene, later_s=ENDED_KEPT_S + HOUR_S, then=then)
    assert (late.reason("p2"), late.owner.journal.lost.window()) == ("", None)


def test_whole_journal_is_lost_after_a_pause() -> None:
    """Prompts are read as far back as the journal was kept by whoever wrote it last, not only a day from now."""

    def scene(worker: OneWorker) -> None:
        lose(worker, leave(worker, "p2", "running"))

    assert recovered(scene, later_s=3 * ENDED_KEPT_S).reason("p2") == "complete"


def test_prompt_that_was_refused_for_now() -> None:
    """The log shows its turn taken back: there is nothing to be journalled, and nobody answers it."""

    def scene(worker: OneWorker) -> None:
        lost = leave(worker, "p0", "ended")
        put(worker, prompt("p2"))
        turn = turn_of("p2")
        worker.write(
            TurnQueued(turn=turn, prompt_id="p2", input="ask p2", try_offset=1),
            PromptRefused(prompt_id="p2", code="queue_full", message="m", turns=(turn,), try_offset=1, temporary=True),
        )
        lose(worker, lost)

    worker = recovered(scene)

    assert worker.entry("p0") is not None
    assert worker.entry("p2") is None
    assert not [record for record in worker.records() if record.prompt_id == "p2"]
