"""One wave: N streams on one path, started evenly over an answer's length."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from infra.simulated_provider.answer_text import answer_for
from tokenwire.benchmark.method import Method
from tokenwire.benchmark.observed_answer import ObservedAnswer
from tokenwire.benchmark.process_usage import CpuSpent, CpuWatch
from tokenwire.benchmark.stream_path import BenchClient, StreamPath

__all__ = ["Wave", "run_wave"]

CONNECTING_MAX = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Wave:
    """What a wave brought."""

    path: str
    streams: int
    round: int
    answers: tuple[ObservedAnswer, ...]
    seconds: float
    """From the first prompt to the last text."""
    cpu: CpuSpent


async def run_wave(path: StreamPath, streams: int, *, method: Method, round_number: int, watch: CpuWatch) -> Wave:
    """Connect everybody, run, check every answer. Raises LineRefused.

    Cancellation: all connections are closed; turns that run go on in the line.
    """
    name = f"{path.name}-{streams}-{round_number}"
    async with AsyncExitStack() as connections:
        clients = await connected(path, streams, name, connections)
        watch.begin()
        started_s = time.perf_counter()
        conversations = await asyncio.gather(
            *(
                converse(client, f"{name}-{slot}", method.start_s(slot, streams), method, method.answers_at(streams))
                for slot, client in enumerate(clients)
            )
        )
        cpu = watch.spent()
    answers = tuple(answer for conversation in conversations for answer in conversation)
    ends_s = [answer.arrivals_s[-1] for answer in answers if answer.arrivals_s]
    return Wave(
        path=path.name,
        streams=streams,
        round=round_number,
        answers=answers,
        seconds=max(ends_s, default=started_s) - started_s,
        cpu=cpu,
    )


async def connected(path: StreamPath, streams: int, name: str, connections: AsyncExitStack) -> Sequence[BenchClient]:
    gate = asyncio.Semaphore(CONNECTING_MAX)

    async def connect_one(slot: int) -> BenchClient:
        async with gate:
            return await connections.enter_async_context(path.client(f"{name}-{slot}"))

    async with asyncio.TaskGroup() as connecting:
        tasks = [connecting.create_task(connect_one(slot)) for slot in range(streams)]
    return [task.result() for task in tasks]


async def converse(
    client: BenchClient, name: str, start_s: float, method: Method, answers: int
) -> list[ObservedAnswer]:
    """One stream: ask, read, pause, ask again. The answers are checked once all of them are there."""
    prompts = [method.prompt(f"{name}-{number}") for number in range(answers)]
    observed: list[ObservedAnswer] = []
    await asyncio.sleep(start_s)
    for number, prompt in enumerate(prompts):
        if number:
            await asyncio.sleep(method.pause_ms / 1_000)
        observed.append(await client.ask(prompt))
    check(prompts, observed, method)
    return observed


def check(prompts: Sequence[str], observed: Sequence[ObservedAnswer], method: Method) -> None:
    """Compare with what the simulated model must say after this conversation."""
    exchanges: list[tuple[str, str]] = []
    for prompt, answer in zip(prompts, observed, strict=True):
        expected = answer_for(method.conversation(exchanges, prompt), tokens=method.tokens)
        if not answer.fault and answer.text != "".join(expected):
            answer.fault = f"{len(answer.text)} characters came that differ from the answer"
        if not answer.fault and len(answer.arrivals_s) != len(expected):
            answer.fault = f"{len(answer.arrivals_s)} chunks came instead of {len(expected)}"
        exchanges.append((prompt, "".join(expected)))
