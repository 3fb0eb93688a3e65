"""What a chunk costs: our adapter against the openai client's own stream, in the same run.

    python -m benchmarks.provider_stream [--streams 60] [--tokens 150] [--rounds 6]

The simulated provider runs in a process of its own. Rounds alternate between the two readers, paced (one chunk in
a read, as in life) and in bulk; the figure is this process's CPU time per token, request included. Absolute figures
move with the machine: the ratio is what is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Awaitable, Callable
from multiprocessing.connection import Connection
from typing import Final

import httpx2
import openai

from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.server import SimulatedProvider, serve
from processors.providers.decisions.stream_watchdog import StreamDeadlines
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import ChatRequest, TextChunk
from schemas.prompts import ChatMessage

__all__ = ["main"]

READY_S_MAX: Final = 20.0
PACE_MS: Final = 20
STOP_S_MAX: Final = 5.0
ANSWER_S_MAX: Final = 300.0
PATIENT: Final = StreamDeadlines(
    connect_s=ANSWER_S_MAX, first_token_s=ANSWER_S_MAX, between_tokens_s=ANSWER_S_MAX, total_s=ANSWER_S_MAX
)

Reader = Callable[[str], Awaitable[int]]


def main() -> None:
    """Run the rounds and print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--streams", type=int, default=60)
    options.add_argument("--tokens", type=int, default=150)
    options.add_argument("--rounds", type=int, default=6)
    chosen = options.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=run_server, args=(theirs,))
    server.start()
    try:
        if not ours.poll(READY_S_MAX):
            raise TimeoutError("the simulated provider did not start")
        asyncio.run(compare(ours.recv(), chosen.streams, chosen.tokens, chosen.rounds))
    finally:
        server.terminate()
        server.join(STOP_S_MAX)


def run_server(ready: Connection) -> None:
    def tell(provider: SimulatedProvider) -> None:
        ready.send(provider.base_url)

    serve(port=0, behaviour=Behaviour(first_ms=50, pace_ms=PACE_MS), on_ready=tell)


async def compare(url: str, streams: int, tokens: int, rounds: int) -> None:
    patience = httpx2.Timeout(ANSWER_S_MAX)  # a busy machine must not end a round
    async with contextlib.AsyncExitStack() as clients:
        adapter = OpenAIProvider(name="simulated", api_key="", base_url=url)
        clients.push_async_callback(adapter.aclose)
        plain = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0, timeout=patience)
        await clients.enter_async_context(plain)
        aiohttp_client = openai.DefaultAioHttpClient(timeout=patience)
        swift = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0, http_client=aiohttp_client)
        await clients.enter_async_context(swift)
        readers: dict[str, Reader] = {
            "adapter": lambda prompt: read_adapter(adapter, prompt),
            "openai client": lambda prompt: read_client(plain, prompt),
            "openai client on aiohttp": lambda prompt: read_client(swift, prompt),
        }
        for label, pace_ms in (("paced", PACE_MS), ("in bulk", 0)):
            report(label, await measured(readers, f"tokens={tokens} pace_ms={pace_ms}", streams, rounds))


async def measured(readers: dict[str, Reader], options: str, streams: int, rounds: int) -> dict[str, list[float]]:
    figures: dict[str, list[float]] = {name: [] for name in readers}
    for number in range(rounds + 1):
        for name, reader in readers.items():
            prompts = [f"[[sim {options}]] {name} {number} {stream}" for stream in range(streams)]
            cost_us = await cpu_us_per_token(reader, prompts)
            if number:  # the first round warms up
                figures[name].append(cost_us)
    return figures


async def cpu_us_per_token(reader: Reader, prompts: list[str]) -> float:
    before_s = time.process_time()
    counts = await asyncio.gather(*(reader(prompt) for prompt in prompts))
    used_s = time.process_time() - before_s
    if len(set(counts)) != 1:
        raise AssertionError(f"every stream has the same length, but got {sorted(set(counts))} tokens")
    return used_s * 1e6 / sum(counts)


async def read_adapter(provider: OpenAIProvider, prompt: str) -> int:
    messages = (ChatMessage("user", prompt),)
    request = ChatRequest(model="simulated", messages=messages, max_tokens=100_000, deadlines=PATIENT)
    async with provider.stream(request) as batches:
        return sum([sum(isinstance(item, TextChunk) for item in batch) async for batch in batches])


async def read_client(client: openai.AsyncOpenAI, prompt: str) -> int:
    stream = await client.chat.completions.create(
        model="simulated",
        messages=[{"role": "user", "content": prompt}],
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=100_000,
    )
    return sum([1 async for chunk in stream if chunk.choices and chunk.choices[0].delta.content])


def report(label: str, figures: dict[str, list[float]]) -> None:
    middle = {name: statistics.median(values) for name, values in figures.items()}
    for name, value in middle.items():
        ratio = value / middle["adapter"]
        print(f"{label:8} {name:26} {value:7.1f} µs CPU per token   {ratio:4.1f} × the adapter's")


if __name__ == "__main__":
    main()
