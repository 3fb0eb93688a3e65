"""`tokenwire analytics` whole: ready, asked (over `tokenwire reader`) while it writes, stopped by a signal, alone on
its folder.

Covers: infra.stop_signals.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import clickhouse_connect
import pytest

from infra.clickhouse.connection import ClickHouseConnection
from infra.clickhouse.errors import DataFolderInUse
from infra.clickhouse.queries import reading_access
from infra.embedded.broker import EmbeddedBroker
from infra.settings import load_settings
from tests.integration.analytics_fixture import analytics_settings, attempt_records, publish
from tests.integration.reader_line import reader_process

__all__: list[str] = []

REPOSITORY = Path(__file__).resolve().parents[2]
STOP_S = 10.0
CHILD = """
import asyncio, sys
from processors.analytics.analytics_process import run_analytics
from infra.settings import load_settings
from infra.telemetry.log_setup import configure_logging
configure_logging("json", "info", "analytics")
asyncio.run(run_analytics(load_settings(), lambda ready: print(ready.metrics_port, flush=True)))
"""


async def started(home: Path, bootstrap: str) -> tuple[asyncio.subprocess.Process, int]:
    environment = os.environ | {
        "TOKENWIRE_HOME": str(home),
        "TOKENWIRE_KAFKA": bootstrap,
        "TOKENWIRE_ANALYTICS_PORT": "0",
        "TOKENWIRE_METRICS_PORT": "0",
        "TOKENWIRE_SESSION_TIMEOUT_S": "1.5",
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CHILD, cwd=REPOSITORY, env=environment, stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    try:
        line = await asyncio.wait_for(child.stdout.readline(), 60)
        metrics_port = int(line)
    except (TimeoutError, ValueError):
        child.kill()
        await child.wait()
        raise
    return child, metrics_port


def count_until(home: Path, url: str, user: str, wanted: int) -> list[int]:
    """Counts seen by a client that keeps asking, up to the wanted one."""
    port = int(url.rstrip("/").rpartition(":")[2])
    access = reading_access(load_settings({}, home=home, analytics_port=port), query_s_max=STOP_S)
    client = clickhouse_connect.get_client(**access)
    seen = [0]
    try:
        while seen[-1] < wanted:
            seen.append(int(str(client.command(f"SELECT count() FROM tokenwire.turns WHERE user = '{user}'"))))
    finally:
        client.close()
    return seen


async def ended(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        child.kill()
    await child.wait()


async def test_asked_while_it_writes_killed_and_started_again(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """A client counts rows as they come; kill -9 loses none, and whoever asks meanwhile is answered; SIGTERM ends the
    process in time with status 0."""
    settings = analytics_settings(tmp_path, broker.bootstrap_servers)
    await publish(settings, [])

    async def counted(url: str, user: str, wanted: int) -> list[int]:
        return await asyncio.wait_for(asyncio.to_thread(count_until, tmp_path, url, user, wanted), 90)

    async with AsyncExitStack() as stack:
        child, _ = await started(tmp_path, broker.bootstrap_servers)
        stack.push_async_callback(ended, child)
        url = (await stack.enter_async_context(reader_process(tmp_path))).url
        publishing = asyncio.create_task(publish(settings, attempt_records("watched", 150)))
        seen = await counted(url, "watched", 150)
        await publishing
        await publish(settings, attempt_records("after", 50))
        await ended(child)
        meanwhile = await counted(url, "watched", 150)

        child, metrics_port = await started(tmp_path, broker.bootstrap_servers)
        stack.push_async_callback(ended, child)
        with pytest.raises(DataFolderInUse, match="TOKENWIRE_HOME"):
            await ClickHouseConnection(settings).open()
        again = await counted(url, "after", 50)
        watched = await counted(url, "watched", 150)
        reader, stream = await asyncio.open_connection("127.0.0.1", metrics_port)
        stream.write(b"GET /metrics HTTP/1.0\r\n\r\n")
        exposition = (await reader.read()).decode()
        stream.close()
        child.send_signal(signal.SIGTERM)
        status = await asyncio.wait_for(child.wait(), STOP_S)

    assert seen == sorted(seen)
    assert (seen[-1], meanwhile[-1], again[-1], watched[-1]) == (150, 150, 50, 150)
    assert "tokenwire_analytics_rows_total" in exposition
    assert status == 0
