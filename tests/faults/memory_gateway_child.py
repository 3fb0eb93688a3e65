"""A gateway over logs in memory, in a process of its own (`tests/faults/child_gateway.py` starts it).

The first argument is a JSON object: `home`, `files` (how many it may open beyond those it has), `jwks` (a file of
public keys, or ""), and the `limits`, `outbox` and `rules` of `MemoryGateway.opened`. It prints its port; then each
line of its input is an object with `session` and `events` (base64), which it puts on the log one by one, and answers
with the most bytes it held for all clients.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any

import uvloop

from infra.clock import SystemClock
from infra.telemetry.log_setup import configure_logging
from infra.token_keys import KeySetVerifier
from schemas.codec import decode_session_event
from tests.faults.memory_gateway import MemoryGateway

__all__: list[str] = []

LINE_BYTES_MAX = 67_108_864


async def serve(order: dict[str, Any]) -> None:
    options = {"limits": order["limits"], "outbox": order["outbox"], **order["rules"]}
    if order["jwks"]:
        clock = SystemClock()
        options["tokens"] = KeySetVerifier(Path(order["jwks"]), clock, audience="tokenwire", issuer="tokenwire")
    async with MemoryGateway.opened(Path(order["home"]), **options) as gateway:
        if order["files"]:
            _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            used = len(os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + order["files"], hard))
        lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        print(gateway.port, flush=True)  # noqa: T201  # the parent reads it
        while line := await lines.readline():
            print(json.dumps({"held_most": await append(gateway, json.loads(line))}), flush=True)  # noqa: T201


async def append(gateway: MemoryGateway, wish: dict[str, Any]) -> int:
    most = 0
    for encoded in wish["events"]:
        await gateway.append(wish["session"], [decode_session_event(base64.b64decode(encoded))])
        most = max(most, gateway.gateway.services.held_bytes.total)
    return most


if __name__ == "__main__":
    configure_logging("json", "info", "gateway")
    uvloop.run(serve(json.loads(sys.argv[1])))
