"""The JavaScript client in Node: programs run in a process of their own, where one is on the PATH."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from tests.unit.gateway.headless_browser import WEB_FOLDER

__all__ = ["BUILT_IN", "require_node", "run_node"]

RUN_S: Final = 30.0
BUILT_IN: Final = ("--experimental-websocket",)
"""Node 20 has a WebSocket behind this word; later ones have it without."""


def require_node() -> str:
    """The path of Node; skips the test where there is none."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node on the PATH: install one (Debian: apt-get install nodejs)")
    return node


async def run_node(
    program: str, given: dict[str, Any], *, folder: Path, client: str = "", options: Sequence[str] = ()
) -> Any:
    """What a program printed as JSON, having ended well. It is an async function of `given` and of the client's module.

    Cancellation: the process is killed.
    """
    client = client or (WEB_FOLDER / "tokenwire_client.js").as_uri()
    file = folder / "program.mjs"
    file.write_text(
        f"import * as client from {json.dumps(client)};\n"
        f"const program = {program};\n"
        f"console.log(JSON.stringify(await program({json.dumps(given)}, client)));\n"
    )
    process = await asyncio.create_subprocess_exec(
        require_node(),
        *("--no-warnings", *options, str(file)),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(RUN_S):
            output, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, complaints.decode()
    return json.loads(output)
