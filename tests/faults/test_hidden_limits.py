"""A server that answers few callers at once and tells nobody: a real worker learns it, and nobody is given up."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from statistics import median
from typing import Final

import aiohttp
import pytest

from infra.embedded.broker import EmbeddedBroker
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.crowding import Beyond
from infra.simulated_provider.server import SimulatedProvider
from schemas.session_events import TurnWaiting
from tests.faults.full_size import measured, sized
from tests.faults.test_limits import all_ended, endings, limited_line, most_at_once, submit_all
from tests.integration.process_probe import resident_mb, until
from tests.integration.worker_line import WorkerLine, open_line

ANSWER: Final = "[[sim first_ms=50 tokens=25 pace_ms=40]]"
"""A second of text."""
FACTOR: Final = 1.5
SAMPLE_S: Final = 0.25


async def learned_limit(line: WorkerLine) -> float:
    """What the newest worker's metrics say of its one target."""
    port = re.search(r'"metrics_port":\s*(\d+)', line.log_of(line.workers[-1]))
    assert port is not None
    async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port[1]}/metrics") as response:
        text = await response.text()
    found = re.search(r"^tokenwire_worker_call_limit\{[^}]*\} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def medians(line: WorkerLine, *, until_finished: int) -> tuple[float, float]:
    """The learned limit, and how many calls wait unseen at the server, while prompts are left."""
    limits, waiting = [await learned_limit(line)], [len(line.provider.crowding.waiting)]
    while sum(call.state == "finished" for call in line.provider.calls) < until_finished:
        limits.append(await learned_limit(line))
        waiting.append(len(line.provider.crowding.waiting))
        await asyncio.sleep(SAMPLE_S)
    return median(limits), median(waiting)


@pytest.mark.parametrize("hidden", sized(short=[4], full=[1, 4, 32]))
@pytest.mark.parametrize("beyond", sized(short=["queue"], full=["queue", "slower", "429"]))
async def test_hidden_limit_is_learned(broker: EmbeddedBroker, tmp_path: Path, beyond: Beyond, hidden: int) -> None:
    """Once 20 prompts, or three times the limit, are answered, few wait unseen at the server; all are answered."""
    async with limited_line(broker, tmp_path, "concurrent_start = 1") as line:
        line.provider.crowding.limit, line.provider.crowding.beyond = hidden, beyond
        line.start_worker(metrics_port=0)
        learning, prompts = max(20, 3 * hidden), max(40, 6 * hidden)
        receipts = await submit_all(line, [f"{ANSWER} question {number}" for number in range(prompts)], users=50)
        await until(lambda: sum(call.state == "finished" for call in line.provider.calls) >= learning, 120)
        limit, waiting = await medians(line, until_finished=prompts - hidden)
        events = await all_ended(line, receipts, 120)

        calls = line.provider.calls
        measured(f"{beyond} {hidden}", f"learned {limit:g}, {waiting:g} wait, {len(calls)} calls for {prompts} prompts")
        assert endings(events) == {"complete"}
        assert waiting <= max(1, hidden * (FACTOR - 1))
        assert 1 <= limit <= max(2, hidden * FACTOR)


async def test_time_outs_in_a_queue_lose_nobody(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A batch at a server for one, and deadlines shorter than its queue: each line has its answer."""
    prompts = sized(short=12, full=24)
    async with limited_line(broker, tmp_path, "concurrent_start = 8\nfirst_token_s = 3") as line:
        line.provider.crowding.limit, line.provider.crowding.beyond = 1, "queue"
        line.start_worker()
        receipts = await submit_all(line, [f"{ANSWER} question {number}" for number in range(prompts)], users=prompts)
        await until(lambda: sum(call.state == "finished" for call in line.provider.calls) >= len(receipts), 120)
        events = await all_ended(line, receipts, 60)

        calls = line.provider.calls
        measured(
            "time-outs in a queue", f"{len(calls)} calls for {prompts} prompts, {most_at_once(calls)} at once at most"
        )
        assert endings(events) == {"complete"}


async def test_equals_of_different_speed(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Two servers for two behind one name, one three times as fast: both have work, and nobody fails."""
    paces = (Behaviour(first_ms=50, pace_ms=20, jitter=0), Behaviour(first_ms=150, pace_ms=60, jitter=0))
    config = tmp_path / "tokenwire.toml"
    async with (
        SimulatedProvider(behaviour=paces[0], concurrent_max=2, beyond="queue") as fast,
        SimulatedProvider(behaviour=paces[1], concurrent_max=2, beyond="queue") as slow,
        open_line(broker, tmp_path, layout="shared", config=config) as line,
    ):
        lines = ['default_model = "chat"', "[models.chat]", 'targets = [["fast:sim", "slow:sim"]]']
        for name, server in (("fast", fast), ("slow", slow)):
            lines += [f"[providers.{name}]", f'base_url = "{server.base_url}"', "concurrent_start = 1"]
        config.write_text("\n".join(lines) + "\n")
        line.start_worker()
        receipts = await submit_all(line, [f"[[sim tokens=25]] question {number}" for number in range(40)], users=40)
        for receipt in receipts:
            ended = await line.ended(receipt, 120)
            assert ended.ended is not None
            assert ended.ended.reason == "complete"

        answered = [sum(call.state == "finished" for call in server.calls) for server in (fast, slow)]
        measured("fast and slow", f"{answered}")
        assert answered[0] > answered[1] >= 4
        assert sum(answered) == len(fast.calls) + len(slow.calls) == len(receipts)


async def test_slow_streams_wait_for_no_limit_of_ours(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """At 300 ms a token on one worker with the default settings: all run at once, and are whole. A thousand in full."""
    streams, tokens = sized(short=50, full=1_000), sized(short=40, full=200)
    async with limited_line(broker, tmp_path, "") as line:
        worker = line.start_worker()
        (warm,) = await submit_all(line, ["hello"], users=1)
        await line.ended(warm)
        before_mb = resident_mb(worker.pid)
        texts = [f"[[sim tokens={tokens} pace_ms=300]] question {number}" for number in range(streams)]
        receipts = await submit_all(line, texts, users=200)
        await until(lambda: line.provider.crowding.running == streams, 120)
        running_mb = resident_mb(worker.pid)
        events = await all_ended(line, receipts, 180)

        per_stream_kb = (running_mb - before_mb) * 1_000 / streams
        measured("slow streams", f"{streams} at once, {per_stream_kb:.0f} KB each, {running_mb:.0f} MB in all")
        assert endings(events) == {"complete"}
        assert len(line.provider.calls) == streams + 1
        assert not any(isinstance(event, TurnWaiting) for told in events.values() for event in told)
