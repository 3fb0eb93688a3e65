"""A line without a gateway for the tests: broker, simulated provider, workers as processes, and an outside reader.

The reader folds session logs, journal-free, straight from Kafka: what it says is what any client would be told.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient

from infra.embedded.broker import EmbeddedBroker
from infra.kafka.connection import librdkafka_options
from infra.kafka.log_client import LogClient, LogUnavailable, UnknownLog
from infra.kafka.topic_admin import ensure_topics
from infra.settings import Settings, load_settings
from infra.simulated_provider.answer_text import answer_for
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.server import SimulatedProvider
from producers.sdk import Producer, Receipt
from schemas.codec import decode_dead_letter, decode_record, decode_session_event
from schemas.dead_letters import DeadLetter
from schemas.identifiers import SessionId, UserId, session_key_of
from schemas.prompts import ChatMessage
from schemas.records import TurnRecord
from schemas.session_events import SessionEvent
from schemas.topics import RECORD_PARTITIONS, Layout
from schemas.turn_fold import FoldedTurn, SessionFold
from tests.fakes.topic_names import DEAD_LETTERS, PROMPTS, RECORDS, TURNS, fixed_topics, session_place
from tests.integration.worker_template import Worker, start_worker_process

__all__ = ["WORKER_SESSION_TIMEOUT_S", "WorkerLine", "answer_text", "open_line"]

WORKER_SESSION_TIMEOUT_S = 3.0
STOP_S = 20.0
ADMIN_S = 10.0
POLL_S = 0.03
ENDINGS_POLL_S = 0.15
"""Nothing has to happen in the middle of what is waited for so: each look costs broker and test some requests."""
LOG_TAIL = 4_000
"""Characters of each worker's log that a failure shows."""
PACE = Behaviour(first_ms=20.0, pace_ms=5.0, tokens=40)


def answer_text(*turns: str, tokens: int = PACE.tokens or 40) -> str:
    """What the simulated provider answers to the last of these prompts, each answered at the given length before."""
    messages: list[ChatMessage] = []
    text = ""
    for prompt in turns:
        messages.append(ChatMessage(role="user", content=prompt))
        text = "".join(answer_for(messages, tokens=tokens))
        messages.append(ChatMessage(role="assistant", content=text))
    return text


@dataclass
class WorkerLine:
    """The running parts. Workers are started by the test, and may be killed by it."""

    broker: EmbeddedBroker
    provider: SimulatedProvider
    settings: Settings
    environment: dict[str, str]
    producer: Producer
    reader: LogClient
    folder: Path
    workers: list[Worker] = field(default_factory=list)
    begins: dict[tuple[str, int], int] = field(default_factory=dict)
    """Topic and partition → the first offset of this line's own: other tests' records are many to read each time."""

    def start_worker(self, **changes: Any) -> Worker:
        """Start a worker process; its log is in the test's folder. `changes` are settings of its own."""
        log_path = self.folder / f"worker-{len(self.workers)}.log"
        with log_path.open("wb") as log_file:
            own = {f"TOKENWIRE_{name.upper()}": str(value) for name, value in changes.items()}
            worker = start_worker_process(self.environment | own, log_file)
        self.workers.append(worker)
        return worker

    def log_of(self, worker: Worker) -> str:
        """What a worker has logged so far."""
        return (self.folder / f"worker-{self.workers.index(worker)}.log").read_text()

    async def wait_for_log(self, worker: Worker, word: str, deadline_s: float = 60.0) -> None:
        """Wait until a worker has logged a word."""
        async with asyncio.timeout(deadline_s):
            while word not in self.log_of(worker):
                assert worker.poll() is None, f"the worker ended:\n{self.log_of(worker)}"
                await asyncio.sleep(POLL_S)

    async def events(self, user: str, session: str) -> list[tuple[int, SessionEvent]]:
        """(offset, event) of everything on the session's log. Empty where there is no log yet."""
        key = session_key_of(UserId(user), SessionId(session))
        place = session_place(key, self.settings.topic_layout)
        events: list[tuple[int, SessionEvent]] = []
        with suppress(UnknownLog, LogUnavailable):  # not there yet, or its broker is being killed
            bounds = await self.reader.bounds(place.topic, place.partition)
            async for records in self.reader.read(place.topic, place.partition, bounds.start, bounds.end):
                events += [
                    (record.offset, decode_session_event(record.value))
                    for record in records
                    if record.value is not None and (not place.shared or record.key == key.encode())
                ]
        return events

    async def fold(self, user: str, session: str) -> SessionFold:
        """The session's log, folded with texts."""
        fold = SessionFold(keep_text=True)
        for offset, event in await self.events(user, session):
            fold.apply(event, offset)
        return fold

    async def turn(self, receipt: Receipt) -> FoldedTurn | None:
        """The turn as it stands on the log."""
        return (await self.fold(receipt.user, receipt.session)).turns.get(receipt.turn)

    async def until_tokens(self, receipt: Receipt, chunks: int = 1, deadline_s: float = 30.0) -> FoldedTurn:
        """Wait until the turn's current attempt has that many chunks on the log."""
        async with asyncio.timeout(deadline_s):
            while True:
                turn = await self.turn(receipt)
                if turn is not None and turn.next_seq >= chunks:
                    return turn
                await asyncio.sleep(POLL_S)

    async def until_attempt(self, receipt: Receipt, attempt: int, chunks: int, deadline_s: float = 40.0) -> FoldedTurn:
        """Wait until this attempt has that many chunks on the log."""
        async with asyncio.timeout(deadline_s):
            while True:
                turn = await self.turn(receipt)
                if turn is not None and turn.attempt >= attempt and turn.next_seq >= chunks:
                    return turn
                await asyncio.sleep(POLL_S)

    async def ended(self, receipt: Receipt, deadline_s: float = 40.0) -> FoldedTurn:
        """Wait for the turn's end. Where it never comes, the failure says how far it got and what the workers said."""
        turn: FoldedTurn | None = None
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while True:
                    turn = await self.turn(receipt)
                    if turn is not None and turn.ended is not None:
                        return turn
                    await asyncio.sleep(ENDINGS_POLL_S)
        raise AssertionError(f"no end within {deadline_s} s: {receipt}\nas far as it got: {turn}\n{self.last_words()}")

    def last_words(self) -> str:
        """How each worker ended or stands, and the end of its log."""
        return "\n".join(
            f"worker {number}, exit code {worker.poll()}:\n{self.log_of(worker)[-LOG_TAIL:]}"
            for number, worker in enumerate(self.workers)
        )

    async def records_of(self, *receipts: Receipt) -> list[TurnRecord]:
        """The records of these turns, in log order."""
        turns = {receipt.turn for receipt in receipts}
        return [record for record in await self.all_records() if record.turn in turns]

    async def until_records(self, count: int, *receipts: Receipt, deadline_s: float = 20.0) -> list[TurnRecord]:
        """Wait for that many last parts of these turns' records."""
        async with asyncio.timeout(deadline_s):
            while True:
                records = await self.records_of(*receipts)
                if len({(r.turn, r.attempt, r.run) for r in records if r.outcome}) >= count:
                    return records
                await asyncio.sleep(ENDINGS_POLL_S)

    async def all_records(self) -> list[TurnRecord]:
        return [decode_record(value) for value in await self.values_of(RECORDS, 12)]

    async def dead_letters(self) -> list[DeadLetter]:
        """Everything on the dead letter topic."""
        return [decode_dead_letter(value) for value in await self.values_of(DEAD_LETTERS, 1)]

    async def values_of(self, topic: str, partitions: int) -> list[bytes]:
        values: list[bytes] = []
        for partition in range(partitions):
            bounds = await self.reader.bounds(topic, partition)
            start = max(bounds.start, self.begins.get((topic, partition), 0))
            async for records in self.reader.read(topic, partition, start, bounds.end):
                values += [record.value for record in records if record.value is not None]
        return values

    async def stop_worker(self, worker: Worker) -> None:
        """Ask a worker to stop and wait for it."""
        if worker.poll() is None:
            worker.send_signal(signal.SIGCONT)
            worker.send_signal(signal.SIGTERM)
            await asyncio.to_thread(worker.wait, STOP_S)


def forget_commands(settings: Settings) -> None:
    """Delete the prompts and the journal of lines that were here before: what one test left open, another would run."""
    client = AdminClient(librdkafka_options(settings))
    stale = {PROMPTS, TURNS} & set(client.list_topics(timeout=ADMIN_S).topics)
    for answer in client.delete_topics(list(stale), operation_timeout=ADMIN_S).values() if stale else ():
        answer.result(ADMIN_S)
    give_up_s = time.monotonic() + ADMIN_S
    while stale & set(client.list_topics(timeout=ADMIN_S).topics):
        assert time.monotonic() < give_up_s, f"{stale} were not deleted"
        time.sleep(POLL_S)


@asynccontextmanager
async def open_line(
    broker: EmbeddedBroker, folder: Path, *, layout: Layout = "dedicated", group: str = "", **changes: Any
) -> AsyncIterator[WorkerLine]:
    """A line on a broker, without a worker yet. `changes` are further settings."""
    provider = SimulatedProvider(behaviour=PACE)
    await provider.start()
    environment = dict(os.environ) | {
        "TOKENWIRE_HOME": str(folder / "home"),
        "TOKENWIRE_KAFKA": broker.bootstrap_servers,
        "TOKENWIRE_PROVIDER_URL": provider.base_url,
        "TOKENWIRE_PROVIDER_KEY": "unused",
        "TOKENWIRE_MODEL": "simulated",
        "TOKENWIRE_METRICS_PORT": "0",
        "TOKENWIRE_LOG_FORMAT": "json",
        "TOKENWIRE_TOPIC_LAYOUT": layout,
        "TOKENWIRE_SESSION_TIMEOUT_S": str(WORKER_SESSION_TIMEOUT_S),
        "TOKENWIRE_WORKER_GROUP": group or f"worker-{folder.name}",
    }
    environment |= {f"TOKENWIRE_{name.upper()}": str(value) for name, value in changes.items()}
    settings = load_settings(environment)
    await asyncio.to_thread(forget_commands, settings)
    await ensure_topics(settings, fixed_topics(layout))
    reader = LogClient(settings, role="test-reader")
    await reader.start()
    producer = Producer(settings)
    await producer.start()
    line = WorkerLine(broker, provider, settings, environment, producer, reader, folder)
    try:
        for partition in range(RECORD_PARTITIONS):
            line.begins[RECORDS, partition] = (await reader.bounds(RECORDS, partition)).end
        yield line
    finally:
        for worker in line.workers:
            await line.stop_worker(worker)
        await producer.stop()
        await reader.stop()
        await provider.stop()
