"""Models with a small context: how long the answer may be, what of the conversation is sent, what does not fit."""

from __future__ import annotations

from dataclasses import replace

from tests.fakes.one_worker import OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import ScriptedProvider
from tests.fakes.several_targets import UNABLE, with_targets

__all__: list[str] = []

CONTEXT_TOKENS = 512
LONG = "word " * 150


def with_small_context(worker: OneWorker) -> ScriptedProvider:
    """One target whose context is no larger than the default of `max_tokens`."""
    (provider,) = with_targets(worker, (UNABLE, ScriptedProvider()))
    catalogue = worker.parts.runner.calls.catalogue()
    for served in list(catalogue.models.values()):
        targets = tuple(replace(target, context_tokens=CONTEXT_TOKENS) for target in served.targets)
        small = replace(served, targets=targets, answer_tokens_max=CONTEXT_TOKENS)
        catalogue.models[served.name] = small  # type: ignore[index]  # a dict
    return provider


async def ask(worker: OneWorker, prompt_id: str, text: str, max_tokens: int | None = None) -> None:
    await worker.send(prompt(prompt_id, input=text, max_tokens=max_tokens))
    await worker.until(lambda: worker.reason(prompt_id) != "")


@on_virtual_time
async def test_prompt_that_names_no_length(worker: OneWorker) -> None:
    """It is answered, as long as the context leaves room for."""
    provider = with_small_context(worker)
    await ask(worker, "p1", LONG)

    (call,) = provider.calls
    assert worker.reason("p1") == "complete"
    assert call.input_tokens + call.max_tokens <= CONTEXT_TOKENS
    assert call.max_tokens > CONTEXT_TOKENS / 2


@on_virtual_time
async def test_conversation_beside_a_default_length(worker: OneWorker) -> None:
    """A default leaves the conversation half of the context; a length that the prompt names takes what it needs."""
    provider = with_small_context(worker)
    await ask(worker, "p1", "short " * 60)
    await ask(worker, "p2", "and then?")
    await ask(worker, "p3", "and at length?", max_tokens=CONTEXT_TOKENS - 100)

    assert [len(call.messages) for call in provider.calls] == [1, 3, 3]  # the third leaves the first out
    assert provider.calls[2].max_tokens == CONTEXT_TOKENS - 100


@on_virtual_time
async def test_prompt_that_does_not_fit(worker: OneWorker) -> None:
    """It ends without a call, and is told its size and the context's."""
    provider = with_small_context(worker)
    await ask(worker, "p1", "word " * CONTEXT_TOKENS)

    ended = worker.turn("p1").ended
    assert provider.calls == []
    assert ended is not None
    assert ended.error is not None
    assert ended.error.code == "context_too_small"
    assert "longer than the model's context (512 tokens)" in ended.error.message
