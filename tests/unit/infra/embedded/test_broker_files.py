"""What the embedded broker reads at its start."""

from __future__ import annotations

from pathlib import Path

from infra.embedded.broker_files import ClusterMember, log_configuration, server_properties


def test_properties_of_a_broker() -> None:
    """Both listeners are on loopback, and nothing is created by being asked for."""
    lines = server_properties(data_folder=Path("/home/me/data"), port=9092, controller_port=9093).splitlines()

    assert "listeners=CLIENT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093" in lines
    assert "advertised.listeners=CLIENT://127.0.0.1:9092" in lines
    assert "controller.quorum.voters=1@127.0.0.1:9093" in lines
    assert "log.dirs=/home/me/data" in lines
    assert "auto.create.topics.enable=false" in lines


def test_properties_of_one_of_three_brokers() -> None:
    """It has its own number, knows all controllers, and keeps what two must have on three."""
    voters = "1@127.0.0.1:1,2@127.0.0.1:2,3@127.0.0.1:3"
    member = ClusterMember(2, "id", voters)
    lines = server_properties(data_folder=Path("/data"), port=9092, controller_port=2, member=member).splitlines()

    assert "node.id=2" in lines
    assert f"controller.quorum.voters={voters}" in lines
    assert "offsets.topic.replication.factor=3" in lines
    assert "min.insync.replicas=2" in lines
    assert "unclean.leader.election.enable=false" in lines


def test_folder_with_a_backslash() -> None:
    """It is escaped, as Java's property files want it."""
    assert "fileName = /odd\\\\name.log" in log_configuration(Path("/odd\\name.log"))
