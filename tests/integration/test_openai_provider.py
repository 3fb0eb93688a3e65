"""The OpenAI adapter against the simulated provider: rows R26, R27 and R28 of the fault table, and what is whole.

Covers: infra.simulated_provider.request_quota, processors.providers.openai_endpoint,
processors.providers.openai_stream.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace

import openai
import pytest

from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.request_quota import QUOTA_S
from infra.simulated_provider.server import SimulatedProvider
from processors.providers.bounded_transport import BoundedTransport
from processors.providers.decisions.stream_watchdog import StreamDeadlines
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    LimitsChunk,
    ProviderCut,
    ProviderDenied,
    ProviderEmpty,
    ProviderError,
    ProviderFailed,
    ProviderGarbled,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimedOut,
    TextChunk,
    UsageChunk,
)
from schemas.prompts import ChatMessage
from tests.integration.provider_calls import (
    DEADLINES,
    ended,
    expected,
    heard_from,
    request_for,
    until,
)


async def test_plain_answer(provider: OpenAIProvider, simulated: SimulatedProvider) -> None:
    """Every token arrives in order, then the finish reason and the provider's usage; one call was paid."""
    heard = await heard_from(provider, request_for("Tell me about rivers"))

    assert heard.failure is None
    assert heard.texts == expected("Tell me about rivers")
    assert heard.finish == ["stop"]
    usage = [item.usage for item in heard.items if isinstance(item, UsageChunk)]
    assert [u.output_tokens for u in usage] == [len(heard.texts)]
    assert not usage[0].estimated
    assert [call.state for call in simulated.call_log.for_prompt("Tell me about rivers")] == ["finished"]


async def test_chunks_that_arrive_together(provider: OpenAIProvider) -> None:
    """An answer without pauses comes in a few batches, not one for each token."""
    heard = await heard_from(provider, request_for("[[sim tokens=500 pace_ms=0]] hurry"))

    assert heard.texts == expected("hurry", 500)
    assert len(heard.batches) < 50


async def test_answer_longer_than_allowed(provider: OpenAIProvider) -> None:
    """max_tokens is sent, and the finish reason says that it cut the answer."""
    heard = await heard_from(provider, request_for("[[sim tokens=50]] long", max_tokens=7))

    assert heard.texts == expected("long", 50)[:7]
    assert heard.finish == ["length"]


async def test_second_turn_with_history(provider: OpenAIProvider, simulated: SimulatedProvider) -> None:
    """The earlier messages reach the provider, in order."""
    earlier = (ChatMessage("user", "first"), ChatMessage("assistant", "answer"))
    heard = await heard_from(provider, request_for("second", earlier=earlier))

    assert heard.texts == answer_for([*earlier, ChatMessage("user", "second")])
    assert simulated.calls[-1].messages == 3


async def test_connection_is_used_again(provider: OpenAIProvider) -> None:
    """A finished answer leaves its connection for the next one."""
    for number in range(3):
        assert (await heard_from(provider, request_for(f"[[sim tokens=3]] {number}"))).failure is None

    bounded = provider.client._client._transport
    assert isinstance(bounded, BoundedTransport)
    transport = bounded.inner
    connector = transport.client.connector  # type: ignore[attr-defined]  # the aiohttp session inside the transport
    assert sum(len(idle) for idle in connector._conns.values()) == 1


@pytest.mark.parametrize("fault", ["no_done", "double_done", "keep_alive", "crlf", "split"])
async def test_answer_spelled_differently(provider: OpenAIProvider, fault: str) -> None:
    """R27: what is odd but right is read right."""
    text = f"naïve question about {fault}"
    heard = await heard_from(provider, request_for(f"[[sim tokens=80 fault={fault}]] {text}"))

    assert heard.failure is None
    assert heard.texts == expected(text, 80)
    assert heard.finish == ["stop"]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("broken_json:3", ProviderGarbled),
        ("invalid_line:3", ProviderGarbled),
        ("huge_line:3", ProviderGarbled),
        ("error_after:3", ProviderFailed),
        ("cut_after:3", ProviderCut),
        ("drop_after:3", ProviderCut),
        ("eof_after:3", ProviderCut),
        ("stall_after:3", ProviderTimedOut),
    ],
)
async def test_answer_that_breaks(provider: OpenAIProvider, fault: str, kind: type[ProviderError]) -> None:
    """R26 to R28: the tokens before the fault are given, then its own failure, and never a finish reason."""
    deadlines = DEADLINES if fault.startswith("stall") else StreamDeadlines()  # ten megabytes take a busy machine long
    heard = await heard_from(provider, request_for(f"[[sim tokens=20 fault={fault}]] break", deadlines=deadlines))

    assert type(heard.failure) is kind
    assert heard.failure.temporary
    assert heard.texts == expected("break", 20)[:3]
    assert heard.finish == []


@pytest.mark.parametrize(
    ("fault", "kind", "code"),
    [
        ("400", ProviderRefused, "invalid_value"),
        ("401", ProviderDenied, "invalid_api_key"),
        ("404", ProviderDenied, "model_not_found"),
        ("429:7", ProviderOverloaded, "rate_limit_exceeded"),
        ("500", ProviderFailed, "server_error"),
        ("503:0.5", ProviderFailed, "server_error"),
        ("html", ProviderGarbled, ""),
        ("stall_headers", ProviderTimedOut, ""),
        ("stall_first", ProviderTimedOut, ""),
    ],
)
async def test_no_answer(provider: OpenAIProvider, fault: str, kind: type[ProviderError], code: str) -> None:
    """What goes wrong before the first token has its own failure."""
    heard = await heard_from(provider, request_for(f"[[sim fault={fault}]] none"))

    assert type(heard.failure) is kind
    assert heard.failure.provider_code == code
    assert heard.failure.temporary is (kind not in (ProviderRefused, ProviderDenied))
    assert heard.items == []


async def test_time_to_come_back(provider: OpenAIProvider) -> None:
    """Retry-After is handed on in seconds."""
    slow_down = await heard_from(provider, request_for("[[sim fault=429:7]] x"))
    overloaded = await heard_from(provider, request_for("[[sim fault=503:0.5]] x"))

    assert slow_down.failure is not None
    assert slow_down.failure.retry_after_s == 7
    assert overloaded.failure is not None
    assert overloaded.failure.retry_after_s == 0.5


@pytest.mark.parametrize(
    ("fault", "deadline"),
    [("stall_headers", "first_token"), ("stall_first", "first_token"), ("stall_after:2", "between_tokens")],
)
async def test_deadline_that_ran_out(
    provider: OpenAIProvider, simulated: SimulatedProvider, fault: str, deadline: str
) -> None:
    """R26: the failure names the deadline, and the connection is freed within a second."""
    heard = await heard_from(provider, request_for(f"[[sim fault={fault}]] silence"))

    assert isinstance(heard.failure, ProviderTimedOut)
    assert heard.failure.deadline == deadline
    await ended(simulated.calls[-1])
    assert simulated.calls[-1].state == "aborted"


async def test_answer_that_takes_too_long(simulated: SimulatedProvider) -> None:
    """The total deadline ends a stream that is otherwise healthy."""
    deadlines = StreamDeadlines(total_s=0.3)
    adapter = OpenAIProvider(name="simulated", api_key="", base_url=simulated.base_url)
    heard = await heard_from(adapter, request_for("[[sim tokens=500 pace_ms=20]] endless", deadlines=deadlines))
    await adapter.aclose()

    assert isinstance(heard.failure, ProviderTimedOut)
    assert heard.failure.deadline == "total"
    assert heard.texts


async def test_reader_that_is_slow(provider: OpenAIProvider) -> None:
    """Time that the caller spends elsewhere is not held against the provider."""
    texts: list[str] = []
    async with provider.stream(request_for("[[sim tokens=12 pace_ms=30]] patience")) as batches:
        async for batch in batches:
            if not texts:
                await asyncio.sleep(DEADLINES.between_tokens_s * 1.5)  # the caller's own pause is what is tested
            texts.extend(item.text for item in batch if isinstance(item, TextChunk))

    assert tuple(texts) == expected("patience", 12)


async def test_leaving_early(provider: OpenAIProvider, simulated: SimulatedProvider) -> None:
    """Leaving the block aborts the request: the server sees it within a second."""
    async with provider.stream(request_for("[[sim tokens=1000 pace_ms=10]] leave")) as batches:
        async for _ in batches:
            break

    await ended(simulated.calls[-1])
    assert simulated.calls[-1].state == "aborted"
    assert simulated.calls[-1].tokens_sent < 1_000


async def test_cancelled_while_waiting(provider: OpenAIProvider, simulated: SimulatedProvider) -> None:
    """Cancelling the task that reads aborts the request as well."""
    reading = asyncio.create_task(heard_from(provider, request_for("[[sim fault=stall_after:2]] cancel me")))
    await until(lambda: bool(simulated.calls) and simulated.calls[-1].tokens_sent == 2)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading

    await ended(simulated.calls[-1])
    assert simulated.calls[-1].state == "aborted"


async def test_answer_without_a_word(provider: OpenAIProvider) -> None:
    """It is a failure of its own, which says what may be the reason and how long the prompt is."""
    heard = await heard_from(provider, replace(request_for("[[sim fault=empty]] x"), input_tokens=5_432))

    assert isinstance(heard.failure, ProviderEmpty)
    assert "perhaps the prompt (about 5,432 tokens) is longer than the context" in str(heard.failure)


@pytest.mark.parametrize("tokens", [0, 3])
async def test_server_that_lets_another_caller_interrupt(provider: OpenAIProvider, tokens: int) -> None:
    """`[DONE]` without a finish reason: the answer is cut, and the failure says why servers do that."""
    heard = await heard_from(provider, request_for(f"[[sim tokens=9 fault=interrupt_after:{tokens}]] me first"))

    assert isinstance(heard.failure, ProviderCut)
    assert heard.failure.provider_code == "interrupted"
    assert "--interrupt_requests False" in str(heard.failure)
    assert len(heard.texts) == tokens


async def test_wrong_key() -> None:
    """A wrong key is the operator's fault and lasting; the key is in no message."""
    async with SimulatedProvider(api_key="right") as server:
        adapter = OpenAIProvider(name="locked", api_key="wrong-key", base_url=server.base_url)
        heard = await heard_from(adapter, request_for("open"))
        await adapter.aclose()

    assert isinstance(heard.failure, ProviderDenied)
    assert "wrong-key" not in str(heard.failure)
    assert server.calls == []


async def test_fault_of_the_first_calls_only(provider: OpenAIProvider, simulated: SimulatedProvider) -> None:
    """`times=1` lets the same prompt through the second time, and both calls are counted."""
    request = request_for("[[sim tokens=5 fault=500 times=1]] again")
    first = await heard_from(provider, request)
    second = await heard_from(provider, request)

    assert isinstance(first.failure, ProviderFailed)
    assert second.texts == expected("again", 5)
    assert [call.status for call in simulated.call_log.for_prompt("again")] == [500, 200]


async def test_many_streams_at_once(provider: OpenAIProvider) -> None:
    """Streams do not mix."""
    prompts = [f"stream number {number}" for number in range(40)]
    requests = [request_for(f"[[sim tokens=30]] {p}", deadlines=StreamDeadlines()) for p in prompts]
    heard = await asyncio.gather(*(heard_from(provider, request) for request in requests))

    assert [h.texts for h in heard] == [expected(p, 30) for p in prompts]
    assert all(h.finish == ["stop"] for h in heard)


async def test_official_client(simulated: SimulatedProvider) -> None:
    """The simulated provider is close enough to the real one for the openai client's own models."""
    async with openai.AsyncOpenAI(api_key="any", base_url=simulated.base_url) as client:
        whole = await client.chat.completions.create(
            model="simulated", messages=[{"role": "user", "content": "[[sim tokens=9]] official"}]
        )
        models = await client.models.list()

    assert whole.choices[0].message.content == "".join(expected("official", 9))
    assert whole.usage is not None
    assert whole.usage.completion_tokens == 9
    assert "simulated" in {model.id for model in models.data}


async def test_what_is_left_of_the_limits() -> None:
    """R29: it is told before the first token, and with a refusal."""
    async with SimulatedProvider(behaviour=Behaviour(first_ms=0.0, pace_ms=0.0, tokens=3, quota=2)) as server:
        adapter = OpenAIProvider(name="limited", api_key="", base_url=server.base_url)
        heard = [await heard_from(adapter, request_for(f"question {number}")) for number in range(3)]
        await adapter.aclose()

    left = [item.seen.requests for one in heard for item in one.items[:1] if isinstance(item, LimitsChunk)]
    assert [seen.remaining for seen in left if seen] == [1, 0]
    assert all(seen is not None and 0 < seen.reset_s <= QUOTA_S for seen in left)
    failure = heard[2].failure
    assert isinstance(failure, ProviderOverloaded)
    assert failure.limits is not None
    assert failure.limits.requests is not None
    assert failure.limits.requests.remaining == 0
