from __future__ import annotations

import aiohttp
import pytest

from infra.ports import PortTaken
from infra.telemetry.metric_names import (
    GATEWAY_RELAY_SECONDS,
    METRICS,
    WORKER_METRICS,
    WORKER_TURNS,
    WORKER_TURNS_RUNNING,
)
from infra.telemetry.metrics import Metrics, MetricsEndpoint

__all__: list[str] = []


def test_every_kind_is_built_and_shown() -> None:
    """A counter, a gauge and a histogram of the catalogue appear with their values."""
    metrics = Metrics(METRICS)
    metrics.counter(WORKER_TURNS).labels(reason="complete").inc()
    metrics.gauge(WORKER_TURNS_RUNNING).set(3)
    metrics.histogram(GATEWAY_RELAY_SECONDS).observe(0.004)
    shown = metrics.exposition().decode()

    assert 'tokenwire_worker_turns_total{reason="complete"} 1.0' in shown
    assert "tokenwire_worker_turns_running 3.0" in shown
    assert 'tokenwire_gateway_relay_seconds_bucket{le="0.005"} 1.0' in shown
    assert "A rise: " in shown


def test_two_processes_worth_of_metrics_never_meet() -> None:
    """Each Metrics has a registry of its own, so one interpreter may hold several."""
    first, second = Metrics(WORKER_METRICS), Metrics(WORKER_METRICS)
    first.gauge(WORKER_TURNS_RUNNING).set(5)

    assert "tokenwire_worker_turns_running 0.0" in second.exposition().decode()


def test_metric_of_another_kind_is_an_error() -> None:
    """Asking for a gauge by a counter's name is our bug and says so."""
    metrics = Metrics(METRICS)
    with pytest.raises(TypeError, match="is a counter"):
        metrics.gauge(WORKER_TURNS)
    with pytest.raises(TypeError, match="is a gauge"):
        metrics.counter(WORKER_TURNS_RUNNING)
    with pytest.raises(TypeError, match="is a gauge"):
        metrics.histogram(WORKER_TURNS_RUNNING)


async def test_endpoint_answers_until_it_is_stopped() -> None:
    """Port 0 gives a free port; /metrics is there, nothing else is; stop can be called twice."""
    endpoint = MetricsEndpoint(Metrics(METRICS), 0)
    port = await endpoint.start()
    try:
        async with aiohttp.ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/metrics") as answer:
                assert answer.status == 200
                assert "tokenwire_worker_turns_running" in await answer.text()
            async with client.get(f"http://127.0.0.1:{port}/") as answer:
                assert answer.status == 404
            async with client.get(f"http://127.0.0.1:{port}/metrics", headers={"Host": "evil.example"}) as answer:
                assert answer.status == 421
    finally:
        await endpoint.stop()
        await endpoint.stop()


async def test_process_that_says_what_keeps_it_from_its_work() -> None:
    """/readyz is 200 while nothing does, and otherwise 503 with the sentence."""
    told = ["", "ClickHouse takes no rows"]
    endpoint = MetricsEndpoint(Metrics(METRICS), 0, obstacle=lambda: told.pop(0))
    port = await endpoint.start()
    answers = []
    try:
        async with aiohttp.ClientSession() as client:
            for _ in range(2):
                async with client.get(f"http://127.0.0.1:{port}/readyz") as answer:
                    answers.append((answer.status, await answer.text()))
    finally:
        await endpoint.stop()

    assert answers == [(200, "ready\n"), (503, "ClickHouse takes no rows\n")]


async def test_taken_port_names_the_setting_that_moves_it() -> None:
    """A second endpoint on the same port fails with the port and the variable."""
    first = MetricsEndpoint(Metrics(METRICS), 0)
    port = await first.start()
    try:
        with pytest.raises(PortTaken) as caught:
            await MetricsEndpoint(Metrics(METRICS), port).start()
    finally:
        await first.stop()

    assert caught.value.port == port
    assert "TOKENWIRE_METRICS_PORT" in str(caught.value)
