"""Which ports a line gets."""

from __future__ import annotations

import socket

import pytest

from infra.ports import PortTaken, find_free_port, is_port_free, promise_port
from infra.settings import Settings, load_settings
from tokenwire.line.line_ports import choose_line_ports

ANY = {f"TOKENWIRE_{name}_PORT": "0" for name in ("KAFKA", "GATEWAY", "PROVIDER", "ANALYTICS", "METRICS")}


def settings(**ports: int) -> Settings:
    return load_settings(ANY | {f"TOKENWIRE_{name.upper()}_PORT": str(port) for name, port in ports.items()})


def test_port_0_means_a_free_one_for_each() -> None:
    """No two parts are given the same port."""
    ports = choose_line_ports(settings(), workers=3, gateways=3, provider=True)
    given = [*ports.gateways, *ports.worker_metrics, ports.provider, ports.analytics, ports.analytics_metrics]

    assert all(given)
    assert len(set(given)) == len(given)


def test_further_gateways_take_the_following_ports() -> None:
    """8080, 8081, …: whoever knows the first knows the others."""
    tried = (find_free_port() for _ in range(1_000))
    first = next(port for port in tried if is_port_free(port + 1) and promise_port(port + 1))
    ports = choose_line_ports(settings(gateway=first), workers=1, gateways=2, provider=False)

    assert ports.gateways == (first, first + 1)
    assert not {first, first + 1} & ports.chosen


def test_ports_that_no_setting_names_are_marked() -> None:
    """They may be waited for when somebody sits there; those of the settings are refused at once."""
    metrics = find_free_port()
    while not is_port_free(metrics + 1) or not promise_port(metrics + 1):
        metrics = find_free_port()
    ports = choose_line_ports(settings(metrics=metrics), workers=2, gateways=1, provider=True)

    assert (ports.worker_metrics[0], ports.analytics_metrics) == (metrics, metrics + 1)
    assert ports.chosen == {*ports.gateways, ports.provider, ports.analytics, ports.worker_metrics[1]}


@pytest.mark.parametrize("name", ["kafka", "gateway", "provider", "analytics", "metrics"])
def test_taken_port_is_named_with_the_setting_that_moves_it(name: str) -> None:
    """Before anything is downloaded or started."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortTaken, match=f"{port}.*TOKENWIRE_{name.upper()}_PORT"):
            choose_line_ports(settings(**{name: port}), workers=1, gateways=1, provider=True)


def test_ports_of_parts_that_somebody_else_runs_are_not_asked_for() -> None:
    """With a cluster, a server and a model of one's own, their defaults may be taken."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        given = ANY | {
            "TOKENWIRE_KAFKA": "kafka:9092",
            "TOKENWIRE_KAFKA_PORT": port,
            "TOKENWIRE_CLICKHOUSE": "http://clickhouse:8123/tokenwire",
            "TOKENWIRE_ANALYTICS_PORT": port,
            "TOKENWIRE_PROVIDER_PORT": port,
        }
        ports = choose_line_ports(load_settings(given), workers=1, gateways=1, provider=False)

    assert ports.provider == int(port)
