"""What other commands learn of a running line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tokenwire.line.running_line import AlreadyRunning, RunningLine, client_settings, hold_home, running_line

LINE = RunningLine(
    pid=1,
    page="http://127.0.0.1:1/",
    kafka="127.0.0.1:2",
    analytics="http://127.0.0.1:3",
    provider="http://127.0.0.1:4/v1",
    model="simulated",
    logs="logs",
    environment={"TOKENWIRE_KAFKA_PORT": "2", "TOKENWIRE_TOPIC_LAYOUT": "shared", "TOKENWIRE_ANALYTICS_PORT": "3"},
)


def test_command_finds_the_line_that_runs_in_its_folder(tmp_path: Path) -> None:
    """Ports and layout are those of the line; what the environment says comes first."""
    home = {"TOKENWIRE_HOME": str(tmp_path)}
    with hold_home(tmp_path) as held:
        held.announce(LINE)
        found = client_settings(home)
        chosen = client_settings(home | {"TOKENWIRE_ANALYTICS_PORT": "5"})
        elsewhere = client_settings(home | {"TOKENWIRE_KAFKA": "kafka:9092"})

    assert (found.bootstrap_servers, found.topic_layout, found.analytics_port) == ("127.0.0.1:2", "shared", 3)
    assert chosen.analytics_port == 5
    assert (elsewhere.bootstrap_servers, elsewhere.topic_layout) == ("kafka:9092", "dedicated")


def test_line_that_was_killed_is_not_believed(tmp_path: Path) -> None:
    """The file alone says nothing: its writer must live."""
    with hold_home(tmp_path) as held:
        held.announce(LINE)
        left_behind = (tmp_path / "run.json").read_bytes()
    (tmp_path / "run.json").write_bytes(left_behind)

    assert running_line(tmp_path) is None
    assert client_settings({"TOKENWIRE_HOME": str(tmp_path)}).kafka_port == 9092


def test_line_that_is_not_ready_yet_says_nothing(tmp_path: Path) -> None:
    """Held, but not announced."""
    with hold_home(tmp_path):
        assert running_line(tmp_path) is None


def test_folder_is_for_one_line(tmp_path: Path) -> None:
    """The second is told which folder, and what to do; the first goes on."""
    with hold_home(tmp_path) as held:
        held.announce(LINE)
        with pytest.raises(AlreadyRunning, match="TOKENWIRE_HOME"), hold_home(tmp_path):
            pass

        assert running_line(tmp_path) == LINE
