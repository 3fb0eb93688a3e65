"""What a gateway's metrics say of what it relays, on a real broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from infra.clock import SystemClock
from infra.embedded.broker import EmbeddedBroker
from schemas.client_messages import Attach
from schemas.session_events import TokensEmitted, TurnEnded
from tests.integration.gateway_line import (
    SessionWriter,
    WireClient,
    answer_events,
    gateway_settings,
    http,
    running_gateway,
    sample,
)

__all__: list[str] = []


async def test_what_a_gateway_counts(broker: EmbeddedBroker, tmp_path: Path) -> None:
    """Connections, frames each way, how long a record took, and a hole in a log."""
    settings = await gateway_settings(broker, tmp_path)
    *told, ended = answer_events("t1", ["a", "b"])
    assert isinstance(ended, TurnEnded)
    ended = msgspec.structs.replace(ended, at_us=SystemClock().now_us())
    behind_a_hole = TokensEmitted(turn="t1", attempt=1, run=ended.run, seq=9, chunks=("z",))
    async with (
        running_gateway(settings) as port,
        SessionWriter(settings) as writer,
        WireClient.connected(port) as client,
    ):
        before = (await http(port, "/metrics"))[1]
        await writer.append("alice", "counted", told)
        await client.send(Attach(session="counted"))
        await client.next("attached")
        await shown(port, "tokenwire_gateway_connections", 1)
        await writer.append("alice", "counted", [behind_a_hole, ended])
        await client.until("end")
        after = await shown(port, "tokenwire_gateway_holes_total", 1)

    assert sample(after, 'tokenwire_gateway_frames_total{direction="in"}') >= 2
    assert sample(after, 'tokenwire_gateway_frames_total{direction="out"}') >= 2
    assert sample(before, "tokenwire_gateway_relay_seconds_count") == 0
    assert sample(after, "tokenwire_gateway_relay_seconds_count") > 0


async def shown(port: int, name: str, value: float) -> str:
    async with asyncio.timeout(20):
        while sample(text := (await http(port, "/metrics"))[1], name) != value:  # noqa: ASYNC110  # noted once a tick
            await asyncio.sleep(0.05)
    return text
