"""Several models asked side by side: their turns, and what becomes of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from processors.attempts.decisions.merge_question import TASK
from processors.providers.provider import ChatRequest, ProviderRefused
from processors.sessions.open_turn import OpenTurn
from processors.sessions.session_lane import SessionLane
from schemas.codec import decode_session_event
from schemas.identifiers import PromptId, SessionId, UserId, turn_id_of
from schemas.prompts import ChatMessage, CompareMode, OnBusy, PromptCancelled, PromptSubmitted
from schemas.session_events import ComparisonEnded
from schemas.turn_fold import FoldedTurn
from tests.fakes.memory_log import Fate
from tests.fakes.one_target import COMPARED
from tests.fakes.one_worker import PARTITION, SESSION, USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.topic_names import TURNS
from tests.fakes.virtual_loop import LoopClock, VirtualLoop, run_virtual

__all__: list[str] = []

ANSWER = "".join(answer_chunks("ask p1"))
CANCEL = PromptCancelled(user=USER, session=SESSION, prompt_id="p1")
PACES = {"model-a": 2.0, "model-b": 1.0, "model-c": 3.0}


def compared(mode: CompareMode = "all", prompt_id: str = "p1", **fields: object) -> PromptSubmitted:
    return prompt(prompt_id, models=COMPARED, compare=mode, **fields)


def paced(request: ChatRequest) -> Script:
    """The second model is the quickest, the third the slowest."""
    return Script(first_s=PACES.get(request.model, 0.1), pace_s=0.0)


def turn_at(worker: OneWorker, index: int, prompt_id: str = "p1") -> FoldedTurn | None:
    turn = turn_id_of(UserId(USER), SessionId(SESSION), PromptId(prompt_id), index)
    return worker.fold().turns.get(turn)


def reasons(worker: OneWorker, prompt_id: str = "p1") -> list[str]:
    """How the prompt's turns have ended, by model; those that there are."""
    turns = [turn_at(worker, index, prompt_id) for index in range(4)]
    return [turn.ended.reason if turn.ended else "" for turn in turns if turn is not None]


def settled(worker: OneWorker, prompt_id: str = "p1") -> ComparisonEnded | None:
    return worker.fold().comparisons.get(prompt_id)


async def until_settled(worker: OneWorker, prompt_id: str = "p1", limit_s: float = 300.0) -> int:
    """Wait for the comparison's end; the index of the turn that was chosen, -1 for none."""
    await worker.until(lambda: settled(worker, prompt_id) is not None, limit_s)
    await worker.until(lambda: worker.owner.sessions.lane_of(USER, SESSION).idle)
    comparison = settled(worker, prompt_id)
    assert comparison is not None
    turns: list[str] = [turn_id_of(UserId(USER), SessionId(SESSION), PromptId(prompt_id), index) for index in range(4)]
    return turns.index(comparison.turn) if comparison.turn else -1


async def told_next(worker: OneWorker) -> list[str]:
    """What the model is told with the session's next prompt."""
    await worker.send(prompt("next"))
    await worker.until(lambda: worker.reason("next") != "")
    return [message.content for message in worker.provider.calls[-1].messages]


def times_settled(worker: OneWorker) -> int:
    records = worker.log.records(worker.place.topic, worker.place.partition)
    return sum(isinstance(decode_session_event(record.value or b""), ComparisonEnded) for record in records)


@on_virtual_time
async def test_all_answers_stand(worker: OneWorker) -> None:
    """They come side by side in the time of the slowest; the first model's goes into the conversation."""
    worker.provider.script_of = paced
    await worker.send(compared())
    begun_s = worker.clock.monotonic_s()
    assert await until_settled(worker) == 0
    assert worker.clock.monotonic_s() - begun_s < max(PACES.values()) + 0.3

    queued = [turn.queued for turn in worker.fold().turns.values()]
    assert [(event.index, event.model, event.position) for event in queued] == [
        (number, model, 0) for number, model in enumerate(COMPARED)
    ]
    assert {event.models for event in queued} == {COMPARED}
    assert [call.model for call in worker.provider.calls] == list(COMPARED)
    assert reasons(worker) == ["complete"] * 3
    assert await told_next(worker) == ["ask p1", ANSWER, "ask next"]
    assert (times_settled(worker), len(worker.outcomes())) == (1, 4)


@pytest.mark.parametrize(("failing", "chosen"), [({"model-a"}, 1), ({"model-a", "model-b"}, 2), (set(COMPARED), -1)])
def test_models_that_fail(failing: set[str], chosen: int) -> None:
    """The next complete answer takes their place; where none is, the prompt leaves nothing in the conversation."""

    async def scene(worker: OneWorker) -> None:
        refused = Script(fails_at=0, failure=ProviderRefused("no"))
        worker.provider.script_of = lambda request: refused if request.model in failing else paced(request)
        await worker.send(compared())
        assert await until_settled(worker) == chosen
        worker.provider.script_of = paced
        assert await told_next(worker) == (["ask p1", ANSWER] if chosen >= 0 else []) + ["ask next"]

    on_virtual_time(scene)()


@on_virtual_time
async def test_first_to_be_complete(worker: OneWorker) -> None:
    """It wins; the others are stopped within a second, and billed for what they wrote."""
    worker.provider.script_of = lambda request: Script(first_s=0.05, pace_s=PACES[request.model])
    await worker.send(compared("first"))
    await worker.until(lambda: settled(worker) is not None)
    await worker.until(lambda: worker.provider.open_calls == 0, 1.0)
    worker.provider.script_of = paced
    assert await until_settled(worker) == 1

    assert reasons(worker) == ["cancelled", "complete", "cancelled"]
    loser = turn_at(worker, 0)
    assert loser is not None
    assert loser.ended is not None
    assert loser.ended.error is not None
    assert (loser.ended.error.code, bool(loser.text)) == ("lost_comparison", True)
    assert loser.ended.usage.output_tokens > 0
    assert await told_next(worker) == ["ask p1", ANSWER, "ask next"]


def scored(scorer: object) -> OneWorker:
    """A comparison for the best, by a scorer of the test's own, in real time: it runs in a thread."""

    async def play() -> OneWorker:
        loop = asyncio.get_running_loop()
        worker = OneWorker(LoopClock(loop))  # type: ignore[arg-type]  # any loop has a time
        worker.parts.scorer.scorer = scorer  # type: ignore[assignment]
        worker.provider.script_of = lambda _: Script(0.0, 0.0)
        worker.owner.start()
        await worker.send(compared("best"))
        await until_settled(worker, limit_s=5.0)
        await worker.owner.stop()
        return worker

    return asyncio.run(play())


def test_best_answer() -> None:
    """The scorer's choice goes into the conversation, with every score on the log."""
    asked: list[tuple[str, Sequence[str]]] = []

    def scorer(question: str, answers: Sequence[str]) -> Sequence[float]:
        asked.append((question, answers))
        return [0.1, 0.3, 0.2]

    comparison = settled(scored(scorer))

    assert asked == [("ask p1", [ANSWER] * 3)]
    assert comparison is not None
    assert comparison.turn == turn_id_of(UserId(USER), SessionId(SESSION), PromptId("p1"), 1)
    assert sorted(comparison.scores.values()) == [0.1, 0.2, 0.3]


def test_scorer_that_fails() -> None:
    """The answers are scored by length and format instead, and no text is logged."""

    def scorer(question: str, _: Sequence[str]) -> Sequence[float]:
        raise RuntimeError(question)

    with capture_logs() as events:
        comparison = settled(scored(scorer))

    assert comparison is not None
    assert len(set(comparison.scores.values())) == 1  # the answers are equal
    failed = [event for event in events if event["event"] == "scorer_failed"]
    assert [event["error"] for event in failed] == ["RuntimeError"]
    assert "ask p1" not in str(failed)


@on_virtual_time
async def test_answers_merged_into_one(worker: OneWorker) -> None:
    """A further turn is asked for it, with every complete answer; its own goes into the conversation."""
    worker.provider.script_of = paced
    await worker.send(compared("merge", merge_model="model-b"), prompt("p2"))
    assert await until_settled(worker) == 3
    await worker.until(lambda: worker.reason("p2") != "")

    merging = turn_at(worker, 3)
    assert merging is not None
    assert (merging.queued.model, merging.queued.index, merging.queued.models) == ("model-b", 3, (*COMPARED, "model-b"))
    asked = worker.provider.calls[3]
    assert (asked.model, len(asked.messages)) == ("model-b", 1)
    assert asked.messages[0].content.startswith(TASK)
    assert asked.messages[0].content.count(ANSWER) == 3
    assert all(f"({model})" in asked.messages[0].content for model in COMPARED)
    told = [message.content for message in worker.provider.calls[4].messages]
    assert told == ["ask p1", merging.text, "ask p2"]
    assert [turn.queued.prompt_id for turn in worker.fold().turns.values()] == ["p1"] * 3 + ["p2", "p1"]
    assert len(worker.outcomes()) == 5


@on_virtual_time
async def test_whole_conversation_merged(worker: OneWorker) -> None:
    """Its last message is the one that holds the answers."""
    messages = (ChatMessage("system", "Be brief."), ChatMessage("user", "Why?"))
    await worker.send(compared("merge", input="", messages=messages))
    assert await until_settled(worker) == 3

    asked = worker.provider.calls[-1].messages
    assert asked[0] == messages[0]
    assert asked[1].content.startswith(TASK)
    assert "Why?" in asked[1].content


@pytest.mark.parametrize(("merge_fails", "chosen"), [(True, 0), (False, 3)])
def test_merge_that_fails(*, merge_fails: bool, chosen: int) -> None:
    """The first complete answer takes its place."""

    async def scene(worker: OneWorker) -> None:
        refused = Script(fails_at=0, failure=ProviderRefused("no"))
        worker.provider.script_of = lambda request: (
            refused if merge_fails and request.messages[-1].content.startswith(TASK) else paced(request)
        )
        await worker.send(compared("merge"))
        assert await until_settled(worker) == chosen
        assert reasons(worker)[3] == ("error" if merge_fails else "complete")

    on_virtual_time(scene)()


@on_virtual_time
async def test_cancel_before_the_merge(worker: OneWorker) -> None:
    """Every turn that is open ends, and the answers are not merged any more."""
    worker.provider.script_of = paced
    await worker.send(compared("merge"))
    await worker.until(lambda: reasons(worker) == ["", "complete", ""])
    await worker.send(CANCEL)
    assert await until_settled(worker, limit_s=1.0) == 1

    assert reasons(worker) == ["cancelled", "complete", "cancelled"]
    assert len(worker.provider.calls) == 3


@on_virtual_time
async def test_cancel_as_the_last_answer_ends(worker: OneWorker) -> None:
    """It comes too late for the answers, and in time for the merge."""
    worker.provider.script_of = paced
    await worker.send(compared("merge"))
    await worker.until(lambda: bool(worker.provider.calls))
    worker.slow_s = 0.5  # records, and with them the settling, take their time
    await worker.until(lambda: reasons(worker) == ["complete"] * 3)
    await worker.send(CANCEL)
    await until_settled(worker)

    assert reasons(worker) in (["complete"] * 3, ["complete"] * 3 + ["cancelled"])
    assert sum(TASK in call.messages[-1].content for call in worker.provider.calls) == 0


@on_virtual_time
async def test_cancel_of_the_merge(worker: OneWorker) -> None:
    """It ends; the first complete answer stays."""
    worker.provider.script_of = lambda request: (
        Script(first_s=0.1, pace_s=9.0) if request.messages[-1].content.startswith(TASK) else paced(request)
    )
    await worker.send(compared("merge"))
    await worker.until(lambda: (merging := turn_at(worker, 3)) is not None and merging.next_seq > 0)
    await worker.send(CANCEL)

    assert await until_settled(worker, limit_s=1.0) == 0
    assert reasons(worker) == ["complete"] * 3 + ["cancelled"]


@on_virtual_time
async def test_cancel_before_the_prompt(worker: OneWorker) -> None:
    """Every turn of it ends at once, unpaid."""
    await worker.send(CANCEL, compared("merge"))
    assert await until_settled(worker) == -1

    assert reasons(worker) == ["cancelled"] * 3
    assert worker.provider.calls == []


@pytest.mark.parametrize("on_busy", ["enqueue", "parallel", "reject", "interrupt", "rollback"])
def test_comparison_in_a_busy_session(on_busy: OnBusy) -> None:
    """All of its turns do together what it asks for, and run side by side."""

    async def scene(worker: OneWorker) -> None:
        slow = Script(first_s=0.1, pace_s=9.0)
        worker.provider.script_of = lambda request: slow if request.model == "simulated" else paced(request)
        await worker.send(prompt("p0"))
        await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p0").next_seq > 0)
        await worker.send(compared(on_busy=on_busy))
        begun_s = worker.clock.monotonic_s()
        chosen = await until_settled(worker)

        busy_s = worker.clock.monotonic_s() - begun_s
        assert reasons(worker) == (["rejected"] * 3 if on_busy == "reject" else ["complete"] * 3)
        assert chosen == (-1 if on_busy == "reject" else 0)
        interrupts = on_busy in ("interrupt", "rollback")
        assert worker.reason("p0") == ("superseded" if interrupts else "complete")
        if interrupts:
            assert busy_s < max(PACES.values()) + 0.5
        order = [turn.queued.prompt_id for turn in worker.fold().turns.values()]
        assert order == ["p0", "p1", "p1", "p1"]

    on_virtual_time(scene)()


@pytest.mark.parametrize("on_busy", ["interrupt", "rollback"])
def test_comparison_that_is_interrupted(on_busy: OnBusy) -> None:
    """Rolled back, it leaves nothing; interrupted, the answer that was complete."""

    async def scene(worker: OneWorker) -> None:
        worker.provider.script_of = paced
        await worker.send(compared("merge"))
        await worker.until(lambda: reasons(worker) == ["", "complete", ""])
        await worker.send(prompt("p2", on_busy=on_busy))
        await worker.until(lambda: worker.reason("p2") != "", 2.0)

        told = [message.content for message in worker.provider.calls[-1].messages]
        assert told == ([] if on_busy == "rollback" else ["ask p1", ANSWER]) + ["ask p2"]
        assert reasons(worker) == ["superseded", "complete", "superseded"]
        assert times_settled(worker) == 1

    on_virtual_time(scene)()


@on_virtual_time
async def test_prompt_sent_again_of_which_a_part_is_missing(worker: OneWorker) -> None:
    """The entries that a dead worker did not write are added; the others are not written anew."""
    worker.provider.script_of = paced
    journal, written = worker.owner.journal.write, 0

    async def dying(entry: object) -> None:
        nonlocal written
        written += 1
        if written > 1:
            await asyncio.sleep(1e6)
        await journal(entry)  # type: ignore[arg-type]

    worker.owner.journal.write = dying  # type: ignore[method-assign]  # the process dies in between
    await worker.send(compared())
    await worker.until(lambda: written == 3)
    await worker.owner.stop()
    assert len(worker.log.records(TURNS, PARTITION)) == 1
    worker.owner = worker.new_owner(2)
    worker.owner.start()
    await worker.until(lambda: reasons(worker)[:1] == ["complete"])
    await worker.send_to(worker.owner, 0, compared())
    assert await until_settled(worker) == 0

    assert reasons(worker) == ["complete"] * 3
    assert sorted(call.model for call in worker.provider.calls) == list(COMPARED)


@pytest.mark.parametrize("mode", ["all", "first", "best", "merge"])
@pytest.mark.parametrize("before", ["settling", "closing"])
def test_worker_dies_before_the_turn_is_closed(mode: CompareMode, before: str) -> None:
    """The next owner closes it, and settles what was not settled, once."""
    loop = VirtualLoop()

    async def play() -> tuple[OneWorker, int]:
        worker = OneWorker(LoopClock(loop))
        worker.provider.script_of = paced

        settle = worker.owner.sessions.settle

        async def dying(lane: SessionLane, turn: OpenTurn) -> bool:
            if before == "closing":
                await settle(lane, turn)
            await asyncio.sleep(1e6)
            return False

        worker.owner.sessions.settle = dying
        worker.owner.start()
        await worker.send(compared(mode))
        await worker.until(lambda: reasons(worker).count("complete") == (1 if mode == "first" else 3))
        await asyncio.sleep(1)
        await worker.owner.stop()
        worker.owner = worker.new_owner(2)
        worker.owner.start()
        chosen = await until_settled(worker)
        await worker.until(lambda: not list(worker.owner.journal.open_entries()))
        await worker.owner.stop()
        return worker, chosen

    worker, chosen = run_virtual(loop, play())

    assert chosen == {"all": 0, "first": 1, "best": 0, "merge": 3}[mode]
    assert times_settled(worker) == 1
    assert len(worker.provider.calls) == (4 if mode == "merge" else 3) or mode == "first"
    assert len({(record.turn, record.attempt) for record in worker.records()}) == len(worker.provider.calls)


@on_virtual_time
async def test_partition_lost_while_a_comparison_runs(worker: OneWorker) -> None:
    """Its turns end here and are closed by the next owner, which settles it and merges."""
    worker.provider.script_of = paced
    await worker.send(compared("merge"))
    await worker.until(lambda: len(worker.provider.calls) == 3)
    await worker.owner.lease_running()
    await worker.owner.retire()
    retired, worker.owner = worker.owner, worker.new_owner(2)
    worker.owner.start()

    assert await until_settled(worker) == 3
    assert len(worker.provider.calls) == 4
    assert [turn.attempt for turn in worker.fold().turns.values()] == [1] * 4
    assert (times_settled(worker), retired.tasks.running) == (1, set())


@pytest.mark.parametrize("topic", ["session", "records", "turns"])
def test_cluster_away_while_a_comparison_ends(topic: str) -> None:
    """Everything is tried again; it is settled once."""

    async def scene(worker: OneWorker) -> None:
        worker.provider.script_of = paced
        await worker.send(compared("merge"))
        await worker.until(lambda: reasons(worker) == ["complete", "complete", ""])
        worker.fates["tokenwire." + topic] = [Fate.FAILS, Fate.UNKNOWN, Fate.FAILS, Fate.UNKNOWN]
        assert await until_settled(worker) == 3
        assert (reasons(worker), times_settled(worker)) == (["complete"] * 4, 1)

    on_virtual_time(scene)()


@on_virtual_time
async def test_more_models_than_may_be_compared(worker: OneWorker) -> None:
    """The prompt is rejected, with no more turns than a prompt may have."""
    await worker.send(prompt("p1", models=tuple(f"m{number}" for number in range(5_000))))
    await until_settled(worker)

    turns = worker.fold().turns.values()
    assert [turn.ended.reason for turn in turns if turn.ended] == ["rejected"] * 8
    assert {len(turn.queued.models) for turn in turns} == {8}
