"""Which ports the parts of a line get: those of the settings, checked to be free, or free ones."""

from __future__ import annotations

from dataclasses import dataclass

from infra.ports import LOOPBACK, find_free_port, is_port_free, promise_port, require_free_port
from infra.settings import Settings

__all__ = ["LinePorts", "choose_line_ports"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePorts:
    """One port each; Kafka's is chosen by the broker's own folder."""

    gateways: tuple[int, ...]
    provider: int
    analytics: int
    worker_metrics: tuple[int, ...]
    analytics_metrics: int
    chosen: frozenset[int] = frozenset()
    """Those among them that no setting names."""


def choose_line_ports(settings: Settings, *, workers: int, gateways: int, provider: bool) -> LinePorts:
    """Raises PortTaken for the first port that another program has, naming the setting that moves it."""
    chosen = PortChoice()
    if not settings.kafka and settings.kafka_port:
        chosen.wanted(settings.kafka_port, "TOKENWIRE_KAFKA_PORT")
    gateway_ports = tuple(
        chosen.wanted(following(settings.gateway_port, place), "TOKENWIRE_GATEWAY_PORT", host=settings.gateway_host)
        for place in range(gateways)
    )
    provider_port = settings.provider_port
    if provider:
        provider_port = chosen.wanted(settings.provider_port, "TOKENWIRE_PROVIDER_PORT")
    analytics = 0 if settings.clickhouse else chosen.wanted(settings.analytics_port, "TOKENWIRE_ANALYTICS_PORT")
    first_worker = chosen.wanted(settings.metrics_port, "TOKENWIRE_METRICS_PORT")
    writer = chosen.wanted(following(settings.metrics_port, 1), "TOKENWIRE_METRICS_PORT")
    others = (chosen.near(following(settings.metrics_port, 1 + place)) for place in range(1, workers))
    return LinePorts(
        gateways=gateway_ports,
        provider=provider_port,
        analytics=analytics,
        worker_metrics=(first_worker, *others),
        analytics_metrics=writer,
        chosen=frozenset(chosen.freely),
    )


def following(port: int, places: int) -> int:
    return port + places if port else 0


class PortChoice:
    """Remembers which ones it was free to choose: they may be waited for later, the others are refused."""

    def __init__(self) -> None:
        self.freely: set[int] = set()

    def wanted(self, port: int, setting: str, *, host: str = LOOPBACK) -> int:
        """This very port, or for 0 any. Raises PortTaken."""
        if port == 0:
            return self.free(host)
        require_free_port(port, setting, host)
        return port

    def near(self, port: int) -> int:
        """This port if it is free, else any: nobody was promised it."""
        if port and is_port_free(port) and promise_port(port):
            self.freely.add(port)
            return port
        return self.free()

    def free(self, host: str = LOOPBACK) -> int:
        """Any free port."""
        port = find_free_port(host)
        self.freely.add(port)
        return port
