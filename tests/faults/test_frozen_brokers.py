"""One of three brokers stands still for longer than its cluster waits for it, while answers stream: row R3."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from confluent_kafka.admin import AdminClient

from infra.embedded.cluster import EmbeddedCluster
from tests.faults.full_size import sized
from tests.faults.worker_ledger import check_worker_ledger
from tests.integration.broker_fixture import QUICK_START, SMALL_HEAP_MB, cache_folder
from tests.integration.ledger import Asked
from tests.integration.worker_line import WorkerLine, answer_text, open_line

FROZEN_S: Final = 12.0
STREAMS: Final = sized(12, 40)
ROUNDS: Final = sized(1, 5)
TOKENS: Final = 200
PACE_MS: Final = 150
WORKERS: Final = 2
ENDED_S: Final = 120.0
ANSWER_S: Final = 20.0


@asynccontextmanager
async def three_running(folder: Path) -> AsyncIterator[EmbeddedCluster]:
    cluster = EmbeddedCluster(
        folder=folder, jars_folder=cache_folder() / "jars", brokers=3, heap_mb=SMALL_HEAP_MB, java_options=QUICK_START
    )
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.stop(0.0)


async def coordinator_of(line: WorkerLine) -> int:
    """The broker that coordinates the workers' group: it gives every member up as it wakes."""
    group = line.settings.worker_group_name
    client = AdminClient({"bootstrap.servers": line.settings.bootstrap_servers})
    described = await asyncio.to_thread(client.describe_consumer_groups([group])[group].result, ANSWER_S)
    return int(described.coordinator.id)


async def ask(line: WorkerLine, cluster: EmbeddedCluster, run: str) -> tuple[list[Asked], Counter[str]]:
    """Streams, in the midst of which the coordinator stands still; why each of their attempts was begun."""
    asked, receipts = [], []
    for number in range(STREAMS):
        words, user = f"Question {number} of run {run}?", f"{run}-{number}"
        asked.append(Asked(user=user, session="s1", prompt_id="p1", text=answer_text(words, tokens=TOKENS)))
        sim = f"[[sim tokens={TOKENS} pace_ms={PACE_MS}]]"
        receipts.append(await line.producer.submit(f"{sim} {words}", user=user, session="s1", prompt_id="p1"))
    await asyncio.gather(*(line.until_tokens(receipt, 3) for receipt in receipts))
    pid = cluster.brokers[await coordinator_of(line) - 1].pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(FROZEN_S)  # what is tried is this time
    finally:
        os.kill(pid, signal.SIGCONT)
    turns = await asyncio.gather(*(line.ended(receipt, deadline_s=ENDED_S) for receipt in receipts))
    runs = [run for turn in turns for run in (*turn.void_runs, turn.current) if run is not None]
    return asked, Counter(run.started.cause for run in runs)


async def test_r3_broker_that_stands_still_is_no_crash(tmp_path: Path) -> None:
    """No turn is tried a second time: no worker has failed, though the group has given all of them up."""
    async with three_running(tmp_path / "cluster") as cluster:
        for number in range(ROUNDS):
            folder = tmp_path / f"line-{number}"
            folder.mkdir()
            brokers: Any = cluster  # of which a line asks for the servers' addresses only
            async with open_line(brokers, folder, kafka_replication=3, session_timeout_s=10) as line:
                for _ in range(WORKERS):
                    await line.wait_for_log(line.start_worker(), "partitions_owned")
                asked, causes = await ask(line, cluster, uuid4().hex[:8])
                await check_worker_ledger(line, asked)
                print(f"\nR3: coordinator frozen for {FROZEN_S:.0f} s, attempts by cause: {dict(causes)}")  # noqa: T201
                assert causes == {"first": STREAMS}
                assert len(line.provider.calls) == STREAMS
