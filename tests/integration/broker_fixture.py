"""Real brokers for the tests: one shared by a whole session of pytest, one of a test's own that it may kill, or three.

The jars are kept between runs in TOKENWIRE_TEST_CACHE, or in the checkout's own `.tokenwire/cache`. With
TOKENWIRE_TEST_BROKER all of them are of another release of Kafka (`broker_release.py`).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from infra.embedded.broker import NO_PROPERTIES, EmbeddedBroker
from infra.embedded.broker_jars import jars_folder
from infra.embedded.cluster import EmbeddedCluster
from tests.integration.broker_release import use_chosen_release

__all__ = [
    "QUICK_JAVA",
    "TEST_HEAP_MB",
    "broker",
    "cache_folder",
    "lend_jars",
    "new_broker",
    "private_broker",
    "three_brokers",
]

TEST_HEAP_MB = 512
SMALL_HEAP_MB = 192
SOON_BALANCED = {"leader.imbalance.check.interval.seconds": "1", "leader.imbalance.per.broker.percentage": "0"}
"""A broker that came back leads again what it led, as soon as it has caught up."""
QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""A test's broker lives for seconds: a start costs 3 s of CPU instead of 5 without the optimising compiler."""
QUICK_JAVA = {"JDK_JAVA_OPTIONS": "-XX:TieredStopAtLevel=1"}
"""The same, in as far as it can be told by the environment, for brokers that a command of ours starts."""
REPOSITORY = Path(__file__).resolve().parents[2]

use_chosen_release()


def cache_folder() -> Path:
    """Where what is downloaded once stays between runs."""
    return Path(os.environ.get("TOKENWIRE_TEST_CACHE") or REPOSITORY / ".tokenwire" / "cache")


def lend_jars(home: Path) -> None:
    """Have a TOKENWIRE_HOME of a test's own use the jars that are kept between runs."""
    kept = cache_folder() / "jars"
    kept.mkdir(parents=True, exist_ok=True)
    lent = jars_folder(home)
    lent.parent.mkdir(parents=True, exist_ok=True)
    if not lent.exists():
        lent.symlink_to(kept)


def new_broker(
    folder: Path,
    *,
    port: int = 0,
    extra_properties: Mapping[str, str] = NO_PROPERTIES,
    java_options: Sequence[str] = (),
) -> EmbeddedBroker:
    """A broker in a folder of its own, not yet started; whoever starts it stops it."""
    return EmbeddedBroker(
        folder=folder,
        jars_folder=cache_folder() / "jars",
        port=port,
        heap_mb=TEST_HEAP_MB,
        extra_properties=extra_properties,
        java_options=(*QUICK_START, *java_options),
    )


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def broker(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedBroker]:
    """The session's broker: running, empty at first, on a free port. Do not stop or kill it."""
    shared = new_broker(tmp_path_factory.mktemp("broker"))
    await shared.start()
    try:
        yield shared
    finally:
        await shared.stop()


@pytest_asyncio.fixture
async def private_broker(tmp_path: Path) -> AsyncIterator[EmbeddedBroker]:
    """A running broker for one test, which may kill, stop and restart it."""
    private = new_broker(tmp_path / "broker")
    await private.start()
    try:
        yield private
    finally:
        await private.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def three_brokers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmbeddedCluster]:
    """A module's cluster of three, on the module's event loop. Who stops or kills one starts it again.

    Leaders are elected anew within seconds where the first replica is not the leader.
    """
    cluster = EmbeddedCluster(
        folder=tmp_path_factory.mktemp("cluster"),
        jars_folder=cache_folder() / "jars",
        brokers=3,
        heap_mb=SMALL_HEAP_MB,
        extra_properties=SOON_BALANCED,
        java_options=QUICK_START,
    )
    await cluster.start()
    try:
        yield cluster
    finally:
        await cluster.stop(0.0)  # nobody reads it any more
