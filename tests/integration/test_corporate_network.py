"""Providers behind a company's proxy and with certificates of its own authority; and what no waiting would mend."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from jgo.maven import MavenContext
from jgo.parse import Coordinate

from infra.embedded.broker_jars import BrokerJar, BrokerJarsUnavailable, fetch
from infra.embedded.child_process import start_child
from infra.embedded.child_spec import ChildSpec
from infra.embedded.decisions.child_environment import NETWORK_VARIABLES
from infra.embedded.supervisor import Supervisor
from infra.simulated_provider.server import SimulatedProvider
from processors.providers.openai_provider import OpenAIProvider
from processors.providers.provider import ChatRequest, ProviderMisplaced, TextChunk
from schemas.prompts import ChatMessage
from tests.fakes.network import Proxy, proxy_to, tls_before
from tests.integration.secure_broker import Authority, needs_openssl

__all__: list[str] = []

ELSEWHERE = "provider.invalid"  # no name service knows it: only a proxy leads there
CHILD_S = 60.0
POLL_S = 0.05
CALLER = f"""
import asyncio, sys
from tests.integration.{Path(__file__).stem} import answer_from
print("answered", asyncio.run(answer_from(sys.argv[1]))[:5], flush=True)
import signal; signal.pause()
"""

pytestmark = needs_openssl


@dataclass(frozen=True)
class Company:
    """A provider, reached through `proxy` by name, or at `port` of this machine; both over TLS."""

    proxy: Proxy
    plain_proxy: Proxy
    port: int
    authority: Path


@pytest_asyncio.fixture
async def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Company]:
    """Its network; none of this machine's own settings of that kind are left."""
    for name in NETWORK_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    authority = Authority(tmp_path / "ca")
    certificate, key = authority.sign("provider", f"DNS:{ELSEWHERE},IP:127.0.0.1")
    async with (
        SimulatedProvider(names=frozenset({ELSEWHERE})) as provider,
        tls_before(provider.port, certificate, key) as port,
        proxy_to(port) as proxy,
        proxy_to(provider.port) as plain_proxy,
    ):
        yield Company(proxy, plain_proxy, port, authority.certificate)


async def answer_from(base_url: str) -> str:
    """The text of one answer. Raises ProviderError."""
    request = ChatRequest(model="simulated", messages=(ChatMessage("user", "Why?"),), max_tokens=10)
    adapter = OpenAIProvider(name="elsewhere", api_key="k", base_url=base_url)
    try:
        async with adapter.stream(request) as batches:
            return "".join([item.text async for batch in batches for item in batch if isinstance(item, TextChunk)])
    finally:
        await adapter.aclose()


async def test_https_through_a_proxy(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tunnel is asked for, and the certificate at its end is checked against the company's authority."""
    monkeypatch.setenv("HTTPS_PROXY", company.proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(company.authority))

    assert await answer_from(f"https://{ELSEWHERE}/v1")
    assert company.proxy.asked == [f"CONNECT {ELSEWHERE}:443"]


async def test_http_through_a_proxy(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is handed the whole request."""
    monkeypatch.setenv("HTTP_PROXY", company.plain_proxy.url)

    assert await answer_from(f"http://{ELSEWHERE}/v1")
    assert company.plain_proxy.asked == [f"POST http://{ELSEWHERE}/v1/chat/completions"]


async def test_host_that_needs_no_proxy(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY keeps the proxy out of it; the name alone leads nowhere, which is said."""
    monkeypatch.setenv("HTTPS_PROXY", company.proxy.url)
    monkeypatch.setenv("NO_PROXY", ELSEWHERE)

    with pytest.raises(ProviderMisplaced, match="HTTPS_PROXY"):
        await answer_from(f"https://{ELSEWHERE}/v1")
    assert company.proxy.asked == []


async def test_provider_on_this_machine_over_tls(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy is asked, and SSL_CERT_FILE counts here as anywhere."""
    monkeypatch.setenv("HTTPS_PROXY", company.proxy.url)
    url = f"https://127.0.0.1:{company.port}/v1"

    with pytest.raises(ProviderMisplaced, match="SSL_CERT_FILE"):
        await answer_from(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(company.authority))
    assert await answer_from(url)
    assert company.proxy.asked == []


async def test_jars_behind_an_authority_of_the_company(
    company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sentence names the variable that this client reads; with it the server is believed, and says 404."""
    context = MavenContext(repo_cache=tmp_path / "maven", remote_repos={"here": f"https://127.0.0.1:{company.port}"})
    artifact = context.create_dependency(Coordinate.parse("org.example:thing:1.0")).artifact
    jar = BrokerJar("org.example:thing:1.0", 1, "of nothing")
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.delenv("CURL_CA_BUNDLE", raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(company.authority))

    with pytest.raises(BrokerJarsUnavailable, match="set REQUESTS_CA_BUNDLE to a file"):
        await asyncio.to_thread(fetch, jar, artifact)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(company.authority))
    with pytest.raises(BrokerJarsUnavailable, match=r"\(RuntimeError\).*check the network or HTTPS_PROXY"):
        await asyncio.to_thread(fetch, jar, artifact)


async def test_child_with_a_narrow_environment(company: Company, tmp_path: Path) -> None:
    """NETWORK_VARIABLES are all that a child needs to get where its owner gets."""
    wide = {"HTTPS_PROXY": company.proxy.url, "SSL_CERT_FILE": str(company.authority), "UNRELATED": "x"}
    narrow = {name: value for name, value in wide.items() if name in NETWORK_VARIABLES}
    log_file = tmp_path / "child.log"

    child = await start_child(calling(), log_file=log_file, environment=narrow)

    try:
        await until_answered(log_file)
    finally:
        await child.kill()


async def test_child_of_the_supervisor(company: Company, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`tokenwire up` hands them on."""
    monkeypatch.setenv("HTTPS_PROXY", company.proxy.url)
    monkeypatch.setenv("SSL_CERT_FILE", str(company.authority))
    supervisor = Supervisor([ChildSpec(name="worker", argv=calling())], logs_folder=tmp_path, say=lambda _: None)

    running = asyncio.create_task(supervisor.run(handle_signals=False))

    try:
        await until_answered(tmp_path / "worker.log")
    finally:
        supervisor.request_stop()
        await running


def calling() -> tuple[str, ...]:
    """A child that asks the provider once."""
    return (sys.executable, "-c", CALLER, f"https://{ELSEWHERE}/v1")


async def until_answered(log_file: Path) -> None:
    """Wait until the child has its answer; where it fails, its log says why."""
    async with asyncio.timeout(CHILD_S):
        while "answered" not in (said := said_in(log_file)):
            assert "Traceback" not in said, said
            await asyncio.sleep(POLL_S)


def said_in(log_file: Path) -> str:
    return log_file.read_text() if log_file.exists() else ""
