"""A gateway in a process of its own, so that a test can kill it. Arguments: a JSON object of settings."""

from __future__ import annotations

import json
import sys

from gateway.process.server import run_gateway
from infra.settings import load_settings
from infra.telemetry.log_setup import configure_logging

__all__: list[str] = []


def announce(port: int) -> None:
    print(port, flush=True)  # noqa: T201  # the parent reads it


if __name__ == "__main__":
    configure_logging("json", "warning", "gateway")
    run_gateway(load_settings({}, **json.loads(sys.argv[1])), on_ready=announce)
