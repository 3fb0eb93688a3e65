"""An endless answer at full speed into a client that reads 1 KB/s: neither worker nor gateway grows with it.

In the default mode the answer goes at its provider's pace and the log serves the client; with `pace: reader` reading
from the provider pauses, seen from the provider's side. The long form is paused for longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from infra.kafka.log_client import LogUnavailable, UnknownLog
from producers.sdk import Receipt
from schemas.client_messages import Attach, Hello, Prompt
from schemas.codec import decode_session_event
from schemas.identifiers import SessionId, UserId, session_key_of
from schemas.session_events import TurnEnded
from tests.fakes.topic_names import session_place
from tests.faults.full_size import sized
from tests.faults.line_gateway import gateway_process, receipt_of, until_still
from tests.faults.slow_socket import SlowSocket
from tests.integration.gateway_line import token_for
from tests.integration.process_probe import resident_mb
from tests.integration.worker_line import WorkerLine

TOKENS = 1_000_000
WARM_TOKENS = 2_000
CONTEXT_TOKENS = 2_000_000
GROWTH_MB_MAX = 20.0
READ_BYTES_PER_S = 1_024
STILL_S = 2.0
PAUSED_S = sized(8.0, 200.0)
"""The long form is paused for longer than a reader may stand still."""
AHEAD_BYTES_MAX = 262_144
"""The limit of 64 KiB, as much in the kernel for the socket, and what was being written and appended when it paused."""
CANCELLED_S = 2.0
ANSWER_S = 60.0 + TOKENS / 2_000
SAMPLE_S = 0.1
USER = "reader"


class Growth:
    """How much processes have grown since a moment, at their largest."""

    def __init__(self, **pids: int) -> None:
        self.pids = pids
        self.before = {name: resident_mb(pid) for name, pid in pids.items()}
        self.most = dict(self.before)

    async def sample(self) -> None:
        while True:
            for name, pid in self.pids.items():
                self.most[name] = max(self.most[name], resident_mb(pid))
            await asyncio.sleep(SAMPLE_S)

    @property
    def grown_mb(self) -> dict[str, float]:
        return {name: round(self.most[name] - before, 1) for name, before in self.before.items()}


@dataclass
class SlowReading:
    """A client that reads slowly for as long as the context lasts, and what grows meanwhile."""

    client: SlowSocket
    growth: Growth
    receipt: Receipt


@asynccontextmanager
async def slow_reading(line: WorkerLine, session: str) -> AsyncIterator[SlowReading]:
    """A warm worker, a gateway, and a slow client at the session."""
    worker = line.start_worker(context_tokens=CONTEXT_TOKENS)
    warm = await line.producer.submit(f"[[sim first_ms=0 pace_ms=0 tokens={WARM_TOKENS}]] Warm up", user=USER)
    await line.ended(warm)
    async with gateway_process(line) as gateway, SlowSocket.connected(gateway.port) as client:
        for message in (Hello(token=token_for(USER)), Attach(session=session, from_="tail")):
            await client.send(message)
        growth = Growth(worker=worker.pid, gateway=gateway.process.pid)
        async with asyncio.TaskGroup() as group:
            helpers = [
                group.create_task(growth.sample()),
                group.create_task(client.read_slowly(READ_BYTES_PER_S)),
            ]
            yield SlowReading(client, growth, receipt_of(USER, session, "p1"))
            for helper in helpers:
                helper.cancel()


@pytest.mark.timeout(120 + 2 * ANSWER_S)
async def test_endless_answer_into_a_slow_client_grows_nobody(line: WorkerLine) -> None:
    """By 20 MB at most; the answer is whole on the log, from which the client is still served."""
    words = f"[[sim first_ms=0 pace_ms=0 tokens={TOKENS}]] Go on"
    async with slow_reading(line, "endless") as slow:
        begun_s = time.monotonic()
        await slow.client.send(Prompt(session="endless", prompt_id="p1", input=words, max_tokens=TOKENS))
        await until_ended(line, slow.receipt)
        took_s, closed = time.monotonic() - begun_s, slow.client.closed
        turn = await line.turn(slow.receipt)
    assert turn is not None
    assert turn.ended is not None
    told = f"{turn.next_seq} tokens on the log in {took_s:.0f} s, {slow.client.read_bytes} bytes read, "
    told += f"grown MB {slow.growth.grown_mb}"
    print(told)  # noqa: T201  # the figures are what it is run for
    assert (turn.ended.reason, turn.next_seq) == ("complete", TOKENS)
    assert not closed, told
    assert max(slow.growth.grown_mb.values()) <= GROWTH_MB_MAX, told


@pytest.mark.timeout(180 + 2 * PAUSED_S)
async def test_endless_answer_at_the_pace_of_a_slow_reader_is_paused(line: WorkerLine) -> None:
    """The provider can send no more than what is read and some buffers; paused, the turn is cancelled at once."""
    words = f"[[sim first_ms=0 pace_ms=0 tokens={TOKENS}]] Go slowly"
    prompt = Prompt(session="paced", prompt_id="p1", input=words, max_tokens=TOKENS, pace="reader")
    async with slow_reading(line, "paced") as slow:
        await slow.client.send(prompt)
        call = await until_still(line, "Go slowly", STILL_S)
        first_sent, ahead_bytes, until_s = call.tokens_sent, 0, time.monotonic() + PAUSED_S
        while time.monotonic() < until_s:
            turn = await line.turn(slow.receipt)
            assert turn is not None
            assert turn.ended is None, "the provider was not paused"
            ahead_bytes = max(ahead_bytes, len(turn.text.encode()) - slow.client.read_bytes)
            await asyncio.sleep(1.0)
        asked_s = time.monotonic()
        await line.producer.cancel(user=USER, session="paced", prompt_id="p1")
        turn = await line.ended(slow.receipt)
        cancelled_s = time.monotonic() - asked_s
        async with asyncio.timeout(CANCELLED_S):
            while call.state == "running":  # noqa: ASYNC110  # seen from the provider's side
                await asyncio.sleep(SAMPLE_S)
    told = (
        f"paused at {first_sent} tokens sent, {call.tokens_sent} after {PAUSED_S:.0f} s, {turn.next_seq} on the log, "
    )
    told += f"{slow.client.read_bytes} bytes read, {ahead_bytes} ahead, cancelled in {cancelled_s:.2f} s, "
    told += f"grown MB {slow.growth.grown_mb}"
    print(told)  # noqa: T201  # the figures are what it is run for
    assert turn.ended is not None
    assert (turn.ended.reason, call.state) == ("cancelled", "aborted"), told
    assert ahead_bytes <= AHEAD_BYTES_MAX, told
    assert cancelled_s <= CANCELLED_S, told
    assert max(slow.growth.grown_mb.values()) <= GROWTH_MB_MAX, told


async def until_ended(line: WorkerLine, receipt: Receipt) -> None:
    """Wait for the turn's end, which is the log's last record: the log is too long to be read again and again."""
    key = session_key_of(UserId(receipt.user), SessionId(receipt.session))
    place = session_place(key, line.settings.topic_layout)
    async with asyncio.timeout(ANSWER_S):
        while True:
            await asyncio.sleep(1.0)
            try:
                end = (await line.reader.bounds(place.topic, place.partition)).end
                async for records in line.reader.read(place.topic, place.partition, max(0, end - 1), end):
                    if any(isinstance(decode_session_event(record.value or b""), TurnEnded) for record in records):
                        return
            except (UnknownLog, LogUnavailable):
                continue  # not there yet
