"""What a gateway costs: bytes for a waiting connection, and time from the log to the reader while many answers stream.

    python -m benchmarks.gateway_load                                  # 10,000 clients, 500 of them reading answers
    python -m benchmarks.gateway_load --clients 1000 --streaming 100 --records-per-s 1000 --seconds 10 --json

Own broker, one `tokenwire gateway` process, a process that writes the session logs as a worker would, and the clients
in this process: bare sockets that check every chunk's number. A record's first chunk is the time at which it was given
to the producer, so the relay time includes the way onto the log (`acknowledged` is that way there and back).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import re
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, cast

import uvloop
from aiokafka import AIOKafkaProducer

from infra.access_tokens import issue_token
from infra.embedded.broker import EmbeddedBroker
from infra.embedded.broker_jars import jars_folder
from infra.embedded.child_log import read_tail
from infra.embedded.child_process import ChildProcess, start_child
from infra.embedded.ports import find_free_port
from infra.kafka.connection import aiokafka_options
from infra.kafka.session_topics import SessionTopics
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from schemas.activity import SessionActivity
from schemas.client_messages import SUBPROTOCOL, Attach, Hello, Pong
from schemas.codec import encode
from schemas.identifiers import SessionKey, check_session_id, check_user_id, session_key_of
from schemas.session_events import TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from schemas.topics import ACTIVITY, fixed_topics, record_partition, session_place

__all__ = ["Load", "Result", "main"]

SECRET: Final = "only-for-measuring-on-this-machine-0123456789"
SESSION: Final = check_session_id("s")
TURN: Final = "t"
WARM_UP_CLIENTS: Final = 200
CONNECTING_AT_ONCE: Final = 64
START_S_MAX: Final = 60.0
STEP_S_MAX: Final = 120.0
SETTLE_S: Final = 3.0
DELTA: Final = re.compile(
    rb'"type":"delta","session":"s","turn":"t","attempt":1,"seq":(\d+),"n":(\d+),"text":"(\d{16})?'
)
SENT_US: Final = re.compile(rb"\d{16}")
PING: Final = b'"type":"ping"'
END: Final = b'"type":"end"'
ATTACHED: Final = b'"type":"attached"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked of the gateway."""

    clients: int
    streaming: int
    records_per_s: int
    tokens_per_record: int
    warm_up_s: float
    """Streaming before anything is measured: a fresh broker compiles itself, for a dozen seconds, on half a core."""
    seconds: float
    layout: str


@dataclass(slots=True)
class Result:
    """What was seen."""

    load: Load
    kib_per_idle_connection: float = 0.0
    resident_mib_start: float = 0.0
    resident_mib_all: float = 0.0
    resident_mib_left: float = 0.0
    tokens_offered: int = 0
    tokens_read: int = 0
    holes: int = 0
    ends: int = 0
    relay_ms: list[float] = field(default_factory=list)
    """p50, p90, p99, largest."""
    acknowledged_ms: list[float] = field(default_factory=list)
    """p50 and p99 of the producer's own round trip."""
    records_per_s: float = 0.0
    gateway_cpu_percent: float = 0.0
    gateway_cpu_us_per_frame: float = 0.0
    frames: int = 0


class BareClient(asyncio.Protocol):
    """A websocket client that keeps nothing but counts."""

    def __init__(self, user: str, port: int) -> None:
        self.user, self.port = user, port
        self.pending = b""
        self.upgraded = False
        self.attached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended = asyncio.Event()
        self.next_seq = self.holes = self.frames = 0
        self.relay_us: list[int] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(
            f"GET /v1/connect HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n\r\n".encode()
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody comes back here: what is missing shows in the counts."""
        if not self.attached.done():
            self.attached.set_exception(ConnectionError("closed before it was attached"))

    def data_received(self, data: bytes) -> None:
        """Take frames apart; a server's are not masked."""
        data = self.pending + data if self.pending else data
        if not self.upgraded:
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self.pending = head
                return
            self.upgraded = True
            token = issue_token(SECRET.encode(), self.user, ttl_s=86_400, now_s=time.time())
            for message in (Hello(token=token), Attach(session=SESSION)):
                self.transport.write(masked(encode(message)))
        place = 0
        while len(data) - place >= 2:
            length, begins = data[place + 1], place + 2
            if length == 126:
                length, begins = int.from_bytes(data[place + 2 : place + 4], "big"), place + 4
            elif length == 127:
                length, begins = int.from_bytes(data[place + 2 : place + 10], "big"), place + 10
            if len(data) < begins + length:
                break
            self.take(data[begins : begins + length])
            place = begins + length
        self.pending = data[place:]

    def take(self, payload: bytes) -> None:
        self.frames += 1
        now_us = time.time_ns() // 1_000
        for found in DELTA.finditer(payload):
            seq, tokens = int(found[1]), int(found[2])
            self.holes += seq != self.next_seq
            self.next_seq = seq + tokens
            if found[3]:
                self.relay_us.append(now_us - int(found[3]))
        if PING in payload:
            self.transport.write(masked(encode(Pong())))
        if END in payload:
            self.ended.set()
        if ATTACHED in payload and not self.attached.done():
            self.attached.set_result(None)


def masked(payload: bytes) -> bytes:
    length = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x81" + length + bytes(4) + payload


# ---- The writer of logs, a process of its own


async def publish(settings: Settings, load: Load) -> dict[str, float]:
    """Write `streaming` answers side by side, at the rate; what it took."""
    producer = AIOKafkaProducer(**aiokafka_options(settings), acks="all", enable_idempotence=True, linger_ms=0)
    await producer.start()
    places = []
    for number in range(load.streaming):
        key = session_key_of(check_user_id(user_of(number)), SESSION)
        places.append((session_place(key, settings.topic_layout), key.encode()))
    run = "r" * 8
    took_s: list[float] = []

    async def send(number: int, *events: object) -> None:
        place, key = places[number]
        began_s = time.perf_counter()
        futures = [
            await producer.send(place.topic, encode(event), key=key, partition=place.partition)  # type: ignore[arg-type]
            for event in events
        ]
        futures[-1].add_done_callback(lambda _: took_s.append(time.perf_counter() - began_s))

    for number in range(load.streaming):
        start = TurnStarted(turn=TURN, attempt=1, run=run, provider="p", model="m")
        await send(number, TurnQueued(turn=TURN, prompt_id="p", input="x", model="m"), start)
    await producer.flush()
    for place, raw_key in places:  # as a worker tells gateways that there is something to be fetched
        if not place.shared:
            key = SessionKey(raw_key.decode())
            word = SessionActivity(key=key, kind="started", newest_offset=1)
            await producer.send(ACTIVITY, encode(word), key=raw_key, partition=record_partition(key))
    await producer.flush()
    took_s.clear()
    began_s, sent = time.perf_counter(), 0
    seqs = [0] * load.streaming
    warm_up = int(load.records_per_s * load.warm_up_s)
    total = warm_up + int(load.records_per_s * load.seconds)
    while sent < total:
        due = min(total, int((time.perf_counter() - began_s) * load.records_per_s))
        while sent < due:
            number = sent % load.streaming
            stamp = f"{time.time_ns() // 1_000}" if sent >= warm_up else " word"
            chunks = (stamp, *(" word",) * (load.tokens_per_record - 1))
            await send(number, TokensEmitted(turn=TURN, attempt=1, run=run, seq=seqs[number], chunks=chunks))
            seqs[number] += load.tokens_per_record
            sent += 1
            if sent == warm_up:
                took_s.clear()
        await asyncio.sleep(0.001)
    seconds = time.perf_counter() - began_s
    for number in range(load.streaming):
        await send(number, TurnEnded(turn=TURN, attempt=1, run=run, reason="complete"))
    await producer.flush()
    await producer.stop()
    took_ms = sorted(each * 1_000 for each in took_s)
    return {
        "tokens": float(sum(seqs)),
        "records_per_s": sent / seconds,
        "p50_ms": took_ms[len(took_ms) // 2],
        "p99_ms": took_ms[len(took_ms) * 99 // 100],
    }


def user_of(number: int) -> str:
    return f"user-{number}"


# ---- The measurement


async def measured(load: Load, home: Path) -> Result:
    """Run it all once."""
    result = Result(load)
    async with running_gateway(load, home) as (settings, gateway, port):
        await connected(range(WARM_UP_CLIENTS), port, warm_up=True)
        await asyncio.sleep(SETTLE_S)
        result.resident_mib_start = resident_mib(gateway.pid)
        await prepared_topics(settings, load)
        clients = await connected(range(load.clients), port)
        await asyncio.sleep(SETTLE_S)
        result.resident_mib_all = resident_mib(gateway.pid)
        grown_kib = (result.resident_mib_all - result.resident_mib_start) * 1_024
        result.kib_per_idle_connection = grown_kib / load.clients
        if load.streaming:
            await streamed(result, settings, gateway, clients[: load.streaming])
        for client in clients:
            client.transport.abort()
        await asyncio.sleep(SETTLE_S)
        result.resident_mib_left = resident_mib(gateway.pid)
    return result


async def streamed(result: Result, settings: Settings, gateway: ChildProcess, readers: Sequence[BareClient]) -> None:
    load = result.load
    frames, cpu_s = sum(client.frames for client in readers), cpu_s_of(gateway.pid)
    described = json.dumps({"kafka": settings.kafka, "load": asdict(load)})
    writer = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "benchmarks.gateway_load", "--publish", described), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout((load.warm_up_s + load.seconds) * 4 + STEP_S_MAX):
        output, _ = await writer.communicate()
    said = json.loads(output)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(STEP_S_MAX):
            await asyncio.gather(*(client.ended.wait() for client in readers))
    result.tokens_offered, result.records_per_s = int(said["tokens"]), round(said["records_per_s"], 1)
    result.acknowledged_ms = [round(said["p50_ms"], 1), round(said["p99_ms"], 1)]
    result.tokens_read = sum(client.next_seq for client in readers)
    result.holes = sum(client.holes for client in readers)
    result.ends = sum(client.ended.is_set() for client in readers)
    result.frames = sum(client.frames for client in readers) - frames
    spent_s = cpu_s_of(gateway.pid) - cpu_s
    result.gateway_cpu_percent = round(100 * spent_s / (load.warm_up_s + load.seconds), 1)
    result.gateway_cpu_us_per_frame = round(1e6 * spent_s / max(1, result.frames), 1)
    relay = sorted(us / 1_000 for client in readers for us in client.relay_us) or [0.0]
    result.relay_ms = [round(relay[min(len(relay) - 1, int(len(relay) * q))], 1) for q in (0.5, 0.9, 0.99, 1.0)]


async def connected(numbers: Sequence[int], port: int, *, warm_up: bool = False) -> list[BareClient]:
    """Clients that are attached; in a warm-up they leave again."""
    loop, places = asyncio.get_running_loop(), asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def one(number: int) -> BareClient:
        async with places, asyncio.timeout(STEP_S_MAX):
            user = f"warm-{number}" if warm_up else user_of(number)
            _, client = await loop.create_connection(lambda: BareClient(user, port), "127.0.0.1", port)
            await client.attached
            return client

    clients = list(await asyncio.gather(*map(one, numbers)))
    if warm_up:
        for client in clients:
            client.transport.abort()
    return clients


async def prepared_topics(settings: Settings, load: Load) -> None:
    """In the dedicated layout each session has a topic: made ahead, as it is not what is measured."""
    topics = SessionTopics(settings)
    await topics.start()
    for first in range(0, load.clients, 500):
        numbers = range(first, min(load.clients, first + 500))
        keys = (session_key_of(check_user_id(user_of(number)), SESSION) for number in numbers)
        await asyncio.gather(*map(topics.ensure, keys))
    await topics.stop()


@contextlib.asynccontextmanager
async def running_gateway(load: Load, home: Path) -> AsyncIterator[tuple[Settings, ChildProcess, int]]:
    """A broker and a gateway of our own, stopped and removed at the end."""
    with tempfile.TemporaryDirectory(prefix="tokenwire-bench-") as name:
        folder, port = Path(name), find_free_port()
        broker = EmbeddedBroker(folder=folder / "broker", jars_folder=jars_folder(home), heap_mb=1_536)
        await broker.start()
        try:
            values = {
                "TOKENWIRE_KAFKA": broker.bootstrap_servers,
                "TOKENWIRE_HOME": str(folder),
                "TOKENWIRE_TOPIC_LAYOUT": load.layout,
                "TOKENWIRE_GATEWAY_PORT": str(port),
                "TOKENWIRE_AUTH_SECRET": SECRET,
                "TOKENWIRE_LOG_LEVEL": "error",
            }
            settings = load_settings(values)
            await ensure_topics(settings, fixed_topics(settings.topic_layout))
            log_file = folder / "gateway.log"
            environment = {**os.environ, **values, "PYTHONPATH": os.getcwd()}
            argv = (sys.executable, "-P", "-m", "tokenwire", "gateway")
            gateway = await start_child(argv, log_file=log_file, environment=environment, working_folder=folder)
            try:
                await until_listening(gateway, port, log_file)
                yield settings, gateway, port
            finally:
                await gateway.stop(STEP_S_MAX)
        finally:
            await broker.stop()


async def until_listening(gateway: ChildProcess, port: int, log_file: Path) -> None:
    async with asyncio.timeout(START_S_MAX):
        while True:
            if gateway.exit_code is not None:
                raise SystemExit(f"the gateway did not start:\n{read_tail(log_file)}")
            with contextlib.suppress(ConnectionError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                return
            await asyncio.sleep(0.1)


def resident_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


def cpu_s_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(result: Result) -> None:
    """As a person reads it."""
    load = result.load
    print(f"{load.clients:,} clients, {load.streaming:,} of them reading, {load.layout} layout")
    print(f"  idle connection   {result.kib_per_idle_connection:.1f} KiB resident")
    print(
        f"  gateway           {result.resident_mib_start:.0f} MiB before, {result.resident_mib_all:.0f} with all, "
        f"{result.resident_mib_left:.0f} after they left"
    )
    if load.streaming:
        lost = result.tokens_offered - result.tokens_read
        print(f"  records           {result.records_per_s:,.0f}/s of {load.tokens_per_record} tokens")
        print(f"  tokens            {result.tokens_offered:,} offered, {lost:,} lost, {result.holes} holes")
        print(f"  answers           {result.ends} of {load.streaming} ended")
        print(
            "  relay, ms         "
            + " / ".join(f"{each:.1f}" for each in result.relay_ms)
            + "  (p50, p90, p99, largest)"
        )
        print("  acknowledged, ms  " + " / ".join(f"{each:.1f}" for each in result.acknowledged_ms) + "  (p50, p99)")
        print(
            f"  gateway CPU       {result.gateway_cpu_percent:.0f} % of a core, "
            f"{result.gateway_cpu_us_per_frame:.0f} µs a frame, {result.frames:,} frames"
        )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--streaming", type=int, default=500)
    parser.add_argument("--records-per-s", type=int, default=5_000)
    parser.add_argument("--tokens-per-record", type=int, default=5)
    parser.add_argument("--warm-up-s", type=float, default=15.0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--layout", choices=("dedicated", "shared"), default="shared")
    parser.add_argument("--json", action="store_true", dest="as_json")
    parser.add_argument("--publish", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.publish:
        described = json.loads(options.publish)
        load = Load(**described["load"])
        settings = load_settings({"TOKENWIRE_KAFKA": described["kafka"], "TOKENWIRE_TOPIC_LAYOUT": load.layout})
        print(json.dumps(uvloop.run(publish(settings, load))))
        return
    load = Load(
        clients=options.clients,
        streaming=min(options.streaming, options.clients),
        records_per_s=options.records_per_s,
        tokens_per_record=options.tokens_per_record,
        warm_up_s=options.warm_up_s,
        seconds=options.seconds,
        layout=options.layout,
    )
    result = uvloop.run(measured(load, load_settings().home.absolute()))
    print(json.dumps(asdict(result))) if options.as_json else report(result)


if __name__ == "__main__":
    main()
