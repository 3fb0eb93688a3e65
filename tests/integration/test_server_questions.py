"""Asking real HTTP servers what they are, and what calls make of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.server import SimulatedProvider
from infra.targets.server_facts import ServerFacts
from infra.targets.server_questions import ANSWER_BYTES_MAX, ServerQuestions, ask_server
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import ChatRequest, ProviderDenied
from schemas.prompts import ChatMessage

__all__: list[str] = []

FAST = Behaviour(first_ms=2, pace_ms=1, jitter=0, tokens=3)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(**answers: Any) -> AsyncIterator[tuple[str, list[str]]]:
    """A server with these JSON answers (or handlers) by path, `_` for `/`; gives its base URL and what was asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(f"{request.method} {request.path}")
        found = answers.get(request.path.strip("/").replace("/", "_"))
        if found is None:
            return web.json_response({"error": "not found"}, status=404)
        return await found(request) if callable(found) else web.json_response(found)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1", asked
    finally:
        await runner.cleanup()


def listing(owner: str, *names: str, **more: Any) -> dict[str, Any]:
    return {"data": [{"id": name, "owned_by": owner, **more} for name in names]}


async def test_each_program() -> None:
    """Each is asked what only it answers, at most three questions."""
    async with serving(v1_models=listing("vllm", "m", max_model_len=2_048)) as (url, asked):
        assert await ask_server(url, "") == ServerFacts("vllm", ("m",), {"m": 2_048})
        assert asked == ["GET /v1/models"]
    props = {"default_generation_settings": {"n_ctx": 4_096}}
    async with serving(v1_models=listing("llamacpp", "m"), props=props) as (url, asked):
        assert await ask_server(url, "") == ServerFacts("llama-server", ("m",), {"m": 4_096})
        assert asked == ["GET /v1/models", "GET /props"]
    shown = {"parameters": "num_ctx 8192"}
    answers = {"v1_models": listing("library", "m"), "api_version": {"version": "0.9"}, "api_show": shown}
    async with serving(**answers) as (url, asked):
        assert await ask_server(url, "") == ServerFacts("ollama", ("m",), {"m": 8_192})
        assert asked == ["GET /v1/models", "GET /api/version", "POST /api/show"]


async def test_stranger() -> None:
    """A server without a list of models has answered; it is not recognised."""
    async with serving() as (url, _):
        assert await ask_server(url, "") == ServerFacts("", (), {})


async def test_no_answer() -> None:
    """Nobody there, silence, one that loads its model: it may answer later."""

    async def silent(_: web.Request) -> web.StreamResponse:
        await asyncio.sleep(60)
        raise AssertionError

    async def loading(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "Loading model"}}, status=503)

    async with serving(v1_models=silent) as (url, _):
        assert await ask_server(url, "", ask_s=0.3) is None
    assert await ask_server(url, "") is None
    async with serving(v1_models=loading) as (url, _):
        assert await ask_server(url, "") is None


async def test_hostile_answers() -> None:
    """Too much, a body without an end, and another address to go to: none of it is followed."""

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b" " * (ANSWER_BYTES_MAX // 8))
        return response

    async def elsewhere(_: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/stolen")

    async with serving(v1_models=endless) as (url, _):
        assert await ask_server(url, "secret") == ServerFacts("", (), {})
    async with serving(v1_models=elsewhere, stolen=listing("vllm", "m")) as (url, asked):
        assert await ask_server(url, "secret") == ServerFacts("", (), {})
        assert asked == ["GET /v1/models"]


# ---- Calls


@pytest.fixture
async def simulated() -> AsyncIterator[SimulatedProvider]:
    async with SimulatedProvider(behaviour=FAST) as server:
        yield server


@asynccontextmanager
async def adapter_to(url: str) -> AsyncIterator[tuple[OpenAIProvider, list[ServerFacts]]]:
    learnt: list[ServerFacts] = []
    adapter = OpenAIProvider(name="own", api_key="", base_url=url, server=ServerQuestions(url, "", learnt.append))
    try:
        yield adapter, learnt
    finally:
        await adapter.aclose()


def request_for(model: str, **more: Any) -> ChatRequest:
    return ChatRequest(
        model=model, messages=(ChatMessage("user", "hello"),), max_tokens=more.pop("max_tokens", 50), **more
    )


async def read(adapter: OpenAIProvider, request: ChatRequest) -> None:
    async with adapter.stream(request) as batches:
        async for _ in batches:
            pass


async def test_own_model_of_the_server(simulated: SimulatedProvider) -> None:
    """It serves calls that name none; the server is asked once, however many come at once."""
    async with adapter_to(simulated.base_url) as (adapter, learnt):
        await asyncio.gather(*(read(adapter, request_for("")) for _ in range(5)))

    assert {call.model for call in simulated.calls} == {"simulated"}
    assert [facts.preset for facts in learnt] == ["simulated"]
    assert adapter.server is not None
    assert adapter.server.calls_running == 0


async def test_answer_is_as_long_as_the_context_allows() -> None:
    """`max_tokens` of the very first call is what the context that the server told leaves."""
    bodies: list[dict[str, Any]] = []

    async def complete(request: web.Request) -> web.StreamResponse:
        bodies.append(await request.json())
        return web.json_response({"error": {"message": "that will do"}}, status=400)

    answers = {"v1_models": listing("vllm", "m", max_model_len=1_024), "v1_chat_completions": complete}
    async with serving(**answers) as (url, _), adapter_to(url) as (adapter, _):
        with pytest.raises(Exception, match="refused"):
            await read(adapter, request_for("", max_tokens=4_096, input_tokens=800))

    assert [(body["model"], body["max_tokens"]) for body in bodies] == [("m", 1_024 - 800 - 100)]


async def test_nothing_is_asked_beside_a_call(simulated: SimulatedProvider) -> None:
    """Some servers answer between two generations only."""
    questions = ServerQuestions(simulated.base_url, "", lambda _: None)
    questions.calls_running = 1
    assert await questions.facts() is None
    questions.calls_running = 0
    assert (await questions.facts()) is not None


async def test_model_that_the_server_does_not_have() -> None:
    """It is named with those that there are."""

    async def unknown(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "no such model", "code": "model_not_found"}}, status=404)

    answers = {"v1_models": listing("vllm", "a", "b"), "v1_chat_completions": unknown}
    async with serving(**answers) as (url, _), adapter_to(url) as (adapter, _):
        with pytest.raises(ProviderDenied, match="the server has no model c; it has a, b"):
            await read(adapter, request_for("c"))


async def test_several_models_and_none_named() -> None:
    """A stranger's first model may be anything: the operator is asked to name one."""
    async with serving(v1_models=listing("somebody", "a", "b")) as (url, _), adapter_to(url) as (adapter, _):
        with pytest.raises(ProviderDenied, match=r"several models \(a, b\); name one with TOKENWIRE_MODEL"):
            await read(adapter, request_for(""))
