"""A child says that it is ready to whoever listens."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from infra.embedded.ready_notices import NOTIFY_SOCKET, notice_ready, ready_notices


async def test_process_that_runs_now_has_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ready once the process with the expected id has said it; an earlier one's word does not count."""
    expected: int | None = None
    with ready_notices(tmp_path, "gateway-1") as notices:
        left_behind = notices.path.exists
        probe = notices.probe(lambda: expected)
        assert not await probe()
        for name, value in notices.environment.items():
            monkeypatch.setenv(name, value)
        notice_ready()
        assert not await probe()
        expected = os.getpid() + 1
        assert not await probe()
        expected = os.getpid()
        assert await probe()
    assert not left_behind()


@pytest.mark.parametrize("address", ["", "/nowhere/to/be/found", "@tokenwire-nobody-listens"])
def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """It is no fault, and nothing waits."""
    monkeypatch.setenv(NOTIFY_SOCKET, address)

    notice_ready()
