"""What the embedded broker reads at its start."""

from __future__ import annotations

from pathlib import Path

from infra.embedded.broker_files import log_configuration, server_properties


def test_properties_of_a_broker() -> None:
    """Both listeners are on loopback, and nothing is created by being asked for."""
    lines = server_properties(data_folder=Path("/home/me/data"), port=9092, controller_port=9093).splitlines()

    assert "listeners=CLIENT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093" in lines
    assert "advertised.listeners=CLIENT://127.0.0.1:9092" in lines
    assert "controller.quorum.voters=1@127.0.0.1:9093" in lines
    assert "log.dirs=/home/me/data" in lines
    assert "auto.create.topics.enable=false" in lines


def test_folder_with_a_backslash() -> None:
    """It is escaped, as Java's property files want it."""
    assert "fileName = /odd\\\\name.log" in log_configuration(Path("/odd\\name.log"))
