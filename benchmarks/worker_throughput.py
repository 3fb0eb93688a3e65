"""How fast a worker moves tokens onto the log: against the plain loop, in the same run.

    python -m benchmarks.worker_throughput [--streams 32] [--tokens 2000] [--rounds 5]

The plain loop is what one would write first, `async for chunk in stream: await producer.send_and_wait(…)`, with the
openai client's own stream and aiokafka's producer, one task per stream, on uvloop, in a process of its own; it keeps no
journal, no record, no order between prompts, and survives nothing. The worker is a real `tokenwire worker`. Both read
from the same simulated provider and write to a topic per session on the same broker. Rounds alternate. Two loads:
`at full speed`, where the provider writes as fast as it is read, and `paced`, one chunk a read, as in life.

Every answer is checked on the log, chunk by chunk. The time of a wave is from its first prompt to its last chunk on the
log, as the writer stamps it. Absolute figures move with the machine: the ratio of neighbouring waves is reported.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final
from uuid import uuid4

import openai
import uvloop
from aiokafka import AIOKafkaProducer

from benchmarks.provider_stream import READY_S_MAX, STOP_S_MAX, run_server
from infra.embedded.broker import EmbeddedBroker
from infra.embedded.broker_jars import jars_folder
from infra.embedded.child_log import read_tail
from infra.embedded.child_process import ChildProcess, start_child
from infra.kafka.log_client import LogClient
from infra.kafka.session_topics import SessionTopics
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from infra.simulated_provider.answer_text import answer_for
from infra.telemetry.log_setup import configure_logging
from producers.sdk import Producer
from schemas.codec import decode_session_event
from schemas.identifiers import SessionId, UserId, session_key_of
from schemas.prompts import ChatMessage
from schemas.turn_fold import SessionFold

__all__ = ["main"]

ANSWER_S_MAX: Final = 300.0
POLL_S: Final = 0.2
WARM_UP_ROUNDS: Final = 1
PACE_MS: Final = 20
PACED_TOKENS: Final = 200
PACED_STREAMS: Final = 64
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Wave:
    """What one path did with one set of prompts."""

    tokens: int
    seconds: float
    cpu_s: float
    """Of the process that reads the stream and writes the log."""

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.seconds

    @property
    def cpu_us_per_token(self) -> float:
        return self.cpu_s * 1e6 / self.tokens


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked for at once."""

    name: str
    streams: int
    tokens: int
    pace_ms: int

    def words(self, number: int) -> str:
        return f"Question {number} about rivers?"

    def prompt(self, number: int) -> str:
        return f"[[sim tokens={self.tokens} pace_ms={self.pace_ms} first_ms=0 jitter=0]] {self.words(number)}"

    def pieces(self, number: int) -> tuple[str, ...]:
        return answer_for([ChatMessage("user", self.words(number))], tokens=self.tokens)


@dataclass(slots=True)
class Bench:
    """The running parts."""

    settings: Settings
    topics: SessionTopics
    reader: LogClient
    producer: Producer
    worker: ChildProcess
    plain: Connection
    plain_pid: int
    waves: dict[str, dict[str, list[Wave]]] = field(default_factory=dict)


def main() -> None:
    """Run the rounds and print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--streams", type=int, default=32)
    options.add_argument("--tokens", type=int, default=2_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--load", choices=("full", "paced"), help="only this load")
    options.add_argument("--json", action="store_true", help="every wave, as one JSON object")
    chosen = options.parse_args()
    configure_logging("json", "error", "bench")
    known = {
        "full": Load("at full speed", chosen.streams, chosen.tokens, 0),
        "paced": Load("paced", PACED_STREAMS, PACED_TOKENS, PACE_MS),
    }
    loads = [known[chosen.load]] if chosen.load else list(known.values())
    waves = uvloop.run(measured(loads, chosen.rounds))
    if chosen.json:
        figures = {
            load: {path: [w.tokens_per_s for w in each] for path, each in of.items()} for load, of in waves.items()
        }
        print(json.dumps(figures))
    for load in loads:
        report(load, waves[load.name])


# ---- The two paths


async def through_the_worker(bench: Bench, load: Load, run: str) -> Wave:
    """Submit every prompt, wait until each answer's end lies on its log."""
    users = [f"{run}-{number}" for number in range(load.streams)]
    logs = [await bench.topics.ensure(session_key_of(UserId(user), SessionId("s1"))) for user in users]
    before_s, begun_s = cpu_s_of(bench.worker.pid), time.time()
    await asyncio.gather(
        *(
            bench.producer.submit(load.prompt(number), user=user, session="s1", max_tokens=load.tokens)
            for number, user in enumerate(users)
        )
    )
    ended_s = 0.0
    async with asyncio.timeout(ANSWER_S_MAX):
        for number, log in enumerate(logs):
            while (at_s := await checked_end_s(bench.reader, log.place.topic, load.pieces(number))) is None:  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)
            ended_s = max(ended_s, at_s)
    spent_s = cpu_s_of(bench.worker.pid) - before_s
    return Wave(load.streams * load.tokens, ended_s - begun_s, spent_s)


async def checked_end_s(reader: LogClient, topic: str, pieces: Sequence[str]) -> float | None:
    """When the answer on this log ended; None if it has not. Raises AssertionError if it is another answer."""
    bounds = await reader.bounds(topic, 0)
    last = [record async for records in reader.read(topic, 0, max(0, bounds.end - 1), bounds.end) for record in records]
    if not last or b'"turn.ended"' not in (last[0].value or b""):
        return None
    fold = SessionFold(keep_text=True)
    async for records in reader.read(topic, 0, 0, bounds.end):
        for record in records:
            fold.apply(decode_session_event(record.value or b""), record.offset)
    (turn,) = fold.turns.values()
    if turn.ended is None or turn.current is None or tuple(turn.current.chunks) != tuple(pieces):
        raise AssertionError(f"the worker's answer is not the provider's: {turn.ended}")
    return turn.ended.at_us / 1e6


async def through_the_plain_loop(bench: Bench, load: Load, run: str) -> Wave:
    """The same prompts, by the process that runs the plain loop; what it wrote is checked."""
    keys = [session_key_of(UserId(f"{run}-plain-{number}"), SessionId("s1")) for number in range(load.streams)]
    topics = [(await bench.topics.ensure(key)).place.topic for key in keys]
    before_s, begun_s = cpu_s_of(bench.plain_pid), time.time()
    bench.plain.send((topics, [load.prompt(number) for number in range(load.streams)], load.tokens))
    ended_s: float = await asyncio.to_thread(bench.plain.recv)
    spent_s = cpu_s_of(bench.plain_pid) - before_s
    for number, topic in enumerate(topics):
        bounds = await bench.reader.bounds(topic, 0)
        found = [r.value or b"" async for rs in bench.reader.read(topic, 0, 0, bounds.end) for r in rs]
        if tuple(value.decode() for value in found) != load.pieces(number):
            raise AssertionError("the plain loop's answer is not the provider's")
    return Wave(load.streams * load.tokens, ended_s - begun_s, spent_s)


def run_plain_loop(commands: Connection, kafka: str, url: str) -> None:
    """A process of its own: takes waves from `commands`, answers each with the moment of its end."""
    uvloop.run(serve_plain_loop(commands, kafka, url))


async def serve_plain_loop(commands: Connection, kafka: str, url: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka, acks="all", enable_idempotence=True)
    await producer.start()
    client = openai.AsyncOpenAI(api_key="none", base_url=url, max_retries=0, timeout=ANSWER_S_MAX)
    try:
        while (command := await asyncio.to_thread(commands.recv)) is not None:
            topics, prompts, tokens = command
            await asyncio.gather(
                *(plain_loop(client, producer, *each, tokens) for each in zip(topics, prompts, strict=True))
            )
            commands.send(time.time())
    finally:
        await client.close()
        await producer.stop()


async def plain_loop(
    client: openai.AsyncOpenAI, producer: AIOKafkaProducer, topic: str, prompt: str, tokens: int
) -> None:
    """What is compared with."""
    stream = await client.chat.completions.create(
        model="simulated", messages=[{"role": "user", "content": prompt}], stream=True, max_tokens=tokens
    )
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            await producer.send_and_wait(topic, chunk.choices[0].delta.content.encode())


# ---- The parts


async def measured(loads: Sequence[Load], rounds: int) -> dict[str, dict[str, list[Wave]]]:
    """The waves of every load and path; the first round warms up and is left out."""
    async with running_parts() as bench:
        for load in loads:
            paths = {"worker": through_the_worker, "plain loop": through_the_plain_loop}
            found: dict[str, list[Wave]] = {name: [] for name in paths}
            for number in range(WARM_UP_ROUNDS + rounds):
                for name in (paths, reversed(paths))[number % 2]:
                    wave = await paths[name](bench, load, uuid4().hex[:8])
                    print(f"{load.name}, round {number}, {name}: {wave.tokens_per_s:,.0f} tokens/s", file=sys.stderr)
                    if number >= WARM_UP_ROUNDS:
                        found[name].append(wave)
            bench.waves[load.name] = found
        return bench.waves


@contextlib.asynccontextmanager
async def running_parts() -> AsyncIterator[Bench]:
    """Broker, provider, worker and plain loop, each a process; a temporary folder, removed at the end."""
    context = multiprocessing.get_context("spawn")
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tokenwire-bench-")))
        jars = jars_folder(load_settings().home.absolute())
        broker = EmbeddedBroker(folder=folder / "broker", jars_folder=jars)
        stack.push_async_callback(broker.stop)
        await broker.start()
        url = stack.enter_context(provider_process(context))
        environment = dict(os.environ) | {
            "TOKENWIRE_HOME": str(folder),
            "TOKENWIRE_KAFKA": broker.bootstrap_servers,
            "TOKENWIRE_PROVIDER_URL": url,
            "TOKENWIRE_METRICS_PORT": "0",
            "TOKENWIRE_LOG_FORMAT": "json",
        }
        settings = load_settings(environment)
        await ensure_topics(settings, settings.topic_names.fixed_topics("dedicated"))
        topics, reader, producer = SessionTopics(settings), LogClient(settings, role="bench"), Producer(settings)
        for part in (topics, reader, producer):
            stack.push_async_callback(part.stop)
            await part.start()
        argv = (sys.executable, "-P", "-m", "tokenwire", "worker")
        log_file = folder / "worker.log"
        worker = await start_child(argv, log_file=log_file, environment=environment, working_folder=folder)
        stack.push_async_callback(worker.stop, STOP_S_MAX * 3)
        await until_logged(worker, log_file, "partitions_owned")
        ours, theirs = context.Pipe()
        plain = context.Process(target=run_plain_loop, args=(theirs, broker.bootstrap_servers, url))
        plain.start()
        stack.callback(plain.join, STOP_S_MAX)
        stack.callback(ours.send, None)
        yield Bench(settings, topics, reader, producer, worker, ours, plain.pid or 0)


@contextlib.contextmanager
def provider_process(context: multiprocessing.context.SpawnContext) -> Iterator[str]:
    """The simulated provider in a process of its own; its base URL."""
    ours, theirs = context.Pipe()
    server = context.Process(target=run_server, args=(theirs,))
    server.start()
    try:
        if not ours.poll(READY_S_MAX):
            raise TimeoutError("the simulated provider did not start")
        yield ours.recv()
    finally:
        server.terminate()
        server.join(STOP_S_MAX)


async def until_logged(worker: ChildProcess, log_file: Path, word: str) -> None:
    async with asyncio.timeout(READY_S_MAX * 3):
        while word not in (said := read_tail(log_file)):
            if worker.exit_code is not None:
                raise RuntimeError(f"the worker ended:\n{said}")
            await asyncio.sleep(POLL_S)


def cpu_s_of(pid: int) -> float:
    """User and system time of a process."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / TICKS_PER_S


# ---- The figures


def report(load: Load, waves: dict[str, list[Wave]]) -> None:
    print(
        f"\n{load.name}: {load.streams} streams of {load.tokens} tokens"
        + (f" at {load.pace_ms} ms" * bool(load.pace_ms))
    )
    for name, each in waves.items():
        print(
            f"{name:11} {spread([w.tokens_per_s for w in each])} tokens/s   "
            f"{spread([w.cpu_us_per_token for w in each])} µs CPU per token"
        )
    pairs = list(zip(waves["worker"], waves["plain loop"], strict=True))
    print(
        f"{'ratio':11} {spread([w.tokens_per_s / p.tokens_per_s for w, p in pairs], 2)} × the tokens/s   "
        f"{spread([p.cpu_us_per_token / w.cpu_us_per_token for w, p in pairs], 2)} × less CPU per token"
    )


def spread(values: Sequence[float], digits: int = 0) -> str:
    """Median, and the smallest and largest."""
    return f"{statistics.median(values):10,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


if __name__ == "__main__":
    main()
