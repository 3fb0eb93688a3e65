"""The OpenAI adapter at servers that are not there yet, load their model or are late: what is waited for, and left."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from infra.awake_clock import AwakeClock
from infra.clock import SystemClock
from infra.ports import find_free_port
from infra.simulated_provider.server import SimulatedProvider
from processors.providers.decisions.stream_watchdog import StreamDeadlines
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    ProviderAbsent,
    ProviderLoading,
    ProviderTimedOut,
    ProviderUnreachable,
    TextChunk,
)
from tests.integration.byte_server import BOTH, HEAD, TEXT, scripted, writing
from tests.integration.byte_server import heard_from as heard_from_bytes
from tests.integration.provider_calls import (
    DEADLINES,
    FAST,
    ended,
    expected,
    heard_from,
    patient,
    request_for,
    until,
)

SILENT_S = 2.0


async def test_nobody_listens() -> None:
    """A provider that is not there is unreachable, and quickly."""
    url = f"http://127.0.0.1:{find_free_port()}/v1"
    adapter = OpenAIProvider(name="gone", api_key="", base_url=url)
    heard = await heard_from(adapter, request_for("anyone?"))
    await adapter.aclose()

    assert isinstance(heard.failure, ProviderUnreachable)


async def test_server_that_begins_to_listen_later() -> None:
    """The same call waits for it, and tells what for; nobody would have taken it meanwhile."""
    port = find_free_port()
    adapter = OpenAIProvider(name="late", api_key="", base_url=f"http://127.0.0.1:{port}/v1")
    told: list[str] = []
    reading = asyncio.create_task(heard_from(adapter, patient("[[sim tokens=3]] you there?", told)))
    await until(lambda: told == ["server"])
    async with SimulatedProvider(port=port, behaviour=FAST) as server:
        heard = await reading
        await adapter.aclose()

    assert heard.texts == expected("you there?", 3)
    assert len(server.calls) == 1


async def test_nobody_listens_and_somebody_else_takes_the_call() -> None:
    """It is left at once."""
    url = f"http://127.0.0.1:{find_free_port()}/v1"
    adapter = OpenAIProvider(name="gone", api_key="", base_url=url)
    heard = await heard_from(adapter, replace(patient("anyone?", []), may_leave=lambda: True))
    await adapter.aclose()

    assert isinstance(heard.failure, ProviderAbsent)
    assert heard.failure.waited_s == 0


async def test_server_that_loads_its_model(provider: OpenAIProvider, simulated: SimulatedProvider) -> None:
    """Its 503 is no failure: it is asked again within the same call."""
    told: list[str] = []
    heard = await heard_from(provider, patient("[[sim tokens=3 fault=loading times=2]] load", told))

    assert heard.texts == expected("load", 3)
    assert "model" in told
    assert [call.status for call in simulated.call_log.for_prompt("load")] == [503, 503, 200]


async def test_server_that_never_has_its_model(provider: OpenAIProvider) -> None:
    """It has as long as any other to begin, and the failure says what it was doing."""
    heard = await heard_from(provider, request_for("[[sim fault=loading]] load"))

    assert isinstance(heard.failure, ProviderLoading)
    assert heard.failure.waited_s >= DEADLINES.first_token_s


async def test_late_headers(provider: OpenAIProvider, simulated: SimulatedProvider) -> None:
    """They are waited for beyond the deadline of the connection, by the one call."""
    told: list[str] = []
    heard = await heard_from(provider, patient("[[sim tokens=3 fault=late_headers:1]] slow", told))

    assert heard.texts == expected("slow", 3)
    assert set(told) == {"answer"}
    assert len(simulated.calls) == 1


@pytest.mark.parametrize("fault", ["late_headers:30", "stall_first"])
async def test_late_call_that_somebody_else_takes(
    provider: OpenAIProvider, simulated: SimulatedProvider, fault: str
) -> None:
    """Before and after its headers: it is left as soon as a place elsewhere is kept, and the connection freed."""
    answers = iter([False, True])
    request = replace(patient(f"[[sim fault={fault}]] leave", []), may_leave=lambda: next(answers))
    heard = await heard_from(provider, request)

    assert isinstance(heard.failure, ProviderTimedOut)
    assert str(heard.failure) == "the provider missed the deadline first_token of 0.3 s"
    assert next(answers, None) is None
    await ended(simulated.calls[-1])
    assert simulated.calls[-1].state == "aborted"


@pytest.mark.parametrize("said", [b"", TEXT])
async def test_everything_stands_still(said: bytes) -> None:
    """Longer than any silence may be, and then the provider needs a while to come to itself: that is no silence of its
    own, before its first word or after one."""
    deadlines = StreamDeadlines(first_token_s=SILENT_S, between_tokens_s=SILENT_S)
    awake, woken = AwakeClock(SystemClock()), asyncio.Event()

    def stand_still() -> None:
        time.sleep(SILENT_S + 0.5)
        loop.call_later(1.0, woken.set)

    async def script(writer: asyncio.StreamWriter) -> None:
        await writing(HEAD + said)(writer)
        loop.call_later(0.1, stand_still)
        await woken.wait()
        await writing(BOTH, b"data: [DONE]\n\n")(writer)

    loop = asyncio.get_running_loop()
    awake.start()
    async with scripted(script, stood_still_s=awake.stood_still_s) as adapter:
        items, failure = await heard_from_bytes(adapter, deadlines)
    awake.stop()

    assert failure is None
    assert items[-2:-1] == [TextChunk(" you")]
