"""What a worker says at its start about those whom it calls."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from infra.ports import find_free_port
from infra.targets.model_catalogue import Target
from processors.providers.provider_reach import is_behind_proxy, origins_of, tell_reach
from tests.fakes.one_target import one_model

(TARGET, *_) = one_model().targets.values()


def at(provider: str, url: str | None) -> Target:
    return replace(TARGET, provider=provider, base_url=url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        (None, "https://api.openai.com:443"),
        ("http://127.0.0.1:8000/v1", "http://127.0.0.1:8000"),
        ("https://me:secret@host.example/v1?key=secret", "https://host.example:443"),
        ("http://[::1]:9/v1", "http://[::1]:9"),
    ],
)
def test_address_without_its_secrets(url: str | None, origin: str) -> None:
    """Scheme, host and port."""
    assert origins_of([at("p", url)]) == {"p": origin}


async def test_whom_it_calls_and_who_is_not_there() -> None:
    """Both are named; only the one that takes no connection is warned of, once for all of its names."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    there, gone = server.sockets[0].getsockname()[1], find_free_port()
    with capture_logs() as said:
        await tell_reach(
            [at("here", f"http://127.0.0.1:{there}"), *(at(name, f"http://127.0.0.1:{gone}") for name in ("a", "b"))]
        )
    server.close()

    calls, warning = said
    assert (calls["event"], set(calls["providers"])) == ("worker_calls", {"here", "a", "b"})
    assert (warning["event"], warning["providers"]) == ("provider_unreachable", ["a", "b"])
    assert warning["address"] == f"http://127.0.0.1:{gone}"


def test_proxy_alone_knows_who_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is tried past it; none stands before this machine."""
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "inside.example")

    assert is_behind_proxy("https://api.openai.com:443")
    assert not is_behind_proxy("https://inside.example:443")
    assert not is_behind_proxy("https://127.0.0.1:8000")
