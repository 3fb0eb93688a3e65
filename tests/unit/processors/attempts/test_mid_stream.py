"""Calls that fail in the middle of an answer: the next target goes on from the text, or begins again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from infra.targets.model_catalogue import Ability
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    ChatRequest,
    ProviderBabbled,
    ProviderCut,
    ProviderError,
    ProviderFailed,
    ProviderRefused,
    ProviderTimedOut,
)
from processors.sessions.decisions.continuation import ANSWER_TOKENS_MIN
from schemas.prompts import ChatMessage, PromptCancelled
from schemas.records import AttemptOutcome
from schemas.session_events import TokensEmitted, TurnStarted
from schemas.turn_fold import text_hash
from tests.fakes.memory_log import Fate
from tests.fakes.one_worker import SESSION, USER, OneWorker, on_virtual_time, prompt, turn_of
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.several_targets import ABLE, UNABLE, Named, with_targets

__all__: list[str] = []

CHUNKS = answer_chunks("ask p2")
TEXT = "".join(CHUNKS)
CUT = Script(fails_at=2, failure=ProviderCut("cut"))


async def ended(worker: OneWorker, prompt_id: str = "p2") -> None:
    await worker.until(lambda: worker.reason(prompt_id) != "")
    await worker.until(lambda: (entry := worker.entry(prompt_id)) is not None and entry.phase == "ended")


async def answered(worker: OneWorker, **fields: object) -> None:
    await worker.send(prompt("p2", **fields))
    await ended(worker)


def outcomes(worker: OneWorker) -> list[AttemptOutcome]:
    return [record.outcome for record in worker.records() if record.outcome]


def causes(worker: OneWorker) -> list[tuple[str, str, str, int]]:
    return [(outcome.provider, outcome.reason, outcome.cause, outcome.chunks) for outcome in outcomes(worker)]


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (ProviderCut("cut"), "failover"),
        (ProviderFailed("in the stream"), "failover"),
        (ProviderTimedOut("between_tokens", 30.0), "watchdog"),
    ],
)
def test_next_target_goes_on(failure: ProviderError, cause: str) -> None:
    """One unbroken answer; each span on record with its provider and cost, none of it paid twice."""

    async def scene(worker: OneWorker) -> None:
        first, second = with_targets(worker, (ABLE, Script(fails_at=2, failure=failure)), (ABLE, Script()))
        await answered(worker)

        turn = worker.turn("p2")
        assert turn.ended is not None
        assert (turn.ended.reason, turn.text) == ("complete", TEXT)
        assert (turn.ended.text_sha256, turn.ended.text_chars) == (text_hash(TEXT), len(TEXT))
        assert turn.current is not None
        assert (turn.current.started.from_seq, turn.current.started.cause) == (2, cause)
        assert causes(worker) == [("t0", "continued", "first", 2), ("t1", "complete", cause, len(CHUNKS) - 2)]
        assert [record.seq for record in worker.records()] == [0, 2]
        assert [record.texts for record in worker.records()] == [tuple(CHUNKS[:2]), tuple(CHUNKS[2:])]
        assert [outcome.text_sha256 for outcome in outcomes(worker)] == [
            text_hash("".join(CHUNKS[:2])),
            text_hash("".join(CHUNKS[2:])),
        ]
        assert all(outcome.cost_nano_usd > 0 for outcome in outcomes(worker))
        assert second.calls[0].messages == (
            *first.calls[0].messages,
            ChatMessage(role="assistant", content="".join(CHUNKS[:2])),
        )
        assert ANSWER_TOKENS_MIN < second.calls[0].max_tokens < first.calls[0].max_tokens

    on_virtual_time(scene)()


@on_virtual_time
async def test_text_is_gone_on_from_twice(worker: OneWorker) -> None:
    """Three spans, three providers, one answer; also past a target that fails before it says a word."""
    with_targets(
        worker,
        (ABLE, CUT),
        (ABLE, Script(fails_at=0, failure=ProviderFailed("500"))),
        (ABLE, Script(fails_at=3, failure=ProviderCut("cut"))),
        (ABLE, Script()),
    )
    await answered(worker)

    assert worker.turn("p2").text == TEXT
    assert [(provider, reason, chunks) for provider, reason, _, chunks in causes(worker)] == [
        ("t0", "continued", 2),
        ("t1", "void", 0),
        ("t2", "continued", 3),
        ("t3", "complete", len(CHUNKS) - 5),
    ]
    ended = worker.turn("p2").ended
    assert ended is not None
    assert ended.text_sha256 == text_hash(TEXT)


@on_virtual_time
async def test_next_prompt_sees_the_whole_answer(worker: OneWorker) -> None:
    """The conversation holds what the reader saw, from memory and from the log."""
    providers = with_targets(worker, (ABLE, Named("t0", CUT, Script())), (ABLE, Script()))
    await answered(worker)
    await answered_next(worker, "p3")
    worker.conversations.forget(next(iter(worker.conversations.kept)))
    await answered_next(worker, "p4")

    asked = [provider.calls[-1].messages for provider in providers[:1]]
    assert [message.content for message in asked[0]][:2] == ["ask p2", TEXT]
    assert providers[0].calls[1].messages[1].content == TEXT


async def answered_next(worker: OneWorker, prompt_id: str) -> None:
    await worker.send(prompt(prompt_id))
    await ended(worker, prompt_id)


@pytest.mark.parametrize(
    ("first", "second"),
    [(CUT, UNABLE), (Script(fails_at=2, failure=ProviderBabbled("round and round")), ABLE)],
)
def test_next_target_begins_again(first: Script, second: frozenset[Ability]) -> None:
    """It cannot go on, or the text is not worth it: the earlier text is void."""

    async def scene(worker: OneWorker) -> None:
        providers = with_targets(worker, (ABLE, first), (second, Script()))
        await answered(worker)

        turn = worker.turn("p2")
        assert (turn.text, turn.current.started.from_seq if turn.current else -1) == (TEXT, 0)
        assert [reason for _, reason, _, _ in causes(worker)] == ["void", "complete"]
        assert providers[1].calls[0].messages == providers[0].calls[0].messages

    on_virtual_time(scene)()


@on_virtual_time
async def test_target_that_can_go_on_is_preferred(worker: OneWorker) -> None:
    """A target of lower rank that keeps the text goes before one that would throw it away."""
    providers = with_targets(worker, (ABLE, CUT), (UNABLE, Script()), (ABLE, Script()))
    await answered(worker)

    assert [len(provider.calls) for provider in providers] == [1, 0, 1]
    assert worker.turn("p2").text == TEXT


@on_virtual_time
async def test_target_that_refuses_to_go_on(worker: OneWorker) -> None:
    """It claims an ability that it has not: the next one is asked, and the turn is not ended by it."""
    refused = Script(fails_at=0, failure=ProviderRefused("400"))
    with_targets(worker, (ABLE, CUT), (ABLE, refused), (UNABLE, Script()))
    await answered(worker)

    assert worker.turn("p2").text == TEXT
    assert [(provider, reason) for provider, reason, _, _ in causes(worker)] == [
        ("t0", "continued"),
        ("t1", "void"),
        ("t2", "complete"),
    ]


@on_virtual_time
async def test_nobody_is_left_to_go_on(worker: OneWorker) -> None:
    """The text stands and the turn is incomplete; after the first token nothing is tried again."""
    providers = with_targets(worker, (ABLE, CUT), (ABLE, Script(fails_at=0, failure=ProviderFailed("503"))))
    await answered(worker)

    turn = worker.turn("p2")
    assert turn.ended is not None
    assert (turn.ended.reason, turn.text) == ("incomplete", "".join(CHUNKS[:2]))
    assert turn.ended.text_sha256 == text_hash(turn.text)
    assert [len(provider.calls) for provider in providers] == [1, 1]
    assert [reason for _, reason, _, _ in causes(worker)] == ["continued", "incomplete"]


@on_virtual_time
async def test_cancel_between_two_attempts(worker: OneWorker) -> None:
    """The failed attempt is the turn's last: one record, with the turn's reason and what it cost."""
    pool = worker.parts.runner.pool
    with_targets(worker, (ABLE, CUT), (ABLE, Script()))
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(pool.states.get("t0")))
    reserve, waiting = pool.reserve, asyncio.Event()

    async def reserve_late(*arguments: object, **named: object) -> object:
        waiting.set()
        await asyncio.sleep(3_600)
        return await reserve(*arguments, **named)  # type: ignore[arg-type]  # passed on

    pool.reserve = reserve_late  # type: ignore[method-assign, assignment]  # a line to wait in
    await waiting.wait()
    await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p2"))
    await ended(worker)

    assert worker.reason("p2") == "cancelled"
    assert causes(worker) == [("t0", "cancelled", "first", 2)]
    turn_ended = worker.turn("p2").ended
    assert turn_ended is not None
    assert turn_ended.cost_nano_usd == outcomes(worker)[0].cost_nano_usd > 0


@on_virtual_time
async def test_another_worker_wrote_in_between(worker: OneWorker) -> None:
    """What is on the log is not what this worker said: it does not go on from it."""
    first = Named("t0", Script(fails_at=2, failure=ProviderCut("cut"), fails_s=1.0))
    with_targets(worker, (ABLE, first), (ABLE, Script()))
    await worker.send(prompt("p2"))
    await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p2").next_seq == 2)
    worker.write(
        TurnStarted(turn=turn_of("p2"), attempt=2, run="foreign"),
        TokensEmitted(turn=turn_of("p2"), attempt=2, run="foreign", seq=0, chunks=("other ", "text "), gaps_us=(1, 1)),
    )
    await ended(worker)

    turn = worker.turn("p2")
    assert turn.text == TEXT
    assert turn.current is not None
    assert turn.current.started.from_seq == 0


@pytest.mark.parametrize("fate", [Fate.FAILS, Fate.UNKNOWN, Fate.TWICE])
def test_start_of_the_next_attempt_is_lost(fate: Fate) -> None:
    """Whatever becomes of the append, the answer is whole and each span is recorded once."""

    async def scene(worker: OneWorker) -> None:
        first = Named("t0", Script(fails_at=2, failure=ProviderCut("cut"), fails_s=1.0))
        with_targets(worker, (ABLE, first), (ABLE, Script()))
        await worker.send(prompt("p2"))
        await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p2").next_seq == 2)
        worker.fates["tokenwire.session"] = [fate]
        await ended(worker)

        assert worker.turn("p2").text == TEXT
        assert [(reason, chunks) for _, reason, _, chunks in causes(worker) if chunks] == [
            ("continued", 2),
            ("complete", len(CHUNKS) - 2),
        ]

    on_virtual_time(scene)()


@on_virtual_time
async def test_successor_records_what_its_predecessor_went_on_from(worker: OneWorker) -> None:
    """A worker dies after the switch: the same rows come from the log, and the answer begins again."""
    with_targets(worker, (ABLE, CUT), (ABLE, Script(first_s=0.5, pace_s=60.0)))
    await worker.send(prompt("p2"))
    await worker.until(
        lambda: worker.reason("p2") == "" and bool(worker.fold().turns) and worker.turn("p2").attempt == 2
    )
    await worker.until(lambda: worker.turn("p2").next_seq == 3)
    before = {(record.attempt, record.part): record.texts for record in worker.records()}
    await worker.owner.stop()
    for topic, partition in [place for place in worker.log.partitions if place[0] == "tokenwire.records"]:
        worker.log.partitions[topic, partition].clear()  # as if the records had not been sent
    with_targets(worker, (ABLE, Script()))
    worker.owner = worker.new_owner(2)
    worker.owner.start()
    await ended(worker)

    assert before == {(1, 0): tuple(CHUNKS[:2])}
    assert [(record.attempt, record.seq, record.texts) for record in worker.records()] == [
        (1, 0, tuple(CHUNKS[:2])),
        (2, 2, tuple(CHUNKS[2:3])),
        (3, 0, tuple(CHUNKS)),
    ]
    assert reasons(outcomes(worker)) == ["continued", "void", "complete"]


def reasons(found: Iterable[AttemptOutcome]) -> list[str]:
    return [outcome.reason for outcome in found]


async def test_fields_that_make_a_target_go_on() -> None:
    """They are sent beside the text to go on from."""
    provider = OpenAIProvider(name="vllm", api_key="", base_url="http://127.0.0.1:1/v1")
    request = ChatRequest(
        model="m",
        messages=(ChatMessage(role="user", content="a"), ChatMessage(role="assistant", content="b")),
        max_tokens=16,
        fields=(("add_generation_prompt", False), ("continue_final_message", True)),
    )
    body = provider.body_of(request)
    await provider.aclose()

    assert (body["add_generation_prompt"], body["continue_final_message"], body["max_tokens"]) == (False, True, 16)
    assert body["messages"] == [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
