"""Writes the answers of one wave onto the sessions' logs, as a worker would, in a process of its own.

    python -m benchmarks.gateway.log_writer '{"kafka": …, "load": {…}, "file": …}'

It says `ready` when every answer has begun, waits for a line on its input, writes at the rate, ends every answer, says
what it took and stays until another line. `file` gets two numbers a record: first for all, in order, the microseconds
since 1970 at which it was handed to the producer, then those at which the broker put it on the log (by the broker's own
stamp, whole milliseconds; 0: it never did).
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from array import array
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop
from aiokafka import AIOKafkaProducer

from benchmarks.gateway.load import Load, key_of
from infra.kafka.connection import aiokafka_options
from infra.settings import Settings, load_settings
from schemas.activity import ActivityKind, SessionActivity
from schemas.codec import encode
from schemas.identifiers import SessionKey
from schemas.session_events import SessionEvent, TokensEmitted, TurnEnded, TurnQueued, TurnStarted
from schemas.topics import record_partition

__all__: list[str] = []

RUN: Final = "r" * 8
STEP_S: Final = 0.001
RUNNING_EVERY_S: Final = 30.0


class LogWriter:
    """The answers of one wave."""

    def __init__(self, producer: AIOKafkaProducer, settings: Settings, load: Load) -> None:
        self.producer, self.load = producer, load
        self.chunks = (load.word,) * load.tokens_per_record
        self.given_us = array("q", bytes(8 * load.records))
        self.appended_us = array("q", bytes(8 * load.records))
        self.acknowledged_us: list[int] = []
        self.newest = [0] * load.streaming
        """Per session, the offset of the newest record that is known to be on its log."""
        self.activity = settings.topic_names.activity
        self.places = []
        for number in range(load.streaming):
            key = key_of(load.run, number)
            self.places.append((settings.topic_names.session_place(key, settings.topic_layout), key.encode()))

    async def send(self, number: int, event: SessionEvent) -> asyncio.Future[Any]:
        place, key = self.places[number]
        future: asyncio.Future[Any] = await self.producer.send(
            place.topic, encode(event), key=key, partition=place.partition
        )
        return future

    async def begin(self) -> None:
        """Every answer is queued and started."""
        turn = self.load.turn
        for number in range(self.load.streaming):
            await self.send(number, TurnQueued(turn=turn, prompt_id=turn, input="x", model="m"))
            started = TurnStarted(turn=turn, attempt=1, run=RUN, provider="p", model="m")
            (await self.send(number, started)).add_done_callback(partial(self.noted, number))
        await self.producer.flush()
        await self.announce("started")

    async def announce(self, kind: ActivityKind) -> None:
        """Tell gateways where something happens, as a worker does for sessions with logs of their own."""
        for (place, raw_key), newest in zip(self.places, self.newest, strict=True):
            if not place.shared:
                key = SessionKey(raw_key.decode())
                word = encode(SessionActivity(key=key, kind=kind, newest_offset=newest, at_us=time.time_ns() // 1_000))
                await self.producer.send(self.activity, word, key=raw_key, partition=record_partition(key))
        if kind == "started":
            await self.producer.flush()

    def noted(self, number: int, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.newest[number] = max(self.newest[number], done.result().offset)

    async def write(self) -> float:
        """All records, none before it is due; the seconds it took."""
        load, sent, began_s = self.load, 0, time.perf_counter()
        announce_at_s = began_s + RUNNING_EVERY_S
        while sent < load.records:
            if time.perf_counter() >= announce_at_s:
                announce_at_s += RUNNING_EVERY_S
                await self.announce("running")
            due = min(load.records, int((time.perf_counter() - began_s) * load.records_per_s) + 1)
            while sent < due:
                await self.write_one(sent)
                sent += 1
            await asyncio.sleep(STEP_S)
        return time.perf_counter() - began_s

    async def write_one(self, record: int) -> None:
        load = self.load
        number, seq = record % load.streaming, record // load.streaming * load.tokens_per_record
        tokens = TokensEmitted(turn=load.turn, attempt=1, run=RUN, seq=seq, chunks=self.chunks)
        self.given_us[record] = time.time_ns() // 1_000
        future = await self.send(number, tokens)
        future.add_done_callback(lambda done: self.appended(record, done))

    def appended(self, record: int, done: asyncio.Future[Any]) -> None:
        if not done.cancelled() and done.exception() is None:
            self.appended_us[record] = done.result().timestamp * 1_000
            self.noted(record % self.load.streaming, done)
            self.acknowledged_us.append(time.time_ns() // 1_000 - self.given_us[record])

    async def end(self) -> None:
        """Every answer is over."""
        for number in range(self.load.streaming):
            await self.send(number, TurnEnded(turn=self.load.turn, attempt=1, run=RUN, reason="complete"))
        await self.producer.flush()

    def keep(self, file: Path) -> None:
        """Write down when each record was given and appended."""
        file.write_bytes(self.given_us.tobytes() + self.appended_us.tobytes())


async def publish(kafka: str, load: Load, file: Path) -> None:
    """One wave."""
    settings = load_settings({"TOKENWIRE_KAFKA": kafka, "TOKENWIRE_TOPIC_LAYOUT": load.layout})
    producer = AIOKafkaProducer(**aiokafka_options(settings), acks="all", enable_idempotence=True, linger_ms=0)
    await producer.start()
    try:
        writer = LogWriter(producer, settings, load)
        await writer.begin()
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        seconds = await writer.write()
        await writer.end()
        ended_us = time.time_ns() // 1_000
    finally:
        await producer.stop()
    writer.keep(file)
    took = sorted(writer.acknowledged_us) or [0]
    said = {
        "seconds": seconds,
        "ended_us": ended_us,
        "acknowledged_ms": [took[len(took) // 2] / 1_000, took[len(took) * 99 // 100] / 1_000],
    }
    print(json.dumps(said), flush=True)
    await asyncio.to_thread(sys.stdin.readline)  # stays until its CPU time has been read


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    uvloop.run(publish(told["kafka"], Load(**told["load"]), Path(told["file"])))
