"""LiteLLM's proxy, which is none of ours, between our adapter and the simulated provider. Run by `make test-peers`.

What it may do to a stream (cut anew, reordered fields, headers of its own) must change nothing that we document:
whole answers, the provider's usage, a 429 that says to slow down, a bad key that is the operator's fault.
"""

from __future__ import annotations

import asyncio
import os
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from infra.embedded.child_log import read_tail
from infra.embedded.child_process import ChildProcess, start_child
from infra.ports import find_free_port
from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.server import SimulatedProvider
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import (
    ChatRequest,
    FinishChunk,
    ProviderChunk,
    ProviderError,
    ProviderOverloaded,
    ProviderRefused,
    TextChunk,
    UsageChunk,
)
from schemas.prompts import ChatMessage

PEERS: Final = Path(os.environ.get("TOKENWIRE_PEERS") or Path(__file__).resolve().parents[2] / ".tokenwire" / "peers")
LITELLM: Final = PEERS / "bin" / "litellm"
READY_S: Final = 120.0
STOP_S: Final = 10.0
POLL_S: Final = 0.2
KEY: Final = "sk-peer-key-of-the-test"
UPSTREAM_KEY: Final = "upstream-key-of-the-test"
CONFIG: Final = """
model_list:
  - model_name: simulated
    litellm_params:
      model: openai/simulated
      api_base: {url}
      api_key: {upstream_key}
litellm_settings:
  num_retries: 0
  telemetry: false
router_settings:
  num_retries: 0
  disable_cooldowns: true
general_settings:
  master_key: {key}
"""

pytestmark = pytest.mark.skipif(
    not LITELLM.exists(), reason=f"LiteLLM is not installed in {PEERS}; `make test-peers` does that"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def simulated() -> AsyncIterator[SimulatedProvider]:
    behaviour = Behaviour(first_ms=20.0, pace_ms=10.0, jitter=0.0, tokens=50)
    async with SimulatedProvider(behaviour=behaviour, api_key=UPSTREAM_KEY) as provider:
        yield provider


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(simulated: SimulatedProvider, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """A proxy of the test's own; its base URL."""
    folder = tmp_path_factory.mktemp("litellm")
    config, log_file, port = folder / "config.yaml", folder / "litellm.log", find_free_port()
    config.write_text(CONFIG.format(url=simulated.base_url, upstream_key=UPSTREAM_KEY, key=KEY))
    argv = (str(LITELLM), "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "PYTHONPATH"))}
    environment |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HOME": str(folder)}
    child = await start_child(argv, log_file=log_file, environment=environment, working_folder=folder)
    try:
        await until_alive(child, log_file, f"http://127.0.0.1:{port}/health/liveliness")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await child.stop(STOP_S)


async def until_alive(child: ChildProcess, log_file: Path, url: str) -> None:
    async with asyncio.timeout(READY_S):
        while not await asyncio.to_thread(answers, url):
            assert child.exit_code is None, read_tail(log_file)
            await asyncio.sleep(POLL_S)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=POLL_S * 10) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


async def read(proxy: str, text: str, *, key: str = KEY) -> list[list[ProviderChunk]]:
    """Ask once; the batches as they came. Raises ProviderError."""
    provider = OpenAIProvider(name="litellm", api_key=key, base_url=proxy)
    request = ChatRequest(model="simulated", messages=(ChatMessage("user", text),), max_tokens=1_000)
    try:
        async with provider.stream(request) as batches:
            return [batch async for batch in batches]
    finally:
        await provider.aclose()


async def failure(proxy: str, text: str, *, key: str = KEY) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await read(proxy, text, key=key)
    return caught.value


@pytest.mark.asyncio(loop_scope="module")
async def test_answer_streams_whole_with_the_provider_s_usage(proxy: str, simulated: SimulatedProvider) -> None:
    """Every character in order, in many reads, one finish reason, the usage that the provider counted; one call."""
    words = "Why do rivers bend?"
    batches = await read(proxy, words)

    items = [item for batch in batches for item in batch]
    text = "".join(item.text for item in items if isinstance(item, TextChunk))
    assert text == "".join(answer_for([ChatMessage("user", words)], tokens=50))
    assert len(batches) > 10, "it did not stream"
    assert [item.reason for item in items if isinstance(item, FinishChunk)] == ["stop"]
    usage = [item.usage for item in items if isinstance(item, UsageChunk)][-1]
    assert usage.output_tokens == 50
    assert usage.input_tokens > 0
    assert not usage.estimated
    assert len(simulated.call_log.for_prompt(words)) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_429_says_to_slow_down(proxy: str, simulated: SimulatedProvider) -> None:
    """A 429 behind the proxy is ours as well: temporary, and nobody retried behind our back."""
    error = await failure(proxy, "[[sim fault=429:2]] too many")

    assert isinstance(error, ProviderOverloaded)
    assert error.temporary
    assert len(simulated.call_log.for_prompt("too many")) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_bad_key_is_refused_and_in_no_message(proxy: str, simulated: SimulatedProvider) -> None:
    """The proxy knows another key: lasting, no call behind it, the key is not told."""
    error = await failure(proxy, "who is there?", key="sk-a-key-that-nobody-knows")

    assert isinstance(error, ProviderRefused)
    assert not error.temporary
    assert "sk-a-key" not in str(error) + repr(error) + error.provider_code
    assert simulated.call_log.for_prompt("who is there?") == []


@pytest.mark.asyncio(loop_scope="module")
async def test_answer_cut_behind_the_proxy_is_never_whole(proxy: str) -> None:
    """The provider's connection drops after 10 tokens: whatever the proxy makes of it, it is a failure."""
    error = await failure(proxy, "[[sim fault=drop_after:10]] cut it")

    assert error.temporary
