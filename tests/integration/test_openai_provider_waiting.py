"""The OpenAI adapter at servers that are not there yet, load their model or are late: what is waited for, and left."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from infra.ports import find_free_port
from infra.simulated_provider.server import SimulatedProvider
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    ProviderAbsent,
    ProviderLoading,
    ProviderTimedOut,
    ProviderUnreachable,
)
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
