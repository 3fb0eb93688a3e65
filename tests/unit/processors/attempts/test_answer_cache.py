"""Answers that are given again, through one worker on virtual time: what is spared, what never is, what is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from infra.targets.model_catalogue import Ability, ModelCatalogue, ServedModel
from infra.telemetry.metric_names import WORKER_ANSWER_CACHE, WORKER_METRICS
from infra.telemetry.metrics import Metrics
from processors.attempts.answer_cache import ANSWER_BYTES_MAX, CHUNK_CHARS, AnswerCache, is_cached
from processors.providers.provider import ChatRequest, ProviderCut
from schemas.prompts import ChatMessage, PromptCancelled, PromptSubmitted
from schemas.records import AttemptOutcome
from schemas.session_events import TurnStarted, Usage
from schemas.turn_fold import FoldedTurn, text_hash
from tests.fakes.one_target import one_model
from tests.fakes.one_worker import SESSION, USER, OneWorker, on_virtual_time, prompt, turn_of
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.several_targets import ABLE, UNABLE, with_targets
from tests.fakes.virtual_clock import VirtualClock

__all__: list[str] = []

CACHE_S = 60.0
QUESTION = (ChatMessage(role="user", content="what is a tide?"),)
TEXT = "".join(answer_chunks("what is a tide?"))


def caching(*tenants: str) -> Callable[[], ModelCatalogue]:
    """The one model, with a cache for these tenants."""
    return with_cache(one_model(), *tenants)


def with_cache(catalogue: ModelCatalogue, *tenants: str) -> Callable[[], ModelCatalogue]:
    models = {
        name: replace(served, cache_s=CACHE_S, cache_tenants=frozenset(tenants))
        for name, served in catalogue.models.items()
    }
    return lambda: ModelCatalogue(models=models, default=catalogue.default)


def serve(worker: OneWorker, *tenants: str) -> None:
    worker.parts.runner.calls.catalogue = caching(*(tenants or ("*",)))


async def asked(worker: OneWorker, prompt_id: str, **fields: Any) -> FoldedTurn:
    """Ask the question, and wait for the end of it all."""
    named: dict[str, Any] = {"input": "", "messages": QUESTION, "temperature": 0.0, "tenant": "acme"}
    await worker.send(prompt(prompt_id, **named | fields))
    await worker.until(lambda: (entry := worker.entry(prompt_id)) is not None and entry.phase == "ended")
    return worker.turn(prompt_id)


def outcome_of(worker: OneWorker, prompt_id: str) -> AttemptOutcome:
    outcomes = [record.outcome for record in worker.records() if record.turn == turn_of(prompt_id)]
    assert outcomes[-1] is not None
    return outcomes[-1]


def counted(worker: OneWorker, outcome: str) -> float:
    return worker.metrics.registry.get_sample_value(WORKER_ANSWER_CACHE.name, {"outcome": outcome}) or 0.0


@on_virtual_time
async def test_same_prompt_again(worker: OneWorker) -> None:
    """No call; the same text at once, marked as cached, on record as the cache's, and free."""
    serve(worker)
    first = await asked(worker, "p1")
    before_s = worker.clock.monotonic_s()
    again = await asked(worker, "p2")

    assert first.text == again.text == TEXT
    assert len(worker.provider.calls) == 1
    assert worker.clock.monotonic_s() - before_s < 0.05
    assert first.current is not None
    assert again.current is not None
    assert not first.current.started.cached
    assert again.current.started.cached
    assert (again.current.started.provider, again.current.started.model) == ("cache", first.current.started.model)
    assert again.ended is not None
    assert (again.ended.reason, again.ended.usage, again.ended.cost_nano_usd) == ("complete", Usage(), 0)
    assert again.ended.text_sha256 == text_hash(TEXT)
    outcome = outcome_of(worker, "p2")
    assert (outcome.provider, outcome.model, outcome.usage) == ("cache", first.current.started.model, Usage())
    assert (outcome.reason, outcome.cost_nano_usd, outcome.text_chars) == ("complete", 0, len(TEXT))
    assert (counted(worker, "miss"), counted(worker, "hit")) == (1, 1)


@on_virtual_time
async def test_temperature_is_sent(worker: OneWorker) -> None:
    """The provider is asked with the prompt's own, or left to its own."""
    await asked(worker, "p1", temperature=0.0)
    await asked(worker, "p2", temperature=None)

    assert [call.temperature for call in worker.provider.calls] == [0.0, None]


@on_virtual_time
async def test_answers_never_cross_tenants(worker: OneWorker) -> None:
    """Whoever asks the same for another tenant, or for none, is answered by the provider; the tenant's users share."""
    serve(worker)
    for number, tenant in enumerate(("acme", "globex", "", "acme.x", "ACME")):
        await asked(worker, f"p{number}", tenant=tenant)
    assert len(worker.provider.calls) == 5
    for number, tenant in enumerate(("acme", "globex", "", "acme.x", "ACME")):
        await asked(worker, f"again-{number}", tenant=tenant)

    assert len(worker.provider.calls) == 5


@on_virtual_time
async def test_tenants_that_did_not_opt_in(worker: OneWorker) -> None:
    """Nothing of theirs is kept or given."""
    serve(worker, "acme")
    for number, tenant in enumerate(("globex", "globex", "", "")):
        await asked(worker, f"p{number}", tenant=tenant)

    assert len(worker.provider.calls) == 4
    assert worker.parts.runner.answers.size_bytes == 0
    assert counted(worker, "miss") == 0


@pytest.mark.parametrize(
    ("fields", "calls"),
    [
        ({"temperature": 1.0}, 2),
        ({"temperature": None}, 2),
        ({"temperature": 1.0, "cache": True}, 1),
        ({"temperature": None, "cache": True}, 1),
    ],
)
def test_prompts_that_ask_for_it(fields: dict[str, Any], calls: int) -> None:
    """Another temperature than 0 is answered anew each time, unless the prompt says that it need not be."""

    @on_virtual_time
    async def scene(worker: OneWorker) -> None:
        serve(worker)
        await asked(worker, "p1", **fields)
        await asked(worker, "p2", **fields)

        assert len(worker.provider.calls) == calls

    scene()


@on_virtual_time
async def test_whatever_the_answer_depends_on(worker: OneWorker) -> None:
    """Another history, another length or another temperature is another question."""
    serve(worker)
    await asked(worker, "p1", messages=None, input="what is a tide?")
    await asked(worker, "p2", messages=None, input="what is a tide?")
    await asked(worker, "p3")
    await asked(worker, "p4", max_tokens=50)
    await asked(worker, "p5", temperature=0.5, cache=True)

    assert len(worker.provider.calls) == 4, "p3 asks what p1 asked, without a history"


@on_virtual_time
async def test_answer_that_is_too_old(worker: OneWorker) -> None:
    """It is asked for again, and that answer is kept."""
    serve(worker)
    await asked(worker, "p1")
    worker.clock.loop.jumping.elapsed_s += CACHE_S
    await asked(worker, "p2")
    await asked(worker, "p3")

    assert len(worker.provider.calls) == 2


@pytest.mark.parametrize(
    "script",
    [
        Script(finish_reason="length"),
        Script(finish_reason=None),
        Script(fails_at=1, failure=ProviderCut("broke off")),
        Script(pace_s=20.0),
    ],
)
def test_answers_that_are_not_whole(script: Script) -> None:
    """Cut at its length, broken off, failed or cancelled: the next one asks again."""

    @on_virtual_time
    async def scene(worker: OneWorker) -> None:
        serve(worker)
        worker.provider.script_of = lambda _: script
        await worker.send(prompt("p1", input="", messages=QUESTION, temperature=0.0))
        await worker.until(lambda: bool(worker.fold().turns) and worker.turn("p1").next_seq > 0)
        await worker.send(PromptCancelled(user=USER, session=SESSION, prompt_id="p1"))
        await worker.until(lambda: worker.reason("p1") != "")
        assert worker.reason("p1") in ("incomplete", "cancelled")
        calls = len(worker.provider.calls)
        worker.provider.script_of = lambda _: Script()
        turn = await asked(worker, "p2", tenant="")

        assert len(worker.provider.calls) == calls + 1
        assert turn.text == TEXT

    scene()


@pytest.mark.parametrize(("second", "calls"), [(ABLE, 4), (UNABLE, 2)])
def test_answer_of_two_providers(second: frozenset[Ability], calls: int) -> None:
    """One that goes on from another's text is not kept; one that begins again is its own, and is."""

    @on_virtual_time
    async def scene(worker: OneWorker) -> None:
        cut = Script(fails_at=1, failure=ProviderCut("broke off"))
        targets = with_targets(worker, (ABLE, cut), (second, Script()))
        calls_of = worker.parts.runner.calls
        calls_of.catalogue = with_cache(calls_of.catalogue(), "*")
        for prompt_id in ("p1", "p2"):
            assert (await asked(worker, prompt_id)).text == TEXT

        assert sum(len(target.calls) for target in targets) == calls

    scene()


@on_virtual_time
async def test_hit_behind_a_running_turn(worker: OneWorker) -> None:
    """It waits for its session like any other, then takes no place at a target."""
    serve(worker)
    await asked(worker, "p1")
    worker.provider.script_of = lambda _: Script(pace_s=1.0)
    await worker.send(prompt("slow", input="something else", tenant="acme"))
    again = await asked(worker, "p2")

    assert again.text == TEXT
    assert worker.reason("slow") == "complete"
    assert len(worker.provider.calls) == 2


def left_by_a_worker_that_died(worker: OneWorker, *, cached: bool) -> None:
    """What a predecessor wrote until it died in the middle of an answer."""
    turn = worker.turn("p1")
    assert turn.current is not None
    started = turn.current.started
    worker.write(
        TurnStarted(turn=started.turn, attempt=2, run="r2", provider="cache", model=started.model, cached=cached)
    )


@on_virtual_time
async def test_hit_that_breaks_off(worker: OneWorker) -> None:
    """Another attempt answers; the one that was taken over costs nothing, as nobody was called."""
    serve(worker)
    worker.provider.script_of = lambda _: Script(first_s=5.0)
    await worker.send(prompt("p1", input="", messages=QUESTION))
    await worker.until(lambda: len(worker.provider.calls) == 1)
    left_by_a_worker_that_died(worker, cached=True)
    await worker.until(lambda: worker.reason("p1") == "complete")
    await worker.until(lambda: len(worker.outcomes()) == 3)

    outcomes = {record.attempt: record.outcome for record in worker.records() if record.outcome}
    assert (outcomes[2].provider, outcomes[2].reason) == ("cache", "void")
    assert (outcomes[2].usage, outcomes[2].cost_nano_usd) == (Usage(), 0)


# ---- The memory itself


def cache_of(bytes_max: int) -> AnswerCache:
    return AnswerCache(bytes_max=bytes_max, clock=VirtualClock(), metrics=Metrics(WORKER_METRICS))


def model() -> ServedModel:
    catalogue = caching("*")()
    return catalogue.models[catalogue.default]


def request(number: int) -> tuple[PromptSubmitted, tuple[ChatMessage, ...]]:
    return prompt(f"p{number}", temperature=0.0), (ChatMessage(role="user", content=f"question {number}"),)


def kept(cache: AnswerCache, number: int, text: str) -> None:
    asked_for, messages = request(number)
    cache.keep(asked_for, model(), messages, 10, model="m", text=text)


def found(cache: AnswerCache, number: int) -> bool:
    asked_for, messages = request(number)
    call = cache.call_for(asked_for, model(), messages, 10)
    assert call is None or is_cached(call)
    return call is not None


def test_memory_is_bounded() -> None:
    """What was not asked for the longest goes first; too long an answer is not kept; sizes add up."""
    cache = cache_of(20_000)
    for number in range(4):
        kept(cache, number, "x" * 4_000)
    assert found(cache, 0)
    kept(cache, 4, "y" * 4_000)

    assert [found(cache, number) for number in range(5)] == [True, False, True, True, True]
    kept(cache, 5, "z" * 30_000)
    assert not found(cache, 5)
    kept(cache, 4, "short")
    assert cache.size_bytes == sum(answer.size_bytes for answer in cache.kept.values()) <= 20_000


def test_answer_that_is_too_long() -> None:
    """However large the memory is."""
    cache = cache_of(100_000_000)
    kept(cache, 1, "x" * ANSWER_BYTES_MAX)
    kept(cache, 2, "")

    assert not found(cache, 1)
    assert not found(cache, 2)


def test_no_memory() -> None:
    """Nothing is kept, and nothing is wrong with that."""
    cache = cache_of(0)
    kept(cache, 1, "x")

    assert not found(cache, 1)


@on_virtual_time
async def test_chunks_of_a_hit(worker: OneWorker) -> None:
    """Bounded, in batches, nothing lost."""
    cache = cache_of(1_000_000)
    text = "".join(f"word {number} " for number in range(2_000))
    kept(cache, 1, text)
    asked_for, messages = request(1)
    call = cache.call_for(asked_for, model(), messages, 10)
    assert call is not None
    async with call.provider.stream(ChatRequest(model="m", messages=messages, max_tokens=10)) as batches:
        chunks = [chunk async for batch in batches for chunk in batch]
    await call.provider.aclose()

    texts = [chunk.text for chunk in chunks if hasattr(chunk, "text")]
    assert "".join(texts) == text
    assert max(map(len, texts)) <= CHUNK_CHARS
