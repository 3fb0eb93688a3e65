"""A process's metrics, built from the catalogue, and the small server that shows them.

One registry per `Metrics` object and none per interpreter, so that two apps in one process (or one test after
another) never meet.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from infra.host_names import LOOPBACK_NAMES, only_asked_by
from infra.ports import LOOPBACK, PortTaken
from infra.telemetry.metric_names import Metric
from infra.telemetry.shared_metrics import added_up, metrics_folder

__all__ = ["CONTENT_TYPE", "Metrics", "MetricsEndpoint"]

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
METRICS_PORT_SETTING: Final = "TOKENWIRE_METRICS_PORT"
SHUTDOWN_S: Final = 1.0


class Metrics:
    """Counters, gauges and histograms of one process. Keep what an accessor returns where it is used often."""

    def __init__(self, catalogue: Iterable[Metric]) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._built: dict[str, Counter | Gauge | Histogram] = {
            metric.name: build(metric, self.registry) for metric in catalogue
        }

    def counter(self, metric: Metric) -> Counter:
        """The counter of this name; with labels, call `.labels(...)` on it."""
        found = self._built[metric.name]
        if not isinstance(found, Counter):
            raise TypeError(f"{metric.name} is a {metric.kind}")
        return found

    def gauge(self, metric: Metric) -> Gauge:
        """The gauge of this name."""
        found = self._built[metric.name]
        if not isinstance(found, Gauge):
            raise TypeError(f"{metric.name} is a {metric.kind}")
        return found

    def histogram(self, metric: Metric) -> Histogram:
        """The histogram of this name."""
        found = self._built[metric.name]
        if not isinstance(found, Histogram):
            raise TypeError(f"{metric.name} is a {metric.kind}")
        return found

    def exposition(self) -> bytes:
        """The body of an answer to `GET /metrics`, of CONTENT_TYPE; for all processes, where several share a port."""
        folder = metrics_folder()
        return generate_latest(self.registry) if folder is None else added_up(folder)


class MetricsEndpoint:
    """Answers `GET /metrics`, and `GET /readyz` on request, on loopback, for processes that have no other server."""

    def __init__(
        self,
        metrics: Metrics,
        port: int,
        *,
        host: str = LOOPBACK,
        names: frozenset[str] = LOOPBACK_NAMES,
        obstacle: Callable[[], str] | None = None,
    ) -> None:
        """`obstacle`: what keeps the process from its work, in a sentence for `/readyz`; empty where nothing does."""
        self._metrics = metrics
        self._obstacle = obstacle
        self._names = names
        self._host = host
        self._port = port
        """The port asked for; after `start()` the one in use."""
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen; returns the port. Raises PortTaken.

        Cancellation: call `stop()`; nothing is left listening afterwards.
        """
        app = web.Application(middlewares=[only_asked_by(self._names)])
        app.router.add_get("/metrics", self.answer)
        if self._obstacle is not None:
            app.router.add_get("/readyz", self.answer_ready)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_S)
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.stop()
            if error.errno == errno.EADDRINUSE:
                raise PortTaken(self._port, METRICS_PORT_SETTING) from error
            raise
        self._port = self._runner.addresses[0][1]
        return self._port

    async def stop(self) -> None:
        """Stop listening; a second call does nothing."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def answer(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    async def answer_ready(self, _: web.Request) -> web.Response:
        obstacle = self._obstacle() if self._obstacle else ""
        return web.Response(text=f"{obstacle or 'ready'}\n", status=503 if obstacle else 200)


def build(metric: Metric, registry: CollectorRegistry) -> Counter | Gauge | Histogram:
    help_text = f"{metric.meaning} A rise: {metric.rise}"
    match metric.kind:
        case "counter":
            return Counter(metric.name, help_text, metric.labels, registry=registry)
        case "gauge":
            return Gauge(metric.name, help_text, metric.labels, registry=registry, multiprocess_mode="livesum")
        case "histogram":
            return Histogram(metric.name, help_text, metric.labels, registry=registry, buckets=metric.buckets)
