"""What is on this machine, and what is not."""

from __future__ import annotations

import pytest

from infra.network_environment import is_loopback


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000/v1",
        "http://127.0.0.2/v1",
        "http://127.255.255.254:1",
        "http://[::1]:8080/v1",
        "http://localhost/v1",
        "http://LOCALHOST:11434",
        "http://ollama.localhost/v1",
    ],
)
def test_loopback(url: str) -> None:
    """All of 127.0.0.0/8, ::1, and what is named so."""
    assert is_loopback(url)


@pytest.mark.parametrize(
    "url",
    ["http://128.0.0.1", "http://0.0.0.0", "http://10.0.0.1", "http://[::2]", "http://localhost.example", "", "x"],
)
def test_elsewhere(url: str) -> None:
    """Anything else may lie behind a proxy."""
    assert not is_loopback(url)
