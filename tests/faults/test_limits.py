"""Limits of providers under load: hundreds of prompts at once, workers that join, and limits too small to be shared."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from infra.embedded.broker import EmbeddedBroker
from infra.simulated_provider.call_log import Call
from producers.sdk import Receipt
from schemas.codec import decode_permit, decode_session_event
from schemas.permits import PermitGranted, is_permit
from schemas.session_events import SessionEvent, TurnEnded, TurnStarted, TurnWaiting
from schemas.topics import SHARED_PARTITIONS, USER_PARTITIONS
from tests.fakes.topic_names import PROMPTS, SHARED_SESSIONS
from tests.integration.process_probe import resident_mb, until
from tests.integration.worker_line import WorkerLine, open_line
from tests.integration.worker_template import Worker

CONFIG = """
default_model = "chat"
[models.chat]
targets = ["first:sim"]
[providers.first]
base_url = "{url}"
{limits}
"""

PLACES = 50
RESIDENT_MB_MAX = 200.0
"""Growth of the worker over 500 prompts, caches of their conversations included; the figure itself is printed."""


@asynccontextmanager
async def limited_line(broker: EmbeddedBroker, folder: Path, limits: str) -> AsyncIterator[WorkerLine]:
    """A line whose one target has these limits; sessions share partitions, so that hundreds cost no topics."""
    config = folder / "tokenwire.toml"
    async with open_line(broker, folder, layout="shared", config=config) as line:
        config.write_text(CONFIG.format(url=line.provider.base_url, limits=limits))
        yield line


async def submit_all(
    line: WorkerLine, texts: Iterable[str], *, users: int, max_tokens: int | None = None
) -> list[Receipt]:
    """All at one instant, each in a session of its own."""
    name = uuid4().hex[:8]
    return await asyncio.gather(
        *(
            line.producer.submit(text, user=f"{name}-{number % users}", session=f"s{number}", max_tokens=max_tokens)
            for number, text in enumerate(texts)
        )
    )


async def events_of(line: WorkerLine, receipts: list[Receipt]) -> dict[str, list[SessionEvent]]:
    """What was told about each turn, in order."""
    events: dict[str, list[SessionEvent]] = {receipt.turn: [] for receipt in receipts}
    for value in await line.values_of(SHARED_SESSIONS, SHARED_PARTITIONS):
        event = decode_session_event(value)
        if (turn := getattr(event, "turn", "")) in events:
            events[turn].append(event)
    return events


async def all_ended(line: WorkerLine, receipts: list[Receipt], deadline_s: float) -> dict[str, list[SessionEvent]]:
    """The events once every turn has ended."""
    with contextlib.suppress(TimeoutError):  # what the log says counts
        await until(lambda: sum(call.ended_at is not None for call in line.provider.calls) >= len(receipts), deadline_s)
    events: dict[str, list[SessionEvent]] = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(30):
            while not events or open_turns(events):
                events = await events_of(line, receipts)
                await asyncio.sleep(0.5)
    states = Counter(call.state for call in line.provider.calls)
    assert not open_turns(events), f"calls {dict(states)}; open turns and their last words: {open_turns(events)}"
    return events


def open_turns(events: dict[str, list[SessionEvent]]) -> dict[str, list[str]]:
    """Those that have not ended, by what was told of them last."""
    return {
        turn: [type(event).__name__ for event in told[-3:]]
        for turn, told in events.items()
        if not told or not isinstance(told[-1], TurnEnded)
    }


def endings(events: dict[str, list[SessionEvent]]) -> set[str]:
    return {event.reason for told in events.values() for event in told if isinstance(event, TurnEnded)}


def most_at_once(calls: list[Call]) -> int:
    """Of the calls in the provider's log: the most that ran side by side."""
    moments = [(call.started_at, 1) for call in calls] + [(call.ended_at or float("inf"), -1) for call in calls]
    running = most = 0
    for _, step in sorted(moments):
        running += step
        most = max(most, running)
    return most


def owned_by(line: WorkerLine, worker: Worker) -> int:
    """How many partitions a worker has, by the last word of its log."""
    owned = [json.loads(each)["owned"] for each in line.log_of(worker).splitlines() if '"partitions_owned"' in each]
    return len(owned[-1]) if owned else 0


def check_positions(events: dict[str, list[SessionEvent]]) -> int:
    """Each position is true and no larger than the one before, the last is 0; returns how many were told.

    True to twice as many as there are places. Those that got one just before the word was told may stamp their starts
    after it; and those that get one at the same moment as the turn itself may stamp theirs before its own.
    """
    starts_us = sorted(event.at_us for told in events.values() for event in told if isinstance(event, TurnStarted))
    told_in_all = 0
    for told in events.values():
        waits = [event for event in told if isinstance(event, TurnWaiting)]
        (started,) = (event for event in told if isinstance(event, TurnStarted))
        positions = [wait.position for wait in waits]
        told_in_all += len(positions)
        assert positions == sorted(positions, reverse=True), positions
        assert not positions or positions[-1] == 0, positions
        for wait in waits:
            before = sum(wait.at_us < start_us < started.at_us for start_us in starts_us)
            assert abs(before - wait.position) <= 2 * PLACES, (before, wait.position)
    return told_in_all


async def test_five_hundred_prompts_at_one_instant(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Against a limit of 50 that the provider enforces: all are answered, nobody meets a 429, positions are true."""
    async with limited_line(broker, tmp_path, "concurrent_max = 50") as line:
        line.provider.crowding.limit = 50
        worker = line.start_worker()
        warm = await submit_all(line, ["hello"], users=1)
        await line.ended(warm[0])
        before_mb = resident_mb(worker.pid)
        texts = [f"[[sim tokens=20 pace_ms=150]] question {number}" for number in range(500)]
        receipts = await submit_all(line, texts, users=100)
        await until(lambda: line.provider.crowding.running == 50, 60)
        waiting_mb = resident_mb(worker.pid)
        events = await all_ended(line, receipts, 120)
        after_mb = resident_mb(worker.pid)

        assert endings(events) == {"complete"}
        assert [call for call in line.provider.calls if call.status != 200] == []
        assert len(line.provider.calls) == 501
        assert most_at_once(line.provider.calls) == 50
        told = check_positions(events)
        sys.stdout.write(f"positions told {told}; RSS {before_mb:.0f} → {waiting_mb:.0f} → {after_mb:.0f} MB\n")
        assert told >= 400
        assert after_mb - before_mb < RESIDENT_MB_MAX, (before_mb, waiting_mb, after_mb)


async def test_r10_two_workers_join_under_a_limit(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """200 streams against 50 places while one worker becomes three: at most the limit and what was under way before."""
    async with limited_line(broker, tmp_path, "concurrent_max = 50") as line:
        line.start_worker()
        texts = [f"[[sim tokens=40 pace_ms=80]] question {number}" for number in range(200)]
        receipts = await submit_all(line, texts, users=60)
        await until(lambda: line.provider.crowding.running >= 50, 60)
        line.start_worker()
        line.start_worker()
        events = await all_ended(line, receipts, 120)

        assert endings(events) == {"complete"}
        most = most_at_once(line.provider.calls)
        sys.stdout.write(f"calls at once {most}\n")
        assert 50 <= most <= 100


@pytest.mark.parametrize("limits", ["concurrent_max = 1", "tokens_per_minute = 12_000"])
async def test_limit_that_one_worker_holds(broker: EmbeddedBroker, tmp_path: Path, limits: str) -> None:
    """Two workers, a limit too small to be cut: users of both are answered, never beyond the limit."""
    async with limited_line(broker, tmp_path, limits) as line:
        if "concurrent" in limits:
            line.provider.crowding.limit = 1
        workers = [line.start_worker(), line.start_worker()]
        await until(lambda: all(owned_by(line, worker) == USER_PARTITIONS // 2 for worker in workers), 40)
        texts = [f"[[sim tokens=10 pace_ms=5]] question {number}" for number in range(36)]
        receipts = await submit_all(line, texts, users=36, max_tokens=20)
        events = await all_ended(line, receipts, 90)

        assert endings(events) == {"complete"}
        assert [call for call in line.provider.calls if call.status != 200] == []
        if "concurrent" in limits:
            assert most_at_once(line.provider.calls) == 1
        words = [value for value in await line.values_of(PROMPTS, USER_PARTITIONS) if is_permit(value)]
        assert any(isinstance(decode_permit(word), PermitGranted) for word in words)
        assert len(words) < 20 * len(receipts)
