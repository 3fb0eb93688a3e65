"""Calls that fail before their first token: who is asked next, and when the turn ends."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from infra.targets.model_catalogue import ModelCatalogue
from processors.providers.provider import (
    CONTEXT_EXCEEDED,
    ProviderDenied,
    ProviderFailed,
    ProviderMisplaced,
    ProviderRefused,
    ProviderTimedOut,
    ProviderWordless,
)
from processors.targets.decisions.circuit_breaker import BreakerPhase
from processors.targets.decisions.retry_policy import ATTEMPTS_MAX
from tests.fakes.one_worker import OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import Script, answer_chunks
from tests.fakes.several_targets import UNABLE, Named, with_targets

__all__: list[str] = []

DENIED = Script(fails_at=0, failure=ProviderDenied("401"))
MISPLACED = Script(fails_at=0, failure=ProviderMisplaced("no such host"))
FAILED = Script(fails_at=0, failure=ProviderFailed("503"))
TOO_LONG = Script(fails_at=0, failure=ProviderRefused("too long", provider_code=CONTEXT_EXCEEDED))
WORDLESS = Script(fails_at=0, failure=ProviderWordless("no word"))
REFUSED = Script(fails_at=0, failure=ProviderRefused("400"))
TEXT = "".join(answer_chunks("ask p1"))


def has_ended(worker: OneWorker, prompt_id: str) -> bool:
    return worker.reason(prompt_id) != ""


async def answered(worker: OneWorker) -> str:
    await worker.send(prompt())
    await worker.until(lambda: worker.reason() != "")
    ended = worker.turn().ended
    assert ended is not None
    return ended.error.code if ended.error else ended.reason


@on_virtual_time
async def test_target_that_does_not_serve_us(worker: OneWorker) -> None:
    """The next one is asked at once."""
    with_targets(worker, (UNABLE, DENIED), (UNABLE, Script()))

    assert await answered(worker) == "complete"
    assert (worker.turn().text, worker.clock.monotonic_s() < 1.0) == (TEXT, True)


@on_virtual_time
async def test_no_target_serves_us(worker: OneWorker) -> None:
    """There is nothing to wait for."""
    providers = with_targets(worker, (UNABLE, DENIED), (UNABLE, DENIED))

    assert await answered(worker) == "provider_denied"
    assert [len(provider.calls) for provider in providers] == [1, 1]


@on_virtual_time
async def test_target_that_is_set_up_wrongly(worker: OneWorker) -> None:
    """One attempt and the next target; with no other, the turn ends at once with what to set."""
    providers = with_targets(worker, (UNABLE, MISPLACED), (UNABLE, MISPLACED))

    assert await answered(worker) == "provider_misplaced"
    assert ([len(provider.calls) for provider in providers], worker.clock.monotonic_s() < 1.0) == ([1, 1], True)


@on_virtual_time
async def test_one_does_not_serve_us_and_the_other_may_later(worker: OneWorker) -> None:
    """The round is tried again, whichever of the two was asked last."""
    providers = with_targets(worker, (UNABLE, Named("t0", FAILED, Script())), (UNABLE, DENIED))

    assert await answered(worker) == "complete"
    assert [len(provider.calls) for provider in providers] == [2, 1]


@on_virtual_time
async def test_prompt_that_is_refused(worker: OneWorker) -> None:
    """The next target would refuse it as well."""
    providers = with_targets(worker, (UNABLE, REFUSED), (UNABLE, Script()))

    assert await answered(worker) == "provider_refused"
    assert [len(provider.calls) for provider in providers] == [1, 0]


@on_virtual_time
async def test_breaker_of_a_target_that_does_not_serve_us(worker: OneWorker) -> None:
    """It opens: not every prompt asks it first."""
    providers = with_targets(worker, (UNABLE, DENIED), (UNABLE, Script()))
    for number in range(10):
        await worker.send(prompt(f"p{number}"))
        await worker.until(partial(has_ended, worker, f"p{number}"))

    assert len(providers[0].calls) < 10
    assert len(providers[1].calls) == 10


SILENT = Script(fails_at=0, fails_s=5.0, failure=ProviderTimedOut("first_token", 5.0))


@on_virtual_time
async def test_time_out_while_others_are_answered(worker: OneWorker) -> None:
    """It stood in the target's own queue: no failure of the target, and no round of the turn, however often."""
    silences = ATTEMPTS_MAX + 2
    (provider,) = with_targets(worker, (UNABLE, Named("t0", *[SILENT] * silences, Script())))
    flowing = worker.parts.runner.pool.states
    await worker.send(prompt())
    await worker.until(lambda: "t0" in flowing)

    async def others_are_answered() -> None:
        while worker.reason() == "":
            flowing["t0"].limit.heard_s = worker.clock.monotonic_s()
            await asyncio.sleep(1.0)

    await others_are_answered()
    assert worker.reason() == "complete"
    assert len(provider.calls) == silences + 1
    assert flowing["t0"].breaker.phase is BreakerPhase.CLOSED


@on_virtual_time
async def test_time_out_of_a_silent_target(worker: OneWorker) -> None:
    """Each is a round, and the last one stands."""
    (provider,) = with_targets(worker, (UNABLE, SILENT))

    assert await answered(worker) == "provider_timed_out"
    assert len(provider.calls) == ATTEMPTS_MAX


def with_contexts(worker: OneWorker, *contexts_tokens: int) -> None:
    """Give the targets these contexts, in order."""
    calls = worker.parts.runner.calls
    catalogue = calls.catalogue()
    models = {
        name: replace(
            model,
            targets=tuple(
                replace(target, context_tokens=tokens)
                for target, tokens in zip(model.targets, contexts_tokens, strict=True)
            ),
        )
        for name, model in catalogue.models.items()
    }
    changed = ModelCatalogue(models=models, default=catalogue.default)
    calls.catalogue = lambda: changed


@pytest.mark.parametrize(
    ("contexts_tokens", "calls", "code"),
    [
        ((8_000, 8_000, 16_000), [1, 0, 1], "complete"),
        ((8_000, 4_000, 8_000), [1, 0, 0], "provider_refused"),
    ],
)
def test_prompt_beyond_a_context(contexts_tokens: tuple[int, ...], calls: list[int], code: str) -> None:
    """Whoever has a larger one is asked next, nobody else; with none the turn ends at once."""

    async def scene(worker: OneWorker) -> None:
        providers = with_targets(worker, (UNABLE, TOO_LONG), (UNABLE, Script()), (UNABLE, Script()))
        with_contexts(worker, *contexts_tokens)

        assert await answered(worker) == code
        assert [len(provider.calls) for provider in providers] == calls

    on_virtual_time(scene)()


@on_virtual_time
async def test_answer_without_a_word(worker: OneWorker) -> None:
    """Every other target is asked once, then the turn is incomplete; nobody's breaker hears of it."""
    providers = with_targets(worker, (UNABLE, WORDLESS), (UNABLE, WORDLESS))

    for number in range(7):
        await worker.send(prompt(f"p{number}"))
        await worker.until(partial(has_ended, worker, f"p{number}"))

    ended = worker.turn("p0").ended
    assert ended is not None
    assert ended.error is not None
    assert (ended.reason, ended.error.code) == ("incomplete", "empty")
    assert [len(provider.calls) for provider in providers] == [7, 7]
    assert {state.breaker.phase for state in worker.parts.runner.pool.states.values()} == {BreakerPhase.CLOSED}


@on_virtual_time
async def test_answer_without_a_word_where_another_target_fails(worker: OneWorker) -> None:
    """There is no further round."""
    providers = with_targets(worker, (UNABLE, FAILED), (UNABLE, WORDLESS))

    assert await answered(worker) == "empty"
    assert [len(provider.calls) for provider in providers] == [1, 1]
