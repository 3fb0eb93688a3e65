"""What a worker's metrics say while it answers, on a real broker."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from urllib.request import urlopen
from uuid import uuid4

from infra.embedded.broker import EmbeddedBroker
from tests.integration.gateway_line import sample
from tests.integration.worker_line import WorkerLine, open_line

__all__: list[str] = []

RUNNING = "tokenwire_worker_turns_running"
QUEUED = "tokenwire_worker_turns_queued"
ENDED = 'tokenwire_worker_turns_total{reason="complete"}'
APPENDS = "tokenwire_worker_append_seconds_count"
CALLS = "tokenwire_worker_provider_ttft_seconds_count"
TOPICS = "tokenwire_worker_session_topics"
TOPICS_MAX = "tokenwire_worker_session_topics_max"


async def shown_by(line: WorkerLine) -> str:
    port = re.search(r'"metrics_port":\s*(\d+)', line.log_of(line.workers[-1]))
    assert port is not None
    return await asyncio.to_thread(lambda: urlopen(f"http://127.0.0.1:{port[1]}/metrics").read().decode())


async def until_shown(line: WorkerLine, **wanted: float) -> str:
    async with asyncio.timeout(20):
        while True:
            text = await shown_by(line)
            if all(sample(text, f"tokenwire_worker_{name}") == value for name, value in wanted.items()):
                return text
            await asyncio.sleep(0.1)


async def test_what_a_worker_counts(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Turns that run and that wait, then their ends, tokens, calls, appends and topics."""
    async with open_line(broker, tmp_path, session_topics_max=20_000) as line:
        worker = line.start_worker()
        await line.wait_for_log(worker, "partitions_owned")
        user = uuid4().hex
        receipts = [
            await line.producer.submit("[[sim tokens=40 pace_ms=100]] Count?", user=user, session="s1", prompt_id=name)
            for name in ("p1", "p2")
        ]
        await line.until_tokens(receipts[0])
        during = await until_shown(line, turns_running=1, turns_queued=1)
        await line.ended(receipts[0])
        await line.producer.cancel(user=user, session="s1", prompt_id="p2")
        await line.ended(receipts[1])
        after = await until_shown(line, turns_running=0, turns_queued=0)

    assert (sample(during, ENDED), sample(after, ENDED)) == (0.0, 1.0)
    assert sample(after, 'tokenwire_worker_turns_total{reason="cancelled"}') == 1.0
    assert sample(after, 'tokenwire_worker_tokens_total{kind="output"}') >= 40
    assert sample(after, 'tokenwire_worker_tokens_total{kind="input"}') > 0
    assert sample(after, CALLS) >= 1
    assert sample(after, APPENDS) > sample(during, APPENDS) > 0
    assert sample(after, TOPICS) >= 1
    assert sample(after, TOPICS_MAX) == 20_000
