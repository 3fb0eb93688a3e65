"""Several models asked side by side: their turns, and what becomes of their answers.

Covers: processors.attempts.turn_question, processors.turns.turn_stops.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from structlog.testing import capture_logs

from processors.attempts.decisions.merge_question import TASK
from processors.providers.provider import ProviderRefused
from schemas.identifiers import PromptId, SessionId, UserId, turn_id_of
from schemas.prompts import ChatMessage
from tests.fakes.one_target import COMPARED
from tests.fakes.one_worker import SESSION, USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script
from tests.fakes.virtual_loop import LoopClock
from tests.unit.processors.turns.compared_answers import (
    ANSWER,
    CANCEL,
    PACES,
    compared,
    paced,
    reasons,
    settled,
    times_settled,
    told_next,
    turn_at,
    until_settled,
)

__all__: list[str] = []


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
