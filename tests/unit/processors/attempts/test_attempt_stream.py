"""One call: what is measured, how it ends, and who wins when two things happen at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from processors.attempts.attempt_stream import CHUNK_CHARS_MAX
from processors.attempts.decisions.answer_text import KEPT_TEXT_CHARS_MAX
from processors.providers.decisions.chat_chunks import LimitsChunk
from processors.providers.decisions.rate_headers import LimitSeen, RateHeaders
from processors.providers.provider import (
    ChatRequest,
    FinishChunk,
    ProviderChunk,
    ProviderCut,
    ProviderOverloaded,
    TextChunk,
    UsageChunk,
)
from processors.sessions.decisions.token_count import estimated_usage
from schemas.prompts import PromptCancelled
from schemas.session_events import Usage
from tests.fakes.one_worker import SESSION, USER, OneWorker, on_virtual_time, prompt
from tests.fakes.scripted_provider import ScriptedProvider

__all__: list[str] = []

CANCEL = PromptCancelled(user=USER, session=SESSION, prompt_id="p1")


class BatchProvider(ScriptedProvider):
    """Gives these batches, a second apart, and then fails."""

    def __init__(self, *batches: list[ProviderChunk], failure: Exception | None = None) -> None:
        super().__init__()
        self.given = batches
        self.failure = failure

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[list[ProviderChunk]]]:
        """The batches."""
        self.calls.append(request)
        yield self.paced()

    async def paced(self) -> AsyncIterator[list[ProviderChunk]]:
        for batch in self.given:
            await asyncio.sleep(1.0)
            yield batch
        if self.failure is not None:
            await asyncio.sleep(1.0)
            raise self.failure


async def answered(worker: OneWorker, provider: ScriptedProvider) -> None:
    worker.parts.runner.pool.make_provider = lambda _: provider
    await worker.send(prompt())
    await worker.until(lambda: worker.reason() != "")
    await worker.until(lambda: bool(worker.outcomes()))


@on_virtual_time
async def test_what_is_measured(worker: OneWorker) -> None:
    """Time to the first token from the request, gaps from chunk to chunk, none within one read of the network."""
    usage = Usage(input_tokens=7, output_tokens=3)
    await answered(
        worker,
        BatchProvider([TextChunk("a"), TextChunk("b")], [TextChunk("c")], [FinishChunk("stop"), UsageChunk(usage)]),
    )
    outcome = worker.records()[-1].outcome

    assert outcome is not None
    assert worker.records()[-1].gaps_us == (1_000_000, 0, 1_000_000)
    assert (outcome.ttft_us, outcome.tpot_us, outcome.chunks, outcome.usage) == (1_000_000, 500_000, 3, usage)
    assert outcome.requested_at_us < outcome.first_chunk_at_us == outcome.published_at_us < outcome.ended_at_us
    assert outcome.cost_nano_usd > 0


@on_virtual_time
async def test_huge_chunk(worker: OneWorker) -> None:
    """It is cut, and the text stays whole."""
    text = "é" * (3 * CHUNK_CHARS_MAX + 1)
    await answered(worker, BatchProvider([TextChunk(text)], [FinishChunk("stop")]))

    assert worker.turn().text == text
    assert worker.turn().next_seq == 4


@on_virtual_time
async def test_answer_too_long_to_be_kept(worker: OneWorker) -> None:
    """It is on the log and in the next prompt's history, read from there."""
    batch: list[ProviderChunk] = [TextChunk("x" * CHUNK_CHARS_MAX)] * (KEPT_TEXT_CHARS_MAX // CHUNK_CHARS_MAX + 1)
    provider = BatchProvider(batch, [FinishChunk("stop")])
    await answered(worker, provider)
    provider.given = ([TextChunk("b")], [FinishChunk("stop")])
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") != "")

    assert len(worker.turn().text) == KEPT_TEXT_CHARS_MAX + CHUNK_CHARS_MAX
    assert [message.content for message in provider.calls[-1].messages][-1] == "ask p2"


@on_virtual_time
async def test_limits_that_the_provider_tells_of(worker: OneWorker) -> None:
    """They are honoured from the moment they are told: the next call waits for the reset, in line."""
    seen = RateHeaders(requests=LimitSeen(0, 30.0), tokens=LimitSeen(1e6, 30.0))
    provider = BatchProvider([LimitsChunk(seen)], [TextChunk("a")], [FinishChunk("stop")])
    worker.parts.runner.pool.set_share(frozenset(range(12)), 12)
    await answered(worker, provider)
    provider.given = ([TextChunk("b")], [FinishChunk("stop")])
    asked_s = worker.clock.monotonic_s()
    await worker.send(prompt("p2"))
    await worker.until(lambda: worker.reason("p2") != "")

    assert worker.clock.monotonic_s() - asked_s > 25
    assert worker.reason("p2") == "complete"


@on_virtual_time
async def test_limits_that_a_refusal_tells_of(worker: OneWorker) -> None:
    """As with an answer; each worker takes its share of what is left."""
    limits = RateHeaders(tokens=LimitSeen(6_000, 45.0))
    slow_down = ProviderOverloaded("429", limits=limits)
    worker.parts.runner.pool.set_share(frozenset({0, 1, 2}), 12)
    await answered(worker, BatchProvider([TextChunk("a")], failure=slow_down))

    (state,) = worker.parts.runner.pool.states.values()
    assert state.tokens.seen_remaining == 1_500
    assert state.requests.seen_until_s < 0


@pytest.mark.parametrize("delay_s", [2.99, 3.0, 3.01])
def test_provider_fails_at_the_moment_of_the_cancel(delay_s: float) -> None:
    """Whichever is first, the turn ends once, with its text, and is not tried again."""

    async def scene(worker: OneWorker) -> None:
        provider = BatchProvider([TextChunk("a")], [TextChunk("b")], failure=ProviderCut("cut"))
        worker.parts.runner.pool.make_provider = lambda _: provider
        await worker.send(prompt())
        await asyncio.sleep(delay_s)
        await worker.send(CANCEL)
        await worker.until(lambda: worker.reason() != "")
        await asyncio.sleep(60)

        assert worker.reason() in ("cancelled", "incomplete")
        assert (worker.turn().text, worker.turn().attempt, len(provider.calls)) == ("ab", 1, 1)
        entry = worker.entry()
        assert entry is not None
        assert entry.phase == "ended"

    on_virtual_time(scene)()


def test_usage_that_nobody_reports() -> None:
    """It is counted from what was sent and what came back, and says so."""
    counted = estimated_usage(prompt(messages=None).messages or (), "some words", "simulated")

    assert (counted.output_tokens, counted.estimated) == (2, True)


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        ([Usage(input_tokens=9, output_tokens=1), Usage(input_tokens=9, output_tokens=7)], (9, 7, False)),
        ([Usage(input_tokens=9, output_tokens=7), Usage(input_tokens=9)], (9, 7, False)),
        ([Usage(input_tokens=9)], None),
        ([Usage(output_tokens=7, stated_cost_nano_usd=5)], None),
    ],
)
def test_which_usage_counts(usages: list[Usage], expected: tuple[int, int, bool] | None) -> None:
    """The last that can be true of a call which has spoken; without one our own count, and it says so."""

    async def scene(worker: OneWorker) -> None:
        reported: list[list[ProviderChunk]] = [[UsageChunk(usage)] for usage in usages]
        await answered(worker, BatchProvider([TextChunk("some words")], *reported, [FinishChunk("stop")]))
        outcome = worker.records()[-1].outcome

        assert outcome is not None
        used = outcome.usage
        told = (used.input_tokens, used.output_tokens, used.estimated)
        assert told == (expected or (used.input_tokens, 2, True))
        assert used.input_tokens
        assert used.stated_cost_nano_usd == usages[-1].stated_cost_nano_usd

    on_virtual_time(scene)()


@on_virtual_time
async def test_usage_that_text_follows(worker: OneWorker) -> None:
    """What a provider counts before the answer is there is no count of it: ours is taken, and said to be."""
    early = UsageChunk(Usage(input_tokens=7, output_tokens=1))
    await answered(worker, BatchProvider([early, TextChunk("one two three four")], [FinishChunk("stop")]))
    outcome = worker.records()[-1].outcome

    assert outcome is not None
    assert (outcome.usage.input_tokens, outcome.usage.output_tokens, outcome.usage.estimated) == (7, 4, True)
